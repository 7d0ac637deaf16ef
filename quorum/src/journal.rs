//! One append-only file, and the one thread that writes and syncs it.
//!
//! Whatever waits when a sync has ended is written together and synced once. A rewrite puts the live state into a new file,
//! syncs that, renames it over the old one, and syncs the directory.

#![allow(clippy::disallowed_methods, reason = "the files of the quorum are reached through this module")]

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use thiserror::Error;

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
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Journal {
    /// Opens or creates the journal at `path`, cuts a torn tail, and returns the payloads in it.
    pub(crate) fn open(path: &Path) -> Result<(Journal, Vec<Vec<u8>>), JournalError> {
        let io = |error| JournalError::Io { path: path.to_owned(), error };
        // Of a rewrite that did not come to its rename.
        match std::fs::remove_file(temporary(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        let file = OpenOptions::new().create(true).append(true).read(true).open(path).map_err(io)?;
        sync_directory(path).map_err(io)?;
        let bytes = std::fs::read(path).map_err(io)?;
        let scan = frame::scan(&bytes).map_err(|frame::Damage { at, proof }| JournalError::Damaged {
            path: path.to_owned(),
            at,
            proof,
        })?;
        if scan.sound < bytes.len() {
            file.set_len(scan.sound as u64).map_err(io)?;
        }
        // What the process before wrote and did not sync is read here, and must not be forgotten later.
        file.sync_data().map_err(io)?;
        let payloads = scan.frames.iter().map(|frame| frame.payload.to_vec()).collect();
        let next = scan.frames.last().map_or(1, |frame| frame.sync + 1);
        let (jobs, receiver) = channel();
        let writer = Writer { path: path.to_owned(), file, sync: next, notes: Vec::new(), failed: None };
        let thread = std::thread::Builder::new().name("quorum-journal".to_owned()).spawn(move || writer.run(&receiver));
        let thread = thread.map_err(io)?;
        Ok((Journal { jobs: Some(jobs), thread: Some(thread) }, payloads))
    }

    /// Appends records, all behind those of earlier calls; `done` is called on the journal's thread.
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
            done(Err(io::Error::other("the journal's thread has ended")));
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

struct Writer {
    path: PathBuf,
    file: File,
    /// The number of the next sync.
    sync: u64,
    /// Records that wait for the next sync, which are older than what comes with it.
    notes: Vec<Vec<u8>>,
    failed: Option<(io::ErrorKind, String)>,
}

impl Writer {
    fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let mut waiting = vec![first];
            waiting.extend(jobs.try_iter());
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
                        let result = self.unless_failed(|writer| writer.rewrite(&payloads));
                        done(result);
                    }
                }
            }
            self.write_batch(batch);
        }
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
        let result = self.unless_failed(|writer| {
            writer.file.write_all(&bytes)?;
            writer.file.sync_data()?;
            writer.sync += 1;
            Ok(())
        });
        for done in batch.done {
            done(copy(&result));
        }
    }

    fn rewrite(&mut self, payloads: &[Vec<u8>]) -> io::Result<()> {
        let temporary = temporary(&self.path);
        let mut bytes = Vec::new();
        payloads.iter().for_each(|payload| frame::encode(self.sync, payload, &mut bytes));
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        drop(file);
        std::fs::rename(&temporary, &self.path)?;
        sync_directory(&self.path)?;
        self.file = OpenOptions::new().append(true).read(true).open(&self.path)?;
        self.sync += 1;
        Ok(())
    }

    /// Does nothing more after the first failure.
    fn unless_failed(&mut self, work: impl FnOnce(&mut Writer) -> io::Result<()>) -> io::Result<()> {
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

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

/// Makes a directory that is not there.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(path)?;
    sync_directory(path)
}

/// Makes names in the directory of `path` durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// Replaces a file as a whole: after a crash it is the old one or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary(path);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(&temporary, path)?;
    sync_directory(path)
}

/// A file's bytes; none if there is none.
pub(crate) fn load(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(path: &Path, file: File) -> Writer {
        Writer { path: path.to_owned(), file, sync: 1, notes: Vec::new(), failed: None }
    }

    fn told(results: &Sender<io::Result<()>>) -> Done {
        let results = results.clone();
        Box::new(move |result| results.send(result).unwrap())
    }

    #[test]
    fn what_waits_is_written_together_and_synced_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        let ((jobs, receiver), (results, outcomes)) = (channel(), channel());
        for number in 0..100_u8 {
            jobs.send(Job::Note { payloads: vec![vec![number, 0]] }).unwrap();
            jobs.send(Job::Append { payloads: vec![vec![number, 1]], done: told(&results) }).unwrap();
        }
        drop((jobs, results));
        writer(&path, file).run(&receiver);
        assert_eq!(outcomes.iter().filter(|result| result.is_ok()).count(), 100);
        let bytes = std::fs::read(&path).unwrap();
        let frames = frame::scan(&bytes).unwrap().frames;
        let expected: Vec<Vec<u8>> = (0..100).flat_map(|number| [vec![number, 0], vec![number, 1]]).collect();
        assert_eq!(frames.iter().map(|frame| frame.payload.to_vec()).collect::<Vec<_>>(), expected);
        assert!(frames.iter().all(|frame| frame.sync == 1));
    }

    #[test]
    fn nothing_is_written_after_the_first_failure() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        std::fs::write(&path, b"").unwrap();
        // Opened for reading: the first write fails.
        let mut writer = writer(&path, File::open(&path).unwrap());
        let (results, outcomes) = channel();
        writer.write_batch(Batch { payloads: vec![vec![1]], done: vec![told(&results)] });
        assert!(outcomes.recv().unwrap().is_err());
        // Even if it could be written now.
        writer.file = OpenOptions::new().append(true).open(&path).unwrap();
        writer.write_batch(Batch { payloads: vec![vec![2]], done: vec![told(&results)] });
        let error = outcomes.recv().unwrap().unwrap_err().to_string();
        assert!(error.contains("an earlier write failed"), "{error}");
        assert!(writer.unless_failed(|writer| writer.rewrite(&[])).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn a_rewrite_that_did_not_come_to_its_end_is_as_if_it_had_not_begun() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let (journal, _) = Journal::open(&path).unwrap();
        journal.note(vec![b"a".to_vec()]);
        drop(journal);
        std::fs::write(temporary(&path), b"half of it").unwrap();
        let (journal, payloads) = Journal::open(&path).unwrap();
        assert_eq!(payloads, [b"a".to_vec()]);
        assert!(!temporary(&path).exists());
        let (results, outcomes) = channel();
        journal.rewrite(vec![b"b".to_vec()], told(&results));
        journal.append(vec![b"c".to_vec()], told(&results));
        outcomes.recv().unwrap().unwrap();
        drop(journal);
        assert_eq!(Journal::open(&path).unwrap().1, [b"b".to_vec(), b"c".to_vec()]);
    }
}
