//! `jackdaw chaos check`: the verdict over a history.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use jackdaw_checker::{Finding, Kind, Limits, Report, Summary, Weight};

use crate::output::{self, CliError, OutputArgs};

/// Judge a history: every anomaly of Jepsen's Kafka workload, and a few more
///
/// A history is a file with one JSON object a line: what each process was about to do, and what came of it.
/// tools/checker/HISTORY.md describes it. Each anomaly is printed with the operations that show it, then a table of all.
/// What Kafka's promises allow is in the table too, and does not fail the history.
///
/// Exit codes: 0 no anomaly; 1 at least one; 2 the history cannot be read.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The history; - for standard input
    #[arg(value_name = "HISTORY")]
    history: PathBuf,
    /// How many anomalies of a kind are shown; all are counted
    #[arg(long, value_name = "N", default_value_t = Limits::default().shown_max)]
    limit: usize,
    /// Fail if a poll missed records that had been acknowledged for longer than this [default: only tell the worst]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(i64).range(0..=i64::MAX / NANOS_PER_MILLI))]
    max_lag_ms: Option<i64>,
    /// Fail if a last stable offset stood still below the high watermark for longer than this: the transaction timeout
    /// of the producers, and what the coordinator needs to notice [default: 75000]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(i64).range(0..=i64::MAX / NANOS_PER_MILLI))]
    max_lso_wait_ms: Option<i64>,
    #[command(flatten)]
    output: OutputArgs,
}

const NANOS_PER_MILLI: i64 = 1_000_000;

/// No anomaly.
const CLEAN: u8 = 0;
/// At least one.
const ANOMALIES: u8 = 1;
/// It cannot be judged.
const UNREADABLE: u8 = 2;

/// Runs the command.
pub(super) fn run(args: &CheckArgs) -> ExitCode {
    let name = if args.history == Path::new("-") { "standard input".into() } else { args.history.to_string_lossy() };
    let report = match judge(args) {
        Ok(report) => report,
        Err(why) => {
            output::complain(&format!("{name}: {why}"));
            return ExitCode::from(UNREADABLE);
        }
    };
    let printed = if args.output.is_json() { output::json(&report) } else { print(&name, &report) };
    match printed {
        // The reader has seen enough; the verdict stands.
        Err(CliError::Io { error, .. }) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => {
            output::complain(&error);
            return ExitCode::from(UNREADABLE);
        }
        Ok(()) => {}
    }
    ExitCode::from(if report.valid { CLEAN } else { ANOMALIES })
}

fn judge(args: &CheckArgs) -> Result<Report, String> {
    let mut limits = Limits { shown_max: args.limit, ..Limits::default() };
    limits.realtime_lag_max = args.max_lag_ms.map(|ms| ms * NANOS_PER_MILLI);
    limits.lso_wait_max = args.max_lso_wait_ms.map_or(limits.lso_wait_max, |ms| ms * NANOS_PER_MILLI);
    let input: Box<dyn BufRead> = if args.history == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(&args.history).map_err(|error| format!("{error}. Name the file that the run wrote"))?;
        Box::new(BufReader::with_capacity(1 << 20, file))
    };
    let history = jackdaw_checker::read(input).map_err(|error| error.to_string())?;
    jackdaw_checker::check(&history, &limits).map_err(|error| error.to_string())
}

/// Prints a report for people.
pub(super) fn print(name: &str, report: &Report) -> Result<(), CliError> {
    for finding in &report.findings {
        print_finding(finding)?;
    }
    let rows: Vec<Vec<String>> = report.findings.iter().map(row).collect();
    if !rows.is_empty() {
        output::table(&["ANOMALY", "COUNT", "VERDICT", "MEANS"], &rows)?;
        output::line("")?;
    }
    output::line(&summary(name, &report.summary))?;
    let unjudged = if report.summary.has_final_phase {
        ""
    } else {
        " No final phase was marked: acknowledged records that nobody read are told, and not judged."
    };
    let verdict = if report.valid { "no anomalies." } else { "ANOMALIES." };
    output::line(&format!("{verdict}{unjudged}"))
}

fn print_finding(finding: &Finding) -> Result<(), CliError> {
    let Finding { kind, weight, count, shown } = finding;
    for (at, anomaly) in (1..).zip(shown) {
        let allowed = if *weight == Weight::Allowed { ", allowed" } else { "" };
        output::line(&format!("{} ({at} of {count}{allowed}): {}", kind.name(), anomaly.what))?;
        for operation in &anomaly.shown_by {
            output::line(&format!("    {operation}"))?;
        }
    }
    if !shown.is_empty() { output::line("") } else { Ok(()) }
}

fn row(finding: &Finding) -> Vec<String> {
    let verdict = match finding.weight {
        Weight::Error => "anomaly",
        Weight::Allowed => "allowed",
    };
    let kind: Kind = finding.kind;
    vec![kind.name().to_owned(), finding.count.to_string(), verdict.to_owned(), kind.means().to_owned()]
}

fn summary(name: &str, summary: &Summary) -> String {
    let Summary { operations, ok, failed, unknown, processes, keys, groups, faults, .. } = summary;
    let Summary { acknowledged_sends, polled, worst_realtime_lag_ms, longest_lso_wait_ms, .. } = summary;
    let duration = std::time::Duration::from_millis(summary.duration_ms);
    format!(
        "{name}: {operations} operations in {duration:?} ({ok} ok, {failed} failed, {unknown} unknown) by {processes} processes \
         on {keys} keys in {groups} groups, {faults} faults\n\
         {acknowledged_sends} records acknowledged, {polled} polled; worst lag of a poll {worst_realtime_lag_ms} ms, longest \
         wait of a last stable offset {longest_lso_wait_ms} ms"
    )
}
