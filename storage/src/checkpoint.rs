//! Kafka's small text files: offset checkpoints, the leader-epoch checkpoint, `partition.metadata`, and
//! `meta.properties`. Pure: bytes in, values out; `disk` replaces the files atomically.
//!
//! ```text
//! 0                     version
//! 2                     how many lines follow
//! orders 0 17           topic, partition, offset        (offset checkpoints)
//! 3 120                 epoch, its first offset         (leader-epoch-checkpoint)
//! ```

use std::collections::HashMap;
use std::fmt::Write as _;

use uuid::Uuid;

use crate::epochs::{Epoch, Epochs};

/// Below which offset each partition is known to be on the disk.
pub(crate) const RECOVERY_POINT: &str = "recovery-point-offset-checkpoint";
/// The high watermarks.
pub(crate) const HIGH_WATERMARK: &str = "replication-offset-checkpoint";
/// Log start offsets that lie above the base of the first segment.
pub(crate) const LOG_START: &str = "log-start-offset-checkpoint";
/// Below which offset each compacted log has been cleaned.
pub(crate) const CLEANER_OFFSETS: &str = "cleaner-offset-checkpoint";
/// Leader epochs of one partition.
pub(crate) const LEADER_EPOCHS: &str = "leader-epoch-checkpoint";
/// The topic id of one partition.
pub(crate) const PARTITION_METADATA: &str = "partition.metadata";
/// Whose directory it is.
pub(crate) const META_PROPERTIES: &str = "meta.properties";
/// There, if everything had been synced when the last broker left.
pub(crate) const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";

/// Offsets by partition.
pub(crate) type Offsets = HashMap<(String, i32), i64>;

const VERSION: &str = "0";

/// What the mark of a clean stop says: the epoch that the broker had (KIP-966).
pub(crate) fn encode_clean_shutdown(broker_epoch: i64) -> Vec<u8> {
    format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}").into_bytes()
}

/// The broker epoch in the mark of a clean stop, -1 if it has none: Kafka before 3.8, and our first releases, left none.
pub(crate) fn decode_clean_shutdown(bytes: &[u8]) -> i64 {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let value = text.split_once("\"brokerEpoch\"").and_then(|(_, rest)| rest.trim_start().strip_prefix(':'));
    let digits = value.and_then(|value| value.split([',', '}']).next()).unwrap_or_default();
    digits.trim().parse().ok().filter(|epoch| *epoch >= 0).unwrap_or(-1)
}

fn encode_lines(lines: &[String]) -> Vec<u8> {
    let mut text = format!("{VERSION}\n{}\n", lines.len());
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    text.into_bytes()
}

/// The lines after the head, which must be as many as it says.
fn decode_lines(bytes: &[u8]) -> Result<Vec<&str>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    if !text.ends_with('\n') {
        return Err("its last line has no end: it was cut short".to_owned());
    }
    let mut lines = text.lines();
    match lines.next() {
        Some(VERSION) => {}
        other => return Err(format!("version is {:?}, expected {VERSION:?}", other.unwrap_or(""))),
    }
    let count = lines.next().unwrap_or("");
    let entries: Vec<&str> = lines.filter(|line| !line.trim().is_empty()).collect();
    if count.trim().parse() == Ok(entries.len()) {
        return Ok(entries);
    }
    Err(format!("it announces {count:?} entries and has {}", entries.len()))
}

/// An offset checkpoint as it is put together: one buffer, however many partitions there are.
#[derive(Default)]
pub(crate) struct OffsetLines {
    text: String,
    count: usize,
}

impl OffsetLines {
    pub(crate) fn push(&mut self, topic: &str, partition: i32, offset: i64) {
        let _ = writeln!(self.text, "{topic} {partition} {offset}"); // a string takes everything
        self.count += 1;
    }

    /// The file's bytes.
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut bytes = format!("{VERSION}\n{}\n", self.count).into_bytes();
        bytes.extend_from_slice(self.text.as_bytes());
        bytes
    }
}

pub(crate) fn encode_offsets<'a>(offsets: impl IntoIterator<Item = (&'a str, i32, i64)>) -> Vec<u8> {
    let mut lines = OffsetLines::default();
    offsets.into_iter().for_each(|(topic, partition, offset)| lines.push(topic, partition, offset));
    lines.finish()
}

pub(crate) fn decode_offsets(bytes: &[u8]) -> Result<Offsets, String> {
    let lines = decode_offset_lines(bytes)?;
    Ok(lines.into_iter().map(|(topic, partition, offset)| ((topic, partition), offset)).collect())
}

/// The lines in the file's order.
pub(crate) fn decode_offset_lines(bytes: &[u8]) -> Result<Vec<(String, i32, i64)>, String> {
    let entry = |line: &str| {
        let mut fields = line.split_whitespace();
        let topic = fields.next()?.to_owned();
        let partition = fields.next()?.parse().ok()?;
        let offset = fields.next()?.parse().ok().filter(|&o: &i64| o >= 0)?;
        fields.next().is_none().then_some((topic, partition, offset))
    };
    decode_lines(bytes)?.into_iter().map(|line| entry(line).ok_or_else(|| format!("bad line {line:?}"))).collect()
}

pub(crate) fn encode_epochs(epochs: &Epochs) -> Vec<u8> {
    encode_epoch_lines(epochs.entries().iter().map(|e| (e.epoch, e.start_offset)))
}

/// Epochs and their first offsets, as they come.
pub(crate) fn encode_epoch_lines(entries: impl Iterator<Item = (i32, i64)>) -> Vec<u8> {
    let lines: Vec<_> = entries.map(|(epoch, start_offset)| format!("{epoch} {start_offset}")).collect();
    encode_lines(&lines)
}

pub(crate) fn decode_epochs(bytes: &[u8]) -> Result<Epochs, String> {
    decode_epoch_lines(bytes).map(Epochs::from_entries)
}

/// The lines in the file's order, whether or not they rise.
pub(crate) fn decode_epoch_lines(bytes: &[u8]) -> Result<Vec<Epoch>, String> {
    let entry = |line: &str| {
        let mut fields = line.split_whitespace();
        let epoch = fields.next()?.parse().ok()?;
        let start_offset = fields.next()?.parse().ok()?;
        fields.next().is_none().then_some(Epoch { epoch, start_offset })
    };
    decode_lines(bytes)?.into_iter().map(|line| entry(line).ok_or_else(|| format!("bad line {line:?}"))).collect()
}

pub(crate) fn encode_partition_metadata(topic_id: Uuid) -> Vec<u8> {
    format!("version: 0\ntopic_id: {}\n", encode_uuid(topic_id)).into_bytes()
}

pub(crate) fn decode_partition_metadata(bytes: &[u8]) -> Result<Uuid, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    let id = text.lines().find_map(|line| line.strip_prefix("topic_id:")).ok_or("it has no topic_id line")?.trim();
    decode_uuid(id).ok_or_else(|| format!("topic_id {id:?} is not an id of 22 base64url characters"))
}

/// Whose directory it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) cluster_id: String,
    pub(crate) node_id: i32,
    pub(crate) directory_id: Uuid,
}

pub(crate) fn encode_meta(meta: &Meta) -> Vec<u8> {
    let mut text = String::new();
    let _ = writeln!(text, "cluster.id={}", meta.cluster_id);
    let _ = writeln!(text, "directory.id={}", encode_uuid(meta.directory_id));
    let _ = writeln!(text, "node.id={}", meta.node_id);
    let _ = writeln!(text, "version=1");
    text.into_bytes()
}

/// Reads version 1, and version 0 of brokers before KRaft, which calls the node `broker.id`. `fresh_id` is for
/// directories from before KIP-858, which have no id.
pub(crate) fn decode_meta(bytes: &[u8], fresh_id: Uuid) -> Result<Meta, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    let properties: HashMap<&str, &str> = text
        .lines()
        .filter(|line| !line.starts_with(['#', '!']))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect();
    let version = properties.get("version").copied().unwrap_or("");
    if version != "0" && version != "1" {
        return Err(format!("version={version} is not 0 or 1"));
    }
    let cluster_id = (*properties.get("cluster.id").ok_or("cluster.id is missing")?).to_owned();
    let node = properties.get("node.id").or_else(|| properties.get("broker.id")).ok_or("node.id is missing")?;
    let node_id = node.parse().map_err(|_| format!("node.id={node} is not a number"))?;
    let directory_id = match properties.get("directory.id") {
        Some(id) => decode_uuid(id).ok_or_else(|| format!("directory.id={id} is not an id"))?,
        None => fresh_id,
    };
    Ok(Meta { cluster_id, node_id, directory_id })
}

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// An id as Kafka prints it: base64url without padding, 22 characters.
pub(crate) fn encode_uuid(id: Uuid) -> String {
    let bits = id.as_u128();
    // 128 bits are 21 whole characters and 2 bits, which stand at the top of the 22nd.
    let shift = |i: u32| if i < 21 { bits >> (122 - 6 * i) } else { bits << 4 };
    (0..22).map(|i| char::from(BASE64_URL[(shift(i) & 63) as usize])).collect()
}

pub(crate) fn decode_uuid(text: &str) -> Option<Uuid> {
    let bytes = text.as_bytes();
    if bytes.len() != 22 {
        return None;
    }
    let mut bits: u128 = 0;
    for (i, byte) in bytes.iter().enumerate() {
        let value = BASE64_URL.iter().position(|c| c == byte)? as u128;
        bits = if i < 21 { bits << 6 | value } else { bits << 2 | value >> 4 };
    }
    Some(Uuid::from_u128(bits))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn the_mark_of_a_clean_stop_tells_the_broker_epoch_if_it_has_one() {
        assert_eq!(decode_clean_shutdown(&encode_clean_shutdown(17)), 17);
        assert_eq!(decode_clean_shutdown(&encode_clean_shutdown(-1)), -1);
        assert_eq!(decode_clean_shutdown(br#"{ "brokerEpoch" : 5 , "version": 0 }"#), 5);
        for odd in [&b""[..], b"{}", b"{\"brokerEpoch\":x}", b"\"brokerEpoch\"", b"{\"brokerEpoch\":-7}", b"\xff"] {
            assert_eq!(decode_clean_shutdown(odd), -1);
        }
    }

    #[test]
    fn ids_are_printed_as_kafka_prints_them() {
        // From Kafka's own documentation of an id and its bytes: the metadata topic's id is ...0001.
        let metadata = Uuid::from_u128(1);
        assert_eq!(encode_uuid(metadata), "AAAAAAAAAAAAAAAAAAAAAQ");
        for id in [Uuid::nil(), metadata, Uuid::max(), Uuid::new_v4()] {
            assert_eq!(decode_uuid(&encode_uuid(id)), Some(id));
        }
        assert_eq!(decode_uuid("AAAAAAAAAAAAAAAAAAAAA="), None);
        assert_eq!(decode_uuid("short"), None);
    }

    #[test]
    fn offset_checkpoints_have_kafkas_text() {
        let bytes = encode_offsets([("orders", 0, 17), ("a.b", 3, 0)]);
        assert_eq!(bytes, b"0\n2\norders 0 17\na.b 3 0\n");
        let back = decode_offsets(&bytes).unwrap();
        assert_eq!(back[&("orders".to_owned(), 0)], 17);
        for bad in ["", "1\n0\n", "0\n3\na 0 1\n", "0\n1\na 0\n", "0\n1\na 0 -4\n", "0\n1\na 0 1 2\n"] {
            assert!(decode_offsets(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn meta_properties_of_kafka_are_understood() {
        let text = "#\n#Tue Nov 03 10:00:00 UTC 2026\ncluster.id=abc\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAQ\nnode.id=7\nversion=1\n";
        let meta = decode_meta(text.as_bytes(), Uuid::nil()).unwrap();
        assert_eq!((meta.cluster_id.as_str(), meta.node_id, meta.directory_id), ("abc", 7, Uuid::from_u128(1)));
        assert_eq!(decode_meta(&encode_meta(&meta), Uuid::nil()).unwrap(), meta);
        let old = decode_meta(b"version=0\nbroker.id=3\ncluster.id=x\n", Uuid::from_u128(9)).unwrap();
        assert_eq!((old.node_id, old.directory_id), (3, Uuid::from_u128(9)));
        assert!(decode_meta(b"version=1\nnode.id=x\ncluster.id=c\n", Uuid::nil()).is_err());
    }
}
