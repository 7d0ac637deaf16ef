//! What a run has shown: the checker's verdict, the bytes of the replicas, how soon the cluster was back.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use jackdaw_checker::{Limits, Report, Weight};
use serde::Serialize;

use super::history::Recorder;
use super::nemesis::Nemesis;
use super::node::Target;
use super::replicas::{Comparison, Replica};
use super::timeline::{Happened, Timeline};
use super::{RunArgs, RunError, plot, session};
use crate::output;

/// What is left when the nodes have stopped.
#[derive(Default)]
pub(super) struct Ended {
    pub(super) faults: Vec<Happened>,
    /// Whatever went wrong that is neither in the history nor in the logs.
    pub(super) complaints: Vec<String>,
    /// Each partition's folder, high watermark and replicas.
    pub(super) ends: Vec<(String, i64, Vec<usize>)>,
}

/// All of it, as it is written to `report.json`.
#[derive(Serialize)]
struct Verdict {
    well: bool,
    target: String,
    seed: u64,
    nodes: usize,
    kinds: usize,
    faults: usize,
    complaints: Vec<String>,
    replicas: Comparison,
    checker: Report,
}

/// Judges, writes the results into `out`, and prints them; whether all is well.
pub(super) fn judge(
    args: &RunArgs,
    seed: u64,
    out: &Path,
    nemesis: &Nemesis,
    recorder: &Recorder,
    ended: Ended,
) -> Result<bool, RunError> {
    let Ended { faults, mut complaints, ends } = ended;
    let mut replicas = Comparison::default();
    for (name, end, nodes) in &ends {
        let data: Vec<_> =
            nodes.iter().filter_map(|id| nemesis.nodes.get(id - 1)).map(|node| (node.id, node.data())).collect();
        let compared: Vec<_> = data.iter().map(|(node, data)| Replica { node: *node, data }).collect();
        let before = replicas.differences.len();
        replicas.partition(name, *end, &compared);
        if replicas.differences.len() > before {
            keep(&out.join("different"), name, &data)?;
        }
    }
    let target = match &nemesis.plan.target {
        Target::Jackdaw(_) => "Jackdaw",
        Target::Kafka(_) => "Apache Kafka",
    };
    let timeline = Timeline::new(target, seed, args.nodes, faults, &recorder.samples());
    complaints.extend(timeline.faults.iter().filter_map(|fault| late(fault, args.back_within)));
    let checker = check(&out.join("history.jsonl"))?;
    if checker.summary.acknowledged_sends == 0 {
        complaints.push("no record was acknowledged: nothing was shown".to_owned());
    }
    let mut kinds: Vec<&str> = timeline.faults.iter().map(|fault| fault.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let verdict = Verdict {
        well: complaints.is_empty() && replicas.differences.is_empty() && checker.valid,
        target: target.to_owned(),
        seed,
        nodes: args.nodes,
        kinds: kinds.len(),
        faults: timeline.faults.len(),
        complaints,
        replicas,
        checker,
    };
    let json = |value: serde_json::Result<String>| value.map_err(|error| RunError::Broken(error.to_string()));
    session::write(&out.join("timeline.json"), &json(serde_json::to_string(&timeline))?)?;
    session::write(&out.join("report.json"), &json(serde_json::to_string_pretty(&verdict))?)?;
    plot::draw(&timeline, &out.join("timeline.svg")).map_err(RunError::Broken)?;
    let printed = if args.output.is_json() { output::json(&verdict) } else { print(&verdict, &timeline, out) };
    printed.map_err(|error| RunError::Broken(error.to_string()))?;
    Ok(verdict.well)
}

/// Copies the logs that differ: the disks are gone when the run is.
fn keep(to: &Path, name: &str, data: &[(usize, PathBuf)]) -> Result<(), RunError> {
    for (node, data) in data {
        let to = to.join(format!("node-{node}")).join(name);
        let failed = |error| RunError::system(&to.display().to_string(), error);
        std::fs::create_dir_all(&to).map_err(failed)?;
        for file in std::fs::read_dir(data.join(name)).into_iter().flatten().flatten() {
            std::fs::copy(file.path(), to.join(file.file_name())).map_err(failed)?;
        }
    }
    Ok(())
}

fn late(fault: &Happened, within: u64) -> Option<String> {
    let Happened { kind, began_ms, note, .. } = fault;
    let at = *began_ms as f64 / 1000.0;
    match fault.back_after_ms {
        None => Some(format!("{kind} at {at:.1} s: not everything came back: {note}")),
        Some(ms) if ms > within * 1000 => {
            Some(format!("{kind} at {at:.1} s: back {:.1} s after the heal, later than {within} s", ms as f64 / 1000.0))
        }
        Some(_) => None,
    }
}

fn check(history: &Path) -> Result<Report, RunError> {
    let file = File::open(history).map_err(|error| RunError::system(&history.display().to_string(), error))?;
    let history = jackdaw_checker::read(BufReader::with_capacity(1 << 20, file));
    let report = history.and_then(|history| jackdaw_checker::check(&history, &Limits::default()));
    report.map_err(|error| RunError::Broken(format!("the history cannot be judged: {error}")))
}

fn print(verdict: &Verdict, timeline: &Timeline, out: &Path) -> Result<(), output::CliError> {
    let row = |fault: &Happened| {
        let nodes: Vec<String> = fault.nodes.iter().map(ToString::to_string).collect();
        vec![
            format!("{:.1} s", fault.began_ms as f64 / 1000.0),
            fault.kind.clone(),
            nodes.join(","),
            format!("{} ms", fault.healed_ms - fault.began_ms),
            format!("{} ms", fault.slowest_send_ms),
            fault.back_after_ms.map_or_else(|| "never".to_owned(), |ms| format!("{ms} ms")),
            fault.note.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = timeline.faults.iter().map(row).collect();
    output::table(&["AT", "FAULT", "NODES", "LASTED", "SLOWEST SEND", "BACK AFTER", "NOTE"], &rows)?;
    output::line("")?;
    super::super::check::print(&out.join("history.jsonl").to_string_lossy(), &verdict.checker)?;
    let Comparison { partitions, replicas, bytes, differences } = &verdict.replicas;
    let same = if differences.is_empty() { "all the same" } else { "DIFFERENT" };
    output::line(&format!(
        "{replicas} replicas of {partitions} partitions below their high watermarks, {bytes} bytes beside the first of each: {same}."
    ))?;
    verdict.replicas.differences.iter().try_for_each(|line| output::line(&format!("    {line}")))?;
    verdict.complaints.iter().try_for_each(|line| output::line(&format!("COMPLAINT: {line}")))?;
    output::line(&closing(verdict, timeline))?;
    output::line(&format!("The timeline is {}", out.join("timeline.svg").display()))
}

/// The run in one sentence.
fn closing(verdict: &Verdict, timeline: &Timeline) -> String {
    let Verdict { faults, kinds, target, seed, checker, replicas, .. } = verdict;
    let anomalies: u64 =
        checker.findings.iter().filter(|kind| kind.weight == Weight::Error).map(|kind| kind.count).sum();
    let (operations, sent, polled) =
        (checker.summary.operations, checker.summary.acknowledged_sends, checker.summary.polled);
    let slowest = timeline.faults.iter().max_by_key(|fault| fault.back_after_ms.unwrap_or(u64::MAX));
    let slowest = slowest.map_or_else(String::new, |fault| match fault.back_after_ms {
        Some(ms) => format!(", back {ms} ms after a heal at the latest ({})", fault.kind),
        None => format!(", not back after {}", fault.kind),
    });
    let judged = if verdict.well { "all is well" } else { "NOT WELL" };
    format!(
        "{faults} faults of {kinds} kinds on {target}, seed {seed}: {operations} operations, {sent} records acknowledged, {polled} \
         polled, {anomalies} anomalies, {} replicas compared, {} differences{slowest}: {judged}.",
        replicas.replicas,
        replicas.differences.len()
    )
}
