//! One node on real files, and what comes to it from outside.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::disallowed_methods, reason = "tests measure, and look at the files")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jackdaw_quorum::{
    COMMAND_MAX, Call, CallError, Command, DirectoryId, NoTransport, ObserveError, Observer, Options, ProposeError,
    Quorum, Reply, Target, Transport, Voters,
};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::Words;
use tempfile::TempDir;

const WAIT: Duration = Duration::from_secs(20);

fn options(directory: &Path) -> Options {
    let voters = Voters::Founding([(1, "localhost:9093".to_owned())].into());
    Options::new(1, directory.join("quorum"), "a cluster", voters)
}

async fn start(options: Options) -> Quorum<Words> {
    let quorum = Quorum::start(options, Words::default(), Arc::new(NoTransport)).await.unwrap();
    let mut leadership = quorum.leadership();
    tokio::time::timeout(WAIT, leadership.wait_for(|now| now.ready)).await.unwrap().unwrap();
    quorum
}

fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_voter_starts_and_proposes_without_waiting_for_anything_but_its_disk() {
    let directory = in_memory();
    // A heartbeat or timeout in the way would take longer than all of it; the best of some leaves out a busy machine.
    let (mut first, mut again, mut proposed) = (WAIT, WAIT, WAIT);
    for round in 0..5 {
        let own = directory.path().join(round.to_string());
        let begin = Instant::now();
        let quorum = start(options(&own)).await;
        first = first.min(begin.elapsed());
        let begin = Instant::now();
        assert_eq!(quorum.propose(Command("a word".to_owned())).await, Ok(Reply("1".to_owned())));
        proposed = proposed.min(begin.elapsed());
        quorum.shutdown().await;
        drop(quorum);
        let begin = Instant::now();
        let quorum = start(options(&own)).await;
        again = again.min(begin.elapsed());
        assert_eq!(quorum.read(|words| words.0.clone()), ["a word"]);
        quorum.shutdown().await;
    }
    let figures = format!("first start {first:?}, another {again:?}, a proposal {proposed:?}");
    assert!(first < Duration::from_millis(100) && again < Duration::from_millis(100), "{figures}");
    assert!(proposed < Duration::from_millis(50), "{figures}");
    println!("{figures}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_directory_has_the_id_that_it_is_given_and_keeps_it() {
    let (directory, given) = (in_memory(), DirectoryId(uuid::Uuid::from_u128(7)));
    let quorum = start(Options { directory_id: Some(given), ..options(directory.path()) }).await;
    quorum.shutdown().await;
    drop(quorum);
    let other = DirectoryId(uuid::Uuid::from_u128(8));
    let quorum = start(Options { directory_id: Some(other), ..options(directory.path()) }).await;
    quorum.shutdown().await;
    let stored = std::fs::read(directory.path().join("quorum/quorum.json")).unwrap();
    assert_eq!(jackdaw_quorum::inspect::identity(&stored).unwrap().directory, given);
}

#[test]
fn a_thread_that_is_not_the_runtimes_may_propose() {
    let directory = in_memory();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let quorum = runtime.block_on(start(options(directory.path())));
    assert_eq!(quorum.propose_blocking(Command("one".to_owned())), Ok(Reply("1".to_owned())));
    let bytes = COMMAND_MAX + 1;
    let large = quorum.propose_blocking(Command("x".repeat(bytes)));
    assert_eq!(large, Err(ProposeError::TooLarge { bytes, limit: COMMAND_MAX }));
    let awkward = quorum.propose_blocking(Command("\u{1}".repeat(COMMAND_MAX)));
    assert_eq!(awkward, Ok(Reply("2".to_owned())), "however many bytes it becomes");
    runtime.block_on(quorum.shutdown());
    let ended = quorum.propose_blocking(Command("two".to_owned()));
    assert!(matches!(ended, Err(ProposeError::Fatal(_))), "{ended:?}");
    assert!(!quorum.leadership().borrow().ready);
}

async fn pull(quorum: &Quorum<Words>, observer: &Observer<Words>, max_bytes: u64) -> Result<bool, ObserveError> {
    let request = observer.request(max_bytes, Duration::ZERO);
    observer.take(&quorum.handle(request).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_takes_a_snapshot_in_pieces_and_then_commands_one_by_one() {
    let directory = in_memory();
    let quorum = start(Options { snapshot_entries: 50, kept_entries: 5, ..options(directory.path()) }).await;
    for number in 0..200 {
        quorum.propose(Command(format!("word {number}"))).await.unwrap();
    }
    let observer = Observer::new("a cluster", Words::default());
    let mut pulls = 0;
    while observer.applied().borrow().index < quorum.applied().borrow().index {
        pull(&quorum, &observer, 100).await.unwrap();
        pulls += 1;
        assert!(pulls < 500);
    }
    assert_eq!(observer.read(|words| words.0.clone()), quorum.read(|words| words.0.clone()));
    assert!(pulls > 10, "{pulls}: no more bytes at once than asked for");
    assert_eq!(observer.leadership().borrow().leader, Some(1));
    assert_eq!(observer.voters(), [(1, "localhost:9093".to_owned())].into());
    assert!(!pull(&quorum, &observer, 100).await.unwrap(), "there is no more");
    let foreign = Observer::new("another cluster", Words::default());
    assert!(matches!(pull(&quorum, &foreign, 100).await, Err(ObserveError::Refused(_))));
    quorum.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_that_waits_is_answered_as_soon_as_there_is_news() {
    let directory = in_memory();
    let quorum = start(options(directory.path())).await;
    let observer = Observer::new("a cluster", Words::default());
    while pull(&quorum, &observer, 1_000).await.unwrap() {}
    let request = observer.request(1_000, WAIT);
    let waiting = tokio::spawn({
        let quorum = quorum.clone();
        async move { quorum.handle(request).await }
    });
    quorum.propose(Command("news".to_owned())).await.unwrap();
    // Entries without a command may come first.
    observer.take(&tokio::time::timeout(WAIT / 2, waiting).await.unwrap().unwrap()).unwrap();
    while pull(&quorum, &observer, 1_000).await.unwrap() {}
    assert_eq!(observer.read(|words| words.0.clone()), ["news"]);
    quorum.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_few_large_commands_are_enough_for_a_snapshot() {
    let directory = in_memory();
    let quorum = start(Options { snapshot_bytes: 1 << 20, ..options(directory.path()) }).await;
    for number in 0..40 {
        quorum.propose(Command(format!("{number}{}", "x".repeat(100_000)))).await.unwrap();
    }
    let journal = directory.path().join("quorum/quorum.journal");
    let shrunk = async {
        while std::fs::metadata(&journal).unwrap().len() > 3 << 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WAIT, shrunk).await.unwrap();
    quorum.shutdown().await;
    drop(quorum);
    let quorum = start(options(directory.path())).await;
    assert_eq!(quorum.read(|words| words.0.len()), 40);
    quorum.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_made_when_the_oldest_entry_without_one_is_old_enough() {
    let directory = in_memory();
    let interval = Some(Duration::from_millis(50));
    let quorum = start(Options { snapshot_interval: interval, ..options(directory.path()) }).await;
    quorum.propose(Command("one".to_owned())).await.unwrap();
    let snapshot = directory.path().join("quorum/quorum.snapshot");
    let made = async {
        while !snapshot.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WAIT, made).await.unwrap();
    quorum.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_leaves_a_snapshot_where_its_journal_is_long_and_none_where_it_is_short() {
    let directory = in_memory();
    let [journal, snapshot] =
        ["quorum.journal", "quorum.snapshot"].map(|name| directory.path().join("quorum").join(name));
    for (words, is_long) in [(2, false), (40, true)] {
        let quorum = start(options(directory.path())).await;
        let before = quorum.read(|words| words.0.len());
        for number in before..words {
            quorum.propose(Command(format!("{number}{}", "x".repeat(100_000)))).await.unwrap();
        }
        quorum.compact_before_stop().await;
        quorum.shutdown().await;
        drop(quorum);
        assert_eq!(snapshot.exists(), is_long);
        assert!(std::fs::metadata(&journal).unwrap().len() < 1 << 20);
    }
    let quorum = start(options(directory.path())).await;
    assert_eq!(quorum.read(|words| words.0.len()), 40);
    quorum.shutdown().await;
}

/// Keeps what is sent.
#[derive(Default)]
struct Tap(Mutex<Vec<Bytes>>);

impl Transport for Tap {
    fn call(&self, _: Target, request: Bytes, _: Duration) -> Call<'_> {
        self.0.lock().push(request);
        Box::pin(async { Err(CallError::Unreachable("only looked at".to_owned())) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_request_are_answered_and_do_no_harm() {
    let directory = in_memory();
    let voters = |ids: &[u64]| Voters::Founding(ids.iter().map(|id| (*id, format!("node{id}:1"))).collect());
    let tap = Arc::new(Tap::default());
    let other = Options::new(2, directory.path().join("other"), "a cluster", voters(&[1, 2]));
    let other = Quorum::start(other, Words::default(), Arc::clone(&tap) as Arc<dyn Transport>).await.unwrap();
    let asked = async {
        while tap.0.lock().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WAIT, asked).await.unwrap();
    other.shutdown().await;
    let vote = tap.0.lock()[0].clone();
    let pull = Observer::new("a cluster", Words::default()).request(100, Duration::ZERO);

    let node = Options::new(1, directory.path().join("node"), "a cluster", voters(&[1, 2]));
    let node = Quorum::start(node, Words::default(), Arc::new(NoTransport)).await.unwrap();
    let mut rng = StdRng::seed_from_u64(7);
    let refusals = {
        let mut refusals = 0;
        for round in 0..3_000 {
            let mut bytes = if round % 2 == 0 { vote.to_vec() } else { pull.to_vec() };
            match round % 3 {
                0 => bytes.truncate(rng.random_range(0..bytes.len())),
                1 => bytes[rng.random_range(0..5)] = rng.random(),
                _ => {
                    let at = rng.random_range(0..bytes.len());
                    bytes[at] = rng.random();
                }
            }
            let answer = tokio::time::timeout(WAIT, node.handle(bytes.into())).await.unwrap();
            refusals += usize::from(answer.windows(7).any(|window| window == b"refused"));
        }
        refusals
    };
    assert!(refusals > 2_000, "{refusals}");
    let long = node.handle(Bytes::from(vec![1; jackdaw_quorum::MESSAGE_MAX + 1])).await;
    assert!(String::from_utf8_lossy(&long).contains("are more than"));
    // It still answers what can be understood.
    let answer = node.handle(pull).await;
    assert!(String::from_utf8_lossy(&answer).contains("pulled"), "{answer:?}");
    node.shutdown().await;
}
