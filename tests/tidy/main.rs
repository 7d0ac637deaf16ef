//! The rules of the house that a program can check. ARCHITECTURE.md says why they are rules.
//!
//! Every rule carries an example that breaks it, and a test of its own that the example is found.

#![allow(clippy::unwrap_used, reason = "a tree that cannot be read is not tidy")]
#![allow(clippy::disallowed_methods, reason = "this test reads the tree")]

mod apis;
mod crates;
mod lengths;
mod names;
mod paths;
mod tree;

/// Fails with all findings at once.
fn assert_tidy(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}
