//! The commands that talk to a cluster, run as a user runs them: arguments and standard input in, text and exit code out.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use jackdaw_test_support::Broker;
use serde_json::Value;

struct Cli {
    broker: Arc<Broker>,
}

struct Outcome {
    code: i32,
    out: String,
    err: String,
}

impl Cli {
    fn new() -> Cli {
        Cli { broker: Broker::shared() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jackdaw"));
        command.args(arguments).env("JACKDAW_BOOTSTRAP_SERVER", self.broker.address().to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        self.feed(arguments, b"")
    }

    fn feed(&self, arguments: &[&str], input: &[u8]) -> Outcome {
        finish(self.command(arguments).spawn().unwrap(), input)
    }

    /// Runs a command that must succeed, and returns what it printed.
    fn ok(&self, arguments: &[&str]) -> String {
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, 0, "{arguments:?}: {}", outcome.err);
        outcome.out
    }

    fn write(&self, arguments: &[&str], input: &str) {
        let outcome = self.feed(arguments, input.as_bytes());
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{arguments:?}");
    }
}

fn finish(mut child: Child, input: &[u8]) -> Outcome {
    // A command that reads no input may be gone before all of it is written.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_topic_is_created_shown_altered_and_deleted() {
    let cli = Cli::new();
    let made = cli.ok(&["topic", "create", "cycle", "-p", "2", "--config", "retention.ms=60000"]);
    assert_eq!(made, "created topic cycle: 2 partitions, replication factor 1\n");
    assert!(sorted(&cli.ok(&["topic", "list"])).iter().any(|line| line.starts_with("cycle ")));

    cli.ok(&["topic", "alter", "cycle", "-p", "3", "-c", "cleanup.policy=compact", "-d", "retention.ms"]);
    let described: Value = serde_json::from_str(&cli.ok(&["topic", "describe", "cycle", "--json"])).unwrap();
    assert_eq!(described[0]["configs"], serde_json::json!({"cleanup.policy": "compact"}));
    assert_eq!(described[0]["partitions"].as_array().unwrap().len(), 3);
    assert_eq!(described[0]["partitions"][2]["end_offset"], 0);

    let refused = cli.run(&["topic", "delete", "cycle"]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("--yes"), "{}", refused.err);
    assert!(cli.ok(&["topic", "delete", "cycle", "--dry-run"]).starts_with("would delete topic cycle"));
    assert_eq!(cli.ok(&["topic", "delete", "cycle", "--yes"]), "deleted topic cycle\n");
    assert_eq!(cli.run(&["topic", "describe", "cycle"]).code, 1);
}

#[test]
fn a_topics_description_says_how_large_it_is_and_whether_compaction_pays() {
    let cli = Cli::new();
    cli.ok(&["topic", "create", "weighed", "-p", "2", "-c", "cleanup.policy=compact"]);
    let lines: String = (0..400).map(|line| format!("key-{}:{line}\n", line % 40)).collect();
    cli.write(&["produce", "weighed", "--key-delimiter=:"], &lines);
    let described: Value = serde_json::from_str(&cli.ok(&["topic", "describe", "weighed", "--json"])).unwrap();
    let partitions = described[0]["partitions"].as_array().unwrap();
    let sum = |what: &str| partitions.iter().map(|p| p[what].as_i64().unwrap()).sum::<i64>();
    assert_eq!((sum("distinct_keys"), sum("keyed_records"), sum("offset_span")), (40, 400, 400));
    assert!(sum("size") > 400);
    for partition in partitions {
        assert_eq!((&partition["compaction_pays"], &partition["seen_share"]), (&true.into(), &1.0.into()));
        assert_eq!(partition["records_per_key"], 10.0);
    }
    let shown = cli.ok(&["topic", "describe", "weighed"]);
    assert!(shown.contains("compaction  pays: 10.0 records per key"), "{shown}");
    assert!(shown.contains("CLEANABLE") && shown.contains("KEYS"), "{shown}");

    cli.ok(&["topic", "create", "keyless", "-p", "1"]);
    cli.write(&["produce", "keyless"], "one\ntwo\n");
    let shown = cli.ok(&["topic", "describe", "keyless"]);
    assert!(shown.contains("compaction  does not apply: no record has a key"), "{shown}");
}

#[test]
fn a_dry_run_changes_nothing() {
    let cli = Cli::new();
    assert!(cli.ok(&["topic", "create", "dry", "--dry-run"]).starts_with("would create topic dry"));
    assert_eq!(cli.run(&["topic", "describe", "dry"]).code, 1);
    cli.ok(&["topic", "create", "dry", "-p", "1"]);
    cli.ok(&["topic", "alter", "dry", "-p", "9", "-c", "retention.ms=1", "--dry-run"]);
    let described: Value = serde_json::from_str(&cli.ok(&["topic", "describe", "dry", "--format", "json"])).unwrap();
    assert_eq!(
        (&described[0]["configs"], described[0]["partitions"].as_array().unwrap().len()),
        (&serde_json::json!({}), 1)
    );
}

#[test]
fn an_existing_topic_is_an_error_unless_the_user_says_otherwise() {
    let cli = Cli::new();
    cli.ok(&["topic", "create", "twice"]);
    let again = cli.run(&["topic", "create", "twice"]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("TOPIC_ALREADY_EXISTS") && again.err.contains("--if-not-exists"), "{}", again.err);
    assert_eq!(cli.ok(&["topic", "create", "twice", "--if-not-exists"]), "topic twice exists already\n");
}

#[test]
fn lines_come_back_in_every_codec_and_with_every_acks() {
    let cli = Cli::new();
    cli.ok(&["topic", "create", "codecs", "-p", "1"]);
    let mut expected = String::new();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        for acks in ["1", "all"] {
            let lines: String = (0..300).map(|line| format!("{codec} {acks} {line}\n")).collect();
            cli.write(&["produce", "codecs", "-z", codec, "-a", acks], &lines);
            expected.push_str(&lines);
        }
    }
    assert_eq!(cli.ok(&["consume", "codecs", "--exit"]), expected);
}

#[test]
fn a_key_decides_the_partition_and_the_format_shows_both() {
    let cli = Cli::new();
    cli.ok(&["topic", "create", "keys", "-p", "4"]);
    cli.write(&["produce", "keys", "--key-delimiter=:"], "foobar:1\nabc:2\nfoobar:3\n");
    let printed = cli.ok(&["consume", "keys", "-e", "-f", "%k %p %o %s\\n"]);
    // murmur2("foobar") and murmur2("abc") without their sign, modulo 4, as Kafka's own clients compute them.
    let partition = |hash: i32| (hash & 0x7fff_ffff) % 4;
    let (foobar, abc) = (partition(-790_332_482), partition(479_470_107));
    let expected = [format!("abc {abc} 0 2"), format!("foobar {foobar} 0 1"), format!("foobar {foobar} 1 3")];
    assert_eq!(sorted(&printed), expected);
}

#[test]
fn what_consume_prints_as_json_can_be_produced_into_another_topic() {
    let cli = Cli::new();
    for name in ["json-a", "json-b"] {
        cli.ok(&["topic", "create", name, "-p", "1"]);
    }
    let records = concat!(
        r#"{"key":"k","value":{"nested": 1.0},"headers":[["h","1"],["h",null]],"timestamp":1700000000000}"#,
        "\n",
        r#"{"key_base64":"AP8=","value":null,"timestamp":5}"#,
        "\n"
    );
    cli.write(&["produce", "json-a", "--json"], records);
    let first = cli.ok(&["consume", "json-a", "-e", "--json"]);
    cli.write(&["produce", "json-b", "--json"], &first);
    assert_eq!(cli.ok(&["consume", "json-b", "-e", "--json"]), first.replace("json-a", "json-b"));
    let record: Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    assert_eq!(record["payload"], "{\"nested\": 1.0}");
    assert_eq!(record["headers"], serde_json::json!(["h", "1", "h", null]));
    assert_eq!(record["ts"], 1_700_000_000_000_i64);
}

#[test]
fn bad_lines_are_told_and_the_others_written() {
    let cli = Cli::new();
    cli.ok(&["topic", "create", "bad-lines", "-p", "1"]);
    let input = "{\"value\":\"a\"}\nnonsense\n{\"partition\":7}\n{\"value\":\"b\"}\n";
    let outcome = cli.feed(&["produce", "bad-lines", "--json"], input.as_bytes());
    assert_eq!(outcome.code, 1);
    for told in ["line 2 not written", "line 3 not written: partition 7", "2 of 4 records were not written"] {
        assert!(outcome.err.contains(told), "{}", outcome.err);
    }
    assert_eq!(cli.ok(&["consume", "bad-lines", "-e"]), "a\nb\n");
}

#[test]
fn a_record_that_is_too_large_does_not_take_others_along() {
    let cli = Cli::new();
    cli.ok(&["topic", "create", "large", "-p", "1", "-c", "max.message.bytes=10000"]);
    let input = format!("first\n{}\nlast\n", "x".repeat(20_000));
    let outcome = cli.feed(&["produce", "large"], input.as_bytes());
    assert_eq!(outcome.code, 1);
    assert!(outcome.err.contains("line 2 not written: large[0]: MESSAGE_TOO_LARGE"), "{}", outcome.err);
    assert_eq!(cli.ok(&["consume", "large", "-e"]), "first\nlast\n");
}

#[test]
fn reading_begins_and_ends_where_it_is_told_to() {
    let cli = Cli::new();
    cli.ok(&["topic", "create", "range", "-p", "1"]);
    let line = |n: i32| format!("{{\"value\":\"{n}\",\"timestamp\":{}}}\n", 1000 * n);
    cli.write(&["produce", "range", "--json"], &(1..=9).map(line).collect::<String>());
    assert_eq!(cli.ok(&["consume", "range", "-e", "-o", "-2"]), "8\n9\n");
    assert_eq!(cli.ok(&["consume", "range", "-e", "-o", "6", "-n", "2"]), "7\n8\n");
    assert_eq!(cli.ok(&["consume", "range", "--from-beginning", "-n", "1"]), "1\n");
    assert_eq!(cli.ok(&["consume", "range", "-e", "--timestamp", "8000"]), "8\n9\n");
    assert_eq!(cli.ok(&["consume", "range", "-e", "--timestamp", "1970-01-01T00:00:08.5Z"]), "9\n");
    assert_eq!(cli.ok(&["consume", "range", "-e", "-o", "end"]), "");
}

#[test]
fn a_group_goes_on_where_it_stopped() {
    let cli = Cli::new();
    cli.ok(&["topic", "create", "shared", "-p", "3"]);
    let lines: String = (0..100).map(|line| format!("{line}\n")).collect();
    cli.write(&["produce", "shared", "--batch-bytes", "200"], &lines);
    let first = cli.ok(&["consume", "shared", "-g", "readers", "--from-beginning", "-n", "40"]);
    let second = cli.ok(&["consume", "shared", "-g", "readers", "--from-beginning", "-e"]);
    assert_eq!((first.lines().count(), second.lines().count()), (40, 60));
    assert_eq!(sorted(&format!("{first}{second}")), sorted(&lines));

    cli.write(&["produce", "shared", "-p", "1"], "one more\n");
    let described: Value = serde_json::from_str(&cli.ok(&["group", "describe", "readers", "--json"])).unwrap();
    assert_eq!((&described[0]["state"], &described[0]["offsets"][1]["lag"]), (&"Empty".into(), &1.into()));
    assert!(sorted(&cli.ok(&["group", "list"])).iter().any(|line| line.starts_with("readers ")));
    assert_eq!(cli.ok(&["consume", "shared", "-g", "readers", "-e"]), "one more\n");
}

#[test]
fn an_interrupted_member_commits_what_it_printed_and_leaves() {
    let cli = Cli::new();
    cli.ok(&["topic", "create", "interrupted", "-p", "2"]);
    cli.write(&["produce", "interrupted"], "a\nb\nc\n");
    let mut child = cli.command(&["consume", "interrupted", "-g", "stopped", "--from-beginning"]).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    for expected in ["a\n", "b\n", "c\n"] {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, expected);
    }
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(finish(child, b"").code, 0);
    let described: Value = serde_json::from_str(&cli.ok(&["group", "describe", "stopped", "--json"])).unwrap();
    assert_eq!((&described[0]["state"], &described[0]["members"]), (&"Empty".into(), &serde_json::json!([])));
    assert_eq!(cli.ok(&["consume", "interrupted", "-g", "stopped", "-e"]), "");
}

#[test]
fn mistakes_on_the_command_line_end_with_two_and_failures_with_one() {
    let cli = Cli::new();
    for wrong in [
        &["consume", "t", "-f", "%q"][..],
        &["consume", "t", "--offset", "soon"],
        &["consume", "t", "--group", "g", "--offset", "3"],
        &["produce", "t", "--acks", "2"],
        &["produce", "t", "--json", "--key-delimiter"],
        &["topic", "create"],
        &["topic", "alter", "t"],
    ] {
        let outcome = cli.run(wrong);
        assert_eq!((outcome.code, outcome.out.as_str()), (2, ""), "{wrong:?}: {}", outcome.err);
        assert!(!outcome.err.is_empty());
    }
    let missing = cli.run(&["consume", "no-such-topic", "-e"]);
    assert_eq!(missing.code, 1);
    assert!(missing.err.contains("jackdaw topic create no-such-topic"), "{}", missing.err);
    let nobody = cli.run(&["topic", "list", "-b", "127.0.0.1:1"]);
    assert_eq!(nobody.code, 1);
    assert!(nobody.err.contains("cannot connect to 127.0.0.1:1") && nobody.err.contains("--bootstrap-server"));
    assert_eq!(cli.run(&["group", "describe", "no-such-group"]).code, 1);
}
