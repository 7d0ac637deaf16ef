//! Files and functions that a reader can hold in mind.

use crate::tree::{Source, sources};

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;

/// Longer by today's need: file, lines at most, why. An entry goes when it is no longer needed, and no number grows.
const LONG_FILES: &[(&str, usize, &str)] = &[];

/// The same for functions: file, function, lines at most, why.
const LONG_FUNCTIONS: &[(&str, &str, usize, &str)] =
    &[("broker/src/config/broker.rs", "from_values", 99, "one line for each field of Config: a list, not a procedure")];

/// Names and lengths of the functions of a file; a length runs from the line of `fn` to that of its closing brace.
fn functions(code: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let lines: Vec<&str> = code.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let mut depth = 0_usize;
        'body: for (further, line) in lines[at..].iter().enumerate() {
            for c in line.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 1 => {
                        found.push((name.to_owned(), further + 1));
                        break 'body;
                    }
                    '}' => depth = depth.saturating_sub(1),
                    // A declaration in a trait, or a function pointer: no body. An array type is `[T; N]`.
                    ';' if depth == 0 && line.trim_end().ends_with(';') => break 'body,
                    _ => {}
                }
            }
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let words = ["pub", "const", "async", "unsafe", "extern", "(crate)", "(super)"];
    let mut rest = line.trim_start();
    while let Some(word) = words.iter().find(|word| rest.starts_with(**word)) {
        rest = rest[word.len()..].trim_start();
    }
    let rest = rest.strip_prefix("fn ")?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().filter(|name| !name.is_empty())
}

/// What is to be said about a length, its limit and the entry that allows more, if there is one.
fn judge(what: &str, lines: usize, limit: usize, allowed: Option<usize>) -> Option<String> {
    match allowed {
        None if lines > limit => Some(format!(
            "{what} has {lines} lines, {limit} are enough: split it by meaning, or name it in tests/tidy/lengths.rs"
        )),
        Some(_) if lines <= limit => {
            Some(format!("{what} has {lines} lines now: take its entry out of tests/tidy/lengths.rs"))
        }
        Some(most) if lines > most => Some(format!("{what} has grown to {lines} lines, {most} are allowed")),
        Some(most) if lines + limit / 5 < most => {
            Some(format!("{what} has shrunk to {lines} lines: lower its entry of {most} in tests/tidy/lengths.rs"))
        }
        _ => None,
    }
}

fn file_findings(source: &Source, list: &[(&str, usize, &str)]) -> Option<String> {
    let allowed = list.iter().find(|(path, ..)| *path == source.path).map(|(_, most, _)| *most);
    judge(&source.path, source.code.lines().count(), FILE_LINES, allowed)
}

fn function_findings(source: &Source, list: &[(&str, &str, usize, &str)]) -> Vec<String> {
    let judged = functions(&source.code).into_iter().filter_map(|(name, lines)| {
        let entry = list.iter().find(|(path, function, ..)| *path == source.path && *function == name);
        judge(&format!("{}: fn {name}", source.path), lines, FUNCTION_LINES, entry.map(|(_, _, most, _)| *most))
    });
    judged.collect()
}

#[test]
fn files_are_short() {
    let sources = sources();
    let mut all: Vec<_> = sources.iter().filter_map(|source| file_findings(source, LONG_FILES)).collect();
    let gone = |path: &str| !sources.iter().any(|source| source.path == path);
    all.extend(LONG_FILES.iter().filter(|entry| gone(entry.0)).map(|entry| format!("{} is listed, but gone", entry.0)));
    crate::assert_tidy(all);
}

#[test]
fn functions_are_short() {
    let sources = sources();
    let mut all: Vec<_> = sources.iter().flat_map(|source| function_findings(source, LONG_FUNCTIONS)).collect();
    for (path, name, ..) in LONG_FUNCTIONS {
        let there =
            sources.iter().any(|source| source.path == *path && functions(&source.code).iter().any(|f| f.0 == *name));
        if !there {
            all.push(format!("{path}: fn {name} is listed, but gone"));
        }
    }
    crate::assert_tidy(all);
}

#[test]
fn what_is_too_long_is_found() {
    assert_eq!(
        functions(&Source::new("x.rs", "fn a() { b() }\nfn c();\nlet f: fn(u8) = d;").code),
        [("a".to_owned(), 1)]
    );
    assert!(
        function_findings(&Source::new("x.rs", &format!("pub fn f() {{\n{}}}", "x();\n".repeat(69))), &[]).len() == 1
    );
    assert!(
        function_findings(&Source::new("x.rs", &format!("pub fn f() {{\n{}}}", "x();\n".repeat(68))), &[]).is_empty()
    );
    assert!(file_findings(&Source::new("x.rs", &"x\n".repeat(601)), &[]).is_some());
    assert!(file_findings(&Source::new("x.rs", &"x\n".repeat(600)), &[]).is_none());
}

#[test]
fn an_entry_that_is_not_needed_is_found() {
    let list: &[(&str, usize, &str)] = &[("x.rs", 900, "an example")];
    assert!(file_findings(&Source::new("x.rs", &"x\n".repeat(850)), list).is_none());
    assert!(file_findings(&Source::new("x.rs", &"x\n".repeat(901)), list).is_some());
    assert!(file_findings(&Source::new("x.rs", &"x\n".repeat(650)), list).is_some());
    assert!(file_findings(&Source::new("x.rs", &"x\n".repeat(10)), list).is_some());
}
