//! What a partition holds, as any client sees it.

use std::collections::BTreeSet;

use bytes::Bytes;
use jackdaw_protocol::records::{self, Batch};
use jackdaw_test_support::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use jackdaw_test_support::messages::{BrokerId, ListOffsetsRequest};
use jackdaw_test_support::requests::{self, FETCH, fetch_request, topic};
use jackdaw_test_support::{Client, batch};

/// No batch of these tests is larger, decompressed.
const CAP: usize = 1 << 26;

/// A record in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<String>,
    pub value: Option<String>,
}

/// Everything about one partition, in lines that can be compared.
pub struct Left {
    pub log_start: i64,
    pub end: i64,
    pub records: Vec<Found>,
    pub lines: Vec<String>,
    /// Of batches with tombstones or markers: until when they stay.
    pub horizons: Vec<i64>,
    /// Whether the answer about the largest timestamp names an offset that is gone.
    pub names_lost: bool,
}

impl Left {
    /// `key=value`, a tombstone as `key`, a record without a key as `=value`; control records are left out.
    pub fn texts(&self) -> Vec<String> {
        let text = |found: &Found| match (&found.key, &found.value) {
            (Some(key), Some(value)) => format!("{key}={value}"),
            (Some(key), None) => key.clone(),
            (None, value) => format!("={}", value.as_deref().unwrap_or("null")),
        };
        self.records.iter().map(text).collect()
    }

    pub fn offsets(&self) -> Vec<i64> {
        self.records.iter().map(|found| found.offset).collect()
    }
}

fn shown(bytes: Option<&[u8]>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// Whole batches of a fetch answer; Kafka may cut the last one off.
pub fn whole_batches(fetched: Bytes) -> Vec<Batch> {
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
pub struct Answer {
    pub batches: Vec<Batch>,
    pub bounds: (i64, i64, i64),
    pub aborted: Vec<(i64, i64)>,
}

pub fn fetch(client: &mut Client, name: &str, offset: i64, read_committed: bool) -> Answer {
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
pub fn all_batches(client: &mut Client, name: &str, from: i64) -> Vec<Batch> {
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
pub fn list_offset(client: &mut Client, name: &str, time: i64, read_committed: bool) -> (i16, i64, i64, i32) {
    let wanted = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(time);
    let wanted = ListOffsetsTopic::default().with_name(topic(name)).with_partitions(vec![wanted]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(i8::from(read_committed))
        .with_topics(vec![wanted]);
    let answer = client.call(7, &request).topics.remove(0).partitions.remove(0);
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
                record.headers().map(|header| (shown(Some(header.key.as_ref())), shown(header.value))).collect();
            let found = Found { offset, timestamp, key: shown(record.key), value: shown(record.value) };
            left.lines.push(format!(
                "  record {offset} at {} key {:?} value {:?} headers {headers:?}",
                time(timestamp),
                found.key,
                found.value.as_deref().map(|value| value.get(..80).unwrap_or(value)),
            ));
            if !header.is_control() {
                left.records.push(found);
            }
        }
    }
}

/// Asks for everything: bounds, batches and records, what each single offset leads to, and what each point in time does.
pub fn look(client: &mut Client, name: &str) -> Left {
    let log_start = requests::list_offset(client, name, 0, -2);
    let batches = all_batches(client, name, log_start);
    let (first, committed) = (fetch(client, name, log_start, false), fetch(client, name, log_start, true));
    let aborted = all_aborted(client, name, log_start, first.bounds.1);
    let end = first.bounds.1;
    let mut left =
        Left { log_start, end, records: Vec::new(), lines: Vec::new(), horizons: Vec::new(), names_lost: false };
    left.lines.push(format!("log start, high watermark, last stable offset: {:?}", first.bounds));
    left.lines.push(format!("the same when reading committed: {:?}", committed.bounds));
    left.lines.push(format!("aborted transactions (producer, first offset): {aborted:?}"));
    describe(&batches, &mut left);
    for offset in log_start..end {
        let base = fetch(client, name, offset, false).batches.first().map(|batch| batch.header().base_offset());
        left.lines.push(format!("a fetch from {offset} begins with the batch at {base:?}"));
    }
    let stamped = batches.iter().any(|batch| batch.header().is_log_append_time());
    for time in [-1, -2, -3] {
        for read_committed in [false, true] {
            let (error, at, offset, epoch) = list_offset(client, name, time, read_committed);
            left.names_lost |= (0..log_start).contains(&offset);
            // The latest offset comes with the leader's epoch, which counts the leader's starts.
            let epoch = if time == -1 { "of now".to_owned() } else { epoch.to_string() };
            let at = if stamped && at >= 0 { "append time".to_owned() } else { at.to_string() };
            left.lines
                .push(format!("offset of {time}, committed {read_committed}: {error} {at} {offset} epoch {epoch}"));
        }
    }
    let mut times: Vec<i64> = left.records.iter().flat_map(|found| [-1, 0, 1].map(|d| found.timestamp + d)).collect();
    times.sort_unstable();
    times.dedup();
    for (index, time) in times.into_iter().filter(|time| *time >= 0).enumerate() {
        let (error, at, offset, epoch) = list_offset(client, name, time, false);
        if !stamped {
            left.lines.push(format!("offset of {time}: {error} {at} {offset} epoch {epoch}"));
        } else if index == 0 {
            left.lines.push(format!("offset of the first time: {error} {offset} epoch {epoch}"));
        }
    }
    left
}

/// Error code, log start and high watermark of a fetch that is refused.
pub fn fetch_error(client: &mut Client, name: &str, offset: i64) -> (i16, i64, i64) {
    let mut response = client.call(FETCH, &fetch_request(name, 0, offset, 0, 0));
    let partition = response.responses.remove(0).partitions.remove(0);
    (partition.error_code, partition.log_start_offset, partition.high_watermark)
}
