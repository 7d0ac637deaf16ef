//! A disk in memory: what was not synced may be lost in a crash, in part or whole.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use jackdaw_quorum::{Append, Disk, Writer};
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;

#[derive(Default)]
struct Content {
    durable: Vec<u8>,
    /// Written, and not synced.
    written: Vec<u8>,
}

type Files = Arc<Mutex<BTreeMap<String, Content>>>;

/// The platter, which outlives its node.
#[derive(Clone, Default)]
pub struct Platter {
    files: Files,
    /// The longest that a sync takes, in milliseconds.
    pub slowness: Arc<AtomicU64>,
    full: Arc<AtomicBool>,
}

impl Platter {
    /// A disk for one life of a node.
    pub fn mount(&self, alive: &Arc<AtomicBool>, seed: u64) -> Arc<dyn Disk> {
        let pauses = Arc::new(AtomicU64::new(seed | 1));
        Arc::new(Mounted { platter: self.clone(), alive: Arc::clone(alive), pauses })
    }

    /// The power is cut: of what was not synced, any first part is there afterwards, and perhaps a broken byte of it.
    pub fn crash(&self, rng: &mut StdRng) {
        self.full.store(false, Ordering::SeqCst);
        for content in self.files.lock().values_mut() {
            let mut written = std::mem::take(&mut content.written);
            written.truncate(rng.random_range(0..=written.len()));
            if !written.is_empty() && rng.random_bool(0.3) {
                let at = rng.random_range(0..written.len());
                written[at] ^= 1 << rng.random_range(0..8);
            }
            content.durable.extend(written);
        }
    }

    /// Nothing can be written, until the power is cut.
    pub fn fail(&self) {
        self.full.store(true, Ordering::SeqCst);
    }

    pub fn lose(&self, name: &str) {
        self.files.lock().remove(name).unwrap();
    }

    /// Everything on it.
    pub fn bytes(&self) -> Vec<(String, Vec<u8>)> {
        let bytes = |(name, file): (&String, &Content)| (name.clone(), [&file.durable[..], &file.written].concat());
        self.files.lock().iter().map(bytes).collect()
    }

    /// Whether these bytes are on the disk.
    pub fn holds(&self, text: &str) -> bool {
        let files = self.files.lock();
        files.values().any(|file| file.durable.windows(text.len()).any(|window| window == text.as_bytes()))
    }
}

struct Mounted {
    platter: Platter,
    alive: Arc<AtomicBool>,
    pauses: Arc<AtomicU64>,
}

fn check(alive: &AtomicBool) -> io::Result<()> {
    if alive.load(Ordering::SeqCst) { Ok(()) } else { Err(io::Error::other("the machine is off")) }
}

impl Disk for Mounted {
    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        check(&self.alive)?;
        let files = self.platter.files.lock();
        Ok(files.get(name).map(|file| [&file.durable[..], &file.written[..]].concat()))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        check(&self.alive)?;
        let content = Content { durable: bytes.to_vec(), written: Vec::new() };
        self.platter.files.lock().insert(name.to_owned(), content);
        Ok(())
    }

    fn append(&self, name: &str, length: u64) -> io::Result<Box<dyn Append>> {
        check(&self.alive)?;
        let mut files = self.platter.files.lock();
        let file = files.entry(name.to_owned()).or_default();
        file.durable.append(&mut file.written);
        file.durable.truncate(length as usize);
        Ok(Box::new(Tail {
            files: Arc::clone(&self.platter.files),
            name: name.to_owned(),
            alive: Arc::clone(&self.alive),
            full: Arc::clone(&self.platter.full),
        }))
    }

    fn run(&self, writer: Writer) -> io::Result<Option<JoinHandle<()>>> {
        let (pauses, slowness) = (Arc::clone(&self.pauses), Arc::clone(&self.platter.slowness));
        tokio::spawn(writer.run_paused(move || {
            // A generator of its own: the order of the syncs of several nodes is not given.
            let number = pauses.load(Ordering::SeqCst).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            pauses.store(number, Ordering::SeqCst);
            let slowness = slowness.load(Ordering::SeqCst).max(1);
            tokio::time::sleep(Duration::from_millis((number >> 33) % slowness))
        }));
        Ok(None)
    }

    fn name(&self) -> String {
        "memory".to_owned()
    }
}

struct Tail {
    files: Files,
    name: String,
    alive: Arc<AtomicBool>,
    full: Arc<AtomicBool>,
}

impl Append for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        check(&self.alive)?;
        if self.full.load(Ordering::SeqCst) {
            return Err(io::Error::other("no space"));
        }
        if let Some(file) = self.files.lock().get_mut(&self.name) {
            file.written.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        check(&self.alive)?;
        if let Some(file) = self.files.lock().get_mut(&self.name) {
            let mut written = std::mem::take(&mut file.written);
            file.durable.append(&mut written);
        }
        Ok(())
    }
}
