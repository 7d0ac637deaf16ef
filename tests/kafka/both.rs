//! Apache Kafka and the broker under test, side by side.
//!
//! With `KAFKA_ALONE=1` in the environment both sides are Kafka: a test must hold there before it may blame anyone else.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jackdaw_protocol::records::{BatchBuilder, Codec};
use jackdaw_test_support::kafka::{Kafka, files};
use jackdaw_test_support::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use jackdaw_test_support::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use jackdaw_test_support::messages::{DeleteRecordsRequest, IncrementalAlterConfigsRequest};
use jackdaw_test_support::requests::{self, text, topic};
use jackdaw_test_support::{Broker, Client, Options};

use crate::left::{Left, look};

/// Longer than anything here takes on a busy machine; nothing waits that long that is going to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A time in the past at which the histories begin, unless they are about the present.
pub(crate) const THEN: i64 = 1_700_000_000_000;

/// A topic of one partition in one of the two.
pub(crate) struct Side {
    pub(crate) name: &'static str,
    pub(crate) topic: String,
    pub(crate) client: Client,
    pub(crate) data_dir: PathBuf,
}

/// The same topic in both brokers.
pub(crate) struct Both {
    pub(crate) kafka: Side,
    pub(crate) ours: Side,
    /// None when Kafka is compared with itself.
    _broker: Option<Broker>,
    /// Whether leader epochs are the same too.
    with_epochs: bool,
}

/// What makes a broker of ours look after its logs as often as the Kafka of these tests.
pub(crate) fn our_options() -> Options {
    Options::new()
        .set("log.retention.check.interval.ms", "100")
        .set("log.cleaner.backoff.ms", "100")
        .set("log.cleaner.dedupe.buffer.size", "4194304")
        .set("log.initial.task.delay.ms", "0")
}

/// Keys, values (none: a tombstone) and one timestamp, uncompressed.
pub(crate) fn records(timestamp: i64, records: &[(&str, Option<&str>)]) -> Bytes {
    encoded(Codec::None, timestamp, records)
}

pub(crate) fn encoded(codec: Codec, timestamp: i64, records: &[(&str, Option<&str>)]) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for (key, value) in records {
        builder.push(timestamp, Some(key.as_bytes()), value.map(str::as_bytes), &[]);
    }
    builder.build()
}

/// One record without a key.
pub(crate) fn keyless(timestamp: i64, value: &str) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(timestamp, None, Some(value.as_bytes()), &[]);
    builder.build()
}

impl Side {
    pub(crate) fn alter(&mut self, configs: &[(&str, &str)]) {
        let configs = configs
            .iter()
            .map(|(key, value)| AlterableConfig::default().with_name(text(key)).with_value(Some(text(value))))
            .collect();
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text(&self.topic))
            .with_configs(configs);
        let answer = self.client.call(1, &IncrementalAlterConfigsRequest::default().with_resources(vec![resource]));
        let answer = &answer.responses[0];
        assert_eq!(answer.error_code, 0, "{}: cannot alter {}: {:?}", self.name, self.topic, answer.error_message);
    }

    pub(crate) fn delete_records(&mut self, before: i64) -> (i16, i64) {
        let wanted = DeleteRecordsPartition::default().with_partition_index(0).with_offset(before);
        let wanted = DeleteRecordsTopic::default().with_name(topic(&self.topic)).with_partitions(vec![wanted]);
        let request = DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000);
        let answer = self.client.call(2, &request).topics.remove(0).partitions.remove(0);
        (answer.error_code, answer.low_watermark)
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> PathBuf {
        self.data_dir.join(format!("{}-0", self.topic))
    }

    /// Up to where the cleaner has been, by its own file.
    pub(crate) fn cleaned_to(&self) -> Option<i64> {
        let text = std::fs::read_to_string(self.data_dir.join("cleaner-offset-checkpoint")).ok()?;
        text.lines().find_map(|line| line.strip_prefix(&format!("{} 0 ", self.topic))?.parse().ok())
    }

    /// Base offsets of the segments that are there.
    pub(crate) fn segments(&self) -> Vec<i64> {
        let base = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        files(&self.folder(), "log").iter().map(base).collect()
    }

    /// Waits for what comes by itself; `holds` says what is there instead.
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Side) -> Result<(), String>) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(instead) = holds(self) {
            assert!(Instant::now() < deadline, "{}: {what} is still to come: {instead}", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Both {
    /// A history that only Kafka can make, for example with transactions: its files, as they are, are then ours too.
    pub(crate) fn taken_over(topic: &str, configs: &[(&str, &str)], make: impl FnOnce(&mut Side)) -> Both {
        Both::taken_over_without(&[], our_options(), topic, configs, make)
    }

    /// The same, with all files of these extensions missing here.
    pub(crate) fn taken_over_without(
        missing: &[&str],
        options: Options,
        topic: &str,
        configs: &[(&str, &str)],
        make: impl FnOnce(&mut Side),
    ) -> Both {
        let shared = Kafka::shared();
        let mut kafka = Side {
            name: "Apache Kafka",
            topic: topic.to_owned(),
            client: shared.client(),
            data_dir: shared.data_dir(),
        };
        requests::create_topic_with(&mut kafka.client, topic, 1, configs);
        make(&mut kafka);
        let mut broker = options.start();
        requests::create_topic_with(&mut broker.client(), topic, 1, configs);
        broker.kill();
        let folder = broker.data_dir().join(format!("{topic}-0"));
        let id = std::fs::read(folder.join("partition.metadata")).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        copy_dir(&kafka.folder(), &folder);
        for file in missing.iter().flat_map(|extension| files(&folder, extension)) {
            std::fs::remove_file(file).unwrap();
        }
        std::fs::write(folder.join("partition.metadata"), id).unwrap();
        broker.start_again();
        let (client, data_dir) = (broker.client(), broker.data_dir().to_owned());
        let ours = Side { name: "Jackdaw", topic: topic.to_owned(), client, data_dir };
        Both { kafka, ours, _broker: Some(broker), with_epochs: false }
    }

    /// The topic must be one of its own: one Kafka serves all tests.
    pub(crate) fn start(topic: &str, configs: &[(&str, &str)]) -> Both {
        let shared = Kafka::shared();
        let kafka = Side {
            name: "Apache Kafka",
            topic: topic.to_owned(),
            client: shared.client(),
            data_dir: shared.data_dir(),
        };
        let (broker, ours) = if std::env::var_os("KAFKA_ALONE").is_some() {
            let topic = format!("{topic}-again");
            (None, Side { name: "Kafka again", topic, client: shared.client(), data_dir: shared.data_dir() })
        } else {
            let broker = our_options().start();
            let (client, data_dir) = (broker.client(), broker.data_dir().to_owned());
            (Some(broker), Side { name: "Jackdaw", topic: topic.to_owned(), client, data_dir })
        };
        let mut both = Both { kafka, ours, _broker: broker, with_epochs: true };
        for side in both.sides() {
            requests::create_topic_with(&mut side.client, &side.topic, 1, configs);
        }
        both
    }

    pub(crate) fn sides(&mut self) -> [&mut Side; 2] {
        [&mut self.kafka, &mut self.ours]
    }

    pub(crate) fn each(&mut self, act: impl FnMut(&mut Side)) {
        self.sides().into_iter().for_each(act);
    }

    /// The same answer of both to the same bytes: error code and base offset.
    pub(crate) fn try_produce(&mut self, records: &Bytes) -> (i16, i64) {
        let [kafka, ours] = self.sides().map(|side| {
            let answer = requests::produce_bytes(&mut side.client, &side.topic, 0, records.clone());
            (answer.error_code, answer.base_offset)
        });
        assert_eq!(kafka, ours, "Apache Kafka's answer and ours to the same records");
        kafka
    }

    pub(crate) fn produce(&mut self, records: &Bytes) -> i64 {
        let (error, base_offset) = self.try_produce(records);
        assert_eq!(error, 0);
        base_offset
    }

    pub(crate) fn alter(&mut self, configs: &[(&str, &str)]) {
        self.each(|side| side.alter(configs));
    }

    /// The same answer of both: error code and low watermark.
    pub(crate) fn delete_records(&mut self, before: i64) -> (i16, i64) {
        let [kafka, ours] = self.sides().map(|side| side.delete_records(before));
        assert_eq!(kafka, ours, "Apache Kafka's answer and ours to DeleteRecords");
        kafka
    }

    /// Waits until the log begins here in both. That both decide about a whole log at once makes this a sign that they did.
    pub(crate) fn wait_log_start(&mut self, offset: i64) {
        self.each(|side| {
            side.until(&format!("log start {offset}"), |side| {
                let start = requests::list_offset(&mut side.client, &side.topic, 0, -2);
                if start == offset { Ok(()) } else { Err(format!("it is {start}")) }
            });
        });
    }

    /// Waits until the segments are these in both.
    pub(crate) fn wait_segments(&mut self, bases: &[i64]) {
        self.each(|side| {
            side.until(&format!("segments {bases:?}"), |side| {
                let found = side.segments();
                if found == bases { Ok(()) } else { Err(format!("they are {found:?}")) }
            });
        });
    }

    /// Waits until the cleaner of both has been up to here, and not beyond.
    pub(crate) fn wait_cleaned_to(&mut self, offset: i64) {
        self.each(|side| {
            side.until(&format!("compaction up to {offset}"), |side| match side.cleaned_to() {
                Some(cleaned) if cleaned == offset => Ok(()),
                other => Err(format!("{other:?}")),
            });
        });
    }

    /// Compares everything that a client sees, and returns it.
    pub(crate) fn same(&mut self) -> Left {
        let [kafka, ours] = self.sides().map(|side| look(&mut side.client, &side.topic));
        assert_same(&self.kafka.topic, &kafka, &ours, self.with_epochs);
        kafka
    }

    /// The same, and the same segments, as soon as both have put away the files of what is gone.
    pub(crate) fn same_with_segments(&mut self) -> Left {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let [kafka, ours] = self.sides().map(|side| side.segments());
            if kafka == ours {
                return self.same();
            }
            assert!(Instant::now() < deadline, "segments begin at {kafka:?} in Apache Kafka and at {ours:?} here");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Shows only what differs.
pub(crate) fn assert_same(topic: &str, kafka: &Left, ours: &Left, with_epochs: bool) {
    let of = |left: &Left| -> Vec<String> {
        if with_epochs { left.lines.clone() } else { left.lines.iter().map(|line| without_epoch(line)).collect() }
    };
    let (kafka_lines, our_lines) = (of(kafka), of(ours));
    let only = |these: &[String], those: &[String], sign: char| -> String {
        these.iter().filter(|line| !those.contains(line)).map(|line| format!("{sign} {line}\n")).collect()
    };
    assert!(
        kafka_lines == our_lines,
        "what is left of {topic} in Apache Kafka (-) and here (+) differs:\n{}{}",
        only(&kafka_lines, &our_lines, '-'),
        only(&our_lines, &kafka_lines, '+'),
    );
    assert_eq!(kafka.times.len(), ours.times.len());
    for (asked, answered) in kafka.times.iter().zip(&ours.times) {
        assert!(
            ours.same_time(asked, answered, with_epochs),
            "Apache Kafka and we differ about a time in {topic}:\n- {asked:?}\n+ {answered:?}",
        );
    }
}

/// A log that was taken over goes on in an epoch of its new leader.
fn without_epoch(line: &str) -> String {
    match line.split_once(" epoch ") {
        Some((before, after)) => format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_digit())),
        None => line.to_owned(),
    }
}

/// A copy of a folder's files.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap().path();
        std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}
