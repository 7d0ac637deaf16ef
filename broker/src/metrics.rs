//! What the broker counts for Prometheus. Counters are kept as things happen; the state of logs and directories is looked
//! up when somebody asks. Series are bounded by [`limits::METRIC_SERIES`] and [`limits::METRIC_TOPICS`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jackdaw_storage::Reason;
use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::broker::Broker;
use crate::cleaner::CleanerStats;
use crate::limits;

/// What a group loses, or may lose, in one partition.
#[derive(Clone, Debug)]
pub struct AtRisk {
    /// The group.
    pub group: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// How many records.
    pub records: i64,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct GroupPartition {
    group: String,
    topic: String,
    partition: i32,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TopicPartition {
    topic: String,
    partition: i32,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfTopic {
    topic: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfDir {
    dir: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfReason {
    reason: Why,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelValue)]
enum Why {
    #[allow(non_camel_case_types, reason = "the label's value")]
    log_start,
    #[allow(non_camel_case_types, reason = "the label's value")]
    size,
    #[allow(non_camel_case_types, reason = "the label's value")]
    time,
}

/// Stands for what would go beyond the bound of series.
const OTHERS: &str = "(others)";

/// The counters.
#[derive(Default)]
pub struct Metrics {
    deleted_segments: Family<OfReason, Counter>,
    deleted_bytes: Family<OfReason, Counter>,
    lost_records: Family<GroupPartition, Counter>,
    lost_series: AtomicU64,
    /// As of the last round of retention.
    retention: Mutex<RetentionState>,
}

#[derive(Default)]
struct RetentionState {
    at_risk: Vec<AtRisk>,
    held: Vec<(Arc<str>, i32, u64)>,
}

impl Metrics {
    /// Retention dropped a segment.
    pub fn segment_deleted(&self, reason: Reason, bytes: u32) {
        let reason = match reason {
            Reason::LogStart => Why::log_start,
            Reason::Size => Why::size,
            Reason::Time => Why::time,
        };
        self.deleted_segments.get_or_create(&OfReason { reason }).inc();
        self.deleted_bytes.get_or_create(&OfReason { reason }).inc_by(u64::from(bytes));
    }

    /// Retention deleted records that a group had not consumed.
    pub fn records_lost(&self, group: &str, topic: &str, partition: i32, records: i64) {
        let records = u64::try_from(records).unwrap_or(0);
        let labels = GroupPartition { group: group.to_owned(), topic: topic.to_owned(), partition };
        if let Some(counter) = self.lost_records.get(&labels) {
            counter.inc_by(records);
            return;
        }
        let labels = if self.lost_series.fetch_add(1, Ordering::Relaxed) < limits::METRIC_SERIES as u64 {
            labels
        } else {
            GroupPartition { group: OTHERS.to_owned(), topic: OTHERS.to_owned(), partition: -1 }
        };
        self.lost_records.get_or_create(&labels).inc_by(records);
    }

    /// A round of retention ended: what is near its end and not consumed, and the bytes that are held, by partition.
    pub fn retention_round(&self, mut at_risk: Vec<AtRisk>, mut held: Vec<(Arc<str>, i32, u64)>) {
        at_risk.truncate(limits::METRIC_SERIES);
        held.truncate(limits::METRIC_SERIES);
        *self.retention.lock() = RetentionState { at_risk, held };
    }

    /// Everything as of now, in the text format of OpenMetrics.
    ///
    /// # Errors
    /// Only what the formatter says.
    pub fn text(&self, broker: &Broker) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("jackdaw");
        self.register_retention(&mut registry);
        register_logs(&mut registry, broker);
        register_dirs(&mut registry, broker);
        register_cleaner(&mut registry, &broker.cleaner.stats);
        gauge(&mut registry, "connections", "Open connections of clients", broker.connections.count());
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }

    fn register_retention(&self, registry: &mut Registry) {
        registry.register(
            "retention_deleted_segments",
            "Segments that retention dropped",
            self.deleted_segments.clone(),
        );
        registry.register_with_unit(
            "retention_deleted",
            "What retention dropped",
            Unit::Bytes,
            self.deleted_bytes.clone(),
        );
        registry.register(
            "retention_lost_records",
            "Records that retention deleted before the group had consumed them",
            self.lost_records.clone(),
        );
        let at_risk = Family::<GroupPartition, Gauge>::default();
        let held = Family::<TopicPartition, Gauge>::default();
        let state = self.retention.lock();
        for risk in &state.at_risk {
            let AtRisk { group, topic, partition, records } = risk;
            let labels = GroupPartition { group: group.to_string(), topic: topic.to_string(), partition: *partition };
            at_risk.get_or_create(&labels).set(*records);
        }
        for (topic, partition, bytes) in &state.held {
            let labels = TopicPartition { topic: topic.to_string(), partition: *partition };
            held.get_or_create(&labels).set(i64::try_from(*bytes).unwrap_or(i64::MAX));
        }
        registry.register(
            "retention_records_at_risk",
            "Records that are due or have 20 % of their retention left, and that the group has not consumed",
            at_risk,
        );
        registry.register_with_unit(
            "retention_held",
            "Past their retention and kept for the topic's retention.hold.groups",
            Unit::Bytes,
            held,
        );
    }
}

/// Sizes and offsets of the first topics by name, all partitions of a topic together.
fn register_logs(registry: &mut Registry, broker: &Broker) {
    let sizes = Family::<OfTopic, Gauge>::default();
    let records = Family::<OfTopic, Gauge>::default();
    let ends = Family::<OfTopic, Counter>::default();
    let hosted = broker.topics.registry();
    let mut partitions = 0;
    for topic in hosted.topics() {
        partitions += topic.partitions().count();
    }
    for image in hosted.image.topics().take(limits::METRIC_TOPICS) {
        let Some(topic) = hosted.topic(&image.name) else { continue };
        let labels = OfTopic { topic: image.name.to_string() };
        let (mut bytes, mut span, mut end) = (0, 0, 0);
        for partition in topic.partitions() {
            let log = partition.log();
            bytes += log.size_bytes();
            end += log.log_end_offset();
            span += log.log_end_offset() - log.log_start_offset();
        }
        sizes.get_or_create(&labels).set(i64::try_from(bytes).unwrap_or(i64::MAX));
        records.get_or_create(&labels).set(span);
        ends.get_or_create(&labels).inc_by(u64::try_from(end).unwrap_or(0));
    }
    registry.register_with_unit("log_size", "Batches in the logs of the topic", Unit::Bytes, sizes);
    registry.register("log_offset_span", "Log end offset minus log start offset, all partitions together", records);
    registry.register("log_end_offset", "Log end offsets of all partitions together: records ever written", ends);
    gauge(registry, "partitions", "Partitions that are hosted here and online", partitions);
}

fn register_dirs(registry: &mut Registry, broker: &Broker) {
    let usable = Family::<OfDir, Gauge>::default();
    let (mut offline, mut full) = (0, 0);
    for flusher in broker.flushers() {
        let dir = flusher.dir();
        offline += usize::from(!dir.is_online());
        full += usize::from(dir.is_full());
        if let Ok((_, bytes)) = dir.total_and_usable_bytes() {
            let labels = OfDir { dir: dir.path().display().to_string() };
            usable.get_or_create(&labels).set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }
    register_damage(registry, broker);
    registry.register_with_unit("log_dir_usable", "Free space of the file system", Unit::Bytes, usable);
    gauge(registry, "log_dirs_offline", "Log directories that failed", offline);
    gauge(registry, "log_dirs_full", "Log directories that refuse appends until there is space", full);
}

fn register_cleaner(registry: &mut Registry, stats: &CleanerStats) {
    let counter = |value: &AtomicU64| {
        let counter: Counter = Counter::default();
        counter.inc_by(value.load(Ordering::Relaxed));
        counter
    };
    let size = |value: &AtomicU64| usize::try_from(value.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
    registry.register("cleaner_rounds", "Rounds of compaction that came to their end", counter(&stats.rounds));
    let read = counter(&stats.read_bytes);
    registry.register_with_unit("cleaner_read", "Read by compaction", Unit::Bytes, read);
    let help = "Partitions that are not compacted any more, since a round failed";
    gauge(registry, "cleaner_uncleanable_partitions", help, size(&stats.uncleanable_partitions));
    let help = "Share of cleanable bytes of the dirtiest log, when last looked at";
    gauge(registry, "cleaner_max_dirty_percent", help, size(&stats.max_dirty_percent));
}

fn register_damage(registry: &mut Registry, broker: &Broker) {
    let damaged = Family::<TopicPartition, Gauge>::default();
    let mut quarantined = BTreeSet::new();
    for range in broker.flushers().iter().flat_map(|flusher| flusher.dir().damaged_ranges()).take(limits::METRIC_SERIES)
    {
        let labels = TopicPartition { topic: range.topic.to_string(), partition: range.partition };
        damaged.get_or_create(&labels).inc();
        if range.quarantined {
            quarantined.insert((range.topic, range.partition));
        }
    }
    registry.register("log_damaged_ranges", "Ranges of offsets that cannot be read because of damage", damaged);
    let help = "Partitions that take no records because a start found damage in them";
    gauge(registry, "partitions_quarantined", help, quarantined.len());
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: usize) {
    let gauge: Gauge = Gauge::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register(name, help, gauge);
}
