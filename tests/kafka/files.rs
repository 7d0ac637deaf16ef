//! The files beside the segments: where the history is the same, they are the same, byte for byte; also when they were made anew.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use jackdaw_protocol::records::{BatchBuilder, Codec};
use jackdaw_test_support::kafka::{dump, files};

use crate::both::{Both, Side, THEN, encoded, our_options};
use crate::transactions;

const FOREVER: (&str, &str) = ("retention.ms", "-1");
const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

/// Every codec, timestamps in no order, an idempotent producer with a made-up id among others.
fn history() -> Vec<Bytes> {
    let mut batches = Vec::new();
    for (round, codec) in (0_i32..).zip(CODECS.iter().cycle().take(30)) {
        let time = THEN + i64::from(round * 37 % 11) * 1000;
        let value = "v".repeat(usize::try_from(round * 53 % 300).unwrap());
        batches.push(encoded(*codec, time, &[("a", Some(&value)), ("b", None), ("", Some(""))]));
        let mut builder = BatchBuilder::new(*codec).producer(7_000_001, 3, round * 2);
        builder.push(time + 500, Some(b"k"), Some(value.as_bytes()), &[("h", None)]);
        builder.push(time - 500, Some(b"k"), None, &[]);
        batches.push(builder.build());
    }
    batches
}

/// The files of all segments that are not written to any more, by name.
fn sealed(folder: &Path, extensions: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let active = files(folder, "log").pop().unwrap().file_stem().unwrap().to_owned();
    let all = extensions.iter().flat_map(|extension| files(folder, extension));
    all.filter(|file| file.file_stem().unwrap() != active)
        .map(|file| (file.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&file).unwrap()))
        .collect()
}

pub(crate) fn assert_sealed_alike(both: &Both, extensions: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let [kafka, ours] = [&both.kafka, &both.ours].map(|side| sealed(&side.folder(), extensions));
    let names = |these: &BTreeMap<String, Vec<u8>>| these.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&kafka), names(&ours), "names of Apache Kafka's files and of ours");
    for (name, bytes) in &kafka {
        assert!(bytes == &ours[name], "{name} of Apache Kafka and of ours:\n{bytes:?}\n{:?}", ours[name]);
    }
    kafka
}

/// What Kafka's tool reads of the snapshots that both have; ours hold more, behind what it reads.
fn assert_snapshots_alike(both: &Both) {
    let [kafka, ours] = [&both.kafka, &both.ours].map(|side| files(&side.folder(), "snapshot"));
    let of_both = |these: &[std::path::PathBuf], those: &[std::path::PathBuf]| {
        let there = |file: &&std::path::PathBuf| those.iter().any(|other| other.file_name() == file.file_name());
        these.iter().filter(there).cloned().collect::<Vec<_>>()
    };
    let (kafka, ours) = (of_both(&kafka, &ours), of_both(&ours, &kafka));
    assert!(kafka.len() > 1, "snapshots that both have");
    let producers = |files: &[std::path::PathBuf]| -> Vec<String> {
        let said = dump(files, &[]);
        said.lines().filter(|line| !line.starts_with("Dumping ")).map(str::to_owned).collect()
    };
    assert_eq!(producers(&kafka), producers(&ours));
}

#[test]
fn the_same_history_makes_the_same_segments_and_indexes_byte_for_byte() {
    let configs = [FOREVER, ("internal.segment.bytes", "2500"), ("index.interval.bytes", "300")];
    let mut both = Both::start("same-files", &configs);
    for batch in history() {
        both.produce(&batch);
    }
    both.same_with_segments();
    let files = assert_sealed_alike(&both, &["log", "index", "timeindex", "txnindex"]);
    let with_entries =
        |extension: &str| files.iter().filter(|(name, bytes)| name.ends_with(extension) && bytes.len() > 12).count();
    assert!(with_entries(".index") > 2 && with_entries(".timeindex") > 2, "indexes with entries");
    assert_snapshots_alike(&both);
}

/// A start reads logs before it reads the settings of topics: indexes are as dense as the broker's own settings say.
#[test]
fn what_is_missing_beside_segments_is_made_anew_as_kafka_wrote_it() {
    let configs = [FOREVER, ("internal.segment.bytes", "1000"), ("index.interval.bytes", "100")];
    let make = |kafka: &mut Side| {
        transactions::interwoven(kafka, Codec::None);
        transactions::interwoven(kafka, Codec::Zstd);
        transactions::seal_in(kafka);
    };
    let missing = ["index", "timeindex", "txnindex", "snapshot"];
    let options = our_options().set("log.index.interval.bytes", "100");
    let mut both = Both::taken_over_without(&missing, options, "made-anew", &configs, make);
    let left = both.same_with_segments();
    assert!(left.lines.iter().any(|line| line.starts_with("aborted transactions") && line.matches('(').count() > 4));
    let files = assert_sealed_alike(&both, &["log", "index", "timeindex", "txnindex"]);
    assert!(files.keys().filter(|name| name.ends_with(".txnindex")).count() > 1, "{:?}", files.keys());
    let kinds = missing.iter().chain(&["log"]);
    let all: Vec<_> = kinds.flat_map(|kind| jackdaw_test_support::kafka::files(&both.ours.folder(), kind)).collect();
    dump(&all, &["--deep-iteration", "--print-data-log"]);
    assert_eq!(both.produce(&encoded(Codec::None, THEN, &[("after", Some("all"))])), left.end);
    both.same();
}
