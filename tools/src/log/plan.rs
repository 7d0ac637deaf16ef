//! What an import will do: pure. Sources and wishes in; topics, notes and refusals out.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;
use uuid::Uuid;

use super::image::Image;
use super::source::{FoundPartition, Source};

/// Topics of Kafka whose state means nothing to another broker.
const LEFT_BEHIND: [(&str, &str); 3] = [
    (
        "__transaction_state",
        "the state of transactions; data of transactions that ended comes over, open ones stay open",
    ),
    ("__share_group_state", "the state of share groups"),
    ("__remote_log_metadata", "metadata of tiered storage; what lies in remote storage cannot be imported"),
];
const CONSUMER_OFFSETS: &str = "__consumer_offsets";

/// Why nothing can be imported.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum PlanError {
    #[error("the sources are of different clusters ({0} and {1}): import one cluster at a time")]
    Clusters(String, String),
    #[error("no topic of the sources matches {0}; there are: {1}")]
    NothingMatches(String, String),
    #[error("there is no topic in the sources")]
    Nothing,
    #[error("{}", .0.join("\n"))]
    Missing(Vec<String>),
}

/// A topic to import.
#[derive(Debug)]
pub(super) struct PlannedTopic<'a> {
    pub(super) name: String,
    pub(super) id: Uuid,
    /// The source knew no id.
    pub(super) id_is_fresh: bool,
    /// In the order of their numbers; none where a partition is made empty.
    pub(super) partitions: Vec<Option<&'a FoundPartition>>,
    pub(super) leader_epochs: Vec<i32>,
    pub(super) configs: BTreeMap<String, String>,
}

impl PlannedTopic<'_> {
    pub(super) fn bytes(&self) -> u64 {
        self.partitions.iter().flatten().map(|partition| partition.bytes).sum()
    }
}

/// The whole import.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) topics: Vec<PlannedTopic<'a>>,
    pub(super) cluster_id: Option<String>,
    pub(super) next_producer_id: i64,
    /// Every source was stopped in order.
    pub(super) is_clean: bool,
    pub(super) notes: Vec<String>,
}

/// What is wished for.
pub(super) struct Wishes<'a> {
    /// Empty for all.
    pub(super) patterns: &'a [String],
    pub(super) create_missing: bool,
    pub(super) new_id: &'a dyn Fn() -> Uuid,
}

/// Makes the plan.
pub(super) fn plan<'a>(sources: &'a [Source], wishes: &Wishes<'_>) -> Result<Plan<'a>, PlanError> {
    let cluster_id = cluster(sources)?;
    let mut notes: Vec<String> = sources.iter().flat_map(|source| source.notes.iter().cloned()).collect();
    // Of several copies of the metadata, the one that came furthest.
    let image = sources.iter().filter_map(|source| source.image.as_ref()).max_by_key(|image| image.end_offset);
    let copies = newest_copies(sources, image, &mut notes);
    let names: BTreeSet<&str> = match image {
        Some(image) => image.topics.keys().map(String::as_str).collect(),
        None => copies.keys().map(|(topic, _)| *topic).collect(),
    };
    let wanted = wanted(&names, wishes.patterns, &mut notes)?;
    let (mut topics, mut missing) = (Vec::new(), Vec::new());
    for name in wanted {
        let topic = topic(name, image, &copies, wishes);
        missing.extend(complain_of_missing(&topic, wishes, &mut notes));
        topics.push(topic);
    }
    if !missing.is_empty() {
        return Err(PlanError::Missing(missing));
    }
    for (what, entries) in image.into_iter().flat_map(|image| &image.besides).filter(|(_, entries)| !entries.is_empty())
    {
        notes.push(format!("{} {what} stay behind: set them anew where they are wanted", entries.len()));
    }
    let next_producer_id = image.map_or(0, |image| image.next_producer_id);
    let is_clean = sources.iter().all(|source| source.is_clean);
    Ok(Plan { topics, cluster_id, next_producer_id, is_clean, notes })
}

fn cluster(sources: &[Source]) -> Result<Option<String>, PlanError> {
    let mut ids = sources.iter().filter_map(|source| source.meta.as_ref()).map(|meta| &meta.cluster_id);
    let Some(first) = ids.next() else { return Ok(None) };
    match ids.find(|id| *id != first) {
        Some(other) => Err(PlanError::Clusters(first.clone(), other.clone())),
        None => Ok(Some(first.clone())),
    }
}

type Copies<'a> = BTreeMap<(&'a str, i32), &'a FoundPartition>;

/// Of the replicas of a partition, the one that reaches furthest; the leader's, where several do.
fn newest_copies<'a>(sources: &'a [Source], image: Option<&Image>, notes: &mut Vec<String>) -> Copies<'a> {
    let mut copies = Copies::new();
    for found in sources.iter().flat_map(|source| &source.partitions) {
        let topic = image.map(|image| image.topics.get(&found.topic));
        match topic {
            Some(None) => {
                notes.push(format!("{} stays: the metadata knows no such topic", found.path.display()));
                continue;
            }
            Some(Some(topic)) if found.id.is_some_and(|id| id != topic.id) => {
                notes.push(format!("{} stays: it is of an older topic of that name", found.path.display()));
                continue;
            }
            _ => {}
        }
        let reach = |copy: &FoundPartition| {
            let partition = topic.flatten().and_then(|topic| topic.partitions.get(&copy.partition));
            let leads = partition.is_some_and(|partition| partition.leader == copy.node_id);
            (copy.recovery_point.unwrap_or(0), leads, copy.bytes)
        };
        let known = copies.entry((&found.topic, found.partition)).or_insert(found);
        if reach(found) > reach(known) {
            *known = found;
        }
    }
    copies
}

fn wanted<'a>(
    names: &BTreeSet<&'a str>,
    patterns: &[String],
    notes: &mut Vec<String>,
) -> Result<Vec<&'a str>, PlanError> {
    let left = |name: &str| LEFT_BEHIND.iter().find(|(topic, _)| *topic == name);
    for (name, why) in names.iter().filter_map(|name| left(name)) {
        notes.push(format!("{name} stays behind: {why}"));
    }
    let is_wanted = |name: &&&str| {
        left(name).is_none() && (patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, name)))
    };
    let wanted: Vec<&str> = names.iter().filter(is_wanted).copied().collect();
    if wanted.is_empty() {
        let there: Vec<&str> = names.iter().copied().filter(|name| left(name).is_none()).collect();
        return Err(match patterns {
            [] => PlanError::Nothing,
            patterns => PlanError::NothingMatches(patterns.join(" "), there.join(" ")),
        });
    }
    if names.contains(CONSUMER_OFFSETS) && !wanted.contains(&CONSUMER_OFFSETS) {
        notes.push(format!("committed offsets stay behind: they come with --topic {CONSUMER_OFFSETS}, of all groups"));
    }
    Ok(wanted)
}

fn topic<'a>(name: &str, image: Option<&Image>, copies: &Copies<'a>, wishes: &Wishes<'_>) -> PlannedTopic<'a> {
    let known = image.and_then(|image| image.topics.get(name));
    let found =
        copies.iter().filter(|((topic, _), _)| *topic == name).map(|((_, partition), copy)| (*partition, *copy));
    let found: BTreeMap<i32, &FoundPartition> = found.collect();
    let last = known.and_then(|topic| topic.partitions.keys().last()).max(found.keys().last());
    let count = last.map_or(0, |last| last + 1);
    let id = known.map(|topic| topic.id).or_else(|| found.values().find_map(|copy| copy.id));
    let epoch = |partition: i32| {
        let elected = known.and_then(|topic| topic.partitions.get(&partition)).map_or(0, |known| known.leader_epoch);
        elected.max(found.get(&partition).map_or(0, |copy| copy.latest_epoch))
    };
    let mut configs = image.and_then(|image| image.configs.get(name)).cloned().unwrap_or_default();
    if image.is_none() && name == CONSUMER_OFFSETS {
        configs.insert("cleanup.policy".to_owned(), "compact".to_owned());
    }
    PlannedTopic {
        name: name.to_owned(),
        id: id.unwrap_or_else(wishes.new_id),
        id_is_fresh: id.is_none(),
        leader_epochs: (0..count).map(epoch).collect(),
        partitions: (0..count).map(|partition| found.get(&partition).copied()).collect(),
        configs,
    }
}

fn complain_of_missing(topic: &PlannedTopic<'_>, wishes: &Wishes<'_>, notes: &mut Vec<String>) -> Option<String> {
    let missing = topic.partitions.iter().enumerate().filter(|(_, copy)| copy.is_none());
    let missing: Vec<String> = missing.map(|(partition, _)| partition.to_string()).collect();
    if missing.is_empty() {
        return None;
    }
    let which = format!(
        "of topic {} (partitions 0 to {}) missing in the sources: {}",
        topic.name,
        topic.partitions.len() - 1,
        missing.join(", ")
    );
    if wishes.create_missing {
        notes.push(format!("made empty, as asked: partitions {which}"));
        return None;
    }
    Some(format!(
        "partitions {which}. They are on other brokers: name their log directories with further --from, \
         leave the topic out with --topic, or have them made empty with --create-missing"
    ))
}

/// Whether a name matches a pattern in which `*` stands for any letters and `?` for one.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p).is_some_and(|&letter| letter == '?' || letter == name[n]) {
            p += 1;
            n += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            n = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&letter| letter == '*')
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::log::image::{KafkaPartition, KafkaTopic};

    fn copy(topic: &str, partition: i32, node_id: i64, recovery_point: i64) -> FoundPartition {
        FoundPartition {
            topic: topic.to_owned(),
            partition,
            path: PathBuf::from(format!("/{node_id}/{topic}-{partition}")),
            id: None,
            node_id,
            files: Vec::new(),
            bytes: 10,
            recovery_point: Some(recovery_point),
            log_start: None,
            high_watermark: None,
            latest_epoch: 2,
        }
    }

    fn source(partitions: Vec<FoundPartition>, image: Option<Image>) -> Source {
        Source { meta: None, is_clean: true, partitions, image, notes: Vec::new() }
    }

    fn image(topics: &[(&str, i32)]) -> Image {
        let partition = KafkaPartition { leader: 2, leader_epoch: 5, replicas: vec![1, 2] };
        let topic = |&(name, count): &(&str, i32)| {
            let partitions = (0..count).map(|index| (index, partition.clone())).collect();
            (name.to_owned(), KafkaTopic { id: Uuid::from_u128(7), partitions })
        };
        Image { topics: topics.iter().map(topic).collect(), ..Image::default() }
    }

    fn wishes(patterns: &[String]) -> Wishes<'_> {
        Wishes { patterns, create_missing: false, new_id: &|| Uuid::from_u128(99) }
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name) in [("*", ""), ("a*", "abc"), ("*c", "abc"), ("a?c", "abc"), ("*b*", "abc"), ("a.b", "a.b")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a", "ab"), ("a?", "a"), ("*b", "abc"), ("a.b", "axb"), ("", "a")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn partitions_that_no_source_has_are_named_and_not_made() {
        let sources = [source(vec![copy("t", 0, 1, 5), copy("t", 2, 1, 5)], Some(image(&[("t", 4)])))];
        let error = plan(&sources, &wishes(&[])).unwrap_err().to_string();
        assert!(error.contains("of topic t (partitions 0 to 3) missing in the sources: 1, 3."), "{error}");
        let made = plan(&sources, &Wishes { create_missing: true, ..wishes(&[]) }).unwrap();
        assert_eq!(
            made.topics[0].partitions.iter().map(Option::is_some).collect::<Vec<_>>(),
            [true, false, true, false]
        );
        assert_eq!(made.topics[0].leader_epochs, [5, 5, 5, 5]);
    }

    #[test]
    fn of_several_replicas_the_one_that_reaches_furthest_is_taken() {
        let sources = [
            source(vec![copy("t", 0, 1, 9), copy("t", 1, 1, 5)], Some(image(&[("t", 2)]))),
            source(vec![copy("t", 0, 2, 8), copy("t", 1, 2, 5)], None),
        ];
        let plan = plan(&sources, &wishes(&[])).unwrap();
        let nodes: Vec<i64> = plan.topics[0].partitions.iter().flatten().map(|copy| copy.node_id).collect();
        assert_eq!(nodes, [1, 2], "of equals, the leader's");
    }

    #[test]
    fn without_metadata_topics_come_from_their_folders() {
        let sources = [source(vec![copy("t", 0, 1, 1), copy("__consumer_offsets", 0, 1, 1)], None)];
        let plan = plan(&sources, &wishes(&[])).unwrap();
        assert_eq!(plan.topics[0].configs["cleanup.policy"], "compact");
        assert_eq!((plan.topics[1].id, plan.topics[1].id_is_fresh), (Uuid::from_u128(99), true));
    }

    #[test]
    fn a_folder_that_the_metadata_does_not_know_stays() {
        let mut older = copy("t", 0, 1, 9);
        older.id = Some(Uuid::from_u128(8));
        let sources = [source(vec![copy("t", 0, 1, 3), older, copy("gone", 0, 1, 1)], Some(image(&[("t", 1)])))];
        let plan = plan(&sources, &wishes(&[])).unwrap();
        assert_eq!(plan.topics.len(), 1);
        assert_eq!(plan.topics[0].partitions[0].unwrap().recovery_point, Some(3));
        assert_eq!(plan.notes.len(), 2, "{:?}", plan.notes);
    }

    #[test]
    fn a_pattern_without_a_topic_is_refused_with_what_there_is() {
        let sources = [source(vec![copy("t", 0, 1, 1)], Some(image(&[("t", 1), ("__transaction_state", 1)])))];
        let error = plan(&sources, &wishes(&["x*".to_owned()])).unwrap_err();
        assert_eq!(error, PlanError::NothingMatches("x*".to_owned(), "t".to_owned()));
    }
}
