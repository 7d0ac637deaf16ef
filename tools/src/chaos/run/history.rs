//! The history and what the timeline is made of, as the clients write them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jackdaw_checker::entry::{Entry, EntryType, Function, Mark, Micro};

use super::RunError;

/// One send, as the timeline sees it. Nanoseconds since the run began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) key: u32,
    pub(super) began: i64,
    pub(super) ended: i64,
    pub(super) acknowledged: bool,
}

struct Writer {
    file: BufWriter<File>,
    last: i64,
    error: Option<String>,
}

/// Where all clients write, each line with a time that is never less than that of the line before.
pub(super) struct Recorder {
    origin: Instant,
    writer: Mutex<Writer>,
    samples: Mutex<Vec<Sample>>,
    /// When each key last acknowledged a send.
    answered: Mutex<BTreeMap<u32, i64>>,
    next_value: AtomicI64,
    pub(super) acknowledged: AtomicU64,
    pub(super) polled: AtomicU64,
}

/// What one process writes.
pub(super) struct Process<'a> {
    recorder: &'a Recorder,
    number: u32,
    group: Option<String>,
}

impl Recorder {
    pub(super) fn create(path: &Path) -> Result<Recorder, RunError> {
        let file = File::create(path).map_err(|error| RunError::system(&path.display().to_string(), error))?;
        let writer = Writer { file: BufWriter::with_capacity(1 << 16, file), last: 0, error: None };
        Ok(Recorder {
            origin: Instant::now(),
            writer: Mutex::new(writer),
            samples: Mutex::default(),
            answered: Mutex::default(),
            next_value: AtomicI64::new(1),
            acknowledged: AtomicU64::new(0),
            polled: AtomicU64::new(0),
        })
    }

    /// Nanoseconds since the run began.
    pub(super) fn now(&self) -> i64 {
        i64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(i64::MAX)
    }

    /// The first of `count` numbers that nobody else sends.
    pub(super) fn values(&self, count: i64) -> i64 {
        self.next_value.fetch_add(count, Ordering::Relaxed)
    }

    /// Writes a line, and returns its time.
    pub(super) fn write(&self, mut entry: Entry) -> i64 {
        let mut writer = lock(&self.writer);
        entry.time = self.now().max(writer.last);
        writer.last = entry.time;
        if let Some(ops) = entry.ops.as_ref().filter(|_| entry.kind == Some(EntryType::Ok)) {
            let polled = |op: &Micro| if let Micro::Poll(read) = op { read.values().map(Vec::len).sum() } else { 0 };
            let sent = ops.iter().filter(|op| matches!(op, Micro::Send { .. })).count();
            self.acknowledged.fetch_add(sent as u64, Ordering::Relaxed);
            self.polled.fetch_add(ops.iter().map(polled).sum::<usize>() as u64, Ordering::Relaxed);
        }
        let written = serde_json::to_writer(&mut writer.file, &entry)
            .map_err(std::io::Error::from)
            .and_then(|()| writer.file.write_all(b"\n"));
        if let Err(error) = written {
            writer.error.get_or_insert(error.to_string());
        }
        entry.time
    }

    pub(super) fn mark(&self, mark: Mark, note: &str) -> i64 {
        let note = Some(note.to_owned()).filter(|note| !note.is_empty());
        self.write(Entry { mark: Some(mark), note, ..Entry::default() })
    }

    pub(super) fn sample(&self, sample: Sample) {
        if sample.acknowledged {
            lock(&self.answered).insert(sample.key, sample.ended);
        }
        lock(&self.samples).push(sample);
    }

    /// The first of so many keys that acknowledged no send since then.
    pub(super) fn silent_since(&self, since: i64, keys: u32) -> Option<u32> {
        let answered = lock(&self.answered);
        (0..keys).find(|key| answered.get(key).is_none_or(|last| *last < since))
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        std::mem::take(&mut lock(&self.samples))
    }

    /// Writes out what is buffered; fails if any line could not be written.
    pub(super) fn finish(&self) -> Result<(), RunError> {
        let mut writer = lock(&self.writer);
        let flushed = writer.file.flush();
        match writer.error.take() {
            Some(error) => Err(RunError::Broken(format!("the history could not be written: {error}"))),
            None => flushed.map_err(|error| RunError::system("the history", error)),
        }
    }

    pub(super) fn process(&self, number: u32, group: Option<&str>) -> Process<'_> {
        Process { recorder: self, number, group: group.map(str::to_owned) }
    }
}

impl Process<'_> {
    fn entry(&self, kind: EntryType, function: Function) -> Entry {
        Entry {
            process: Some(self.number),
            kind: Some(kind),
            function: Some(function),
            group: self.group.clone(),
            ..Entry::default()
        }
    }

    pub(super) fn invoke(&self, function: Function, ops: Vec<Micro>) -> i64 {
        let ops = Some(ops).filter(|ops| !ops.is_empty());
        self.recorder.write(Entry { ops, ..self.entry(EntryType::Invoke, function) })
    }

    pub(super) fn ok(&self, function: Function, ops: Vec<Micro>) -> i64 {
        let ops = Some(ops).filter(|ops| !ops.is_empty());
        self.recorder.write(Entry { ops, ..self.entry(EntryType::Ok, function) })
    }

    pub(super) fn failed(&self, kind: EntryType, function: Function, error: &str) -> i64 {
        let error = Some(error.to_owned());
        self.recorder.write(Entry { error, ..self.entry(kind, function) })
    }

    /// An operation without parts that cannot fail.
    pub(super) fn crash(&self) {
        self.invoke(Function::Crash, Vec::new());
        self.ok(Function::Crash, Vec::new());
    }

    pub(super) fn assign(&self, keys: &[String], seek_to_beginning: bool) {
        for kind in [EntryType::Invoke, EntryType::Ok] {
            let keys = Some(keys.to_vec());
            self.recorder.write(Entry { keys, seek_to_beginning, ..self.entry(kind, Function::Assign) });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_silent_until_a_send_to_it_was_acknowledged_after_the_heal() {
        let directory = tempfile::tempdir().unwrap();
        let recorder = Recorder::create(&directory.path().join("history.jsonl")).unwrap();
        let sent = |key, ended, acknowledged| recorder.sample(Sample { key, began: 0, ended, acknowledged });
        sent(0, 5, true);
        sent(1, 20, true);
        assert_eq!(recorder.silent_since(10, 2), Some(0), "it was acknowledged before only");
        sent(0, 30, false);
        assert_eq!(recorder.silent_since(10, 2), Some(0), "what failed shows nothing");
        sent(0, 40, true);
        assert_eq!(recorder.silent_since(10, 2), None);
        assert_eq!(recorder.silent_since(10, 3), Some(2), "nothing was ever sent to it");
    }
}
