//! One append-only file, and the one thread that writes and syncs it; and the directory it is in.
//!
//! Whatever waits when a sync has ended is written together and synced once. A rewrite puts the live state into a new file,
//! syncs that, renames it over the old one, and syncs the directory.

#![allow(clippy::disallowed_methods, reason = "the files of the quorum are reached through this module")]

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use thiserror::Error;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::disk::{Append, Disk};
use crate::frame;

/// Why a journal cannot be opened.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The file system refused.
    #[error("{path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// What had been synced is no longer what it was.
    #[error(
        "{path}: damaged at byte {at}, before what was synced later (byte {proof}). A voter that forgets may elect two leaders: \
         remove this node from the quorum, empty its directory, and add it again"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where it is broken.
        at: usize,
        /// Where something is that was written afterwards.
        proof: usize,
    },
    /// A record that is whole and says nothing we know.
    #[error("{path}: record {number} cannot be understood: {error}. Was it written by a later version?")]
    Unknown {
        /// Which file.
        path: PathBuf,
        /// From 0.
        number: usize,
        /// Why.
        error: serde_json::Error,
    },
}

/// Told when what was written is on the disk, or never will be.
pub(crate) type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

enum Job {
    /// Nobody waits for it: it goes along with the next one that somebody waits for.
    Note {
        payloads: Vec<Vec<u8>>,
    },
    Append {
        payloads: Vec<Vec<u8>>,
        done: Done,
    },
    Rewrite {
        payloads: Vec<Vec<u8>>,
        done: Done,
    },
}

/// An open journal. Dropped, it writes what was asked for, and closes.
pub(crate) struct Journal {
    jobs: Option<UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Journal {
    /// Opens or creates the journal, cuts a torn tail, and returns the payloads in it.
    pub(crate) fn open(disk: &Arc<dyn Disk>, name: &'static str) -> Result<(Journal, Vec<Vec<u8>>), JournalError> {
        let path = Path::new(&disk.name()).join(name);
        let io = |error| JournalError::Io { path: path.clone(), error };
        let bytes = disk.load(name).map_err(io)?.unwrap_or_default();
        let scan = frame::scan(&bytes).map_err(|frame::Damage { at, proof }| JournalError::Damaged {
            path: path.clone(),
            at,
            proof,
        })?;
        let file = disk.append(name, scan.sound as u64).map_err(io)?;
        let payloads = scan.frames.iter().map(|frame| frame.payload.to_vec()).collect();
        let next = scan.frames.last().map_or(1, |frame| frame.sync + 1);
        let (jobs, receiver) = unbounded_channel();
        let state = State { disk: Arc::clone(disk), name, file, sync: next, notes: Vec::new(), failed: None };
        let thread = disk.run(Writer { state, jobs: receiver }).map_err(io)?;
        Ok((Journal { jobs: Some(jobs), thread }, payloads))
    }

    /// Appends records, all behind those of earlier calls; `done` is called by the writer.
    pub(crate) fn append(&self, payloads: Vec<Vec<u8>>, done: Done) {
        self.ask(Job::Append { payloads, done });
    }

    /// Appends records that may be lost in a crash; they cost no sync of their own.
    pub(crate) fn note(&self, payloads: Vec<Vec<u8>>) {
        self.ask(Job::Note { payloads });
    }

    /// Replaces everything asked for so far by these records.
    pub(crate) fn rewrite(&self, payloads: Vec<Vec<u8>>, done: Done) {
        self.ask(Job::Rewrite { payloads, done });
    }

    fn ask(&self, job: Job) {
        let sent = self.jobs.as_ref().map(|jobs| jobs.send(job));
        if let Some(Err(unsent)) = sent
            && let Job::Append { done, .. } | Job::Rewrite { done, .. } = unsent.0
        {
            done(Err(io::Error::other("the journal's writer has ended")));
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so, and its callers were told by their callbacks' end.
            let _ = thread.join();
        }
    }
}

/// What is written together, and who waits for it.
#[derive(Default)]
struct Batch {
    payloads: Vec<Vec<u8>>,
    done: Vec<Done>,
}

/// Writes and syncs the journal: whatever waits when a sync has ended goes into the next one. It ends with the journal.
pub struct Writer {
    state: State,
    jobs: UnboundedReceiver<Job>,
}

impl Writer {
    /// Works until the journal is closed.
    pub fn run(mut self) {
        while let Some(first) = self.jobs.blocking_recv() {
            self.work(first);
        }
        self.state.end();
    }

    /// The same in a simulation: `pause` is what stands between asking for something and its being written.
    pub async fn run_paused<P: Future<Output = ()> + Send>(mut self, pause: impl Fn() -> P + Send) {
        while let Some(first) = self.jobs.recv().await {
            pause().await;
            self.work(first);
        }
        self.state.end();
    }

    fn work(&mut self, first: Job) {
        let mut waiting = vec![first];
        while let Ok(job) = self.jobs.try_recv() {
            waiting.push(job);
        }
        self.state.work(waiting);
    }
}

struct State {
    disk: Arc<dyn Disk>,
    name: &'static str,
    file: Box<dyn Append>,
    /// The number of the next sync.
    sync: u64,
    /// Records that wait for the next sync, which are older than what comes with it.
    notes: Vec<Vec<u8>>,
    failed: Option<(io::ErrorKind, String)>,
}

impl State {
    fn work(&mut self, waiting: Vec<Job>) {
        let mut batch = Batch::default();
        for job in waiting {
            match job {
                Job::Note { payloads } if batch.done.is_empty() => self.notes.extend(payloads),
                Job::Note { payloads } => batch.payloads.extend(payloads),
                Job::Append { payloads, done } => {
                    batch.payloads.extend(payloads);
                    batch.done.push(done);
                }
                Job::Rewrite { payloads, done } => {
                    self.write_batch(std::mem::take(&mut batch));
                    // The new state knows what they say.
                    self.notes.clear();
                    let result = self.unless_failed(|state| state.rewrite(&payloads));
                    done(result);
                }
            }
        }
        self.write_batch(batch);
    }

    fn end(&mut self) {
        if !self.notes.is_empty() {
            self.write_batch(Batch { payloads: Vec::new(), done: vec![Box::new(drop)] });
        }
    }

    fn write_batch(&mut self, batch: Batch) {
        if batch.done.is_empty() {
            return;
        }
        let mut bytes = Vec::new();
        let notes = std::mem::take(&mut self.notes);
        let payloads = notes.iter().chain(&batch.payloads);
        payloads.for_each(|payload| frame::encode(self.sync, payload, &mut bytes));
        let result = self.unless_failed(|state| {
            state.file.write(&bytes)?;
            state.file.sync()?;
            state.sync += 1;
            Ok(())
        });
        for done in batch.done {
            done(copy(&result));
        }
    }

    fn rewrite(&mut self, payloads: &[Vec<u8>]) -> io::Result<()> {
        let mut bytes = Vec::new();
        payloads.iter().for_each(|payload| frame::encode(self.sync, payload, &mut bytes));
        self.disk.replace(self.name, &bytes)?;
        self.file = self.disk.append(self.name, bytes.len() as u64)?;
        self.sync += 1;
        Ok(())
    }

    /// Does nothing more after the first failure.
    fn unless_failed(&mut self, work: impl FnOnce(&mut State) -> io::Result<()>) -> io::Result<()> {
        if let Some((kind, text)) = &self.failed {
            return Err(io::Error::new(*kind, format!("an earlier write failed: {text}")));
        }
        let result = work(self);
        if let Err(error) = &result {
            self.failed = Some((error.kind(), error.to_string()));
        }
        result
    }
}

fn copy(result: &io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    }
}

/// A directory of the file system.
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// Makes the directory if it is not there, and cleans up after a replacement that did not come to its end.
    pub(crate) fn open(path: &Path) -> io::Result<Directory> {
        if !path.is_dir() {
            std::fs::create_dir_all(path)?;
            sync_directory(path)?;
        }
        Ok(Directory(path.to_owned()))
    }

    fn temporary(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.new"))
    }
}

impl Disk for Directory {
    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(self.0.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (path, temporary) = (self.0.join(name), self.temporary(name));
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        drop(file);
        std::fs::rename(&temporary, &path)?;
        sync_directory(&path)
    }

    fn append(&self, name: &str, length: u64) -> io::Result<Box<dyn Append>> {
        let path = self.0.join(name);
        match std::fs::remove_file(self.temporary(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().create(true).append(true).read(true).open(&path)?;
        sync_directory(&path)?;
        if file.metadata()?.len() > length {
            file.set_len(length)?;
        }
        // What the process before wrote and did not sync was read, and must not be forgotten later.
        file.sync_data()?;
        Ok(Box::new(file))
    }

    fn run(&self, writer: Writer) -> io::Result<Option<JoinHandle<()>>> {
        let thread = std::thread::Builder::new().name("quorum-journal".to_owned());
        thread.spawn(move || writer.run()).map(Some)
    }

    fn name(&self) -> String {
        self.0.display().to_string()
    }
}

impl Append for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Makes names in the directory of `path` durable.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    fn open(path: &Path) -> Arc<dyn Disk> {
        Arc::new(Directory::open(path).unwrap())
    }

    fn state(disk: &Arc<dyn Disk>, file: Box<dyn Append>) -> State {
        State { disk: Arc::clone(disk), name: "journal", file, sync: 1, notes: Vec::new(), failed: None }
    }

    fn told(results: &Sender<io::Result<()>>) -> Done {
        let results = results.clone();
        Box::new(move |result| results.send(result).unwrap())
    }

    #[test]
    fn what_waits_is_written_together_and_synced_once() {
        let directory = tempfile::tempdir().unwrap();
        let disk = open(directory.path());
        let ((jobs, receiver), (results, outcomes)) = (unbounded_channel(), channel());
        for number in 0..100_u8 {
            jobs.send(Job::Note { payloads: vec![vec![number, 0]] }).unwrap();
            jobs.send(Job::Append { payloads: vec![vec![number, 1]], done: told(&results) }).unwrap();
        }
        drop((jobs, results));
        Writer { state: state(&disk, disk.append("journal", 0).unwrap()), jobs: receiver }.run();
        assert_eq!(outcomes.iter().filter(|result| result.is_ok()).count(), 100);
        let bytes = disk.load("journal").unwrap().unwrap();
        let frames = frame::scan(&bytes).unwrap().frames;
        let expected: Vec<Vec<u8>> = (0..100).flat_map(|number| [vec![number, 0], vec![number, 1]]).collect();
        assert_eq!(frames.iter().map(|frame| frame.payload.to_vec()).collect::<Vec<_>>(), expected);
        assert!(frames.iter().all(|frame| frame.sync == 1));
    }

    #[test]
    fn nothing_is_written_after_the_first_failure() {
        let directory = tempfile::tempdir().unwrap();
        let disk = open(directory.path());
        disk.replace("journal", b"").unwrap();
        // Opened for reading: the first write fails.
        let mut state = state(&disk, Box::new(File::open(directory.path().join("journal")).unwrap()));
        let (results, outcomes) = channel();
        state.write_batch(Batch { payloads: vec![vec![1]], done: vec![told(&results)] });
        assert!(outcomes.recv().unwrap().is_err());
        // Even if it could be written now.
        state.file = disk.append("journal", 0).unwrap();
        state.write_batch(Batch { payloads: vec![vec![2]], done: vec![told(&results)] });
        let error = outcomes.recv().unwrap().unwrap_err().to_string();
        assert!(error.contains("an earlier write failed"), "{error}");
        assert!(state.unless_failed(|state| state.rewrite(&[])).is_err());
        assert_eq!(disk.load("journal").unwrap().unwrap(), b"");
    }

    #[test]
    fn a_rewrite_that_did_not_come_to_its_end_is_as_if_it_had_not_begun() {
        let directory = tempfile::tempdir().unwrap();
        let disk = open(directory.path());
        let (journal, _) = Journal::open(&disk, "journal").unwrap();
        journal.note(vec![b"a".to_vec()]);
        drop(journal);
        std::fs::write(directory.path().join("journal.new"), b"half of it").unwrap();
        let (journal, payloads) = Journal::open(&disk, "journal").unwrap();
        assert_eq!(payloads, [b"a".to_vec()]);
        assert!(!directory.path().join("journal.new").exists());
        let (results, outcomes) = channel();
        journal.rewrite(vec![b"b".to_vec()], told(&results));
        journal.append(vec![b"c".to_vec()], told(&results));
        outcomes.recv().unwrap().unwrap();
        drop(journal);
        assert_eq!(Journal::open(&disk, "journal").unwrap().1, [b"b".to_vec(), b"c".to_vec()]);
    }
}
