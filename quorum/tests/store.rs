//! The log store against openraft's own suite, and against crashes.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::disallowed_methods, reason = "tests cut the files they look at")]

mod support;

use std::path::Path;

use jackdaw_quorum::{Command, Reply, StateMachine, Store, TypeConfig};
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::testing::{StoreBuilder, Suite, blank_ent, log_id};
use openraft::{RaftLogReader, RaftSnapshotBuilder, StorageError, Vote};
use support::Words;
use tempfile::TempDir;

struct Builder;

impl StoreBuilder<TypeConfig, Store, StateMachine<Words>, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, Store, StateMachine<Words>), StorageError<u64>> {
        let directory = in_memory();
        let store = Store::open(directory.path()).unwrap();
        let machine = StateMachine::open(directory.path(), Words::default()).unwrap();
        Ok((directory, store, machine))
    }
}

#[test]
fn openrafts_own_suite_passes() {
    Suite::test_all(Builder).unwrap();
}

/// A directory where a sync costs nothing: no power is cut here, files are.
fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// What a store knows, to be compared.
async fn state(store: &mut Store) -> (Option<Vote<u64>>, Vec<u64>, Option<u64>) {
    let entries = store.try_get_log_entries(..).await.unwrap();
    let purged = store.get_log_state().await.unwrap().last_purged_log_id.map(|id| id.index);
    (store.read_vote().await.unwrap(), entries.iter().map(|entry| entry.log_id.index).collect(), purged)
}

fn journal(directory: &Path) -> std::path::PathBuf {
    directory.join("quorum.journal")
}

#[tokio::test]
async fn a_crash_at_every_byte_leaves_what_was_acknowledged_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    // After each acknowledged step: the length of the file, and the state.
    let mut steps = vec![(0, state(&mut store).await)];
    let length = || std::fs::metadata(journal(directory.path())).unwrap().len() as usize;
    store.save_vote(&Vote::new(1, 7)).await.unwrap();
    steps.push((length(), state(&mut store).await));
    for index in 0..6 {
        store.blocking_append([blank_ent::<TypeConfig>(1, 7, index)]).await.unwrap();
        steps.push((length(), state(&mut store).await));
    }
    store.truncate(log_id(1, 7, 4)).await.unwrap();
    steps.push((length(), state(&mut store).await));
    store.blocking_append([blank_ent::<TypeConfig>(2, 7, 4)]).await.unwrap();
    steps.push((length(), state(&mut store).await));
    store.purge(log_id(1, 7, 1)).await.unwrap();
    steps.push((length(), state(&mut store).await));
    store.save_vote(&Vote::new_committed(3, 7)).await.unwrap();
    steps.push((length(), state(&mut store).await));
    drop(store);

    let bytes = std::fs::read(journal(directory.path())).unwrap();
    assert_eq!(steps.last().unwrap().0, bytes.len());
    for cut in 0..=bytes.len() {
        let crashed = in_memory();
        std::fs::write(journal(crashed.path()), &bytes[..cut]).unwrap();
        let expected = &steps.iter().rev().find(|(length, _)| *length <= cut).unwrap().1;
        let mut store = Store::open(crashed.path()).unwrap();
        assert_eq!(&state(&mut store).await, expected, "cut at {cut}");
        // And it goes on from there.
        store.save_vote(&Vote::new(9, 9)).await.unwrap();
        drop(store);
        let mut store = Store::open(crashed.path()).unwrap();
        assert_eq!(store.read_vote().await.unwrap(), Some(Vote::new(9, 9)), "cut at {cut}");
    }
}

#[tokio::test]
async fn damage_before_what_was_synced_later_is_refused_and_nothing_is_changed() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    for term in 1..4 {
        store.save_vote(&Vote::new(term, 7)).await.unwrap();
    }
    drop(store);
    let mut bytes = std::fs::read(journal(directory.path())).unwrap();
    bytes[25] ^= 1;
    std::fs::write(journal(directory.path()), &bytes).unwrap();
    let error = Store::open(directory.path()).err().unwrap().to_string();
    assert!(error.contains("damaged at byte 0"), "{error}");
    assert_eq!(std::fs::read(journal(directory.path())).unwrap(), bytes);
}

#[tokio::test]
async fn a_purge_shrinks_the_journal_and_keeps_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    store.save_vote(&Vote::new(1, 7)).await.unwrap();
    let entries = (0..20_000).map(|index| blank_ent::<TypeConfig>(1, 7, index));
    store.blocking_append(entries).await.unwrap();
    let before = std::fs::metadata(journal(directory.path())).unwrap().len();
    store.purge(log_id(1, 7, 19_989)).await.unwrap();
    let after = std::fs::metadata(journal(directory.path())).unwrap().len();
    assert!(before > 1 << 20 && after < 4_096, "{before} bytes became {after}");
    store.blocking_append([blank_ent::<TypeConfig>(1, 7, 20_000)]).await.unwrap();
    let known = state(&mut store).await;
    drop(store);
    let mut store = Store::open(directory.path()).unwrap();
    assert_eq!(state(&mut store).await, known);
    assert_eq!(known, (Some(Vote::new(1, 7)), (19_990..=20_000).collect(), Some(19_989)));
}

#[tokio::test]
async fn a_snapshot_survives_a_restart_and_a_damaged_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let open = || StateMachine::open(directory.path(), Words::default());
    let mut machine = open().unwrap();
    let mut entry = blank_ent::<TypeConfig>(1, 7, 3);
    entry.payload = openraft::EntryPayload::Normal(Command("word".to_owned()));
    assert_eq!(machine.apply([entry]).await.unwrap(), [Reply("1".to_owned())]);
    let built = machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    drop(machine);

    let mut machine = open().unwrap();
    assert_eq!(machine.read(|words| words.0.clone()), ["word"]);
    assert_eq!(machine.applied_state().await.unwrap().0, Some(log_id(1, 7, 3)));
    assert_eq!(machine.get_current_snapshot().await.unwrap().unwrap().meta, built.meta);

    let path = directory.path().join("quorum.snapshot");
    let bytes = std::fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(open().is_err(), "byte {at}");
        std::fs::write(&path, &bytes[..at]).unwrap();
        assert!(open().is_err(), "cut at {at}");
    }
}

#[tokio::test]
async fn what_was_committed_is_known_after_an_orderly_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    store.blocking_append([blank_ent::<TypeConfig>(1, 7, 0)]).await.unwrap();
    store.save_committed(Some(log_id(1, 7, 0))).await.unwrap();
    drop(store);
    let mut store = Store::open(directory.path()).unwrap();
    assert_eq!(store.read_committed().await.unwrap(), Some(log_id(1, 7, 0)));
}
