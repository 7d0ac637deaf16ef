//! The files of the repository, and Rust source without what is not code.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One file of Rust.
pub(crate) struct Source {
    /// Relative to the top of the repository, with `/`.
    pub(crate) path: String,
    /// Line by line as it stands, but comments and the insides of strings blanked.
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), code: code_of(text) }
    }

    /// Code that runs in the product: not the file of a test, and without the test modules at the end of a file.
    pub(crate) fn product_code(&self) -> &str {
        let is_test = self.path.ends_with("tests.rs")
            || self.path.split('/').any(|part| part == "tests" || part == "benches" || part == "testing.rs");
        if is_test {
            return "";
        }
        let tests = self
            .code
            .find("#[cfg(test)]\nmod tests {")
            .or_else(|| self.code.find("#[cfg(test)]\npub(crate) mod tests {"));
        &self.code[..tests.unwrap_or(self.code.len())]
    }
}

pub(crate) fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file that git tracks or would track, relative to the top.
pub(crate) fn files() -> Vec<String> {
    let listed = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(top())
        .output()
        .expect("git lists the files of the tree");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).unwrap();
    let there = |name: &&str| !name.is_empty() && top().join(name).is_file();
    names.split('\0').filter(there).map(str::to_owned).collect()
}

/// Every Rust file.
pub(crate) fn sources() -> Vec<Source> {
    let rust = files().into_iter().filter(|path| Path::new(path).extension().is_some_and(|ext| ext == "rs"));
    let sources: Vec<_> =
        rust.map(|path| Source::new(&path, &std::fs::read_to_string(top().join(&path)).unwrap())).collect();
    assert!(sources.len() > 100, "the tree has more Rust files than the {} found", sources.len());
    sources
}

/// The same text with comments, and the insides of strings and characters, as spaces. Line breaks stay.
pub(crate) fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(next) = rest.chars().next() {
        let literal = literal_length(rest, before);
        let taken = if let Some(length) = literal {
            code.extend(rest[..length].chars().map(|c| if c == '\n' { c } else { ' ' }));
            length
        } else {
            code.push(next);
            next.len_utf8()
        };
        before = rest[..taken].chars().next_back().unwrap_or(' ');
        rest = &rest[taken..];
    }
    code
}

/// The length of the comment, string or character that `rest` begins with, if it does.
fn literal_length(rest: &str, before: char) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(rest.find("*/").map_or(rest.len(), |end| end + 2));
    }
    let in_word = before.is_alphanumeric() || before == '_';
    let raw = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r')).filter(|_| !in_word);
    if let Some(raw) = raw {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let opening = rest.len() - raw.len() + hashes + 1;
            let closing = format!("\"{}", "#".repeat(hashes));
            return Some(rest[opening..].find(&closing).map_or(rest.len(), |end| opening + end + closing.len()));
        }
    }
    match rest.as_bytes()[0] {
        b'"' => Some(quoted_length(rest, '"')),
        // A lifetime has no closing quote one character (or one escape) later.
        b'\'' if rest[1..].starts_with('\\') || rest[1..].chars().nth(1) == Some('\'') => {
            Some(quoted_length(rest, '\''))
        }
        _ => None,
    }
}

fn quoted_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Whether `code` names `word` as a word of its own. A word may contain `::` and may end with `::`, `!` or `(`.
pub(crate) fn names(code: &str, word: &str) -> bool {
    lines_naming(code, word).next().is_some()
}

/// The lines, from 1, on which `code` names `word`.
pub(crate) fn lines_naming(code: &str, word: &str) -> impl Iterator<Item = usize> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let closed = !word.ends_with(is_part);
    let hit = move |line: &str| {
        line.match_indices(word).any(|(at, _)| {
            let starts = !line[..at].ends_with(is_part);
            let ends = closed || !line[at + word.len()..].starts_with(is_part);
            starts && ends
        })
    };
    code.lines().enumerate().filter(move |(_, line)| hit(line)).map(|(at, _)| at + 1)
}

#[test]
fn what_is_not_code_is_not_seen() {
    let text = "let a = 'x'; // unsafe\nlet b: &'a str = \"todo!()\\\" Instant\"; /* File:: */ r#\"fs\"# ; let c = '\\'';\nInstant::now()";
    let code = code_of(text);
    assert_eq!(code.lines().count(), 3);
    for hidden in ["unsafe", "todo!", "Instant\"", "File::", "fs"] {
        assert!(!code.contains(hidden), "{hidden} in {code}");
    }
    assert!(names(&code, "Instant::now"));
    assert!(names(&code, "&'a str") && names(&code, "let"));
}

#[test]
fn a_word_is_found_only_whole() {
    assert!(names("use std::fs::File;", "fs::"));
    assert!(!names("use rustix::offs::File;", "fs::"));
    assert!(!names("asynchronous", "async"));
    assert_eq!(lines_naming("a\nb\nx.b", "b").collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn tests_are_no_product_code() {
    assert_eq!(Source::new("broker/src/x.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n}").product_code(), "fn a() {}\n");
    assert_eq!(Source::new("broker/src/x_tests.rs", "fn a() {}").product_code(), "");
    assert_eq!(Source::new("storage/tests/log.rs", "fn a() {}").product_code(), "");
}
