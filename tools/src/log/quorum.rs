//! What the quorum's files say of the metadata: commands and the state, as JSON that is understood by its shape alone, so that
//! what a later release wrote can be shown too.

use std::collections::BTreeMap;

use jackdaw_quorum::inspect::Members;
use jackdaw_quorum::{At, DirectoryId};
use jackdaw_storage::inspect::id_to_text;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A change of the metadata: its records, and the version of the state that it was decided on.
#[derive(Debug, Deserialize)]
pub(super) struct Command {
    pub(super) base: u64,
    pub(super) records: Vec<Record>,
}

/// One record.
#[derive(Debug, Deserialize)]
pub(super) struct Record {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(flatten)]
    pub(super) fields: Map<String, Value>,
}

impl Command {
    /// Reads a command; the error says what is wrong.
    pub(super) fn read(text: &str) -> Result<Command, String> {
        serde_json::from_str(text).map_err(|error| format!("a command that is not understood: {error}"))
    }

    /// What kinds of records it holds, and how many of each.
    pub(super) fn kinds(&self) -> String {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        self.records.iter().for_each(|record| *counts.entry(&record.kind).or_default() += 1);
        let text = |(kind, count): (&str, usize)| if count == 1 { kind.to_owned() } else { format!("{count} {kind}") };
        counts.into_iter().map(text).collect::<Vec<_>>().join(", ")
    }
}

/// The parts of the state that are counted; all of it is `fields`.
#[derive(Debug, Deserialize)]
pub(super) struct State {
    pub(super) version: u64,
    pub(super) topics: Vec<StateTopic>,
    #[serde(flatten)]
    pub(super) fields: Map<String, Value>,
}

/// A topic of it.
#[derive(Debug, Deserialize)]
pub(super) struct StateTopic {
    pub(super) name: String,
    pub(super) partitions: Vec<Value>,
    #[serde(flatten)]
    pub(super) fields: Map<String, Value>,
}

impl State {
    /// Reads the state in a snapshot; the error says what is wrong.
    pub(super) fn read(bytes: &[u8]) -> Result<State, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("a state that is not understood: {error}"))
    }

    pub(super) fn partitions(&self) -> usize {
        self.topics.iter().map(|topic| topic.partitions.len()).sum()
    }

    pub(super) fn brokers(&self) -> usize {
        self.fields.get("brokers").and_then(Value::as_object).map_or(0, Map::len)
    }
}

/// A place in the log: the term, and the index.
pub(super) fn place(at: At) -> String {
    format!("{}.{}", at.term, at.index)
}

pub(super) fn directory(id: &DirectoryId) -> String {
    id_to_text(id.0)
}

/// The members, for people.
pub(super) fn members_text(members: &Members) -> String {
    let node = |id: &u64| match members.nodes.get(id) {
        Some((address, _)) if !address.is_empty() => format!("{id}@{address}"),
        _ => id.to_string(),
    };
    let set = |ids: &std::collections::BTreeSet<u64>| ids.iter().map(node).collect::<Vec<_>>().join(",");
    let voters = members.voters.iter().map(set).collect::<Vec<_>>().join(" and then ");
    let votes = |id: &&u64| members.voters.iter().any(|set| set.contains(id));
    let learners: Vec<String> = members.nodes.keys().filter(|id| !votes(id)).map(node).collect();
    let learners = if learners.is_empty() { String::new() } else { format!(", learners {}", learners.join(",")) };
    format!("voters {voters}{learners}")
}

/// The same for programs.
pub(super) fn members_json(members: &Members) -> Value {
    let node = |(id, (address, directory_id)): (&u64, &(String, Option<DirectoryId>))| json!({"id": id, "address": address, "directory_id": directory_id.as_ref().map(directory)});
    json!({"voters": members.voters, "members": members.nodes.iter().map(node).collect::<Vec<_>>()})
}
