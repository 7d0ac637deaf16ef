//! What the quorum replicates: commands of records, applied to the catalog on every node, and the news of it for those
//! who publish.
//!
//! A command is the records of one change and the version of the state that it was decided on. It is carried out whole, and
//! only on that state: so a change that another one overtook is refused, the same on every node.

use std::collections::HashSet;
use std::sync::Arc;

use jackdaw_quorum::{At, Command, Machine, Reply};
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::catalog::Catalog;
use super::record::Record;
use super::snapshot;

/// The version of commands that this release writes, and the highest it reads.
const VERSION: u16 = 0;

/// Partitions that one command changes.
const CHANGES_AT_ONCE: usize = 1_000;

#[derive(Deserialize)]
struct Envelope<'a> {
    v: u16,
    base: u64,
    #[serde(borrow)]
    records: Vec<&'a RawValue>,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// It was carried out, and this is the version now.
    Applied(u64),
    /// It was decided on another state than this.
    Stale(u64),
    /// It does not fit the state, or is not understood.
    Refused(String),
}

/// The command of a change that was decided on version `base`.
pub(crate) fn command(base: u64, records: &[Record]) -> Command {
    let mut text = format!("{{\"v\":{VERSION},\"base\":{base},\"records\":[");
    for (at, record) in records.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(&String::from_utf8_lossy(&record.encode()));
    }
    text.push_str("]}");
    Command(text)
}

/// The records of a change by the commands that they go in. Partitions that change are many when a broker comes or goes, and
/// each stands for itself: all in one command, they would keep the quorum from its heartbeats, and might not fit into its
/// log. All else is carried out whole.
pub(crate) fn by_command(records: &[Record]) -> impl Iterator<Item = &[Record]> {
    let stand_alone = records.iter().all(|record| matches!(record, Record::PartitionChanged { .. }));
    records.chunks(if stand_alone { CHANGES_AT_ONCE } else { records.len().max(1) })
}

/// Reads an answer of the machine.
pub(crate) fn outcome(reply: &Reply) -> Outcome {
    serde_json::from_str(&reply.0)
        .unwrap_or_else(|error| Outcome::Refused(format!("{:?} is no outcome: {error}", reply.0)))
}

/// The metadata as the quorum's state machine.
pub struct MetadataMachine {
    catalog: Arc<Catalog>,
    news: Arc<News>,
    /// Why nothing can be applied any more: a later release wrote what this one does not know.
    stuck: Option<String>,
}

impl MetadataMachine {
    /// A machine that knows nothing yet, and tells `news` of what it learns.
    pub(crate) fn new(news: Arc<News>) -> MetadataMachine {
        MetadataMachine { catalog: Arc::default(), news, stuck: None }
    }

    /// The state. Whoever keeps it makes the next change copy all of it.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        self.catalog.clone()
    }

    fn carry_out(&mut self, command: &Command) -> Outcome {
        if let Some(stuck) = &self.stuck {
            return Outcome::Refused(stuck.clone());
        }
        let records = match decode(command) {
            Ok((base, records)) if base == self.catalog.image().version => records,
            Ok(_) => return Outcome::Stale(self.catalog.image().version),
            Err(reason) => {
                tracing::error!(
                    reason,
                    "the quorum has agreed on what this release cannot read: this node follows no further"
                );
                self.stuck = Some(reason.clone());
                return Outcome::Refused(reason);
            }
        };
        // Of several records, one that does not fit must not leave those before it behind.
        let before = (records.len() > 1).then(|| Catalog::clone(&self.catalog));
        let catalog = Arc::make_mut(&mut self.catalog);
        let mut touched = Touched::default();
        for record in &records {
            touched.note(record);
            if let Err(error) = catalog.apply(record) {
                tracing::error!(%error, "a change of the metadata does not fit and is not carried out");
                if let Some(before) = before {
                    *catalog = before;
                }
                return Outcome::Refused(error.to_string());
            }
        }
        let version = catalog.image().version;
        self.news.tell(version, touched);
        Outcome::Applied(version)
    }
}

fn decode(command: &Command) -> Result<(u64, Vec<Record>), String> {
    let envelope: Envelope<'_> = serde_json::from_str(&command.0).map_err(|error| error.to_string())?;
    if envelope.v > VERSION {
        return Err(format!("a command of version {}, this release reads up to {VERSION}", envelope.v));
    }
    let records = envelope.records.iter().map(|raw| Record::decode(raw.get().as_bytes()));
    let records: Result<Vec<Record>, _> = records.collect();
    Ok((envelope.base, records.map_err(|error| error.to_string())?))
}

impl Machine for MetadataMachine {
    fn apply(&mut self, _: At, command: Command) -> Reply {
        let outcome = self.carry_out(&command);
        Reply(serde_json::to_string(&outcome).expect("an outcome is a number or text"))
    }

    fn snapshot(&self) -> Box<dyn FnOnce() -> Vec<u8> + Send> {
        let image = self.catalog.image().clone();
        Box::new(move || snapshot::encode(&image))
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        let image = snapshot::decode(snapshot).map_err(|error| error.to_string())?;
        let version = image.version;
        self.catalog = Arc::new(Catalog::restored(image));
        self.stuck = None;
        self.news.tell(version, Touched { everything: true, ..Touched::default() });
        Ok(())
    }
}

/// What may be different.
#[derive(Default)]
pub(crate) struct Touched {
    pub(crate) topics: HashSet<Uuid>,
    /// Any topic.
    pub(crate) everything: bool,
}

impl Touched {
    fn note(&mut self, record: &Record) {
        match record {
            Record::TopicCreated { id, .. }
            | Record::PartitionsAdded { id, .. }
            | Record::TopicRemoved { id }
            | Record::LeaderEpochsRaised { id, .. }
            | Record::PartitionChanged { id, .. }
            | Record::TopicConfigsChanged { id, .. } => {
                self.topics.insert(*id);
            }
            Record::BrokerConfigsChanged { .. }
            | Record::GroupConfigsChanged { .. }
            | Record::ProducerIdsAllocated { .. }
            | Record::FeatureLevelChanged { .. }
            | Record::BrokerCordoned { .. }
            | Record::LogDirsChanged { .. } => {}
            Record::BrokerStarted { .. }
            | Record::BrokerRegistered { .. }
            | Record::BrokerFenced { .. }
            | Record::BrokerUnfenced { .. }
            | Record::BrokerInControlledShutdown { .. }
            | Record::BrokerUnregistered { .. } => self.everything = true,
        }
    }

    fn add(&mut self, other: Touched) {
        self.everything |= other.everything;
        self.topics.extend(other.topics);
    }
}

/// What was applied and not published yet.
#[derive(Default)]
pub(crate) struct News {
    state: Mutex<Unpublished>,
    changed: Condvar,
}

#[derive(Default)]
struct Unpublished {
    version: u64,
    touched: Touched,
    closed: bool,
}

impl News {
    fn tell(&self, version: u64, touched: Touched) {
        let mut state = self.state.lock();
        state.version = version;
        state.touched.add(touched);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until there is something beyond `version`; false when there will be nothing any more.
    pub(crate) fn wait_beyond(&self, version: u64) -> bool {
        let mut state = self.state.lock();
        while state.version <= version && !state.closed {
            self.changed.wait(&mut state);
        }
        !state.closed
    }

    /// Takes what may be different since the last time.
    pub(crate) fn take(&self) -> Touched {
        std::mem::take(&mut self.state.lock().touched)
    }

    /// Nobody publishes any more.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::collections::BTreeMap;

    use super::*;
    use crate::topics::record::PartitionState;

    fn created(n: u128) -> Record {
        let (name, id) = (format!("t{n}"), Uuid::from_u128(n));
        Record::TopicCreated { name, id, assignments: vec![vec![1]], configs: BTreeMap::new() }
    }

    fn apply(machine: &mut MetadataMachine, base: u64, records: &[Record]) -> Outcome {
        outcome(&machine.apply(At::default(), command(base, records)))
    }

    #[test]
    fn a_command_is_carried_out_on_the_state_it_was_decided_on_and_on_no_other() {
        let mut machine = MetadataMachine::new(Arc::default());
        assert_eq!(apply(&mut machine, 0, &[created(1)]), Outcome::Applied(1));
        assert_eq!(apply(&mut machine, 0, &[created(2)]), Outcome::Stale(1));
        assert_eq!(apply(&mut machine, 1, &[created(2)]), Outcome::Applied(2));
        assert!(machine.catalog().image().topic("t2").is_some());
    }

    #[test]
    fn a_command_of_which_one_record_does_not_fit_changes_nothing() {
        let mut machine = MetadataMachine::new(Arc::default());
        assert!(matches!(apply(&mut machine, 0, &[created(1), created(1)]), Outcome::Refused(_)));
        assert_eq!(machine.catalog().image(), Catalog::default().image());
        assert_eq!(apply(&mut machine, 0, &[created(1)]), Outcome::Applied(1));
    }

    #[test]
    fn what_a_later_release_wrote_stops_the_node_instead_of_being_passed_over() {
        let mut machine = MetadataMachine::new(Arc::default());
        let later = Command(r#"{"v":0,"base":0,"records":[{"type":"acl_created","v":0}]}"#.to_owned());
        assert!(matches!(outcome(&machine.apply(At::default(), later)), Outcome::Refused(_)));
        assert!(matches!(apply(&mut machine, 0, &[created(1)]), Outcome::Refused(_)));
    }

    #[test]
    fn changes_of_many_partitions_are_commands_of_bounded_size_and_all_else_is_one() {
        let changed = |partition| Record::PartitionChanged {
            id: Uuid::from_u128(1),
            partition,
            state: PartitionState::default(),
        };
        let many: Vec<Record> = (0..2_500).map(changed).collect();
        let sizes = |records: &[Record]| by_command(records).map(<[Record]>::len).collect::<Vec<_>>();
        assert_eq!(sizes(&many), [1_000, 1_000, 500]);
        assert!(by_command(&many).all(|records| command(0, records).0.len() < 1 << 20));
        let mixed: Vec<Record> = many.into_iter().chain([created(2)]).collect();
        assert_eq!(sizes(&mixed), [2_501]);
        assert_eq!(sizes(&[]), [0; 0]);
    }

    #[test]
    fn a_restored_machine_goes_on_where_the_snapshot_was_made() {
        let mut machine = MetadataMachine::new(Arc::default());
        apply(&mut machine, 0, &[created(1), created(2)]);
        let bytes = machine.snapshot()();
        let mut other = MetadataMachine::new(Arc::default());
        other.restore(&bytes).unwrap();
        assert_eq!(other.catalog().image(), machine.catalog().image());
        assert_eq!(apply(&mut other, 2, &[created(3)]), Outcome::Applied(3));
        assert!(other.restore(b"{}").is_err());
    }
}
