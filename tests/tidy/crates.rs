//! Crates depend on one another in one direction, and only on what their layer may have.

use crate::tree::top;

/// Folder, the crates of this workspace that its product may use, and crates of others that it may not.
const CRATES: &[(&str, &[&str], &[&str])] = &[
    ("protocol", &[], &["tokio", "mio", "socket2", "rustix", "memmap2", "tracing"]),
    ("storage", &["jackdaw-protocol"], &["tokio", "mio", "socket2", "kafka-protocol"]),
    ("broker", &["jackdaw-protocol", "jackdaw-storage", "jackdaw-quorum"], &["clap", "memmap2", "kafka-protocol"]),
    (
        "tools",
        &["jackdaw-protocol", "jackdaw-storage", "jackdaw-broker", "jackdaw-checker", "jackdaw-quorum"],
        &["kafka-protocol"],
    ),
    ("quorum", &[], &["mio", "socket2", "clap", "kafka-protocol"]),
    // A judge that shares no code with what it judges.
    ("tools/checker", &[], &["tokio", "mio", "socket2", "rustix", "tracing", "clap", "kafka-protocol"]),
];

/// The names under `[dependencies]` of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let section = manifest.lines().skip_while(|line| line.trim() != "[dependencies]").skip(1);
    let lines = section.take_while(|line| !line.starts_with('['));
    let name = |line: &str| line.split(['.', '=', ' ']).next().unwrap_or_default().to_owned();
    lines.map(name).filter(|name| !name.is_empty() && !name.starts_with('#')).collect()
}

fn findings(folder: &str, own: &[&str], refused: &[&str], manifest: &str) -> Vec<String> {
    let used = dependencies(manifest);
    let wrong = |name: &&String| {
        let name = name.as_str();
        (name.starts_with("jackdaw") && !own.contains(&name)) || refused.contains(&name)
    };
    used.iter().filter(wrong).map(|name| format!("{folder}/Cargo.toml: {folder} may not depend on {name}")).collect()
}

#[test]
fn dependencies_point_one_way() {
    let mut all = Vec::new();
    for (folder, own, refused) in CRATES {
        let manifest = std::fs::read_to_string(top().join(folder).join("Cargo.toml")).unwrap();
        assert!(!dependencies(&manifest).is_empty(), "{folder}/Cargo.toml names no dependency at all");
        all.extend(findings(folder, own, refused, &manifest));
    }
    crate::assert_tidy(all);
}

#[test]
fn a_dependency_that_points_back_is_found() {
    let manifest = "[package]\nname = \"x\"\n\n[dependencies]\nbytes.workspace = true\njackdaw-broker = { path = \"..\" }\ntokio = \"1\"\n\n[dev-dependencies]\njackdaw-test-support.workspace = true\n";
    let found = findings("storage", CRATES[1].1, CRATES[1].2, manifest);
    assert_eq!(
        found,
        [
            "storage/Cargo.toml: storage may not depend on jackdaw-broker",
            "storage/Cargo.toml: storage may not depend on tokio"
        ]
    );
}
