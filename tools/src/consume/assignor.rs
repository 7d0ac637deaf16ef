//! The range assignor of Kafka's classic groups, and the bytes that members exchange about it.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use jackdaw_protocol::guard;
use jackdaw_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, Decodable, Encodable, consumer_protocol_assignment,
};

use crate::client::{text, topic_name};

/// The form in which we write both messages; readers take newer ones too.
const VERSION: i16 = 0;

/// Partitions by topic.
pub(crate) type Assignment = BTreeMap<String, Vec<i32>>;

/// What we tell the group: the topics we want.
pub(crate) fn subscription(topics: &[&str]) -> Result<Bytes, String> {
    let message = ConsumerProtocolSubscription::default().with_topics(topics.iter().map(|topic| text(topic)).collect());
    versioned(&message)
}

/// The topics that a member wants.
pub(crate) fn subscribed_topics(bytes: &Bytes) -> Result<Vec<String>, String> {
    let (version, mut body) = split_version(bytes)?;
    let version = guard::check_consumer_subscription(version, &body).map_err(|error| error.to_string())?;
    let message = ConsumerProtocolSubscription::decode(&mut body, version).map_err(|error| error.to_string())?;
    Ok(message.topics.iter().map(|topic| topic.to_string()).collect())
}

/// What a leader tells a member.
pub(crate) fn assignment_bytes(assignment: &Assignment) -> Result<Bytes, String> {
    let topic = |(name, partitions): (&String, &Vec<i32>)| {
        consumer_protocol_assignment::TopicPartition::default()
            .with_topic(topic_name(name))
            .with_partitions(partitions.clone())
    };
    versioned(&ConsumerProtocolAssignment::default().with_assigned_partitions(assignment.iter().map(topic).collect()))
}

/// What a member was told; nothing if it was told nothing.
pub(crate) fn assigned_partitions(bytes: &Bytes) -> Result<Assignment, String> {
    if bytes.is_empty() {
        return Ok(Assignment::new());
    }
    let (version, mut body) = split_version(bytes)?;
    let version = guard::check_consumer_assignment(version, &body).map_err(|error| error.to_string())?;
    let message = ConsumerProtocolAssignment::decode(&mut body, version).map_err(|error| error.to_string())?;
    Ok(message.assigned_partitions.into_iter().map(|topic| (topic.topic.to_string(), topic.partitions)).collect())
}

fn versioned(message: &impl Encodable) -> Result<Bytes, String> {
    let mut out = BytesMut::new();
    out.put_i16(VERSION);
    message.encode(&mut out, VERSION).map_err(|error| error.to_string())?;
    Ok(out.freeze())
}

fn split_version(bytes: &Bytes) -> Result<(i16, Bytes), String> {
    let mut body = bytes.clone();
    let version = body.try_get_i16().map_err(|_| "no version".to_owned())?;
    Ok((version, body))
}

/// Gives each member of a topic a range of its partitions, the first members one more where it does not come out even.
pub(crate) fn range(
    members: &BTreeMap<String, Vec<String>>,
    partition_counts: &BTreeMap<String, i32>,
) -> BTreeMap<String, Assignment> {
    let mut assignments: BTreeMap<String, Assignment> =
        members.keys().map(|member| (member.clone(), Assignment::new())).collect();
    for (topic, &count) in partition_counts {
        let wanting: Vec<&String> =
            members.iter().filter(|(_, topics)| topics.contains(topic)).map(|(member, _)| member).collect();
        let share = |index: usize| {
            let each = count as usize / wanting.len();
            let more = count as usize % wanting.len();
            let first = index * each + index.min(more);
            let last = first + each + usize::from(index < more);
            (first as i32..last as i32).collect::<Vec<i32>>()
        };
        for (index, member) in wanting.iter().enumerate() {
            let partitions = share(index);
            if let Some(assignment) = assignments.get_mut(*member).filter(|_| !partitions.is_empty()) {
                assignment.insert(topic.clone(), partitions);
            }
        }
    }
    assignments
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn names(topics: &[&str]) -> Vec<String> {
        topics.iter().map(|topic| (*topic).to_owned()).collect()
    }

    #[test]
    fn members_get_ranges_and_the_first_get_the_rest() {
        let members = BTreeMap::from([
            ("a".to_owned(), names(&["t", "u"])),
            ("b".to_owned(), names(&["t"])),
            ("c".to_owned(), names(&["t"])),
        ]);
        let counts = BTreeMap::from([("t".to_owned(), 8), ("u".to_owned(), 1), ("nobody's".to_owned(), 3)]);
        let assigned = range(&members, &counts);
        assert_eq!(assigned["a"], BTreeMap::from([("t".to_owned(), vec![0, 1, 2]), ("u".to_owned(), vec![0])]));
        assert_eq!(assigned["b"], BTreeMap::from([("t".to_owned(), vec![3, 4, 5])]));
        assert_eq!(assigned["c"], BTreeMap::from([("t".to_owned(), vec![6, 7])]));
    }

    #[test]
    fn members_beyond_the_partitions_get_none() {
        let members = BTreeMap::from([("a".to_owned(), names(&["t"])), ("b".to_owned(), names(&["t"]))]);
        let assigned = range(&members, &BTreeMap::from([("t".to_owned(), 1)]));
        assert_eq!(assigned["b"], Assignment::new());
    }

    #[test]
    fn what_members_exchange_comes_back() {
        let topics = subscribed_topics(&subscription(&["t", "u"]).unwrap()).unwrap();
        assert_eq!(topics, ["t", "u"]);
        let assignment = BTreeMap::from([("t".to_owned(), vec![0, 2])]);
        assert_eq!(assigned_partitions(&assignment_bytes(&assignment).unwrap()), Ok(assignment));
        assert_eq!(assigned_partitions(&Bytes::new()), Ok(Assignment::new()));
        assert!(subscribed_topics(&Bytes::from_static(&[0])).is_err());
        assert!(subscribed_topics(&Bytes::from_static(&[0, 0, 0x7f, 0xff, 0xff, 0xff])).is_err());
    }
}
