//! Three or five broker processes that are one cluster, to be killed, stopped, frozen, emptied and started again.
//!
//! Each node gets the very `server.properties` that `benches/peers/kafka config` prints for Apache Kafka, with the test's own settings
//! appended. Ports stay the same across restarts. Whatever waits does so for at most a minute, and says what it saw last.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kafka_protocol::messages::create_topics_request::CreatableTopicConfig;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    CreateTopicsRequest, DescribeQuorumRequest, MetadataRequest, MetadataResponse, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::batch::{self, Batch, Record};
use crate::broker::{binary, collect, repository};
use crate::requests;
use crate::wire::Client;

/// No start, election or copy may take longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// One answer in a cluster where anybody may be gone.
const ANSWER: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

/// How a cluster is started.
#[derive(Clone)]
pub struct ClusterOptions {
    nodes: i32,
    settings: Vec<String>,
    of_node: Vec<(i32, String)>,
    binary: PathBuf,
}

impl ClusterOptions {
    /// So many nodes, each broker and controller.
    pub fn nodes(nodes: i32) -> ClusterOptions {
        let settings = ["offsets.topic.num.partitions=3", "group.initial.rebalance.delay.ms=0"];
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        ClusterOptions { nodes, settings, of_node: Vec::new(), binary: binary().to_owned() }
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
        let root = TempDir::new().unwrap();
        let port = free_ports(self.nodes);
        let nodes = (1..=self.nodes).map(|id| Node::prepare(&self, root.path(), id, port)).collect();
        Cluster { nodes, binary: self.binary, _root: root }
    }

    /// Starts all nodes at once, and waits until each says that it is ready.
    pub fn start(self) -> Cluster {
        let mut cluster = self.prepare();
        for id in cluster.ids() {
            cluster.launch(id);
        }
        for id in cluster.ids() {
            cluster.wait_ready(id);
        }
        cluster.wait_for("every broker to be in the metadata", |cluster| {
            let known = cluster.metadata(None)?;
            (known.brokers.len() == cluster.nodes.len()).then_some(())
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
        for setting in options.settings.iter().chain(own) {
            text.push_str(setting);
            text.push('\n');
        }
        let dir = root.join(id.to_string());
        std::fs::create_dir_all(&dir).unwrap();
        let config = dir.join("server.properties");
        std::fs::write(&config, text).unwrap();
        let offset = u16::try_from(id).unwrap();
        Node {
            config,
            data_dir: dir.join("data"),
            address: SocketAddr::from(([127, 0, 0, 1], port + offset - 1)),
            controller: SocketAddr::from(([127, 0, 0, 1], port + 100 + offset)),
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

    /// SIGSTOP: connections stay open, nothing answers.
    pub fn pause(&self, id: i32) {
        self.signal(id, Signal::STOP);
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

/// Questions to whoever answers.
impl Cluster {
    /// Sends a request to one node; none if it is not there or does not answer.
    pub fn ask<R: Request>(&self, id: i32, version: i16, request: &R) -> Option<R::Response> {
        Client::try_connect(self.address(id))?.try_call(version, request, ANSWER)
    }

    /// The first answer of any node.
    pub fn ask_any<R: Request>(&self, version: i16, request: &R) -> Option<R::Response> {
        self.ids().into_iter().find_map(|id| self.ask(id, version, request))
    }

    /// What the first node that answers knows; of one topic, or of all.
    pub fn metadata(&self, topic: Option<&str>) -> Option<MetadataResponse> {
        self.ids().into_iter().find_map(|id| self.metadata_of(id, topic))
    }

    /// What one node knows.
    pub fn metadata_of(&self, id: i32, topic: Option<&str>) -> Option<MetadataResponse> {
        let wanted = topic.map(|name| vec![MetadataRequestTopic::default().with_name(Some(requests::topic(name)))]);
        let request = MetadataRequest::default().with_topics(wanted).with_allow_auto_topic_creation(false);
        self.ask(id, 12, &request)
    }

    /// A partition, as the first node that answers sees it.
    pub fn partition(&self, topic: &str, index: i32) -> Option<MetadataResponsePartition> {
        partition_of(self.metadata(Some(topic))?.topics.pop()?, index)
    }

    /// The leader of a partition, once there is one that runs and leads.
    pub fn leader(&self, topic: &str, index: i32) -> i32 {
        self.wait_leader(topic, index, |_| true)
    }

    /// The leader of a partition, once it is one that `wanted` takes and it answers as the leader.
    pub fn wait_leader(&self, topic: &str, index: i32, wanted: impl Fn(i32) -> bool) -> i32 {
        self.wait_for(&format!("a leader of {topic}-{index}"), |cluster| {
            let leader = cluster.partition(topic, index)?.leader_id.0;
            let is_asked_for = leader > 0 && wanted(leader) && cluster.high_watermark(leader, topic, index).is_some();
            is_asked_for.then_some(leader)
        })
    }

    /// Waits until exactly these replicas are in sync.
    pub fn wait_isr(&self, topic: &str, index: i32, wanted: &[i32]) {
        self.wait_for(&format!("in-sync replicas {wanted:?} of {topic}-{index}"), |cluster| {
            let mut isr: Vec<i32> = cluster.partition(topic, index)?.isr_nodes.iter().map(|node| node.0).collect();
            isr.sort_unstable();
            (isr == wanted).then_some(())
        });
    }

    /// The end of a partition for consumers, as this node gives it: none unless it leads.
    pub fn high_watermark(&self, id: i32, topic: &str, index: i32) -> Option<i64> {
        let mut client = Client::try_connect(self.address(id))?;
        let answer = client.try_call(6, &requests::list_offsets_request(topic, index, -1), ANSWER)?;
        let found = answer.topics.first()?.partitions.first()?;
        (found.error_code == 0).then_some(found.offset)
    }

    /// The active controller: the leader of the metadata quorum.
    pub fn controller(&self) -> i32 {
        self.wait_for("an active controller", |cluster| {
            use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
            let topic = TopicData::default()
                .with_topic_name(TopicName(StrBytes::from_static_str("__cluster_metadata")))
                .with_partitions(vec![PartitionData::default()]);
            let answer = cluster.ask_any(1, &DescribeQuorumRequest::default().with_topics(vec![topic]))?;
            let partition = answer.topics.first()?.partitions.first()?;
            (answer.error_code == 0 && partition.error_code == 0 && partition.leader_id.0 > 0)
                .then_some(partition.leader_id.0)
        })
    }

    /// Makes a topic through whichever node answers, and waits until every partition has a leader and all its replicas in sync.
    pub fn create_topic(&self, name: &str, partitions: i32, replicas: i16, configs: &[(&str, &str)]) {
        let mut request: CreateTopicsRequest = requests::create_request(name, partitions, &[]);
        request.topics[0].replication_factor = replicas;
        request.topics[0].configs = configs
            .iter()
            .map(|(key, value)| {
                CreatableTopicConfig::default().with_name(requests::text(key)).with_value(Some(requests::text(value)))
            })
            .collect();
        self.wait_for(&format!("topic {name} to be made"), |cluster| {
            let made = cluster.ask_any(7, &request)?.topics.pop()?;
            // Made already: the answer to an earlier try was lost. 7, 38, 41: no controller now, too few brokers yet.
            assert!(matches!(made.error_code, 0 | 7 | 36 | 38 | 41), "cannot create {name}: {:?}", made.error_message);
            matches!(made.error_code, 0 | 36).then_some(())
        });
        for index in 0..partitions {
            self.leader(name, index);
            self.wait_for(&format!("{name}-{index} to have all replicas in sync"), |cluster| {
                let isr = cluster.partition(name, index)?.isr_nodes.len();
                (isr == usize::try_from(replicas).unwrap()).then_some(())
            });
        }
    }

    /// Produces to the partition's leader of now with these acks; none if nobody answered.
    pub fn try_produce(&self, topic: &str, index: i32, acks: i16, batch: &Batch) -> Option<PartitionProduceResponse> {
        let leader = self.partition(topic, index)?.leader_id.0;
        if leader < 1 {
            return None;
        }
        let request: ProduceRequest = requests::produce_request(topic, index, acks, batch.bytes());
        let mut answer = self.ask(leader, requests::PRODUCE, &request)?;
        answer.responses.pop()?.partition_responses.pop()
    }

    /// Produces with acks=all until it is acknowledged, and returns the base offset. Without a producer id in the batch a
    /// lost answer may mean that it is there twice.
    pub fn produce(&self, topic: &str, index: i32, batch: &Batch) -> i64 {
        self.wait_for(&format!("an acknowledgement of {topic}-{index}"), |cluster| {
            let answer = cluster.try_produce(topic, index, -1, batch)?;
            // 46: it is there, by an earlier try whose offset the broker forgot.
            matches!(answer.error_code, 0 | 46).then_some(answer.base_offset)
        })
    }

    /// Everything in a partition below the high watermark of its leader.
    pub fn read_all(&self, topic: &str, index: i32) -> Vec<Record> {
        let leader = self.leader(topic, index);
        let end = self
            .wait_for(&format!("the end of {topic}-{index}"), |cluster| cluster.high_watermark(leader, topic, index));
        let mut client = self.client(leader);
        let (mut all, mut offset) = (Vec::new(), 0);
        while offset < end {
            let response = client.call(requests::FETCH, &requests::fetch_request(topic, index, offset, 500, 1));
            let code = response.responses.first().map(|topic| topic.partitions[0].error_code);
            assert_eq!(code, Some(0), "cannot read {topic}-{index} from {offset} at node {leader}");
            let records = batch::read(requests::fetched(&response));
            let Some(last) = records.last().map(|record| record.offset) else { continue };
            all.extend(records.into_iter().filter(|record| record.offset >= offset));
            offset = last + 1;
        }
        all
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

fn partition_of(topic: MetadataResponseTopic, index: i32) -> Option<MetadataResponsePartition> {
    topic.partitions.into_iter().find(|partition| partition.partition_index == index)
}

/// The first of the ports that a cluster needs, all of them free: below those that the system gives to connections, so that
/// nobody takes one while its node is down. Each call in a process looks elsewhere.
fn free_ports(nodes: i32) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let nodes = u16::try_from(nodes).unwrap();
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let process = u16::try_from(std::process::id() % 50).unwrap();
    loop {
        // 250 ports a cluster: controllers listen 101 above.
        let turn = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(process) % 50;
        let first = 20_000 + turn * 250;
        if (0..nodes).all(|node| is_free(first + node) && is_free(first + 101 + node)) {
            return first;
        }
    }
}
