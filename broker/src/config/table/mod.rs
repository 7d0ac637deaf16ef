//! Every setting once, by area. A setting that is not in these tables does not exist.

mod group;
mod group_kinds;
mod group_resource;
mod log;
mod own;
mod quorum;
mod remote;
mod replication;
mod security;
mod server;
mod synonyms;
mod tls;
mod topic;
mod transaction;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::definition::{Check, Def, Importance, Type, Update};

pub use own::{
    METRICS_LISTENER, RETENTION_HOLD_GROUPS, RETENTION_HOLD_MAX_BYTES, RETENTION_HOLD_MAX_MS, WRITE_CACHING,
};
pub use synonyms::{Synonym, Unit, broker_synonyms, group_synonym, topic_synonyms};

const MAX_SHORT: i64 = i16::MAX as i64;
const MAX_INT: i64 = i32::MAX as i64;
const MAX_LONG: i64 = i64::MAX;

/// Positional, so that a table reads as one: name, type, default, bounds, importance, update mode, documentation.
const fn row(
    name: &'static str,
    kind: Type,
    default: Option<&'static str>,
    check: Check,
    importance: Importance,
    update: Update,
    doc: &'static str,
) -> Def {
    Def { name, kind, default, check, importance, update, internal: false, doc }
}

impl Def {
    const fn internal(mut self) -> Self {
        self.internal = true;
        self
    }
}

type Table = BTreeMap<&'static str, &'static Def>;

fn table(parts: &[&'static [Def]]) -> Table {
    parts.iter().flat_map(|part| part.iter()).map(|def| (def.name, def)).collect()
}

static BROKER: LazyLock<Table> = LazyLock::new(|| {
    table(&[
        group::DEFS,
        group_kinds::DEFS,
        log::DEFS,
        own::BROKER_DEFS,
        own::RUN_TIME_DEFS,
        quorum::DEFS,
        remote::DEFS,
        replication::DEFS,
        security::DEFS,
        server::DEFS,
        tls::DEFS,
        transaction::DEFS,
    ])
});

static TOPIC: LazyLock<Table> = LazyLock::new(|| table(&[topic::DEFS, own::TOPIC_DEFS]));

static GROUP: LazyLock<Table> = LazyLock::new(|| table(&[group_resource::DEFS]));

/// Every broker setting, by name.
pub fn broker() -> &'static BTreeMap<&'static str, &'static Def> {
    &BROKER
}

/// Every topic setting, by name.
pub fn topic() -> &'static BTreeMap<&'static str, &'static Def> {
    &TOPIC
}

/// Every group setting, by name.
pub fn group() -> &'static BTreeMap<&'static str, &'static Def> {
    &GROUP
}

/// The known name most like `name`, if any is like it.
pub fn nearest(name: &str, table: &BTreeMap<&'static str, &'static Def>) -> Option<&'static str> {
    const LIKE: f64 = 0.85;
    let (score, best) =
        table.keys().map(|known| (strsim::jaro_winkler(name, known), *known)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (score >= LIKE).then_some(best)
}
