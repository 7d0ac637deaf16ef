//! What a partition holds, as any client sees it.

use std::collections::BTreeSet;

use bytes::Bytes;
use jackdaw_protocol::records::{self, Batch};
use jackdaw_test_support::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use jackdaw_test_support::messages::{BrokerId, ListOffsetsRequest};
use jackdaw_test_support::requests::{self, FETCH, fetch_request, topic};
use jackdaw_test_support::{Client, batch};

/// Stands for the time of the youngest record; Apache Kafka 2.8 does not know it.
const LARGEST: i64 = -3;

/// No batch of these tests is larger, decompressed.
const CAP: usize = 1 << 26;

/// A record in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
}

/// Everything about one partition, in lines and answers that can be compared.
#[derive(Default)]
pub(crate) struct Left {
    pub(crate) log_start: i64,
    pub(crate) end: i64,
    pub(crate) records: Vec<Found>,
    pub(crate) lines: Vec<String>,
    /// Of batches with tombstones or markers: until when they stay.
    pub(crate) horizons: Vec<i64>,
    /// What was asked about time, and the answers.
    pub(crate) times: Vec<Asked>,
    /// Offset and timestamp of every record, control records too.
    every: Vec<(i64, i64)>,
    /// Whether the broker's clock stamped the records: no two brokers stamp alike.
    stamped: bool,
}

/// A time that was asked for, and error code, timestamp, offset and leader epoch of the answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    time: i64,
    read_committed: bool,
    answer: (i16, i64, i64, i32),
}

impl Left {
    /// `key=value`, a tombstone as `key`, a record without a key as `=value`; control records are left out.
    pub(crate) fn texts(&self) -> Vec<String> {
        let text = |found: &Found| match (&found.key, &found.value) {
            (Some(key), Some(value)) => format!("{key}={value}"),
            (Some(key), None) => key.clone(),
            (None, value) => format!("={}", value.as_deref().unwrap_or("null")),
        };
        self.records.iter().map(text).collect()
    }

    /// Whether an answer about time is Kafka's, or better: Kafka names records of the largest timestamp that DeleteRecords took, and
    /// ends its search in the first segment with a young enough batch, even one that compaction left empty. There we must be exact.
    pub(crate) fn same_time(&self, kafka: &Asked, ours: &Asked, with_epochs: bool) -> bool {
        let ((error, at, offset, epoch), (our_error, our_at, our_offset, our_epoch)) = (kafka.answer, ours.answer);
        let epochs_differ = with_epochs && kafka.time != -1 && epoch != our_epoch;
        if error == our_error && offset == our_offset && (self.stamped || at == our_at) && !epochs_differ {
            return true;
        }
        let lost = offset == -1 || (0..self.log_start).contains(&offset);
        lost && our_error == 0 && self.exact(ours.time) == Some((our_offset, our_at))
    }

    /// The record that a time leads to; `Some((-1, -1))` for none, `None` for a question that is not about records.
    fn exact(&self, time: i64) -> Option<(i64, i64)> {
        let found = match time {
            LARGEST => self.every.iter().rev().max_by_key(|(_, at)| *at),
            0.. => self.every.iter().find(|(_, at)| *at >= time),
            _ => return None,
        };
        Some(found.copied().unwrap_or((-1, -1)))
    }

    pub(crate) fn offsets(&self) -> Vec<i64> {
        self.records.iter().map(|found| found.offset).collect()
    }
}

fn shown(bytes: Option<&[u8]>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// Whole batches of a fetch answer; Kafka may cut the last one off.
pub(crate) fn whole_batches(fetched: Bytes) -> Vec<Batch> {
    let mut rest = fetched;
    let mut batches = Vec::new();
    while rest.len() >= batch::at::RECORDS {
        let length = i32::from_be_bytes(rest[batch::at::LENGTH..batch::at::LEADER_EPOCH].try_into().unwrap());
        let size = batch::at::LEADER_EPOCH + usize::try_from(length).unwrap();
        if rest.len() < size {
            break;
        }
        let bytes = rest.split_to(size);
        batches.push(Batch::from_log(bytes).expect("a sound batch from a broker"));
    }
    batches
}

/// One answer's batches, with the start of the log, its high watermark and last stable offset, and aborted transactions.
pub(crate) struct Answer {
    pub(crate) batches: Vec<Batch>,
    pub(crate) bounds: (i64, i64, i64),
    pub(crate) aborted: Vec<(i64, i64)>,
}

pub(crate) fn fetch(client: &mut Client, name: &str, offset: i64, read_committed: bool) -> Answer {
    let request = fetch_request(name, 0, offset, 0, 0).with_isolation_level(i8::from(read_committed));
    let mut response = client.call(FETCH, &request);
    assert_eq!(response.error_code, 0);
    let partition = response.responses.remove(0).partitions.remove(0);
    assert_eq!(partition.error_code, 0, "cannot fetch {name} from {offset}");
    let aborted = partition.aborted_transactions.unwrap_or_default();
    Answer {
        batches: whole_batches(partition.records.unwrap_or_default()),
        bounds: (partition.log_start_offset, partition.high_watermark, partition.last_stable_offset),
        aborted: aborted.iter().map(|aborted| (aborted.producer_id.0, aborted.first_offset)).collect(),
    }
}

/// All batches from an offset on.
pub(crate) fn all_batches(client: &mut Client, name: &str, from: i64) -> Vec<Batch> {
    let mut all: Vec<Batch> = Vec::new();
    let mut offset = from;
    loop {
        let batches = fetch(client, name, offset, false).batches;
        let Some(last) = batches.last() else { return all };
        offset = last.header().last_offset() + 1;
        all.extend(batches);
    }
}

/// Aborted transactions, whatever part of the log one answer is about.
fn all_aborted(client: &mut Client, name: &str, from: i64, end: i64) -> BTreeSet<(i64, i64)> {
    (from..end).flat_map(|offset| fetch(client, name, offset, true).aborted).collect()
}

/// Error, timestamp, offset and leader epoch of an answer about time.
pub(crate) fn list_offset(client: &mut Client, name: &str, time: i64, read_committed: bool) -> (i16, i64, i64, i32) {
    let wanted = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(time);
    let wanted = ListOffsetsTopic::default().with_name(topic(name)).with_partitions(vec![wanted]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(i8::from(read_committed))
        .with_topics(vec![wanted]);
    let answer = client.call(if time == LARGEST { 7 } else { 6 }, &request).topics.remove(0).partitions.remove(0);
    (answer.error_code, answer.timestamp, answer.offset, answer.leader_epoch)
}

/// Records and a line for each batch and record.
fn describe(batches: &[Batch], left: &mut Left) {
    for batch in batches {
        let header = batch.header();
        let stamped = header.is_log_append_time();
        let horizon = header.has_delete_horizon();
        if horizon {
            left.horizons.push(header.base_timestamp());
        }
        let time = |time: i64| if stamped { "append time".to_owned() } else { time.to_string() };
        let base_timestamp = if horizon { "horizon".to_owned() } else { time(header.base_timestamp()) };
        left.lines.push(format!(
            "batch {}..{} count {} attributes {:#x} producer {}/{} sequence {} epoch {} timestamps {base_timestamp} to {}",
            header.base_offset(),
            header.last_offset(),
            header.record_count(),
            header.attributes(),
            header.producer_id(),
            header.producer_epoch(),
            header.base_sequence(),
            header.leader_epoch(),
            time(header.max_timestamp()),
        ));
        let decoded = records::records(batch, CAP).expect("records that can be decoded");
        for record in &decoded {
            let record = record.expect("a sound record from a broker");
            let (offset, timestamp) = (decoded.offset(&record), decoded.timestamp(&record));
            let headers: Vec<_> =
                record.headers().map(|header| (shown(Some(header.key)), shown(header.value))).collect();
            let found = Found { offset, timestamp, key: shown(record.key), value: shown(record.value) };
            left.lines.push(format!(
                "  record {offset} at {} key {:?} value {:?} headers {headers:?}",
                time(timestamp),
                found.key,
                found.value.as_deref().map(|value| value.get(..80).unwrap_or(value)),
            ));
            left.every.push((offset, timestamp));
            if !header.is_control() {
                left.records.push(found);
            }
        }
    }
}

/// Asks for everything: bounds, batches and records, what each single offset leads to, and what each point in time does.
pub(crate) fn look(client: &mut Client, name: &str) -> Left {
    look_for(client, name, &[-1, -2, LARGEST])
}

/// The same of a broker that is asked for these special times only.
pub(crate) fn look_for(client: &mut Client, name: &str, special: &[i64]) -> Left {
    let log_start = requests::list_offset(client, name, 0, -2);
    let batches = all_batches(client, name, log_start);
    let (first, committed) = (fetch(client, name, log_start, false), fetch(client, name, log_start, true));
    let aborted = all_aborted(client, name, log_start, first.bounds.1);
    let end = first.bounds.1;
    let mut left = Left { log_start, end, ..Left::default() };
    left.lines.push(format!("log start, high watermark, last stable offset: {:?}", first.bounds));
    left.lines.push(format!("the same when reading committed: {:?}", committed.bounds));
    left.lines.push(format!("aborted transactions (producer, first offset): {aborted:?}"));
    describe(&batches, &mut left);
    for offset in log_start..end {
        let base = fetch(client, name, offset, false).batches.first().map(|batch| batch.header().base_offset());
        left.lines.push(format!("a fetch from {offset} begins with the batch at {base:?}"));
    }
    left.stamped = batches.iter().any(|batch| batch.header().is_log_append_time());
    let mut times: Vec<i64> = left.every.iter().flat_map(|(_, time)| [-1, 0, 1].map(|step| time + step)).collect();
    times.sort_unstable();
    times.dedup();
    times.retain(|time| *time >= 0);
    if left.stamped {
        times.truncate(1);
    }
    let asked =
        special.iter().flat_map(|time| [(*time, false), (*time, true)]).chain(times.iter().map(|time| (*time, false)));
    for (time, read_committed) in asked {
        let answer = list_offset(client, name, time, read_committed);
        left.times.push(Asked { time, read_committed, answer });
    }
    left
}

/// Error code, log start and high watermark of a fetch that is refused.
pub(crate) fn fetch_error(client: &mut Client, name: &str, offset: i64) -> (i16, i64, i64) {
    let mut response = client.call(FETCH, &fetch_request(name, 0, offset, 0, 0));
    let partition = response.responses.remove(0).partitions.remove(0);
    (partition.error_code, partition.log_start_offset, partition.high_watermark)
}
