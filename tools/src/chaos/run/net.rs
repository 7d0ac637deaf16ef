//! Namespaces: one for the whole run, and one for each node, joined by the [`Switch`].
//!
//! The run begins itself again under `unshare`: with process ids, mounts and a network of its own. So it can reach nothing else, and
//! whatever it started, mounted or set up is gone with its first process, however that ends.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::RunError;
use super::links::Links;
use super::switch::{Switch, device_name};

/// The last byte of the harness's own address; nodes have their ids.
pub(super) const HARNESS: u8 = 254;
/// Set for the run inside of its namespaces.
const INSIDE: &str = "JACKDAW_CHAOS_INSIDE";

/// Address of a node.
pub(super) fn address(node: usize) -> String {
    format!("10.77.0.{node}")
}

/// Whether this process is the one in namespaces of its own.
pub(super) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Whether the run may have namespaces and TUN devices; the reason if not.
pub(super) fn are_allowed() -> Result<(), String> {
    if !Path::new("/dev/net/tun").exists() {
        return Err("there is no /dev/net/tun".to_owned());
    }
    for program in ["unshare", "nsenter", "ip"] {
        let found = Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.map_err(|error| format!("{program}: {error}; install util-linux and iproute2"))?;
    }
    let mut tried = unshare();
    tried.args(["ip", "tuntap", "add", "dev", "jdtry", "mode", "tun"]);
    let output = tried.output().map_err(|error| format!("unshare: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--"]);
    command
}

/// Becomes `unshare`, which runs this very command again; returns only if that fails.
pub(super) fn enter() -> io::Error {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    unshare().arg(program).args(arguments).env(INSIDE, "1").exec()
}

/// The network namespace of a node, which lives as long as this.
pub(super) struct Namespace {
    holder: Child,
}

impl Namespace {
    /// A command that runs in it.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.holder.id()))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Makes a network of so many nodes: their namespaces in the order of their ids.
pub(super) fn build(nodes: usize, seed: u64, links: &Links) -> Result<Vec<Namespace>, RunError> {
    let switch =
        Switch::open(nodes, links.clone()).map_err(|error| RunError::system("cannot make a TUN device", error))?;
    ip(Command::new("ip"), &["link", "set", "lo", "up"])?;
    bring_up(|| Command::new("ip"), 0, &format!("10.77.0.{HARNESS}/24"))?;
    let mut namespaces = Vec::new();
    for node in 1..=nodes {
        let namespace = namespace()?;
        ip(Command::new("ip"), &["link", "set", &device_name(node), "netns", &namespace.holder.id().to_string()])?;
        let inside = || namespace.command(Path::new("ip"));
        ip(inside(), &["link", "set", "lo", "up"])?;
        bring_up(inside, node, &format!("{}/24", address(node)))?;
        namespaces.push(namespace);
    }
    switch.start(seed).map_err(|error| RunError::system("cannot start the switch", error))?;
    Ok(namespaces)
}

fn bring_up(command: impl Fn() -> Command, host: usize, address: &str) -> Result<(), RunError> {
    ip(command(), &["addr", "add", address, "dev", &device_name(host)])?;
    ip(command(), &["link", "set", &device_name(host), "up"])
}

fn ip(mut command: Command, arguments: &[&str]) -> Result<(), RunError> {
    super::system::run(command.args(arguments))
}

/// A process that sleeps in a namespace, and so keeps it.
fn namespace() -> Result<Namespace, RunError> {
    let own = std::fs::read_link("/proc/self/ns/net").map_err(|error| RunError::system("/proc/self/ns/net", error))?;
    let holder = Command::new("unshare")
        .args(["--net", "--", "sleep", "infinity"])
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| RunError::system("unshare", error))?;
    let namespace = Namespace { holder };
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::fs::read_link(namespace.path()).ok().is_none_or(|link| link == own) {
        if Instant::now() > deadline {
            return Err(RunError::Broken("unshare --net made no namespace within 10 s".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(namespace)
}
