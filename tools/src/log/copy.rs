//! Copies of files: by reference where the file system can, within the kernel where it can, by hand otherwise.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// Copied between two reports of progress.
const STEP: usize = 32 << 20;
const BUFFER: usize = 1 << 20;

/// Copies `from` to `to`, which must not exist, and tells each number of bytes as they are done; not synced.
pub(super) fn file(from: &Path, to: &Path, mut done: impl FnMut(u64)) -> io::Result<u64> {
    let source = File::open(from)?;
    let len = source.metadata()?.len();
    let target = File::create_new(to)?;
    if rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
        done(len);
        return Ok(len);
    }
    let mut copied = 0;
    loop {
        match rustix::fs::copy_file_range(&source, None, &target, None, STEP) {
            Ok(0) => return Ok(copied),
            Ok(n) => {
                copied += n as u64;
                done(n as u64);
            }
            // Another file system, or one that cannot.
            Err(_) if copied == 0 => return by_hand(source, target, done),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn by_hand(mut source: File, mut target: File, mut done: impl FnMut(u64)) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER];
    let mut copied = 0;
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(n) => {
                target.write_all(&buffer[..n])?;
                copied += n as u64;
                done(n as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes a small file so that a crash leaves the old one or the new one: aside, synced, renamed, directory synced.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".tmp");
    let aside = Path::new(&aside);
    let mut file = File::create(aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(aside, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Makes names in a directory durable.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Syncs everything on the file system that `path` is on.
pub(super) fn sync_file_system(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_the_same_and_never_replaces_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        let bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&from, &bytes).unwrap();
        let mut told = 0;
        assert_eq!(file(&from, &to, |n| told += n).unwrap(), 3_000_000);
        assert_eq!((told, std::fs::read(&to).unwrap() == bytes), (3_000_000, true));
        assert!(file(&from, &to, |_| {}).is_err());
        let third = dir.path().join("c");
        by_hand(File::open(&from).unwrap(), File::create(&third).unwrap(), |_| {}).unwrap();
        assert_eq!(std::fs::read(&third).unwrap(), bytes);
    }
}
