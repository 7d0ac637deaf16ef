//! The broker processes: how they are configured, started, signalled, and where their files are.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::net::Namespace;
use super::proxy::Pids;
use super::volume::Volume;
use super::{RunError, net, system};

/// How long a clean stop may take before the process is killed; that is told.
const STOP: Duration = Duration::from_secs(30);

/// Who is tested.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// This binary, or another one.
    Jackdaw(PathBuf),
    /// Apache Kafka, by the script `benches/peers/kafka`.
    Kafka(PathBuf),
}

/// What all nodes have in common.
pub(super) struct Plan {
    pub(super) target: Target,
    pub(super) nodes: usize,
    /// `key=value`, appended to every node's properties.
    pub(super) settings: Vec<String>,
    /// For logs and properties.
    pub(super) out: PathBuf,
    /// Where the wall clock can be made to jump: the library to preload.
    pub(super) faketime: Option<PathBuf>,
    /// On loopback: the first of the ports, 200 of them; 0 in namespaces.
    pub(super) first_port: u16,
    pub(super) pids: Pids,
}

/// One node.
pub(super) struct Node {
    pub(super) id: usize,
    dir: PathBuf,
    pub(super) volume: Option<Volume>,
    namespace: Option<Namespace>,
    child: Option<Child>,
    /// `unexpected` ends of the process, for the report.
    pub(super) deaths: Vec<String>,
    cluster_id: String,
}

impl Plan {
    fn in_namespaces(&self) -> bool {
        self.first_port == 0
    }

    /// Where clients and brokers reach a node.
    pub(super) fn address(&self, id: usize) -> String {
        if self.in_namespaces() { format!("{}:9092", net::address(id)) } else { loopback(self.proxied(id)[0].0) }
    }

    /// Where other controllers reach it.
    pub(super) fn controller_address(&self, id: usize) -> String {
        if self.in_namespaces() { format!("{}:9093", net::address(id)) } else { loopback(self.proxied(id)[1].0) }
    }

    /// Where it listens: the same, or behind its proxies.
    fn listeners(&self, id: usize) -> [String; 2] {
        if self.in_namespaces() {
            [self.address(id), self.controller_address(id)]
        } else {
            self.proxied(id).map(|(_, private)| loopback(private))
        }
    }

    /// On loopback: the port that others know and the one behind it, of the broker and of the controller.
    pub(super) fn proxied(&self, id: usize) -> [(u16, u16); 2] {
        let id = u16::try_from(id).unwrap_or(0);
        [0, 100].map(|more| (self.first_port + more + id, self.first_port + more + 20 + id))
    }

    fn properties(&self, id: usize, data: &Path) -> String {
        let voters: Vec<String> =
            (1..=self.nodes).map(|node| format!("{node}@{}", self.controller_address(node))).collect();
        let copies = self.nodes.min(3);
        let [broker, controller] = self.listeners(id);
        let mut lines = vec![
            "process.roles=broker,controller".to_owned(),
            format!("node.id={id}"),
            format!("controller.quorum.voters={}", voters.join(",")),
            "controller.listener.names=CONTROLLER".to_owned(),
            format!("listeners=PLAINTEXT://{broker},CONTROLLER://{controller}"),
            format!("advertised.listeners=PLAINTEXT://{}", self.address(id)),
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
            "inter.broker.listener.name=PLAINTEXT".to_owned(),
            format!("log.dirs={}", data.display()),
            format!("offsets.topic.replication.factor={copies}"),
            "offsets.topic.num.partitions=6".to_owned(),
            format!("transaction.state.log.replication.factor={copies}"),
            "transaction.state.log.min.isr=2".to_owned(),
            "min.insync.replicas=2".to_owned(),
            "group.initial.rebalance.delay.ms=0".to_owned(),
            "auto.create.topics.enable=false".to_owned(),
            "log.retention.ms=-1".to_owned(),
        ];
        if matches!(self.target, Target::Kafka(_)) {
            lines.push(format!("share.coordinator.state.topic.replication.factor={copies}"));
            lines.push("share.coordinator.state.topic.min.isr=2".to_owned());
        }
        lines.extend(self.settings.iter().cloned());
        lines.join("\n") + "\n"
    }
}

fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

impl Node {
    pub(super) fn new(plan: &Plan, id: usize, namespace: Option<Namespace>, volume: Option<Volume>) -> Node {
        let dir = volume.as_ref().map_or_else(|| plan.out.join(format!("data-{id}")), |disk| disk.path().to_owned());
        let cluster_id = "jackdawChaosRun0000000".to_owned();
        Node { id, dir, volume, namespace, child: None, deaths: Vec::new(), cluster_id }
    }

    /// The log directory.
    pub(super) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn command(&self, program: &Path) -> Command {
        self.namespace.as_ref().map_or_else(|| Command::new(program), |namespace| namespace.command(program))
    }

    /// Starts the process; a directory that Kafka has not formatted yet is formatted first.
    pub(super) fn start(&mut self, plan: &Plan) -> Result<(), RunError> {
        if self.child.is_some() {
            return Ok(());
        }
        let failed = |error| RunError::system(&format!("node {}", self.id), error);
        let properties = plan.out.join(format!("node-{}.properties", self.id));
        fs::create_dir_all(&self.dir).map_err(failed)?;
        fs::write(&properties, plan.properties(self.id, &self.data())).map_err(failed)?;
        if let Target::Kafka(script) = &plan.target
            && !self.data().join("meta.properties").exists()
        {
            let mut format = Command::new(script);
            format.args(["run", "kafka.tools.StorageTool", "format", "-t", &self.cluster_id, "-c"]).arg(&properties);
            system::run(format.env("KAFKA_TOOL_HEAP", "128M"))?;
        }
        let log = plan.out.join(format!("node-{}.log", self.id));
        let log = File::options().create(true).append(true).open(log).map_err(failed)?;
        let mut command = match &plan.target {
            Target::Jackdaw(binary) => {
                let mut command = self.command(binary);
                command.args(["serve", "--config"]).arg(&properties);
                command
            }
            Target::Kafka(script) => {
                let mut command = self.command(script);
                command.args(["run", "kafka.Kafka"]).arg(&properties).env("KAFKA_TOOL_HEAP", "384M");
                command
            }
        };
        if let Some(library) = &plan.faketime {
            let clock = plan.out.join(format!("clock-{}", self.id));
            fs::write(&clock, "+0").map_err(failed)?;
            command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", clock);
            // Only the wall clock jumps: nothing may, and no kernel would, turn the monotonic one back.
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
            command.env("FAKETIME_CACHE_DURATION", "1").env("NO_FAKE_STAT", "1");
        }
        command.env_remove("JACKDAW_CHAOS_INSIDE");
        let stderr = log.try_clone().map_err(failed)?;
        let child = command.stdin(Stdio::null()).stdout(log).stderr(stderr).spawn().map_err(failed)?;
        plan.pids.lock().unwrap_or_else(PoisonError::into_inner).insert(self.id, child.id());
        self.child = Some(child);
        Ok(())
    }

    /// Sets the wall clock of the process so many seconds ahead, or back.
    pub(super) fn set_clock(&self, plan: &Plan, seconds: i64) -> Result<(), RunError> {
        let clock = plan.out.join(format!("clock-{}", self.id));
        // Renamed, so that nobody reads half of it.
        let new = clock.with_extension("new");
        fs::write(&new, format!("{seconds:+}"))
            .and_then(|()| fs::rename(&new, &clock))
            .map_err(|error| RunError::system("the fake clock", error))
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<(), RunError> {
        let pid = self.child.as_ref().and_then(|child| Pid::from_raw(i32::try_from(child.id()).ok()?));
        let Some(pid) = pid else { return Ok(()) };
        kill_process(pid, signal).map_err(|error| RunError::system(&format!("node {}", self.id), error.into()))
    }

    /// SIGKILL, and waits for the end.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and waits for the end as [`Node::await_end`] does.
    pub(super) fn stop(&mut self) -> Result<(), RunError> {
        self.signal(Signal::TERM)?;
        self.await_end();
        Ok(())
    }

    /// Waits for the end after SIGTERM; one that does not stop is killed, and that is told.
    pub(super) fn await_end(&mut self) {
        let started = Instant::now();
        while let Some(child) = &mut self.child {
            match child.try_wait() {
                Ok(Some(_)) => self.child = None,
                _ if started.elapsed() > STOP => {
                    self.deaths.push(format!("node {} did not stop within {} s of SIGTERM", self.id, STOP.as_secs()));
                    self.kill();
                }
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Notices that the process ended by itself; `why` it was allowed to, if it was.
    pub(super) fn look(&mut self, now: &str, allowed: bool) -> bool {
        let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) else { return false };
        self.child = None;
        if !allowed {
            let how = status.signal().map_or_else(|| format!("{status}"), |signal| format!("signal {signal}"));
            self.deaths.push(format!("node {} ended by itself ({how}) during {now}", self.id));
        }
        true
    }

    /// Empties the disk.
    pub(super) fn wipe(&self) -> Result<(), RunError> {
        match fs::remove_dir_all(self.data()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(RunError::system(&format!("{}", self.data().display()), error))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
