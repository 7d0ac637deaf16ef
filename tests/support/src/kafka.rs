//! A real Apache Kafka beside the broker under test: what it does is right.
//!
//! `benches/peers/kafka` runs it from the published jars, which Maven fetches once. It ends with the test program, however that
//! ends: a helper waits on a pipe that only the test program holds, and stops Kafka when the pipe closes.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use kafka_protocol::messages::MetadataRequest;

use crate::broker::repository;
use crate::requests;
use crate::wire::Client;

/// The release that everything is compared with.
pub const CURRENT: &str = "4.3.1";
/// The oldest release with the log directories of today, on this quorum.
pub const OLD: &str = "2.8.2";

/// A Java process on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is left to settle happens at once: checks ten times a second, no first delay, one partition for each internal topic.
const SETTINGS: &[&str] = &[
    "log.retention.check.interval.ms=100",
    "log.cleaner.backoff.ms=100",
    "log.cleaner.dedupe.buffer.size=4194304",
    "offsets.topic.num.partitions=1",
    "transaction.state.log.num.partitions=1",
    "group.initial.rebalance.delay.ms=0",
    "auto.create.topics.enable=false",
];

/// A single broker, which is its own controller.
pub struct Kafka {
    version: &'static str,
    root: PathBuf,
    port: u16,
    settings: Vec<String>,
    _watchdog: Child,
}

fn script() -> PathBuf {
    repository().join("benches/peers/kafka")
}

/// A port whose controller port (`benches/peers/kafka` puts it 101 above) is free too.
fn free_port() -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port.checked_add(101).is_some_and(|controller| TcpListener::bind(("127.0.0.1", controller)).is_ok()) {
            return port;
        }
    }
}

impl Kafka {
    /// A broker of one's own with further settings, `key=value` each.
    pub fn start(version: &'static str, settings: &[&str]) -> Kafka {
        let root = tempfile::tempdir().unwrap().keep();
        let watchdog = Command::new("bash")
            .args(["-c", r#"read -r _; "$0" stop "$1" --kill 2>/dev/null; rm -rf "$1""#])
            .arg(script())
            .arg(&root)
            .stdin(Stdio::piped())
            .spawn()
            .expect("bash can be run");
        let mut all: Vec<String> = SETTINGS.iter().chain(settings).map(|setting| (*setting).to_owned()).collect();
        if version == CURRENT {
            all.push("log.initial.task.delay.ms=0".to_owned());
        }
        let kafka = Kafka { version, root, port: free_port(), settings: all, _watchdog: watchdog };
        kafka.start_again();
        kafka
    }

    /// The one that the tests of a program share, if each names its own topics.
    pub fn shared() -> &'static Kafka {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(|| Kafka::start(CURRENT, &[]))
    }

    /// On the same directory, after [`Kafka::stop`].
    pub fn start_again(&self) {
        let output = Command::new(script())
            .arg("start")
            .arg(&self.root)
            .args(["--version", self.version, "--heap", "512M", "--port", &self.port.to_string()])
            .args(&self.settings)
            // It lives for seconds: what the second compiler would gain, it costs here.
            .env("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")
            .output()
            .expect("benches/peers/kafka can be run");
        assert!(output.status.success(), "Apache Kafka {} does not start: {output:?}", self.version);
        let deadline = Instant::now() + PATIENCE;
        while !self.is_ready() {
            assert!(Instant::now() < deadline, "Apache Kafka {} does not get ready: {}", self.version, self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether it is a broker of its cluster and leads every partition: it answers before that.
    fn is_ready(&self) -> bool {
        let mut client = self.client();
        let known = client.call(4, &MetadataRequest::default().with_topics(None));
        !known.brokers.is_empty()
            && known.topics.iter().all(|topic| {
                let name = topic.name.as_ref().expect("a topic has a name").as_str();
                topic.partitions.iter().all(|partition| {
                    let index = partition.partition_index;
                    requests::list_offset_answer(&mut client, name, index, -1).0 == 0
                })
            })
    }

    /// A clean stop.
    pub fn stop(&self) {
        let stopped = Command::new(script()).arg("stop").arg(&self.root).status().expect("it can be run");
        assert!(stopped.success(), "Apache Kafka {} does not stop", self.version);
        std::fs::remove_file(self.root.join("pids")).unwrap();
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// Its only log directory.
    pub fn data_dir(&self) -> PathBuf {
        self.root.join("1/data")
    }

    /// What it warned about so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.root.join("1/err.log")).unwrap_or_default()
    }
}

/// What Kafka's own `DumpLogSegments` says about these files, of whatever kinds; a complaint is a failure.
pub fn dump(files: &[PathBuf], options: &[&str]) -> String {
    dumped(files, options, |_| false)
}

/// The same of logs that compaction went through: offsets may be missing, and a batch that was left empty has no record of
/// its timestamp. The tool says both of Kafka's own files too.
pub fn dump_with_gaps(files: &[PathBuf], options: &[&str]) -> String {
    let is_left_empty =
        |line: &str| line.starts_with("Found timestamp mismatch") || line.ends_with("log timestamp: -1");
    dumped(files, options, |line| line.contains(" is followed by ") || is_left_empty(line))
}

fn dumped(files: &[PathBuf], options: &[&str], is_expected: impl Fn(&str) -> bool) -> String {
    assert!(!files.is_empty(), "no files to dump");
    let list: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let output = Command::new(repository().join("tests/clients/java/tool"))
        .args([CURRENT, "dump-log", "--files", &list.join(",")])
        .args(options)
        .output()
        .expect("the tool can be run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // Whatever is wrong with an index or a snapshot goes to standard error, one line each, under a heading for gaps. That of
    // 4.3.1 misses a record at -1 before every segment that does not begin at 0.
    let of_every_log =
        |line: &str| line.starts_with("Non-consecutive offsets in") || line.contains("-1 is followed by ");
    let of_a_batch = |line: &&str| line.contains("isvalid: false") || line.contains("invalid bytes at the end");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let wrong = errors.lines().filter(|line| !of_every_log(line)).chain(said.lines().filter(of_a_batch));
    let complaints: Vec<&str> = wrong.filter(|line| !is_expected(line)).collect();
    assert!(
        output.status.success() && complaints.is_empty(),
        "Kafka's tool complains: {complaints:#?}\n{errors}\n{said}"
    );
    said
}

/// The files of a folder whose names end so, in their order.
pub fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == extension))
        .collect();
    files.sort();
    files
}
