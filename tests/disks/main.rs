//! Real file systems, on loop devices of the test's own: their power is cut, they fill up, they turn read-only.
//!
//! Needs root and `mkfs.ext4`, `mkfs.xfs`, `python3`; `tests/run` installs them.
#![allow(clippy::unwrap_used, reason = "a test that meets a surprise should stop right there")]
#![allow(clippy::disallowed_methods, reason = "a test measures how long things take and looks at the files")]

mod broker;
mod dirs;
mod power;

use jackdaw_test_support::volume::FileSystem;

/// Of each file system.
const CUTS: u64 = 500;

#[test]
fn five_hundred_power_cuts_on_ext4_lose_no_synced_byte() {
    power::cuts_lose_nothing_synced(FileSystem::Ext4, CUTS);
}

#[test]
fn five_hundred_power_cuts_on_xfs_lose_no_synced_byte() {
    power::cuts_lose_nothing_synced(FileSystem::Xfs, CUTS);
}
