//! `jackdaw chaos check`, run as a user runs it: a history in, a verdict and an exit code out; and the schedules of `chaos run`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::disallowed_methods, reason = "tests write the histories they judge")]

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const CLEAN: &str = r#"{"time":1,"process":0,"type":"invoke","f":"send","ops":[["send","a",17]]}
{"time":2,"process":0,"type":"ok","f":"send","ops":[["send","a",[0,17]]]}
{"time":3,"mark":"final"}
{"time":4,"process":1,"type":"invoke","f":"poll","ops":[["poll"]]}
{"time":5,"process":1,"type":"ok","f":"poll","ops":[["poll",{"a":[[0,17]]}]]}
"#;

fn check(arguments: &[&str], history: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jackdaw"));
    command
        .args(["chaos", "check"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that refuses its arguments reads nothing.
    let _ = child.stdin.take().unwrap().write_all(history.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_clean_history_ends_with_0_and_says_what_was_judged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.jsonl");
    std::fs::write(&path, CLEAN).unwrap();
    let output = check(&[path.to_str().unwrap()], "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let out = text(&output.stdout);
    assert!(out.contains("2 operations") && out.ends_with("no anomalies.\n"), "{out}");
}

#[test]
fn an_anomaly_ends_with_1_and_is_shown_with_its_operations() {
    let aborted = CLEAN.replacen("\"ok\",\"f\":\"send\"", "\"fail\",\"f\":\"send\"", 1);
    let output = check(&["-"], &aborted);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let out = text(&output.stdout);
    assert!(
        out.contains("aborted-read (1 of 1): value 17 at offset 0 of a was polled, but its writer failed"),
        "{out}"
    );
    assert!(out.contains("    line 1..2  process 0"), "{out}");
    assert!(out.contains("    line 4..5  process 1"), "{out}");
    assert!(out.contains("aborted-read  1      anomaly"), "{out}");
    assert!(out.ends_with("ANOMALIES.\n"), "{out}");

    let json: Value = serde_json::from_slice(&check(&["-", "--json"], &aborted).stdout).unwrap();
    assert_eq!(json["valid"], false);
    assert_eq!(json["findings"][0]["kind"], "aborted-read");
    assert_eq!(json["findings"][0]["shown"][0]["shown_by"].as_array().unwrap().len(), 2);
}

#[test]
fn what_cannot_be_read_ends_with_2_and_says_where_and_why() {
    let output = check(&["-"], &CLEAN.replace("\"poll\",{", "\"pole\",{"));
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let err = text(&output.stderr);
    assert!(err.starts_with("jackdaw: standard input: line 5, column "), "{err}");
    assert!(err.contains("unknown variant `pole`") && err.contains("Each line is one JSON object"), "{err}");
    assert!(output.stdout.is_empty());

    let output = check(&["no-such-history"], "");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).starts_with("jackdaw: no-such-history: "), "{output:?}");
}

#[test]
fn limits_come_from_the_command_line() {
    let late = CLEAN.replace("\"time\":3,", "\"time\":4,").replace(
        "{\"time\":4,\"process\":1",
        "{\"time\":4,\"process\":1,\"type\":\"invoke\",\"f\":\"assign\",\"keys\":[\"a\"],\"seek_to_beginning\":true}\n\
         {\"time\":4,\"process\":1,\"type\":\"ok\",\"f\":\"assign\"}\n\
         {\"time\":9000000000,\"process\":1,\"type\":\"invoke\",\"f\":\"poll\"}\n\
         {\"time\":9000000000,\"process\":1,\"type\":\"ok\",\"f\":\"poll\",\"ops\":[[\"poll\",{}]]}\n\
         {\"time\":9000000000,\"process\":1",
    );
    let late = late.replace("{\"time\":5,", "{\"time\":9000000001,");
    let output = check(&["-"], &late);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).contains("worst lag of a poll 8999 ms"), "{output:?}");
    assert_eq!(check(&["-", "--max-lag-ms", "9000"], &late).status.code(), Some(0));
    let output = check(&["-", "--max-lag-ms", "5000"], &late);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stdout).contains("realtime-lag (1 of 1)"), "{output:?}");
    assert_eq!(check(&["-", "--max-lag-ms", "-1"], &late).status.code(), Some(2));
}

fn plan(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_jackdaw")).args(["chaos", "run", "--dry-run"]).args(arguments).output().unwrap()
}

#[test]
fn a_schedule_is_printed_and_is_the_same_for_the_same_seed() {
    let one = plan(&["--seed", "7", "--loopback", "--duration", "300"]);
    assert_eq!(one.status.code(), Some(0), "{one:?}");
    assert_eq!(one.stdout, plan(&["--seed", "7", "--loopback", "--duration", "300"]).stdout);
    assert_ne!(one.stdout, plan(&["--seed", "8", "--loopback", "--duration", "300"]).stdout);
    let out = text(&one.stdout);
    assert!(out.contains("seed 7") && out.contains("kill-leader") && out.contains("isolate-controller"), "{out}");
}

#[test]
fn what_this_machine_lacks_for_a_fault_is_said() {
    let output = plan(&["--loopback", "--faults", "power-cut,kill-one"]);
    let out = text(&output.stdout);
    assert!(out.contains("left out: power-cut, because --loopback was given"), "{out}");
    assert!(out.contains("1 kinds of fault") && out.contains("kill-one"), "{out}");
}

#[test]
fn with_strict_nothing_is_run_where_a_kind_of_fault_cannot_be() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jackdaw"));
    let output =
        command.args(["chaos", "run", "--loopback", "--strict", "--faults", "power-cut,kill-one"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("left out: power-cut, because --loopback was given"), "{output:?}");
}

#[test]
fn an_unknown_fault_is_refused_and_the_known_ones_are_named() {
    let output = plan(&["--faults", "meteor"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("kill-majority"), "{output:?}");
}
