//! One run from its first start to its verdict.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use jackdaw_checker::entry::Mark;
use rustix::process::Signal;

use super::admin::Admin;
use super::fault::{Fault, Schedule};
use super::history::Recorder;
use super::nemesis::Nemesis;
use super::node::Target;
use super::setup::{self, Means};
use super::timeline::{Happened, millis};
use super::verdict::{self, Ended};
use super::workload::{Key, Load, Workload, key_name};
use super::{RunArgs, RunError, consumer, rdkafka};
use crate::output;

const TOPIC: &str = "chaos";
/// How long a whole cluster may take to start, or to be in order again after the last fault.
const START: Duration = Duration::from_secs(180);
/// How often it is looked whether sends are acknowledged again.
const LOOK: Duration = Duration::from_millis(20);
/// Load without a fault, before the first.
const WARM_UP: Duration = Duration::from_secs(4);
/// How long a heal is waited for; beyond, the run goes on, and fails.
const HEAL_MAX: Duration = Duration::from_secs(90);
/// How long clients may take to end their last operations.
const LAST_OPERATIONS: Duration = Duration::from_secs(60);
const FINAL_READS: Duration = Duration::from_secs(120);
/// Of our own producers, each with one key.
const PRODUCERS_MAX: u32 = 48;
const CONSUMERS: u32 = 3;
const MEMBERS: u32 = 3;
const NO_PYTHON: &str = "left out: librdkafka, because no Python has confluent-kafka";

/// Runs it; whether all is well.
pub(super) async fn run(args: &RunArgs, means: &Means) -> Result<bool, RunError> {
    let seed = setup::seed(args);
    let (kinds, left_out) = means.kinds(args);
    let python = rdkafka::python();
    let left_out: Vec<String> = left_out.into_iter().chain(python.is_none().then(|| NO_PYTHON.to_owned())).collect();
    if kinds.is_empty() || args.strict && !left_out.is_empty() {
        let why = if args.strict { "--strict was given" } else { "no kind of fault is left" };
        return Err(RunError::Broken(format!("{why}: {}", left_out.join("; "))));
    }
    std::fs::create_dir_all(&args.out).map_err(|error| RunError::system(&args.out.display().to_string(), error))?;
    let out = setup::absolute(&args.out)?;
    let bar = progress(args.duration);
    say(
        &bar,
        &format!("seed {seed}, {} kinds of fault, {} nodes; all of it in {}", kinds.len(), args.nodes, out.display()),
    );
    left_out.iter().for_each(|line| say(&bar, line));
    let clocks = kinds.iter().any(|kind| kind.need() == super::fault::Need::Clock);
    let made = setup::make(args, means, &out, seed, clocks)?;
    let bootstrap: Vec<String> = (1..=args.nodes).map(|id| made.plan.address(id)).collect();
    let keys: Vec<Key> = (0..args.partitions)
        .map(|partition| Key { name: key_name(TOPIC, partition), topic: TOPIC.to_owned(), partition })
        .collect();
    let admin = Admin::new(&bootstrap);
    let mut nemesis = Nemesis::new(made.plan, made.nodes, made.links, admin, keys.clone(), seed);
    bar.set_message("starting");
    nemesis.start_all()?;
    prepare(args, &mut nemesis).await?;
    let producers = args.partitions.unsigned_abs().min(PRODUCERS_MAX);
    let load = Arc::new(Load {
        bootstrap,
        keys,
        seed,
        acks: if args.acks == "all" { -1 } else { 1 },
        pause: Duration::from_secs_f64(f64::from(producers) / f64::from(args.rate)),
        producers,
        consumers: CONSUMERS,
        members: MEMBERS,
    });
    let recorder = Arc::new(Recorder::create(&out.join("history.jsonl"))?);
    let mut workload = Workload::start(&load, &recorder, python.as_deref())?;
    tokio::time::sleep(WARM_UP).await;
    let schedule = Schedule::new(seed, &kinds, args.nodes);
    let mut ended = Ended { faults: faults(args, schedule, &mut nemesis, &recorder, &bar).await?, ..Ended::default() };
    finish(&mut nemesis, &mut workload, &load, &recorder, &bar, &mut ended).await?;
    bar.finish_and_clear();
    verdict::judge(args, seed, &out, &nemesis, &recorder, ended)
}

fn progress(seconds: u64) -> ProgressBar {
    let bar = ProgressBar::new(seconds);
    if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} s  {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

/// A line for people, above the bar if there is one.
fn say(bar: &ProgressBar, text: &str) {
    bar.suspend(|| output::complain(&text));
}

/// Waits for the cluster, and makes the topic.
async fn prepare(args: &RunArgs, nemesis: &mut Nemesis) -> Result<(), RunError> {
    let failed =
        |why| RunError::Broken(format!("the cluster did not start: {why}; its logs are in {}", args.out.display()));
    nemesis.settle(START).await.map_err(failed)?;
    let configs = args.topic_configs.iter().filter_map(|config| config.split_once('='));
    let configs: Vec<(String, String)> = configs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    nemesis.admin.create(TOPIC, args.partitions, 3, &configs, Duration::from_secs(60)).await?;
    // The first question about a group makes the internal topic.
    nemesis.admin.coordinator("librdkafka", Duration::from_secs(60)).await?;
    nemesis.settle(START).await.map_err(failed)?;
    Ok(())
}

/// One fault after another, until time is up.
async fn faults(
    args: &RunArgs,
    schedule: Schedule,
    nemesis: &mut Nemesis,
    recorder: &Recorder,
    bar: &ProgressBar,
) -> Result<Vec<Happened>, RunError> {
    let started = Instant::now();
    let mut happened = Vec::new();
    for fault in schedule {
        if started.elapsed() >= Duration::from_secs(args.duration) {
            break;
        }
        bar.set_position(started.elapsed().as_secs());
        bar.set_message(format!(
            "{} ({} acknowledged, {} polled)",
            fault.kind.name(),
            recorder.acknowledged.load(Ordering::Relaxed),
            recorder.polled.load(Ordering::Relaxed)
        ));
        let one = one_fault(&fault, nemesis, recorder).await?;
        let back = one.back_after_ms.map_or_else(|| "NOT BACK".to_owned(), |ms| format!("back after {ms} ms"));
        let at = one.began_ms as f64 / 1000.0;
        let note = if one.note.is_empty() { String::new() } else { format!(" ({})", one.note) };
        say(
            bar,
            &format!("{at:>7.1} s  {:<18} {:?} {} ms, {back}{note}", one.kind, one.nodes, one.healed_ms - one.began_ms),
        );
        happened.push(one);
        tokio::time::sleep(fault.rest()).await;
    }
    Ok(happened)
}

async fn one_fault(fault: &Fault, nemesis: &mut Nemesis, recorder: &Recorder) -> Result<Happened, RunError> {
    let name = fault.kind.name();
    nemesis.look(&name, &[]);
    let began = recorder.mark(Mark::Fault, &format!("{name}: {fault:?}"));
    if fault.kind.destroys()
        && let Err(missing) = nemesis.settle(HEAL_MAX).await
    {
        // What is taken away now might be all there is.
        return Ok(Happened::not_done(name, millis(began), missing));
    }
    let mut done = nemesis.inject(fault).await?;
    nemesis.last(fault, &mut done).await?;
    let may_die = if done.may_die { done.nodes.clone() } else { Vec::new() };
    nemesis.look(&name, &may_die);
    nemesis.heal()?;
    let healed = recorder.mark(Mark::Fault, &format!("{name} healed"));
    let settled = settle(nemesis, &name, &may_die, Some((recorder, healed))).await;
    let (back_after_ms, late) = match settled {
        Ok(took) => (Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)), String::new()),
        Err(missing) => (None, missing),
    };
    let notes: Vec<String> = [done.note, late].into_iter().filter(|note| !note.is_empty()).collect();
    Ok(Happened {
        kind: name,
        nodes: done.nodes,
        began_ms: millis(began),
        healed_ms: millis(healed),
        back_after_ms,
        slowest_send_ms: 0,
        note: notes.join("; "),
    })
}

/// Waits for the heal: all nodes vote, every partition is whole, and, while there is load, has acknowledged a send again. A node
/// whose disk failed may end only now, and is started once more.
async fn settle(
    nemesis: &mut Nemesis,
    name: &str,
    may_die: &[usize],
    load: Option<(&Recorder, i64)>,
) -> Result<Duration, String> {
    let started = Instant::now();
    nemesis.bring_in().await;
    loop {
        let mut step = nemesis.settle(Duration::from_secs(2)).await;
        let producers = u32::try_from(nemesis.keys.len()).unwrap_or(u32::MAX).min(PRODUCERS_MAX);
        if let (Ok(_), Some((recorder, healed))) = (&step, load)
            && let Some(key) = recorder.silent_since(healed, producers)
        {
            step = Err(format!("partition {key} acknowledges nothing"));
            tokio::time::sleep(LOOK).await;
        }
        nemesis.look(name, may_die);
        nemesis.start_all().map_err(|error| error.to_string())?;
        match step {
            Ok(_) => return Ok(started.elapsed()),
            Err(missing) if started.elapsed() > HEAL_MAX => return Err(missing),
            Err(_) => {}
        }
    }
}

/// Heals, ends the load, reads everything, and stops the nodes.
async fn finish(
    nemesis: &mut Nemesis,
    workload: &mut Workload,
    load: &Load,
    recorder: &Recorder,
    bar: &ProgressBar,
    ended: &mut Ended,
) -> Result<(), RunError> {
    bar.set_message("healing, and reading everything");
    nemesis.heal()?;
    workload.stop(LAST_OPERATIONS).await;
    if let Err(missing) = settle(nemesis, "the end", &[], None).await {
        ended.complaints.push(format!("at the end, {missing}"));
    }
    ended.complaints.append(&mut nemesis.complaints);
    recorder.mark(Mark::Final, "");
    let topics = nemesis.admin.topics().await.map_err(RunError::Client)?;
    let mut ends = Vec::new();
    for (name, topic) in &topics {
        let found = nemesis.admin.ends(topic, START).await?;
        if name == TOPIC {
            ends = load.keys.iter().map(|key| found.get(&key.partition).copied().unwrap_or(0)).collect();
        }
        for (index, end) in found {
            let replicas = topic.partitions.get(&index).map(|partition| partition.replicas.clone()).unwrap_or_default();
            let replicas = replicas.into_iter().filter_map(|id| usize::try_from(id).ok()).collect();
            ended.ends.push((key_name(name, index), end, replicas));
        }
    }
    let process = recorder.process(workload.number(), None);
    let mut reader = consumer::Consumer::new(&load.bootstrap, u64::MAX, load.keys.clone());
    let unread = consumer::read_all(&process, &mut reader, &ends, FINAL_READS).await;
    ended.complaints.extend(unread.into_iter().map(|key| format!("the final read did not end: {key}")));
    recorder.finish()?;
    bar.set_message("stopping, and comparing replicas");
    // All at once: the last of them has no quorum to leave.
    for node in &mut nemesis.nodes {
        node.look("the end", false);
        node.signal(Signal::TERM)?;
    }
    for node in &mut nemesis.nodes {
        let before = node.deaths.len();
        node.await_end();
        if matches!(nemesis.plan.target, Target::Kafka(_)) {
            // It waits for a controller that stopped as well.
            node.deaths.truncate(before);
        }
        ended.complaints.append(&mut node.deaths);
    }
    Ok(())
}

/// A file of the results.
pub(super) fn write(path: &Path, text: &str) -> Result<(), RunError> {
    std::fs::write(path, text).map_err(|error| RunError::system(&path.display().to_string(), error))
}
