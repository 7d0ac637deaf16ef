//! A file system of a test's own, in a file behind a loop device: it can lose its power, be filled, and fail.
//!
//! Needs root, `mkfs.ext4`, `mkfs.xfs` and `python3` (for the one ioctl that cuts the power).

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The file systems that Kafka's users run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    Ext4,
    Xfs,
}

/// `XFS_IOC_GOINGDOWN`, which ext4 knows too (`EXT4_IOC_SHUTDOWN`), with the flag that leaves the journal's buffers unwritten: what
/// was not synced is gone, as when the power fails.
const CUTTER: &str = "
import fcntl, os, struct, sys
for line in sys.stdin:
    descriptor = os.open(line.rstrip('\\n'), os.O_RDONLY)
    fcntl.ioctl(descriptor, 0x8004587D, struct.pack('I', 2))
    os.close(descriptor)
    print('cut', flush=True)
";

/// A mounted file system. Unmounted and removed when dropped.
pub struct Volume {
    image: PathBuf,
    mount: PathBuf,
    cutter: Child,
    orders: ChildStdin,
    done: BufReader<ChildStdout>,
    _scratch: TempDir,
}

impl Volume {
    /// Makes and mounts one of so many MiB; xfs takes at least 300.
    pub fn new(kind: FileSystem, mib: u64) -> Volume {
        let memory = Path::new("/dev/shm");
        let scratch = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap();
        let (image, mount) = (scratch.path().join("image"), scratch.path().join("mount"));
        std::fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        std::fs::create_dir(&mount).unwrap();
        match kind {
            FileSystem::Ext4 => run("mkfs.ext4", &["-q", "-F", "-m", "0"], &[&image]),
            FileSystem::Xfs => run("mkfs.xfs", &["-q", "-f"], &[&image]),
        }
        let mut cutter = Command::new("python3")
            .args(["-u", "-c", CUTTER])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 can be run");
        let (orders, done) = (cutter.stdin.take().unwrap(), BufReader::new(cutter.stdout.take().unwrap()));
        let volume = Volume { image, mount, cutter, orders, done, _scratch: scratch };
        volume.mount();
        volume
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    fn mount(&self) {
        run("mount", &["-o", "loop"], &[&self.image, &self.mount]);
    }

    /// From here on every write and sync fails, and what was not synced is lost.
    pub fn cut_power(&mut self) {
        writeln!(self.orders, "{}", self.mount.display()).unwrap();
        let mut answer = String::new();
        self.done.read_line(&mut answer).unwrap();
        assert_eq!(answer.trim(), "cut", "the file system could not be shut down");
    }

    /// After a cut, and once nobody has a file open: mounts it again, as after a restart of the machine.
    pub fn mount_again(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let output = Command::new("umount").arg(&self.mount).output().unwrap();
            if output.status.success() {
                break;
            }
            assert!(Instant::now() < deadline, "{}", String::from_utf8_lossy(&output.stderr));
            std::thread::sleep(Duration::from_millis(2));
        }
        self.mount();
    }

    /// Lets an ext4 find an error in itself, which makes it read-only from then on, whoever has files open.
    pub fn turn_read_only(&self) {
        run("mount", &["-o", "remount,errors=remount-ro"], &[&self.mount]);
        let output = Command::new("findmnt").args(["-n", "-o", "SOURCE"]).arg(&self.mount).output().unwrap();
        let device = String::from_utf8(output.stdout).unwrap();
        let device = device.trim().trim_start_matches("/dev/");
        std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "1").unwrap();
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Lazily: a test that failed may have left files open.
        let _ = Command::new("umount").arg("-l").arg(&self.mount).output();
        let _ = self.cutter.kill();
        let _ = self.cutter.wait();
    }
}

fn run(program: &str, options: &[&str], paths: &[&Path]) {
    let output = Command::new(program).args(options).args(paths).output();
    let output = output.unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
    assert!(output.status.success(), "{program} failed: {}", String::from_utf8_lossy(&output.stderr));
}
