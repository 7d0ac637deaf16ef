//! No path of somebody's machine stands in the tree.

use crate::tree::{files, top};

/// First folders of absolute paths that exist on one machine only.
const HOMES: &[&str] = &["home", "Users", "root", "work", "farm"];

fn findings(path: &str, text: &str) -> Vec<String> {
    let machine_path = |line: &str| {
        HOMES.iter().any(|home| {
            let folder = format!("/{home}/");
            line.match_indices(&folder).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '}' | '-' | '~'))
            })
        })
    };
    let lines = text.lines().enumerate().filter(|(_, line)| machine_path(line));
    lines.map(|(at, line)| format!("{path}:{} has a path of one machine: {}", at + 1, line.trim())).collect()
}

#[test]
fn no_path_of_one_machine_is_in_the_tree() {
    let mut all = Vec::new();
    for path in files() {
        if let Ok(text) = std::fs::read_to_string(top().join(&path)) {
            all.extend(findings(&path, &text));
        }
    }
    crate::assert_tidy(all);
}

#[test]
fn a_path_of_one_machine_is_found() {
    let home = ["", "home", "somebody", "jackdaw"].join("/");
    assert_eq!(findings("x.rs", &format!("a\nopen({home:?})")).len(), 1);
    assert!(findings("x.rs", &format!("https://example.org{home}")).is_empty());
}
