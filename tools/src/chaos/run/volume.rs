//! The file system of a node, in a file behind a loop device: it can lose its power, fill up, and stand still.
//!
//! The file lies in a tmpfs of the run's own mount namespace: with the run's last process, mounts, loop device and file are gone.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::RunError;
use super::system;

/// Shuts a file system down without writing its journal (`EXT4_IOC_SHUTDOWN`, flag 2): what was not synced is gone.
const CUTTER: &str = "\
import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(fd, 0x8004587D, struct.pack('I', 2))
";
/// How long a mount may stay busy after its last process was killed.
const BUSY: Duration = Duration::from_secs(10);

/// A mounted file system.
pub(super) struct Volume {
    image: PathBuf,
    mount: PathBuf,
}

/// Whether file systems can be made and mounted here; the reason if not.
pub(super) fn are_allowed() -> Result<(), String> {
    for program in ["mkfs.ext4", "python3", "fsfreeze"] {
        if Command::new(program).arg("-V").output().is_err() {
            return Err(format!("{program} is not installed"));
        }
    }
    if Path::new("/dev/loop-control").exists() { Ok(()) } else { Err("there is no /dev/loop-control".to_owned()) }
}

/// Mounts the tmpfs in which images lie.
pub(super) fn mount_images(dir: &Path, mib: u64) -> Result<(), RunError> {
    std::fs::create_dir_all(dir).map_err(|error| RunError::system(&dir.display().to_string(), error))?;
    system::run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"]).arg(dir))
}

impl Volume {
    /// Makes and mounts one of so many MiB.
    pub(super) fn new(dir: &Path, name: &str, mib: u64) -> Result<Volume, RunError> {
        let volume = Volume { image: dir.join(format!("{name}.ext4")), mount: dir.join(name) };
        let failed = |error| RunError::system(&volume.image.display().to_string(), error);
        File::create(&volume.image).and_then(|file| file.set_len(mib << 20)).map_err(failed)?;
        std::fs::create_dir_all(&volume.mount).map_err(failed)?;
        system::run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&volume.image))?;
        volume.mount()?;
        Ok(volume)
    }

    /// Where it is mounted.
    pub(super) fn path(&self) -> &Path {
        &self.mount
    }

    fn mount(&self) -> Result<(), RunError> {
        system::run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.mount))
    }

    /// From here on every write fails, and what was not synced is lost.
    pub(super) fn cut_power(&self) -> Result<(), RunError> {
        system::run(Command::new("python3").args(["-c", CUTTER]).arg(&self.mount))
    }

    /// After a cut, once nobody has a file open: mounts it as a machine does that starts again.
    pub(super) fn mount_again(&self) -> Result<(), RunError> {
        let deadline = Instant::now() + BUSY;
        while let Err(error) = system::run(Command::new("umount").arg(&self.mount)) {
            if Instant::now() > deadline {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.mount()
    }

    /// Nothing more fits.
    pub(super) fn fill(&self) -> Result<(), RunError> {
        let filler = self.filler();
        // What fallocate cannot reserve at once, dd takes to the last block; both end with "no space", as they should.
        let _ = system::run(Command::new("dd").args(["if=/dev/zero", "bs=1M", &format!("of={}", filler.display())]));
        let _ =
            system::run(Command::new("dd").args(["if=/dev/zero", "bs=4096", &format!("of={}.rest", filler.display())]));
        Ok(())
    }

    /// There is room again.
    pub(super) fn empty(&self) -> Result<(), RunError> {
        let filler = self.filler();
        for path in [filler.clone(), PathBuf::from(format!("{}.rest", filler.display()))] {
            if let Err(error) = std::fs::remove_file(&path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                return Err(RunError::system(&path.display().to_string(), error));
            }
        }
        Ok(())
    }

    fn filler(&self) -> PathBuf {
        self.mount.join("filler")
    }

    /// Writes and syncs wait until [`Volume::thaw`].
    pub(super) fn freeze(&self) -> Result<(), RunError> {
        system::run(Command::new("fsfreeze").arg("--freeze").arg(&self.mount))
    }

    /// They go on. One that was not frozen stays as it is.
    pub(super) fn thaw(&self) {
        let _ = system::run(Command::new("fsfreeze").arg("--unfreeze").arg(&self.mount));
    }
}
