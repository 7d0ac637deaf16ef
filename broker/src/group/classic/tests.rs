//! Transcripts: what members say, and what the group does.
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod driver;
mod generations;
mod members;
mod random;
mod static_members;
