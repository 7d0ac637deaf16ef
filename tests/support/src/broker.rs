//! The built `jackdaw` binary as a child process.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::wire::Client;

/// No start, stop or answer may take longer.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The binary under test: `$JACKDAW_BIN`, or the one that cargo builds here, once per test program.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("JACKDAW_BIN") {
            return PathBuf::from(path);
        }
        // A test program lies in TARGET/PROFILE/deps; the binary of the same profile belongs two folders up.
        let program = std::env::current_exe().expect("the test program has a path");
        let profile_dir = program.ancestors().nth(2).expect("a test program lies in TARGET/PROFILE/deps");
        let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(other) => other,
        };
        let target_dir = profile_dir.parent().expect("PROFILE lies in TARGET");
        let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "-p", "jackdaw", "--profile", profile, "--manifest-path"])
            .arg(repository().join("Cargo.toml"))
            .arg("--target-dir")
            .arg(target_dir)
            .status()
            .expect("cargo can be run");
        assert!(built.success(), "cargo could not build the broker under test");
        profile_dir.join("jackdaw")
    })
}

/// The root of this repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// How a broker is started.
#[derive(Clone, Default)]
pub struct Options {
    overrides: Vec<(String, String)>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    data_dir: Option<PathBuf>,
}

impl Options {
    pub fn new() -> Options {
        Options::default().set("group.initial.rebalance.delay.ms", "0").set("offsets.topic.num.partitions", "3")
    }

    /// One `--override`.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl ToString) -> Options {
        self.overrides.push((key.to_owned(), value.to_string()));
        self
    }

    /// Another argument of `jackdaw serve`. One with `--listen` replaces the free port of our own.
    #[must_use]
    pub fn argument(mut self, argument: impl ToString) -> Options {
        self.arguments.push(argument.to_string());
        self
    }

    #[must_use]
    pub fn environment(mut self, key: &str, value: &str) -> Options {
        self.environment.push((key.to_owned(), value.to_owned()));
        self
    }

    /// A data directory that outlives the broker.
    #[must_use]
    pub fn data_dir(mut self, path: &Path) -> Options {
        self.data_dir = Some(path.to_owned());
        self
    }

    pub fn start(self) -> Broker {
        Broker::start_with(self)
    }

    /// For a start that must be refused: the output of a process that ended by itself.
    pub fn refused(self) -> Output {
        let scratch = TempDir::new().unwrap();
        let directory = self.data_dir.clone().unwrap_or_else(|| scratch.path().join("data"));
        let mut child = self
            .command(&directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the broker can be run");
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                child.kill().unwrap();
                panic!("the broker should have refused to start: {:?}", child.wait_with_output().unwrap());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success(), "the broker should have refused to start: {output:?}");
        output
    }

    fn command(&self, data_dir: &Path) -> Command {
        let mut command = Command::new(binary());
        command.arg("serve").arg("--data-dir").arg(data_dir).stdin(Stdio::null());
        if !self.arguments.iter().any(|argument| argument == "--listen" || argument == "--config") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        for (key, value) in &self.overrides {
            command.arg("--override").arg(format!("{key}={value}"));
        }
        command.args(&self.arguments);
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        command
    }
}

/// A running broker. It is killed when dropped, and its data directory removed unless the test named one.
pub struct Broker {
    options: Options,
    data_dir: PathBuf,
    child: Child,
    address: SocketAddr,
    said: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    _scratch: Option<TempDir>,
}

impl Broker {
    pub fn start() -> Broker {
        Options::new().start()
    }

    fn start_with(options: Options) -> Broker {
        let scratch = options.data_dir.is_none().then(|| TempDir::new().unwrap());
        let data_dir = match (&options.data_dir, &scratch) {
            (Some(path), _) => path.clone(),
            (None, Some(scratch)) => scratch.path().join("data"),
            (None, None) => unreachable!("one of both is set above"),
        };
        let (child, address, said, readers) = launch(&options, &data_dir);
        Broker { options, data_dir, child, address, said, readers, _scratch: scratch }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The broker that the tests of one program share, if each names its own topics and groups. It stops with the last client.
    pub fn shared() -> Arc<Broker> {
        static SHARED: Mutex<Weak<Broker>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap();
        shared.upgrade().unwrap_or_else(|| {
            let broker = Arc::new(Broker::start());
            *shared = Arc::downgrade(&broker);
            broker
        })
    }

    /// A new connection.
    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// All that the broker printed and logged so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until the broker has logged a text.
    pub fn wait_for_log(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.said().contains(text) {
            assert!(Instant::now() < deadline, "the broker never said {text:?}, but:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Asks the broker to stop, as service managers do, and waits until it has.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.readers.drain(..).for_each(|reader| reader.join().unwrap());
                return status;
            }
            assert!(Instant::now() < deadline, "the broker did not stop:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// SIGKILL: nothing is flushed, closed or said.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a child has a process id");
        kill_process(pid, signal).expect("our own child can be signalled");
    }

    /// Starts again on the same data directory, after [`Broker::stop`] or [`Broker::kill`]. The port may differ.
    pub fn start_again(&mut self) {
        assert!(!self.is_running(), "the broker still runs");
        (self.child, self.address, self.said, self.readers) = launch(&self.options, &self.data_dir);
    }

    /// The same with other settings.
    pub fn start_again_with(&mut self, options: Options) {
        self.options = options;
        self.start_again();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the broker of this test said:\n{}", self.said());
        }
    }
}

type Launched = (Child, SocketAddr, Arc<Mutex<String>>, Vec<JoinHandle<()>>);

/// Starts the process and waits for its line `ready: listening on PLAINTEXT://127.0.0.1:PORT`.
fn launch(options: &Options, data_dir: &Path) -> Launched {
    let mut child =
        options.command(data_dir).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the broker can be run");
    let said = Arc::new(Mutex::new(String::new()));
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let readers = vec![collect(stdout, said.clone()), collect(stderr, said.clone())];
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ready = ready_address(&said.lock().unwrap());
        if let Some(address) = ready {
            return (child, address, said, readers);
        }
        if let Some(status) = child.try_wait().unwrap() {
            readers.into_iter().for_each(|reader| reader.join().unwrap());
            panic!("the broker ended at start ({status}):\n{}", said.lock().unwrap());
        }
        assert!(Instant::now() < deadline, "the broker did not get ready:\n{}", said.lock().unwrap());
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn ready_address(said: &str) -> Option<SocketAddr> {
    let line = said.lines().find(|line| line.starts_with("ready: "))?;
    line.split("PLAINTEXT://").nth(1)?.split([',', ' ']).next()?.trim().parse().ok()
}

pub(crate) fn collect(stream: impl Read + Send + 'static, into: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            let mut text = into.lock().unwrap();
            text.push_str(&line);
            text.push('\n');
        }
    })
}
