//! Where the files of the quorum are: three of them, in one directory, or in a simulation's memory.

use std::io;
use std::thread::JoinHandle;

use crate::journal::Writer;

/// Files by name. What a call has returned from is on the disk, but for what [`Append::write`] wrote.
pub trait Disk: Send + Sync + 'static {
    /// A file's bytes; none if there is none.
    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>>;
    /// Replaces or makes a file as a whole: after a crash it is the old one or the new one.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Opens a file to append to, and makes it if it is not there. Bytes behind the length are cut off first.
    fn append(&self, name: &str, length: u64) -> io::Result<Box<dyn Append>>;
    /// Runs the journal's writer where it may wait for the disk.
    fn run(&self, writer: Writer) -> io::Result<Option<JoinHandle<()>>>;
    /// What errors call it.
    fn name(&self) -> String;
}

/// A file that grows.
pub trait Append: Send {
    /// Writes at the end. A crash may leave any part of it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns when everything written is on the disk.
    fn sync(&mut self) -> io::Result<()>;
}
