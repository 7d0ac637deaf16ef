//! Three or five broker processes that are one cluster, to be killed, stopped, frozen, emptied and started again.
//!
//! Each node gets the very `server.properties` that `benches/peers/kafka config` prints for Apache Kafka, with the test's own settings
//! appended. Ports stay the same across restarts. Whatever waits does so for at most a minute, and says what it saw last.

mod questions;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::broker::{binary, collect, repository};
use crate::wire::Client;

/// No start, election or copy may take longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// One answer in a cluster where anybody may be gone.
const ANSWER: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

/// Clusters of this process at a time. Each is three processes or more: where there are few cores, a third one would only make
/// the others wait for an election that took too long.
const AT_ONCE: usize = 2;

/// The right to run a cluster.
struct Permit;

static RUNNING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

impl Permit {
    fn wait() -> Permit {
        let (running, ended) = &RUNNING;
        let mut running = ended.wait_while(running.lock().unwrap(), |running| *running >= AT_ONCE).unwrap();
        *running += 1;
        Permit
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let (running, ended) = &RUNNING;
        *running.lock().unwrap() -= 1;
        ended.notify_one();
    }
}

/// How a cluster is started.
#[derive(Clone)]
pub struct ClusterOptions {
    nodes: i32,
    others: i32,
    settings: Vec<String>,
    of_node: Vec<(i32, String)>,
    binary: PathBuf,
}

impl ClusterOptions {
    /// So many nodes, each broker and controller.
    pub fn nodes(nodes: i32) -> ClusterOptions {
        let settings = ["offsets.topic.num.partitions=3", "group.initial.rebalance.delay.ms=0"];
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        ClusterOptions { nodes, others: 0, settings, of_node: Vec::new(), binary: binary().to_owned() }
    }

    /// The same with exactly what is printed for Apache Kafka: no setting of the tests.
    pub fn just_as_printed(nodes: i32) -> ClusterOptions {
        ClusterOptions { settings: Vec::new(), ..ClusterOptions::nodes(nodes) }
    }

    /// So many more nodes, of the next ids, that are brokers and no controllers. They are not started with the others.
    #[must_use]
    pub fn and_brokers(mut self, others: i32) -> ClusterOptions {
        self.others = others;
        self
    }

    /// A listener INTERNAL of each node for the other brokers, at [`Cluster::internal_address`]; PLAINTEXT is for clients alone.
    #[must_use]
    pub fn separate_listeners(mut self) -> ClusterOptions {
        self.settings.push("inter.broker.listener.name=INTERNAL".to_owned());
        self
    }

    /// A setting of every node.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl ToString) -> ClusterOptions {
        self.settings.push(format!("{key}={}", value.to_string()));
        self
    }

    /// A setting of one node, which wins over those of all.
    #[must_use]
    pub fn set_of(mut self, node: i32, key: &str, value: impl ToString) -> ClusterOptions {
        self.of_node.push((node, format!("{key}={}", value.to_string())));
        self
    }

    /// Writes the files of every node and starts none.
    pub fn prepare(self) -> Cluster {
        let permit = Permit::wait();
        let root = TempDir::new().unwrap();
        let port = free_ports(self.nodes + self.others);
        let nodes = (1..=self.nodes + self.others).map(|id| Node::prepare(&self, root.path(), id, port)).collect();
        Cluster { nodes, binary: self.binary, _root: root, _permit: permit }
    }

    /// Starts all nodes at once, and waits until each says that it is ready.
    pub fn start(self) -> Cluster {
        let count = self.nodes;
        let mut cluster = self.prepare();
        (1..=count).for_each(|id| cluster.launch(id));
        (1..=count).for_each(|id| cluster.wait_ready(id));
        cluster.wait_for("every broker to be in the metadata", |cluster| {
            let known = cluster.metadata(None)?;
            (known.brokers.len() == usize::try_from(count).unwrap()).then_some(())
        });
        cluster
    }
}

/// One process and its files.
struct Node {
    config: PathBuf,
    data_dir: PathBuf,
    address: SocketAddr,
    controller: SocketAddr,
    internal: SocketAddr,
    child: Option<Child>,
    said: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Node {
    fn prepare(options: &ClusterOptions, root: &Path, id: i32, port: u16) -> Node {
        let (count, first) = (options.nodes.to_string(), port.to_string());
        let printed = Command::new(repository().join("benches/peers/kafka"))
            .arg("config")
            .arg(root)
            .args([&id.to_string(), &count, &first])
            .output()
            .expect("bash can be run");
        assert!(printed.status.success(), "{}", String::from_utf8_lossy(&printed.stderr));
        let mut text = String::from_utf8(printed.stdout).expect("properties are text");
        let own = options.of_node.iter().filter(|(node, _)| *node == id).map(|(_, setting)| setting);
        let offset = u16::try_from(id).unwrap();
        let [client, controller, internal] = [port + offset - 1, port + 100 + offset, port + 200 + offset]
            .map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let mut add = |setting: &str| {
            text.push_str(setting);
            text.push('\n');
        };
        let mut listeners = vec![format!("PLAINTEXT://{client}")];
        if options.settings.iter().any(|setting| setting == "inter.broker.listener.name=INTERNAL") {
            listeners.push(format!("INTERNAL://{internal}"));
            add("listener.security.protocol.map=PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT");
        }
        if id > options.nodes {
            add("process.roles=broker");
            add(&format!("listeners={}", listeners.join(",")));
        } else if listeners.len() > 1 {
            add(&format!("listeners={},CONTROLLER://{controller}", listeners.join(",")));
        }
        options.settings.iter().chain(own).for_each(|setting| add(setting));
        let dir = root.join(id.to_string());
        std::fs::create_dir_all(&dir).unwrap();
        let config = dir.join("server.properties");
        std::fs::write(&config, text).unwrap();
        Node {
            config,
            data_dir: dir.join("data"),
            address: client,
            controller,
            internal,
            child: None,
            said: Arc::default(),
            readers: Vec::new(),
        }
    }

    fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Reaps the process, which has ended.
    fn reap(&mut self) -> Option<ExitStatus> {
        let status = self.child.take().map(|mut child| child.wait().unwrap());
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        status
    }
}

/// A running cluster. Its processes are killed when it is dropped, and their directories removed.
pub struct Cluster {
    nodes: Vec<Node>,
    binary: PathBuf,
    _root: TempDir,
    /// Given back last, when the processes are gone.
    _permit: Permit,
}

impl Cluster {
    /// So many nodes with the settings of Kafka's example.
    pub fn start(nodes: i32) -> Cluster {
        ClusterOptions::nodes(nodes).start()
    }

    /// Node ids: 1, 2, 3...
    pub fn ids(&self) -> Vec<i32> {
        (1..).take(self.nodes.len()).collect()
    }

    fn node(&self, id: i32) -> &Node {
        &self.nodes[usize::try_from(id - 1).expect("node ids begin at 1")]
    }

    fn node_mut(&mut self, id: i32) -> &mut Node {
        &mut self.nodes[usize::try_from(id - 1).expect("node ids begin at 1")]
    }

    /// Where clients connect.
    pub fn address(&self, id: i32) -> SocketAddr {
        self.node(id).address
    }

    /// Where the other controllers connect.
    pub fn controller_address(&self, id: i32) -> SocketAddr {
        self.node(id).controller
    }

    /// Where the other brokers connect, with [`ClusterOptions::separate_listeners`].
    pub fn internal_address(&self, id: i32) -> SocketAddr {
        self.node(id).internal
    }

    /// All client addresses, separated by commas.
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<String> = self.nodes.iter().map(|node| node.address.to_string()).collect();
        addresses.join(",")
    }

    pub fn data_dir(&self, id: i32) -> &Path {
        &self.node(id).data_dir
    }

    pub fn config(&self, id: i32) -> &Path {
        &self.node(id).config
    }

    /// All that a node said since its last start.
    pub fn said(&self, id: i32) -> String {
        self.node(id).said()
    }

    pub fn pid(&self, id: i32) -> u32 {
        self.node(id).child.as_ref().expect("the node was started").id()
    }

    pub fn is_running(&mut self, id: i32) -> bool {
        self.node_mut(id).is_running()
    }

    /// A connection to a node.
    pub fn client(&self, id: i32) -> Client {
        Client::connect(self.address(id))
    }

    /// Starts a node's process and does not wait for it.
    pub fn launch(&mut self, id: i32) {
        let binary = self.binary.clone();
        let node = self.node_mut(id);
        assert!(!node.is_running(), "node {id} runs already");
        let mut child = Command::new(binary)
            .arg("serve")
            .arg("--config")
            .arg(&node.config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the broker can be run");
        node.said = Arc::default();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        node.readers = vec![collect(stdout, node.said.clone()), collect(stderr, node.said.clone())];
        node.child = Some(child);
    }

    /// Waits for a node's line `ready: `.
    pub fn wait_ready(&mut self, id: i32) {
        let deadline = Instant::now() + PATIENCE;
        while !self.node(id).said().lines().any(|line| line.starts_with("ready: ")) {
            assert!(self.is_running(id), "node {id} ended at start:\n{}", self.said(id));
            assert!(Instant::now() < deadline, "node {id} did not get ready:\n{}", self.all_said());
            std::thread::sleep(PAUSE);
        }
    }

    /// Starts a node, and waits until it is ready.
    pub fn start_node(&mut self, id: i32) {
        self.launch(id);
        self.wait_ready(id);
    }

    /// Starts a node that must end by itself and say why: all that it said.
    pub fn refused(&mut self, id: i32) -> String {
        self.launch(id);
        let deadline = Instant::now() + PATIENCE;
        while self.is_running(id) {
            assert!(Instant::now() < deadline, "node {id} should have refused to run:\n{}", self.all_said());
            std::thread::sleep(PAUSE);
        }
        let status = self.node_mut(id).reap().expect("it was started");
        assert!(!status.success(), "node {id} should have refused to run:\n{}", self.said(id));
        self.said(id)
    }

    /// A command of the program under test, about this cluster; what it printed.
    pub fn jackdaw(&self, args: &[&str]) -> String {
        self.try_jackdaw(args).unwrap_or_else(|said| panic!("jackdaw {args:?}: {said}\n{}", self.all_said()))
    }

    /// The same of a command that may be refused: then what it said.
    ///
    /// # Errors
    /// It ended with another status than 0.
    pub fn try_jackdaw(&self, args: &[&str]) -> Result<String, String> {
        let output = Command::new(&self.binary).args(args).args(["-b", &self.bootstrap()]).output().unwrap();
        let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() { Ok(said.into_owned()) } else { Err(format!("{said}{complained}")) }
    }

    /// What an operator does who gives a node a new, empty disk: a voter that has forgotten its votes leaves the quorum before
    /// it starts, and comes back to it afterwards.
    pub fn replace_disk(&mut self, id: i32) {
        self.wipe(id);
        let (node, address) = (id.to_string(), self.controller_address(id).to_string());
        self.jackdaw(&["cluster", "remove-voter", &node, "--yes"]);
        self.launch(id);
        // Whoever adds it asks it first who it is: it may not listen yet.
        self.wait_for("the emptied node to be a voter again", |cluster| {
            cluster.try_jackdaw(&["cluster", "add-voter", &node, &address]).ok()
        });
        self.wait_ready(id);
    }

    /// SIGKILL: nothing is flushed, closed or said.
    pub fn kill(&mut self, id: i32) {
        self.signal(id, Signal::KILL);
        self.node_mut(id).reap();
    }

    /// All of these at the same moment, as nearly as one process can.
    pub fn kill_all(&mut self, ids: &[i32]) {
        ids.iter().for_each(|id| self.signal(*id, Signal::KILL));
        for id in ids {
            self.node_mut(*id).reap();
        }
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self, id: i32) -> ExitStatus {
        self.signal(id, Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        while self.is_running(id) {
            assert!(Instant::now() < deadline, "node {id} did not stop:\n{}", self.all_said());
            std::thread::sleep(PAUSE);
        }
        self.node_mut(id).reap().expect("it was started")
    }

    /// SIGSTOP: connections stay open, nothing answers. Returns when every thread has stopped: on a busy machine, that is not at
    /// once, and until then the node goes on.
    pub fn pause(&self, id: i32) {
        self.signal(id, Signal::STOP);
        let threads = format!("/proc/{}/task", self.pid(id));
        let is_stopped = |thread: std::io::Result<std::fs::DirEntry>| {
            let status = thread.and_then(|thread| std::fs::read_to_string(thread.path().join("stat")));
            // `pid (name) state ...`; one that has ended meanwhile runs no more either.
            status.map_or(true, |status| status.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
        };
        let deadline = Instant::now() + PATIENCE;
        while !std::fs::read_dir(&threads).unwrap().all(is_stopped) {
            assert!(Instant::now() < deadline, "node {id} did not stop running");
            std::thread::sleep(PAUSE);
        }
    }

    /// SIGCONT.
    pub fn resume(&self, id: i32) {
        self.signal(id, Signal::CONT);
    }

    /// A clean stop and a start.
    pub fn restart(&mut self, id: i32) {
        assert!(self.stop(id).success(), "node {id} did not stop cleanly:\n{}", self.said(id));
        self.start_node(id);
    }

    /// Empties the data directory of a node that does not run, as with a new disk.
    pub fn wipe(&mut self, id: i32) {
        assert!(!self.is_running(id), "node {id} still runs");
        std::fs::remove_dir_all(self.data_dir(id)).unwrap();
    }

    /// Appends a setting to a node's file: its next start reads it, and the last of one name wins.
    pub fn configure(&self, id: i32, key: &str, value: impl ToString) {
        let path = self.config(id);
        let before = std::fs::read_to_string(path).unwrap();
        std::fs::write(path, format!("{before}{key}={}\n", value.to_string())).unwrap();
    }

    pub fn signal(&self, id: i32, signal: Signal) {
        let pid = i32::try_from(self.pid(id)).ok().and_then(Pid::from_raw).expect("a child has a process id");
        kill_process(pid, signal).expect("our own child can be signalled");
    }

    /// What all nodes said, for the message of a failed test.
    pub fn all_said(&self) -> String {
        self.ids().into_iter().map(|id| format!("--- node {id} said:\n{}", self.said(id))).collect()
    }

    /// Asks until there is an answer; `what` is what is waited for.
    pub fn wait_for<T>(&self, what: &str, mut probe: impl FnMut(&Cluster) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = probe(self) {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "waited in vain for {what}; metadata: {:#?}\n{}",
                self.metadata(None),
                self.all_said()
            );
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(child) = &mut node.child {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        if std::thread::panicking() {
            eprintln!("{}", self.all_said());
        }
    }
}

/// The first of the ports that a cluster needs, all of them free: below those that the system gives to connections, so that
/// nobody takes one while its node is down. Each call in a process looks elsewhere.
fn free_ports(nodes: i32) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let nodes = u16::try_from(nodes).unwrap();
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let process = u16::try_from(std::process::id() % 50).unwrap();
    loop {
        // 250 ports a cluster: controllers listen 101 above, and brokers that keep clients away from each other 201.
        let turn = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(process) % 50;
        let first = 20_000 + turn * 250;
        if (0..nodes).all(|node| [0, 101, 201].iter().all(|above| is_free(first + above + node))) {
            return first;
        }
    }
}
