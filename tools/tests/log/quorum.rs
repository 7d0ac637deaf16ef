//! The metadata quorum's files.

use std::path::Path;
use std::time::Duration;

use jackdaw_quorum::{At, Command, Machine, NoTransport, Options, Quorum, Reply, Voters};
use serde_json::Value;

use crate::{broker_with, dump, flip, log, verify};

#[test]
fn what_the_quorum_decided_is_shown_and_checked() {
    let mut broker = broker_with("decided", 1);
    assert!(broker.stop().success());
    let dir = broker.data_dir().to_path_buf();
    let journal = dir.join("quorum/quorum.journal");
    let shown = dump(&journal).expect(0);
    let records = || {
        shown.of_type("entry").into_iter().flat_map(|entry| entry["records"].as_array().cloned().unwrap_or_default())
    };
    let created = records().find(|record| record["type"] == "topic_created" && record["name"] == "decided");
    assert_eq!(created.unwrap()["assignments"], serde_json::json!([[1], [1]]));
    assert!(!shown.of_type("vote").is_empty() && !shown.of_type("committed").is_empty());
    let text = log(&[Path::new("dump"), Path::new("--records"), &journal]).expect(0).out;
    assert!(text.contains("node 1 is elected in term") && text.contains("topic_created"), "{text}");
    let identity = dump(&dir.join("quorum/quorum.json")).expect(0).of_type("file");
    let own = dump(&dir.join("meta.properties")).expect(0).of_type("file");
    for what in ["cluster_id", "node_id", "directory_id"] {
        assert_eq!(identity[0][what], own[0][what], "{what}");
    }

    let sound = verify(&dir).expect(0);
    let found = &sound.of_type("quorum")[0];
    assert!(found["entries"].as_u64().unwrap() > 2 && found["snapshot"].is_null(), "{found}");
    let at = shown.of_type("entry")[1]["position"].as_u64().unwrap();
    flip(&journal, usize::try_from(at).unwrap() + 30);
    assert_eq!(dump(&journal).expect(1).of_type("damage")[0]["position"], at);
    let damages = verify(&dir).expect(1).of_type("damage");
    assert_eq!(damages[0]["position"], at, "{damages:?}");
    assert!(damages[0]["file"].as_str().unwrap().ends_with("quorum.journal"), "{damages:?}");
}

#[test]
fn a_quorum_that_forgot_or_is_of_another_node_is_damaged() {
    let mut broker = broker_with("forgot", 1);
    assert!(broker.stop().success());
    let dir = broker.data_dir().to_path_buf();
    let identity = dir.join("quorum/quorum.json");
    let text = std::fs::read_to_string(&identity).unwrap();
    std::fs::write(&identity, text.replace("\"node\": 1", "\"node\": 2")).unwrap();
    let damages = verify(&dir).expect(1).of_type("damage");
    assert!(damages[0]["what"].as_str().unwrap().contains("is of node 2 of cluster"), "{damages:?}");
    std::fs::write(&identity, text).unwrap();
    let journal = dir.join("quorum/quorum.journal");
    let bytes = std::fs::read(&journal).unwrap();
    // A crash cuts off what nobody was told of.
    std::fs::write(&journal, &bytes[..bytes.len() - 3]).unwrap();
    assert!(verify(&dir).expect(0).of_type("note")[0]["what"].as_str().unwrap().contains("did not end"));
    assert_eq!(dump(&journal).expect(0).of_type("torn").len(), 1);
    std::fs::remove_file(&journal).unwrap();
    let damages = verify(&dir).expect(1).of_type("damage");
    assert!(damages[0]["what"].as_str().unwrap().contains("how it voted"), "{damages:?}");
}

/// A machine with the state that it always has.
struct Fixed;

const STATE: &str = r#"{"v":0,"version":7,"topics":[{"name":"orders","configs":{},"partitions":[[[1],null,1,0,0,null]]}],"brokers":{"1":{}}}"#;

impl Machine for Fixed {
    fn apply(&mut self, _: At, _: Command) -> Reply {
        Reply::default()
    }

    fn snapshot(&self) -> Box<dyn FnOnce() -> Vec<u8> + Send> {
        Box::new(|| STATE.as_bytes().to_vec())
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

/// A folder with a snapshot, and a journal from which what it holds is gone.
async fn compacted(folder: &Path) {
    let voters = Voters::Founding([(1, String::new())].into());
    let options = Options { snapshot_entries: 4, kept_entries: 0, ..Options::new(1, folder, "c", voters) };
    let quorum = Quorum::start(options, Fixed, std::sync::Arc::new(NoTransport)).await.unwrap();
    quorum.leadership().wait_for(|leadership| leadership.ready).await.unwrap();
    while !folder.join("quorum.snapshot").exists() {
        quorum.propose(Command(r#"{"v":0,"base":6,"records":[{"type":"x","v":0}]}"#.to_owned())).await.unwrap();
    }
    quorum.shutdown().await;
}

#[test]
fn a_snapshot_is_shown_and_has_to_hold_what_the_journal_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("quorum");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(compacted(&folder));
    runtime.shutdown_timeout(Duration::from_secs(10));
    let snapshot = folder.join("quorum.snapshot");
    let shown = dump(&snapshot).expect(0);
    let facts = &shown.of_type("snapshot")[0];
    assert_eq!(
        (&facts["version"], &facts["partitions"], &facts["brokers"]),
        (&Value::from(7), &Value::from(1), &Value::from(1))
    );
    let text = log(&[Path::new("dump"), Path::new("--records"), &snapshot]).expect(0).out;
    assert!(text.contains("topic orders") && text.contains("[[1],null,1,0,0,null]"), "{text}");
    let found = verify(dir.path()).expect(0).of_type("quorum");
    assert_eq!(found[0]["snapshot"]["index"], facts["index"]);

    let size = std::fs::metadata(&snapshot).unwrap().len();
    flip(&snapshot, usize::try_from(size).unwrap() - 60);
    assert!(!dump(&snapshot).expect(1).of_type("damage").is_empty());
    let damages = verify(dir.path()).expect(1).of_type("damage");
    assert!(damages.iter().any(|damage| damage["file"].as_str().unwrap().ends_with("quorum.snapshot")), "{damages:?}");
}
