//! Leaders that are due without a request: preferred ones (`auto.leader.rebalance.enable`), and any at all where a topic would
//! rather lose records than wait (`unclean.leader.election.enable`). Only the active controller does anything here.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::broker::Broker;
use crate::controller::{election_defaults, leaders};
use crate::topics::ChangeError;
use crate::topics::image::Image;
use crate::topics::record::{ElectionDefaults, Record};

/// Runs until its task is dropped.
pub(crate) async fn run(broker: Arc<Broker>) {
    // Read-only in Kafka too.
    let every = Duration::from_secs(broker.config().leader_imbalance_check_interval_seconds.max(1));
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first comes at once, when nobody can have lost a leader yet.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let round = broker.clone();
        // A panic in there is reported by the panic hook; the next round tries again.
        let _ = tokio::task::spawn_blocking(move || {
            elect_where_allowed(&round);
            if round.config().auto_leader_rebalance_enable {
                passes(&round, leaders::balance);
            }
        })
        .await;
    }
}

/// Elects leaders where there is none and records may be lost: what a change of settings may have allowed just now. Waits
/// for the metadata.
pub(crate) fn elect_where_allowed(broker: &Broker) {
    passes(broker, leaders::elect_uncleanly);
}

fn passes(broker: &Broker, due: fn(&Image, ElectionDefaults) -> Vec<Record>) {
    let defaults = election_defaults(&broker.config());
    // Without anything to do, which is the rule, no command is held up.
    while !due(&broker.topics.image(), defaults).is_empty() {
        let changed = broker.topics.change(|catalog| {
            let records = due(catalog.image(), defaults);
            let count = records.len();
            (records, count)
        });
        match changed {
            Ok(count) if count == leaders::ELECTIONS_PER_PASS => {}
            Ok(count) => return tracing::info!(partitions = count, "leaders were elected that were due"),
            Err(ChangeError::NotController { .. }) => return,
            Err(error) => return tracing::warn!(%error, "no leaders are elected now: trying again later"),
        }
    }
}
