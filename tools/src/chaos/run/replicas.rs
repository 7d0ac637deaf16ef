//! The logs of all replicas, byte by byte, below the high watermark.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fmt, fs};

use jackdaw_protocol::records::{HEADER_LEN, Header};
use serde::Serialize;

/// What a comparison found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Comparison {
    pub(super) partitions: usize,
    pub(super) replicas: usize,
    /// Compared with another replica's.
    pub(super) bytes: u64,
    pub(super) differences: Vec<String>,
}

/// One batch of a log.
struct Entry {
    base: i64,
    last: i64,
    epoch: i32,
    bytes: Vec<u8>,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch {}-{} of epoch {}, {} bytes", self.base, self.last, self.epoch, self.bytes.len())
    }
}

/// One replica: whose, and its data directory.
pub(super) struct Replica<'a> {
    pub(super) node: usize,
    pub(super) data: &'a Path,
}

impl Comparison {
    /// Compares the replicas of one partition; `end` is the high watermark.
    pub(super) fn partition(&mut self, name: &str, end: i64, replicas: &[Replica<'_>]) {
        self.partitions += 1;
        self.replicas += replicas.len();
        let mut logs: BTreeMap<usize, Vec<Entry>> = BTreeMap::new();
        for replica in replicas {
            match read(&replica.data.join(name), end) {
                Ok(log) => drop(logs.insert(replica.node, log)),
                Err(why) => self.differences.push(format!("{name} on node {}: {why}", replica.node)),
            }
        }
        // Retention may have gone further on one than on the other.
        let start = logs.values().filter_map(|log| log.first()).map(|entry| entry.base).max().unwrap_or(0);
        for log in logs.values_mut() {
            log.retain(|entry| entry.base >= start);
        }
        for (node, log) in &logs {
            let reaches = log.last().map_or(start, |entry| entry.last + 1);
            if reaches < end {
                self.differences.push(format!(
                    "{name} on node {node} ends at {reaches}, but {end} records are below the high watermark"
                ));
            }
        }
        let mut logs = logs.iter();
        let Some((first, reference)) = logs.next() else { return };
        for (node, log) in logs {
            self.bytes += log.iter().map(|entry| entry.bytes.len() as u64).sum::<u64>();
            let differing = reference.iter().zip(log).find(|(one, other)| one.bytes != other.bytes);
            if let Some((one, other)) = differing {
                self.differences.push(format!("{name} differs between node {first} ({one}) and node {node} ({other})"));
            }
        }
    }
}

/// All batches below `end`, in the order of the segments.
fn read(dir: &Path, end: i64) -> Result<Vec<Entry>, String> {
    let listed = fs::read_dir(dir).map_err(|error| error.to_string())?;
    let mut files: Vec<_> = listed.flatten().map(|file| file.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    files.sort();
    let mut log = Vec::new();
    for file in files {
        let bytes = fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let mut rest = &bytes[..];
        while rest.len() > HEADER_LEN {
            // Files may be longer than what is in them: zeroes, of which no batch is made.
            if rest[8..12] == [0; 4] {
                break;
            }
            let header = Header::parse(rest).map_err(|error| format!("{}: {error}", file.display()))?;
            let (base, last, size) = (header.base_offset(), header.last_offset(), header.size_in_bytes());
            if base >= end {
                return Ok(log);
            }
            let Some(batch) = rest.get(..size) else {
                return Err(format!("{}: the batch at offset {base} is cut", file.display()));
            };
            log.push(Entry { base, last, epoch: header.leader_epoch(), bytes: batch.to_vec() });
            rest = &rest[size..];
        }
    }
    Ok(log)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use jackdaw_protocol::records::{BatchBuilder, Codec};

    use super::*;

    fn batch(offset: i64, text: &str) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Codec::None).base_offset(offset);
        builder.push(1, None, Some(text.as_bytes()), &[]);
        builder.build().to_vec()
    }

    /// What is found in the logs of several nodes, each of several segments.
    fn compared(end: i64, nodes: &[&[&[Vec<u8>]]]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        let dirs: Vec<_> = (1..=nodes.len()).map(|node| root.path().join(node.to_string())).collect();
        for (dir, segments) in dirs.iter().zip(nodes) {
            fs::create_dir_all(dir.join("t-0")).unwrap();
            for (at, segment) in segments.iter().enumerate() {
                fs::write(dir.join(format!("t-0/{at:020}.log")), segment.concat()).unwrap();
            }
        }
        let replicas: Vec<_> = (1..).zip(&dirs).map(|(node, data)| Replica { node, data }).collect();
        let mut comparison = Comparison::default();
        comparison.partition("t-0", end, &replicas);
        comparison.differences
    }

    #[test]
    fn equal_logs_are_equal_however_they_are_cut_into_segments() {
        let (a, b, c) = (batch(0, "a"), batch(1, "b"), batch(2, "c"));
        let zeroes = vec![0; 200];
        let one: &[&[Vec<u8>]] = &[&[a.clone(), b.clone()], std::slice::from_ref(&c)];
        let other: &[&[Vec<u8>]] = &[std::slice::from_ref(&a), &[b, c.clone(), zeroes]];
        assert_eq!(compared(3, &[one, other]), Vec::<String>::new());
    }

    #[test]
    fn a_byte_below_the_high_watermark_must_not_differ_and_one_above_may() {
        let (a, b, x) = (batch(0, "a"), batch(1, "b"), batch(1, "x"));
        let one: &[&[Vec<u8>]] = &[&[a.clone(), b]];
        let other: &[&[Vec<u8>]] = &[&[a, x]];
        assert_eq!(compared(2, &[one, other]).len(), 1);
        assert_eq!(compared(1, &[one, other]), Vec::<String>::new());
    }

    #[test]
    fn a_replica_that_ends_below_the_high_watermark_is_found() {
        let (a, b) = (batch(0, "a"), batch(1, "b"));
        let found = compared(2, &[&[&[a.clone(), b]], &[&[a]]]);
        assert!(found.len() == 1 && found[0].contains("node 2 ends at 1"), "{found:?}");
    }
}
