//! `jackdaw log`, run as a user runs it, on files that a broker wrote.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::disallowed_methods, reason = "a test looks at files, and damages them")]

mod exchange;
mod look;
mod quorum;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use jackdaw_test_support::batch::Batch;
use jackdaw_test_support::requests::{create_topic_with, produce};
use jackdaw_test_support::{Broker, Options};
use serde_json::Value;

struct Outcome {
    code: i32,
    out: String,
    err: String,
}

impl Outcome {
    /// The objects printed, one a line, of a type.
    fn of_type(&self, kind: &str) -> Vec<Value> {
        let lines = self.out.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.filter(|line: &Value| line["type"] == kind).collect()
    }

    #[track_caller]
    fn expect(self, code: i32) -> Outcome {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }
}

/// Runs `jackdaw log`.
fn log<A: AsRef<std::ffi::OsStr>>(arguments: &[A]) -> Outcome {
    let output = Command::new(env!("CARGO_BIN_EXE_jackdaw")).arg("log").args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

fn verify(dir: &Path) -> Outcome {
    log(&[Path::new("verify"), dir, Path::new("--format"), Path::new("json")])
}

fn dump(path: &Path) -> Outcome {
    log(&[Path::new("dump"), Path::new("--records"), path, Path::new("--format"), Path::new("json")])
}

/// A broker with a topic of two partitions, in the first of which are so many batches of three records.
fn broker_with(topic: &str, batches: usize) -> Broker {
    let broker = Options::new().start();
    let mut client = broker.client();
    create_topic_with(&mut client, topic, 2, &[("retention.ms", "-1")]);
    for i in 0..batches {
        let values = ["one", "two", "three"].map(|value| format!("{value} {i}"));
        produce(&mut client, topic, 0, &Batch::of(values).key("k").timestamp(1_000_000 + i as i64));
    }
    broker
}

fn segment(broker: &Broker, topic: &str) -> PathBuf {
    broker.data_dir().join(format!("{topic}-0/00000000000000000000.log"))
}

/// Every file below a directory with what it holds.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x40;
    std::fs::write(path, bytes).unwrap();
}
