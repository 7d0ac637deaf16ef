//! librdkafka beside our own clients: a helper process of confluent-kafka for Python, which asks before each operation.
//!
//! It writes a line before an operation and waits for an answer, so that the line is in the history before anything is sent; and a
//! line after it. Times are the harness's own.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jackdaw_checker::entry::{Entry, EntryType};

use super::RunError;
use super::history::Recorder;
use super::workload::Load;

const PROGRAM: &str = include_str!("rdkafka.py");
/// What a helper may take to end after it was told to.
const END: Duration = Duration::from_secs(60);

/// What a helper does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    /// Idempotent, several records under way.
    Producer,
    /// One of the members of one group, which commits.
    Member,
}

/// Two producers, and a group of two.
pub(super) const ROLES: &[Role] = &[Role::Producer, Role::Producer, Role::Member, Role::Member];

/// A helper and the thread that listens to it.
pub(super) struct Helper {
    listener: JoinHandle<()>,
}

/// The Python that has confluent-kafka, if there is one: where `tests/clients` installs it, or on the path.
pub(super) fn python() -> Option<PathBuf> {
    let home = std::env::var_os("CLIENTS_HOME").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        home.map(|home| home.join(".cache/clients"))
    });
    let installed = home.map(|home| home.join("confluent-kafka/bin/python"));
    installed.into_iter().chain([PathBuf::from("python3")]).find(|python| {
        let tried = Command::new(python).args(["-c", "import confluent_kafka"]).stdin(Stdio::null()).output();
        tried.is_ok_and(|output| output.status.success())
    })
}

impl Helper {
    pub(super) fn start(
        python: &Path,
        role: Role,
        number: u32,
        load: &Arc<Load>,
        recorder: &Arc<Recorder>,
        stop: &Arc<AtomicBool>,
    ) -> Result<Helper, RunError> {
        let topics: Vec<&str> = load.keys.iter().map(|key| key.topic.as_str()).collect();
        let role = match role {
            Role::Producer => "producer",
            Role::Member => "member",
        };
        let options = serde_json::json!({
            "role": role, "bootstrap": load.bootstrap.join(","), "seed": load.seed ^ u64::from(number),
            "keys": load.keys.iter().map(|key| (&key.name, &key.topic, key.partition)).collect::<Vec<_>>(),
            "topics": topics, "acks": load.acks, "pause": load.pause.as_secs_f64() * 4.0, "group": "librdkafka",
        });
        let mut child = Command::new(python)
            .args(["-u", "-c", PROGRAM])
            .arg(options.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| RunError::system("librdkafka's helper", error))?;
        let group = (role == "member").then(|| "librdkafka".to_owned());
        let (recorder, stop) = (Arc::clone(recorder), Arc::clone(stop));
        let listener = std::thread::Builder::new()
            .name(format!("librdkafka-{number}"))
            .spawn(move || {
                listen(&mut child, number, group.as_deref(), &recorder, &stop);
                finish(child);
            })
            .map_err(|error| RunError::system("a thread", error))?;
        Ok(Helper { listener })
    }

    pub(super) fn join(self) {
        let _ = self.listener.join();
    }
}

/// Writes what the helper says, and answers each question: a number of values that nobody else sends, or the word to stop.
fn listen(child: &mut Child, number: u32, group: Option<&str>, recorder: &Recorder, stop: &AtomicBool) {
    let (Some(stdout), Some(mut stdin)) = (child.stdout.take(), child.stdin.take()) else { return };
    for line in BufReader::new(stdout).lines() {
        let Ok(line) = line else { return };
        let answer = if let Some(count) = line.strip_prefix("values ").and_then(|count| count.parse().ok()) {
            if stop.load(Ordering::Relaxed) { "stop".to_owned() } else { recorder.values(count).to_string() }
        } else if let Ok(entry) = serde_json::from_str::<Entry>(&line) {
            let is_first = entry.kind == Some(EntryType::Invoke);
            recorder.write(Entry { process: Some(number), group: group.map(str::to_owned), ..entry });
            if !is_first {
                continue;
            }
            "go".to_owned()
        } else {
            continue;
        };
        if writeln!(stdin, "{answer}").is_err() {
            return;
        }
    }
}

fn finish(mut child: Child) {
    let deadline = Instant::now() + END;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
}
