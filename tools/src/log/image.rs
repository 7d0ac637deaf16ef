//! Apache Kafka's metadata, as its metadata log adds up to: which topics there are, and what an import leaves behind.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jackdaw_protocol::records::{Batch, records};
use jackdaw_storage::inspect::{Check, FileKind, Item, id_from_text};
use serde_json::{Map, Value};
use thiserror::Error;
use uuid::Uuid;

use super::files::{self, FileError};
use super::schema::{self, Decoded};

/// What one batch of metadata may unpack to.
const UNPACKED_MAX: usize = 256 << 20;
/// Kinds of resources in configs.
const TOPIC: i64 = 2;
const BROKER: i64 = 4;

/// Why metadata cannot be read.
#[derive(Debug, Error)]
pub(super) enum ImageError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the metadata in {} is damaged at byte {position}: {reason}", path.display())]
    Damaged { path: PathBuf, position: u64, reason: String },
    #[error("the metadata in {} has a record at offset {offset} that is not understood: {reason}", path.display())]
    Record { path: PathBuf, offset: i64, reason: String },
    #[error("the metadata in {} begins at offset {base}, and the snapshot of what was before is missing", path.display())]
    NoSnapshot { path: PathBuf, base: i64 },
}

/// One partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KafkaPartition {
    pub(super) leader: i64,
    pub(super) leader_epoch: i32,
    pub(super) replicas: Vec<i64>,
}

/// One topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KafkaTopic {
    pub(super) id: Uuid,
    pub(super) partitions: BTreeMap<i32, KafkaPartition>,
}

/// What the records add up to.
#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    pub(super) topics: BTreeMap<String, KafkaTopic>,
    /// By topic; they may come before the topic.
    pub(super) configs: BTreeMap<String, BTreeMap<String, String>>,
    pub(super) next_producer_id: i64,
    /// The offset after the last record.
    pub(super) end_offset: i64,
    /// What there is besides topics, by kind: names.
    pub(super) besides: BTreeMap<&'static str, BTreeSet<String>>,
    /// Records of a transaction that has not ended.
    pub(super) pending: Option<Vec<Decoded>>,
}

/// Reads the metadata log in `dir`, from its newest snapshot on. `torn_is_end`: a torn end ends it, as a crash does.
pub(super) fn load(dir: &Path, torn_is_end: bool) -> Result<Image, ImageError> {
    let (mut snapshots, mut segments) = (Vec::new(), Vec::new());
    for entry in files::list(dir)? {
        match FileKind::of(&entry.name) {
            FileKind::MetadataSnapshot { end_offset, epoch } => snapshots.push((end_offset, epoch, entry.path)),
            FileKind::Segment { base } => segments.push((base, entry.path)),
            _ => {}
        }
    }
    snapshots.sort_unstable();
    segments.sort_unstable();
    let mut image = Image::default();
    if let Some((end_offset, _, path)) = snapshots.pop() {
        image.read(&path, 0, i64::MIN, false)?;
        image.end_offset = end_offset;
    }
    if let Some((base, path)) = segments.first()
        && *base > image.end_offset
    {
        return Err(ImageError::NoSnapshot { path: path.clone(), base: *base });
    }
    let last = segments.len().saturating_sub(1);
    for (i, (base, path)) in segments.iter().enumerate() {
        image.read(path, *base, image.end_offset, torn_is_end && i == last)?;
    }
    Ok(image)
}

impl Image {
    /// Applies the records of a file from an offset on.
    fn read(&mut self, path: &Path, base: i64, from: i64, torn_is_end: bool) -> Result<(), ImageError> {
        let damaged = |position, reason| ImageError::Damaged { path: path.to_path_buf(), position, reason };
        let mut reader = files::segment(path, base)?;
        let len = reader.len();
        while let Some(item) = reader.next().map_err(FileError::new("read", path))? {
            let batch = match item {
                Item::Batch(batch) => batch,
                Item::Damage(damage) if torn_is_end && damage.end == len => return Ok(()),
                Item::Damage(damage) => return Err(damaged(damage.position, damage.reason)),
                Item::Legacy(message) => return Err(damaged(message.position, "an old message".to_owned())),
            };
            match &batch.check {
                Check::Whole(whole) if batch.header().last_offset() >= from => self.apply_batch(path, whole, from)?,
                Check::Whole(_) => {}
                Check::TooLargeToHold => return Err(damaged(batch.position, "a batch far too large".to_owned())),
                Check::Bad(_) if torn_is_end && reader.position() == len => return Ok(()),
                Check::Bad(error) => return Err(damaged(batch.position, error.to_string())),
            }
        }
        Ok(())
    }

    fn apply_batch(&mut self, path: &Path, batch: &Batch, from: i64) -> Result<(), ImageError> {
        let wrong = |offset, reason| ImageError::Record { path: path.to_path_buf(), offset, reason };
        let offset = batch.header().base_offset();
        if !batch.header().is_control() {
            let decoded = records(batch, UNPACKED_MAX).map_err(|error| wrong(offset, error.to_string()))?;
            for record in decoded.iter() {
                let record = record.map_err(|error| wrong(offset, error.to_string()))?;
                let offset = decoded.offset(&record);
                if offset < from {
                    continue;
                }
                let decoded = schema::metadata(record.value.unwrap_or_default());
                let change = decoded.map_err(|error| wrong(offset, error.to_string()))?;
                self.take(change).map_err(|reason| wrong(offset, reason))?;
            }
        }
        self.end_offset = batch.header().last_offset() + 1;
        Ok(())
    }

    /// Changes between the begin and the end of a transaction take effect together, or not at all (KIP-868).
    fn take(&mut self, change: Decoded) -> Result<(), String> {
        match change.name.as_str() {
            "BeginTransactionRecord" => self.pending = Some(Vec::new()),
            "AbortTransactionRecord" => self.pending = None,
            "EndTransactionRecord" => {
                for change in self.pending.take().unwrap_or_default() {
                    self.apply(&change)?;
                }
            }
            _ => match &mut self.pending {
                Some(pending) => pending.push(change),
                None => self.apply(&change)?,
            },
        }
        Ok(())
    }

    fn apply(&mut self, change: &Decoded) -> Result<(), String> {
        let fields = &change.fields;
        match change.name.as_str() {
            "TopicRecord" => {
                let topic = KafkaTopic { id: id(fields)?, partitions: BTreeMap::new() };
                self.topics.insert(text(fields, "name")?, topic);
            }
            "RemoveTopicRecord" => {
                let id = id(fields)?;
                let name = self.topics.iter().find(|(_, topic)| topic.id == id).map(|(name, _)| name.clone());
                if let Some(name) = name {
                    self.topics.remove(&name);
                    self.configs.remove(&name);
                }
            }
            "PartitionRecord" => {
                let partition = KafkaPartition {
                    leader: number(fields, "leader")?,
                    leader_epoch: number(fields, "leaderEpoch")? as i32,
                    replicas: numbers(fields, "replicas"),
                };
                let index = number(fields, "partitionId")? as i32;
                self.topic(fields)?.partitions.insert(index, partition);
            }
            "PartitionChangeRecord" => self.change_partition(fields)?,
            "ConfigRecord" => self.set_config(fields)?,
            "ProducerIdsRecord" => self.next_producer_id = number(fields, "nextProducerId")?,
            other => self.note_besides(other, fields),
        }
        Ok(())
    }

    fn topic(&mut self, fields: &Map<String, Value>) -> Result<&mut KafkaTopic, String> {
        let id = id(fields)?;
        self.topics.values_mut().find(|topic| topic.id == id).ok_or(format!("of a topic that is not there: {id}"))
    }

    fn change_partition(&mut self, fields: &Map<String, Value>) -> Result<(), String> {
        let index = number(fields, "partitionId")? as i32;
        let partitions = &mut self.topic(fields)?.partitions;
        let partition = partitions.get_mut(&index).ok_or(format!("of a partition that is not there: {index}"))?;
        /// What stands for "as before".
        const NO_CHANGE: i64 = -2;
        let leader = fields.get("leader").and_then(Value::as_i64).unwrap_or(NO_CHANGE);
        if fields.get("replicas").is_some_and(|replicas| !replicas.is_null()) {
            partition.replicas = numbers(fields, "replicas");
        }
        if leader != NO_CHANGE {
            partition.leader = leader;
            partition.leader_epoch += 1;
        }
        Ok(())
    }

    fn set_config(&mut self, fields: &Map<String, Value>) -> Result<(), String> {
        let (kind, name) = (number(fields, "resourceType")?, text(fields, "resourceName")?);
        let (key, value) = (text(fields, "name")?, fields.get("value").and_then(Value::as_str));
        if kind == TOPIC {
            let configs = self.configs.entry(name).or_default();
            match value {
                Some(value) => configs.insert(key, value.to_owned()),
                None => configs.remove(&key),
            };
            return Ok(());
        }
        let what = if kind == BROKER { "dynamic broker configs" } else { "configs of groups and clients" };
        let besides = self.besides.entry(what).or_default();
        let entry = if name.is_empty() { key } else { format!("{name}: {key}") };
        match value {
            Some(_) => besides.insert(entry),
            None => besides.remove(&entry),
        };
        Ok(())
    }

    fn note_besides(&mut self, kind: &str, fields: &Map<String, Value>) {
        let key = |names: &[&str]| {
            let of =
                |name: &&str| fields.get(*name).map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
            names.iter().filter_map(of).collect::<Vec<_>>().join(" ")
        };
        let (what, key, gone) = match kind {
            "AccessControlEntryRecord" | "AccessControlRecord" => ("ACLs", key(&["id", "principal"]), false),
            "RemoveAccessControlEntryRecord" => ("ACLs", key(&["id"]), true),
            "UserScramCredentialRecord" => ("SCRAM users", key(&["name"]), false),
            "RemoveUserScramCredentialRecord" => ("SCRAM users", key(&["name"]), true),
            "DelegationTokenRecord" => ("delegation tokens", key(&["tokenId"]), false),
            "RemoveDelegationTokenRecord" => ("delegation tokens", key(&["tokenId"]), true),
            "ClientQuotaRecord" | "QuotaRecord" => {
                let gone = fields.get("remove").and_then(Value::as_bool).unwrap_or(false);
                ("client quotas", key(&["entity", "key"]), gone)
            }
            _ => return,
        };
        let besides = self.besides.entry(what).or_default();
        if gone {
            besides.retain(|known| !known.starts_with(&key));
        } else {
            besides.insert(key);
        }
    }
}

fn text(fields: &Map<String, Value>, name: &str) -> Result<String, String> {
    fields.get(name).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| format!("it has no {name}"))
}

fn number(fields: &Map<String, Value>, name: &str) -> Result<i64, String> {
    fields.get(name).and_then(Value::as_i64).ok_or_else(|| format!("it has no {name}"))
}

fn numbers(fields: &Map<String, Value>, name: &str) -> Vec<i64> {
    fields.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_i64).collect()
}

fn id(fields: &Map<String, Value>) -> Result<Uuid, String> {
    id_from_text(&text(fields, "topicId")?).ok_or_else(|| "its topicId is not an id".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn change(name: &str, fields: Value) -> Decoded {
        let Value::Object(fields) = fields else { panic!("{fields}") };
        Decoded { name: name.to_owned(), version: 0, fields }
    }

    fn image(changes: &[(&str, Value)]) -> Image {
        let mut image = Image::default();
        for (name, fields) in changes {
            image.take(change(name, fields.clone())).unwrap();
        }
        image
    }

    #[test]
    fn records_add_up_to_topics_with_partitions_and_configs() {
        let id = "AAAAAAAAAAAAAAAAAAAAAQ";
        let config = |key: &str, value: Option<&str>| json!({"resourceType": 2, "resourceName": "t", "name": key, "value": value});
        let made = [
            ("ConfigRecord", config("retention.ms", Some("5"))),
            ("TopicRecord", json!({"name": "t", "topicId": id})),
            (
                "PartitionRecord",
                json!({"partitionId": 0, "topicId": id, "leader": 1, "leaderEpoch": 0, "replicas": [1]}),
            ),
            ("PartitionChangeRecord", json!({"partitionId": 0, "topicId": id, "isr": [1]})),
            ("PartitionChangeRecord", json!({"partitionId": 0, "topicId": id, "leader": -1})),
            ("ConfigRecord", config("segment.bytes", Some("6"))),
            ("ConfigRecord", config("segment.bytes", None)),
            ("ProducerIdsRecord", json!({"nextProducerId": 3000})),
        ];
        let now = image(&made);
        assert_eq!(now.topics["t"].partitions[&0].leader_epoch, 1);
        assert_eq!(now.configs["t"], BTreeMap::from([("retention.ms".to_owned(), "5".to_owned())]));
        assert_eq!(now.next_producer_id, 3000);
        let mut removed = made.to_vec();
        removed.push(("RemoveTopicRecord", json!({"topicId": id})));
        let now = image(&removed);
        assert!(now.topics.is_empty() && now.configs.is_empty());
    }

    #[test]
    fn a_transaction_counts_when_it_has_ended() {
        let topic = |name: &str| ("TopicRecord", json!({"name": name, "topicId": "AAAAAAAAAAAAAAAAAAAAAQ"}));
        let (begin, end) = (("BeginTransactionRecord", json!({})), ("EndTransactionRecord", json!({})));
        let abort = ("AbortTransactionRecord", json!({}));
        assert!(image(&[begin.clone(), topic("t")]).topics.is_empty());
        assert!(image(&[begin.clone(), topic("t"), abort]).topics.is_empty());
        assert_eq!(image(&[begin, topic("t"), end]).topics.len(), 1);
    }
}
