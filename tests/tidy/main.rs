//! The rules of the house that a program can check (ARCHITECTURE.md gives their reasons).
#![allow(clippy::unwrap_used, reason = "a test that meets a surprise should stop right there")]

use std::path::{Path, PathBuf};
use std::process::Command;

const MAX_FILE: usize = 600;
const MAX_FUNCTION: usize = 70;

/// Longer than a file may be, with the length that each must not exceed again. This list only shrinks.
const LONG_FILES: &[(&str, usize)] = &[("broker/src/coordinator/runtime.rs", 603)];
/// Longer than a function may be: file, function, length. This list only shrinks.
const LONG_FUNCTIONS: &[(&str, &str, usize)] =
    &[("broker/src/config/broker.rs", "from_values", 97), ("storage/src/dir.rs", "load_all", 71)];

struct Source {
    /// Relative to the repository, with `/`.
    path: String,
    text: String,
}

impl Source {
    fn is_in(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.path.starts_with(folder))
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("tests.rs") || self.path.ends_with("testing.rs") || self.path.contains("/tests/")
    }

    /// Lines of the product's code with their numbers: no comments, and nothing from the test module at the end.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = self.text.lines().position(|line| line.trim_start() == "#[cfg(test)]");
        let lines = self.text.lines().take(end.unwrap_or(usize::MAX)).enumerate();
        lines.filter(|(_, line)| !line.trim_start().starts_with("//")).map(|(at, line)| (at + 1, line))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Everything that git keeps or would keep.
fn files() -> Vec<PathBuf> {
    let output = Command::new("git")
        .current_dir(root())
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output()
        .expect("git lists the files of the repository");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let files: Vec<PathBuf> = String::from_utf8(output.stdout).unwrap().lines().map(PathBuf::from).collect();
    files.into_iter().filter(|file| root().join(file).is_file()).collect()
}

fn rust() -> Vec<Source> {
    let files = files().into_iter().filter(|file| file.extension().is_some_and(|end| end == "rs"));
    let sources: Vec<Source> = files
        .map(|file| Source {
            path: file.to_str().unwrap().to_owned(),
            text: std::fs::read_to_string(root().join(&file)).unwrap(),
        })
        .collect();
    assert!(sources.len() > 100, "only {} Rust files found", sources.len());
    sources
}

/// No product code below `folders` has one of these words, but for the files `allowed`.
fn nowhere(words: &[&str], folders: &[&str], allowed: &[&str], why: &str) {
    let mut found = Vec::new();
    for source in rust().iter().filter(|source| source.is_in(folders) && !source.is_in(allowed) && !source.is_test()) {
        for (number, line) in source.code() {
            found.extend(
                words.iter().filter(|word| line.contains(**word)).map(|word| (source.path.clone(), number, *word)),
            );
        }
    }
    assert!(found.is_empty(), "{why}; but see {found:#?}");
}

const CRATES: &[&str] = &["protocol/src/", "storage/src/", "broker/src/", "tools/src/"];

#[test]
fn crates_depend_one_way() {
    let order = ["protocol", "storage", "broker", "tools"];
    for (at, name) in order.iter().enumerate() {
        let manifest = std::fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
        for other in &order[at..] {
            let other = format!("jackdaw-{other}");
            assert!(!dependencies.contains(&other), "{name} must not depend on {other}");
        }
    }
}

#[test]
fn storage_knows_records_and_no_messages() {
    nowhere(&["protocol::messages", "kafka_protocol"], &["storage/src/"], &[], "storage knows no requests and answers");
}

#[test]
fn only_the_protocol_crate_names_the_message_codec() {
    nowhere(&["kafka_protocol::"], CRATES, &["protocol/src/"], "protocol::messages is the one door to the codec");
}

#[test]
fn only_serve_names_the_broker_among_the_tools() {
    let allowed = &["tools/src/serve.rs"];
    nowhere(&["jackdaw_broker"], &["tools/src/"], allowed, "the other tools are clients, of any broker");
}

#[test]
fn files_are_opened_in_one_place_per_crate() {
    let allowed = &["storage/src/disk/", "broker/src/config/sources.rs"];
    let words = &["std::fs", "fs::File", "File::open", "OpenOptions", "rustix::fs"];
    nowhere(words, &["protocol/src/", "storage/src/", "broker/src/"], allowed, "one door to the file system");
}

#[test]
fn sockets_are_opened_in_one_place() {
    let words = &["TcpStream", "TcpListener", "UdpSocket", "socket2::"];
    nowhere(words, &["protocol/src/", "storage/src/", "broker/src/"], &["broker/src/net/"], "only net/ knows sockets");
}

#[test]
fn only_the_clock_reads_time() {
    let words = &["Instant::now", "SystemTime::now", "jiff::Timestamp::now", "Utc::now"];
    nowhere(words, &["protocol/src/", "storage/src/", "broker/src/"], &["broker/src/clock.rs"], "time is an argument");
}

#[test]
fn the_machines_are_pure() {
    let pure = &[
        "protocol/src/",
        "storage/src/",
        "broker/src/group/",
        "broker/src/fetch/",
        "broker/src/topics/catalog.rs",
        "broker/src/topics/image.rs",
        "broker/src/topics/record.rs",
    ];
    nowhere(
        &["async ", ".await;", ".await?", ".await)", ".await,", ".await.", "tokio::", "mpsc::"],
        pure,
        &[],
        "these are driven by others, and never wait",
    );
}

#[test]
fn what_apis_call_does_not_call_back() {
    let below = &["broker/src/partition/", "broker/src/group/", "broker/src/topics/", "broker/src/fetch/"];
    nowhere(&["crate::api", "crate::net"], below, &[], "calls go down from api, answers come back as values");
}

#[test]
fn unsafe_code_is_where_it_must_be_and_says_why() {
    for source in rust().iter().filter(|source| source.is_in(CRATES) && !source.is_test()) {
        for (number, line) in source.code().filter(|(_, line)| line.contains("unsafe ") && !line.contains('"')) {
            let lines: Vec<&str> = source.text.lines().collect();
            let before = &lines[number.saturating_sub(12)..number];
            let explained = before.iter().any(|line| line.contains("SAFETY"));
            let explained = explained && source.is_in(&["storage/src/", "protocol/src/splice.rs"]);
            assert!(
                explained,
                "{}:{number} {}: unsafe code without its SAFETY comment, or in a new place",
                source.path,
                line.trim()
            );
        }
    }
}

#[test]
fn nothing_is_left_unfinished() {
    let words: Vec<String> = ["todo", "unimplemented", "dbg"].iter().map(|word| format!("{word}!(")).collect();
    for source in rust() {
        for (number, line) in source.text.lines().enumerate() {
            assert!(words.iter().all(|word| !line.contains(word.as_str())), "{}:{}: {line}", source.path, number + 1);
            assert!(
                !line.trim_start().starts_with("#[ignore"),
                "{}:{}: a test that never runs",
                source.path,
                number + 1
            );
        }
    }
}

#[test]
fn only_the_tools_print() {
    nowhere(&["println!(", "print!("], &["protocol/src/", "storage/src/", "broker/src/"], &[], "the broker logs");
}

#[test]
fn files_are_short() {
    let mut allowed: Vec<_> = LONG_FILES.to_vec();
    for source in rust() {
        let lines = source.text.lines().count();
        let limit = allowed.iter().position(|(path, _)| *path == source.path).map(|at| allowed.swap_remove(at).1);
        assert!(lines <= limit.unwrap_or(MAX_FILE), "{} has {lines} lines: split it by meaning", source.path);
        assert!(limit.is_none() || lines > MAX_FILE, "{} is short now: take it off the list", source.path);
    }
    assert!(allowed.is_empty(), "gone, take off the list: {allowed:?}");
}

/// Name and length of each function. The source is formatted, so a function ends at the brace below its own first letter.
fn functions(source: &Source) -> Vec<(String, usize)> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let Some((before, rest)) = trimmed.split_once("fn ") else { continue };
        let plain = before
            .split_whitespace()
            .all(|word| word.starts_with("pub") || ["const", "async", "unsafe"].contains(&word));
        if !plain || trimmed.starts_with("//") {
            continue;
        }
        let end = format!("{}}}", &line[..line.len() - trimmed.len()]);
        let name = rest.split(['(', '<']).next().unwrap().to_owned();
        if let Some(length) = lines[at..].iter().position(|line| *line == end) {
            found.push((name, length + 1));
        }
    }
    found
}

#[test]
fn functions_are_short() {
    let mut allowed: Vec<_> = LONG_FUNCTIONS.to_vec();
    let mut long = Vec::new();
    for source in rust() {
        for (name, length) in functions(&source).into_iter().filter(|(_, length)| *length > MAX_FUNCTION) {
            match allowed.iter().position(|(path, function, _)| *path == source.path && *function == name) {
                Some(at) if length <= allowed[at].2 => drop(allowed.swap_remove(at)),
                _ => long.push(format!("{} {name}: {length} lines", source.path)),
            }
        }
    }
    assert!(long.is_empty(), "split by meaning: {long:#?}");
    assert!(allowed.is_empty(), "short or gone now, take off the list: {allowed:?}");
}

#[test]
fn no_path_of_somebodys_machine_is_named() {
    let own: Vec<String> = ["work", "root", "farm", "home"].iter().map(|folder| format!("/{folder}/")).collect();
    for file in files() {
        let Ok(text) = std::fs::read_to_string(root().join(&file)) else { continue };
        for (number, line) in text.lines().enumerate() {
            for folder in &own {
                let Some(at) = line.find(folder.as_str()) else { continue };
                let before = line[..at].chars().next_back();
                let absolute = before.is_none_or(|letter| !letter.is_alphanumeric() && !"_.~}*)-".contains(letter));
                assert!(!absolute, "{}:{}: {line}", file.display(), number + 1);
            }
        }
    }
}
