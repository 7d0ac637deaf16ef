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
pub const THEN: i64 = 1_700_000_000_000;

/// A topic of one partition in one of the two.
pub struct Side {
    pub name: &'static str,
    pub topic: String,
    pub client: Client,
    pub data_dir: PathBuf,
}

/// The same topic in both brokers.
pub struct Both {
    pub kafka: Side,
    pub ours: Side,
    /// None when Kafka is compared with itself.
    pub broker: Option<Broker>,
}

/// What makes a broker of ours look after its logs as often as the Kafka of these tests.
pub fn our_options() -> Options {
    Options::new()
        .set("log.retention.check.interval.ms", "100")
        .set("log.cleaner.backoff.ms", "100")
        .set("log.cleaner.dedupe.buffer.size", "4194304")
        .set("log.initial.task.delay.ms", "0")
}

/// Keys, values (none: a tombstone) and one timestamp, uncompressed.
pub fn records(timestamp: i64, records: &[(&str, Option<&str>)]) -> Bytes {
    encoded(Codec::None, timestamp, records)
}

pub fn encoded(codec: Codec, timestamp: i64, records: &[(&str, Option<&str>)]) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for (key, value) in records {
        builder.push(timestamp, Some(key.as_bytes()), value.map(str::as_bytes), &[]);
    }
    builder.build()
}

/// One record without a key.
pub fn keyless(timestamp: i64, value: &str) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(timestamp, None, Some(value.as_bytes()), &[]);
    builder.build()
}

impl Side {
    pub fn alter(&mut self, configs: &[(&str, &str)]) {
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

    pub fn delete_records(&mut self, before: i64) -> (i16, i64) {
        let wanted = DeleteRecordsPartition::default().with_partition_index(0).with_offset(before);
        let wanted = DeleteRecordsTopic::default().with_name(topic(&self.topic)).with_partitions(vec![wanted]);
        let request = DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000);
        let answer = self.client.call(2, &request).topics.remove(0).partitions.remove(0);
        (answer.error_code, answer.low_watermark)
    }

    /// Where its files are.
    pub fn folder(&self) -> PathBuf {
        self.data_dir.join(format!("{}-0", self.topic))
    }

    /// Up to where the cleaner has been, by its own file.
    pub fn cleaned_to(&self) -> Option<i64> {
        let text = std::fs::read_to_string(self.data_dir.join("cleaner-offset-checkpoint")).ok()?;
        text.lines().find_map(|line| line.strip_prefix(&format!("{} 0 ", self.topic))?.parse().ok())
    }

    /// Base offsets of the segments that are there.
    pub fn segments(&self) -> Vec<i64> {
        let base = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        files(&self.folder(), "log").iter().map(base).collect()
    }

    /// Waits for what comes by itself; `holds` says what is there instead.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Side) -> Result<(), String>) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(instead) = holds(self) {
            assert!(Instant::now() < deadline, "{}: {what} is still to come: {instead}", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Both {
    /// A history that only Kafka can make, for example with transactions: its files, as they are, are then ours too.
    pub fn taken_over(topic: &str, configs: &[(&str, &str)], make: impl FnOnce(&mut Side)) -> Both {
        let shared = Kafka::shared();
        let mut kafka = Side {
            name: "Apache Kafka",
            topic: topic.to_owned(),
            client: shared.client(),
            data_dir: shared.data_dir(),
        };
        requests::create_topic_with(&mut kafka.client, topic, 1, configs);
        make(&mut kafka);
        let mut broker = our_options().start();
        requests::create_topic_with(&mut broker.client(), topic, 1, configs);
        broker.kill();
        let folder = broker.data_dir().join(format!("{topic}-0"));
        let id = std::fs::read(folder.join("partition.metadata")).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        copy_dir(&kafka.folder(), &folder);
        std::fs::write(folder.join("partition.metadata"), id).unwrap();
        broker.start_again();
        let (client, data_dir) = (broker.client(), broker.data_dir().to_owned());
        let ours = Side { name: "Jackdaw", topic: topic.to_owned(), client, data_dir };
        Both { kafka, ours, broker: Some(broker) }
    }

    /// The topic must be one of its own: one Kafka serves all tests.
    pub fn start(topic: &str, configs: &[(&str, &str)]) -> Both {
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
        let mut both = Both { kafka, ours, broker };
        for side in both.sides() {
            requests::create_topic_with(&mut side.client, &side.topic, 1, configs);
        }
        both
    }

    pub fn sides(&mut self) -> [&mut Side; 2] {
        [&mut self.kafka, &mut self.ours]
    }

    /// The same answer of both to the same bytes: error code and base offset.
    pub fn try_produce(&mut self, records: &Bytes) -> (i16, i64) {
        let [kafka, ours] = self.sides().map(|side| {
            let answer = requests::produce_bytes(&mut side.client, &side.topic, 0, records.clone());
            (answer.error_code, answer.base_offset)
        });
        assert_eq!(kafka, ours, "Apache Kafka's answer and ours to the same records");
        kafka
    }

    pub fn produce(&mut self, records: &Bytes) -> i64 {
        let (error, base_offset) = self.try_produce(records);
        assert_eq!(error, 0);
        base_offset
    }

    pub fn alter(&mut self, configs: &[(&str, &str)]) {
        self.sides().map(|side| side.alter(configs));
    }

    /// The same answer of both: error code and low watermark.
    pub fn delete_records(&mut self, before: i64) -> (i16, i64) {
        let [kafka, ours] = self.sides().map(|side| side.delete_records(before));
        assert_eq!(kafka, ours, "Apache Kafka's answer and ours to DeleteRecords");
        kafka
    }

    /// Waits until the log begins here in both. That both decide about a whole log at once makes this a sign that they did.
    pub fn wait_log_start(&mut self, offset: i64) {
        self.sides().map(|side| {
            side.until(&format!("log start {offset}"), |side| {
                let start = requests::list_offset(&mut side.client, &side.topic, 0, -2);
                if start == offset { Ok(()) } else { Err(format!("it is {start}")) }
            });
        });
    }

    /// Waits until the segments are these in both.
    pub fn wait_segments(&mut self, bases: &[i64]) {
        self.sides().map(|side| {
            side.until(&format!("segments {bases:?}"), |side| {
                let found = side.segments();
                if found == bases { Ok(()) } else { Err(format!("they are {found:?}")) }
            });
        });
    }

    /// Waits until the cleaner of both has been up to here, and not beyond.
    pub fn wait_cleaned_to(&mut self, offset: i64) {
        self.sides().map(|side| {
            side.until(&format!("compaction up to {offset}"), |side| match side.cleaned_to() {
                Some(cleaned) if cleaned == offset => Ok(()),
                other => Err(format!("{other:?}")),
            });
        });
    }

    /// Compares everything that a client sees, and returns it.
    pub fn same(&mut self) -> Left {
        let [kafka, ours] = self.sides().map(|side| look(&mut side.client, &side.topic));
        assert_same(&kafka, &ours);
        kafka
    }

    /// The same, and the same segments.
    pub fn same_with_segments(&mut self) -> Left {
        let [kafka, ours] = self.sides().map(|side| side.segments());
        assert_eq!(kafka, ours, "base offsets of Apache Kafka's segments and of ours");
        self.same()
    }
}

/// Shows only what differs. Asked for the largest timestamp, Kafka may name a record that DeleteRecords took; we do not, and
/// that is meant.
pub fn assert_same(kafka: &Left, ours: &Left) {
    let of = |left: &Left| -> Vec<String> {
        let lines = left.lines.iter().filter(|line| !kafka.names_lost || !line.starts_with("offset of -3,"));
        lines.cloned().collect()
    };
    let (kafka_lines, our_lines) = (of(kafka), of(ours));
    let only = |these: &[String], those: &[String], sign: char| -> String {
        these.iter().filter(|line| !those.contains(line)).map(|line| format!("{sign} {line}\n")).collect()
    };
    assert!(
        kafka_lines == our_lines,
        "what is left in Apache Kafka (-) and here (+) differs:\n{}{}",
        only(&kafka_lines, &our_lines, '-'),
        only(&our_lines, &kafka_lines, '+'),
    );
}

/// A copy of a folder's files.
pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap().path();
        std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}
