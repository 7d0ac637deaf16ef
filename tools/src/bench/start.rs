//! `jackdaw bench start`: from the start of a broker's process to its first answer, then what it needs when idle.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::BenchError;
use super::args::{Observe, resolve};
use super::process::Usage;
use super::report;
use super::wire::Client;

/// Between two attempts to reach the broker.
const RETRY: Duration = Duration::from_micros(200);
const STOP_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(crate) struct StartArgs {
    /// Address on which the broker will answer.
    #[arg(long, default_value = "127.0.0.1:9092", value_name = "HOST:PORT")]
    bootstrap_server: String,
    /// How long it is watched while idle.
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    idle: u64,
    /// Connections that are opened, used once and left idle, to see what each costs.
    #[arg(long, default_value_t = 0, value_name = "CONNECTIONS")]
    idle_connections: usize,
    /// Give up when it has not answered by then.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    within: u64,
    #[command(flatten)]
    observe: Observe,
    /// Program and arguments that start the broker in the foreground.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

pub(super) fn run(args: &StartArgs) -> Result<(), BenchError> {
    let address = resolve(&args.bootstrap_server)?;
    if TcpStream::connect(address).is_ok() {
        let text = format!("something answers on {address} already: stop it, or give another --bootstrap-server");
        return Err(BenchError::Arguments(text));
    }
    let (program, arguments) =
        args.command.split_first().ok_or_else(|| BenchError::Arguments("no command given".to_owned()))?;
    let started = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|source| BenchError::File { path: program.clone(), source })?;
    let report = observe(args, address, &mut child, started);
    stop(&mut child)?;
    report::finish(&report?, args.observe.json.as_deref())
}

fn observe(args: &StartArgs, address: SocketAddr, child: &mut Child, started: Instant) -> Result<Value, BenchError> {
    let mut client = first_answer(args, address, child, started)?;
    let first_answer = started.elapsed();
    let pid = args.observe.broker_pid.unwrap_or(child.id());
    let cpu = Usage::of(pid)?.cpu_seconds();
    let mut report = json!({
        "command": "start",
        "first_answer_ms": first_answer.as_secs_f64() * 1_000.0,
        "start_cpu_seconds": cpu,
    });
    if args.idle > 0 {
        // What a start leaves behind (compilation, first flush) is not what idling costs.
        thread::sleep(Duration::from_secs(2));
        let before = Usage::of(pid)?;
        thread::sleep(Duration::from_secs(args.idle));
        let after = Usage::of(pid)?;
        report["idle"] = json!({
            "seconds": args.idle,
            "cpu_percent": (after.cpu_seconds() - before.cpu_seconds()) / args.idle as f64 * 100.0,
            "switches": after.voluntary_switches.saturating_sub(before.voluntary_switches),
            "rss_kib": after.rss_kib,
            "anonymous_kib": after.anonymous_kib,
            "threads": after.threads,
        });
    }
    if args.idle_connections > 0 {
        let before = Usage::of(pid)?;
        let mut clients = Vec::new();
        for _ in 0..args.idle_connections {
            let mut client = Client::connect(address)?;
            client.api_versions()?;
            clients.push(client);
        }
        let after = Usage::of(pid)?;
        let each = |now: u64, then: u64| now.saturating_sub(then) as f64 * 1024.0 / args.idle_connections as f64;
        report["idle_connections"] = json!({
            "count": args.idle_connections,
            "rss_bytes_each": each(after.rss_kib, before.rss_kib),
            "anonymous_bytes_each": each(after.anonymous_kib, before.anonymous_kib),
        });
    }
    client.api_versions()?;
    Ok(report)
}

/// Tries again and again until ApiVersions is answered.
fn first_answer(
    args: &StartArgs,
    address: SocketAddr,
    child: &mut Child,
    started: Instant,
) -> Result<Client, BenchError> {
    let within = Duration::from_secs(args.within);
    loop {
        if let Ok(mut client) = Client::connect(address)
            && client.api_versions().is_ok()
        {
            return Ok(client);
        }
        if started.elapsed() > within || child.try_wait()?.is_some() {
            return Err(BenchError::NoStart { seconds: args.within, command: args.command.join(" ") });
        }
        thread::sleep(RETRY);
    }
}

/// Asks the process to end, and ends it if it does not.
fn stop(child: &mut Child) -> Result<(), BenchError> {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // A process that has ended already needs no signal.
        let _ = kill_process(pid, Signal::TERM);
    }
    let asked = Instant::now();
    while child.try_wait()?.is_none() {
        if asked.elapsed() > STOP_WITHIN {
            child.kill()?;
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
