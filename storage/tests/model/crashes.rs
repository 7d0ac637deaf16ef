//! What crashes do to the log, and what a start has to find.

use std::sync::Arc;

use jackdaw_storage::{Hold, LogDir, LogDirOptions};
use rand::Rng;

use crate::support::faulty::Faulty;
use crate::support::*;
use crate::{Model, open_on};

impl Model {
    /// A stop of the process alone: nothing of what the system was given is lost.
    pub(crate) fn restart(&mut self, clean: bool) {
        tell!(self, "restart, clean {clean}");
        let dir = self.dir.take().unwrap();
        if clean {
            dir.close().unwrap();
            self.start_is_durable();
        }
        drop(dir);
        let (end, durable_end, durable_start) = (self.end, self.durable_end, self.durable_start);
        self.opened(open_on(&self.disk, &self.root(), &self.config));
        assert_eq!(self.end, end);
        // What the start found is no safer than it was.
        self.durable_end = durable_end.max(self.log.flushed_offset());
        self.durable_start = durable_start.min(self.start);
    }

    /// Takes over what a start found, after a look at whether it may be so.
    fn opened(&mut self, dir: LogDir) {
        self.log = only_log(&dir);
        self.dir = Some(dir);
        self.is_restarted = true;
        assert!(self.log.quarantine().is_none(), "{:?}", self.log.quarantine());
        let (start, end) = (self.log.log_start_offset(), self.log.log_end_offset());
        tell!(
            self,
            "  found {start}..{end}; had {}..{}, durable {}..{}",
            self.start,
            self.end,
            self.durable_start,
            self.durable_end
        );
        assert!(end >= self.durable_end, "lost what was flushed: ends at {end}");
        assert!(end <= self.end, "more than was appended: {end}");
        let is_boundary = end == self.end || self.history.batches.iter().any(|b| b.base == end) || end == start;
        assert!(is_boundary, "ends within a batch: {end}");
        let may_be_start = self.durable_start.min(end)..=self.start.max(end);
        assert!(may_be_start.contains(&start), "starts at {start}");
        self.history.truncate(end);
        self.end = end;
        self.start = start;
        if std::mem::take(&mut self.was_compacting) {
            self.adopt_compaction(start);
        }
        assert!(self.log.flushed_offset() <= end);
    }

    /// The machine stops between two operations.
    pub(crate) fn power_cut(&mut self) {
        tell!(self, "power cut");
        self.disk.cut_power_after(0);
        drop(self.dir.take());
        self.after_power_cut();
    }

    /// The machine stops within one.
    pub(crate) fn power_cut_in_the_middle(&mut self) {
        let operations = self.rng.random_range(0..14);
        let before = (self.end, self.start);
        let what = self.rng.random_range(0..if self.config.compact { 8 } else { 6 });
        tell!(self, "power cut after {operations} operations of kind {what}");
        match what {
            0 => {
                let count = self.rng.random_range(1..12);
                let made = self.make_batches(count);
                self.disk.cut_power_after(operations);
                let results = self.try_append(&made);
                let acknowledged = results.iter().take_while(|r| r.is_ok()).count();
                assert!(
                    self.log.log_end_offset() >= before.0
                        && self.log.log_end_offset() <= made[count - 1].appended.last + 1
                );
                assert!(acknowledged == count || self.disk.is_off());
                // What was on its way may be there or not.
                made.into_iter().for_each(|made| self.take_in(made));
            }
            1 => {
                self.disk.cut_power_after(operations);
                if self.log.flush().is_ok() {
                    self.durable_end = self.end;
                }
            }
            2 => {
                let to = self.cut_place();
                tell!(self, "  truncate to {to}");
                self.disk.cut_power_after(operations);
                let done = self.log.truncate_to(to).is_ok();
                if done {
                    self.cut_to(to);
                } else {
                    self.durable_end = self.durable_end.min(to);
                    self.durable_start = self.durable_start.min(to);
                }
            }
            3 => {
                self.log.set_high_watermark(self.end);
                self.disk.cut_power_after(operations);
                if let Ok(retained) = self.log.retain(self.made, Hold::NONE) {
                    tell!(self, "  retain: {retained:?}");
                }
                self.start = self.end; // at most
            }
            4 => {
                self.disk.cut_power_after(operations);
                if self.dir().checkpoint().is_ok() {
                    self.durable_start = self.start;
                }
            }
            5 => {
                self.disk.cut_power_after(operations);
                if self.dir().close().is_ok() {
                    (self.durable_end, self.durable_start) = (self.end, self.start);
                }
            }
            _ => {
                self.was_compacting = true;
                self.disk.cut_power_after(2 * operations);
                let done = self.try_compact();
                tell!(self, "  compact: {done:?}");
            }
        }
        self.disk.cut_power_after(0);
        drop(self.dir.take());
        self.after_power_cut();
    }

    fn after_power_cut(&mut self) {
        loop {
            let left = self.root();
            self.generation += 1;
            let root = self.root();
            std::fs::create_dir(&root).unwrap();
            self.disk.materialize(&root, &mut self.rng);
            self.disk = Arc::new(Faulty::new(&root));
            std::fs::remove_dir_all(left).unwrap();
            if !self.rng.random_bool(0.2) {
                break;
            }
            // The power goes again, during the start.
            let operations = self.rng.random_range(0..20);
            tell!(self, "  start, power cut after {operations} operations");
            self.disk.cut_power_after(operations);
            let mut options = LogDirOptions::new(1);
            options.faults = Some(self.disk.clone());
            options.recovery_threads = 1;
            let config = self.config.clone();
            drop(LogDir::open(&root, options, &|_| config.clone(), &|_| {}));
            self.disk.cut_power_after(0);
        }
        self.tell_files();
        let dir = open_on(&self.disk, &self.root(), &self.config);
        self.tell_files();
        if dir.logs().is_empty() {
            assert_eq!(self.durable_end, 0, "the partition is gone");
            tell!(self, "  the partition never was");
            drop(create(&dir, &self.config));
            (self.start, self.durable_start) = (0, 0);
            self.history = Default::default();
            self.end = 0;
        }
        self.opened_after_cut(dir);
    }

    /// What is on the disk, for whoever reads the trace.
    fn tell_files(&mut self) {
        if !self.tells {
            return;
        }
        let Ok(entries) = std::fs::read_dir(partition_path(&self.root())) else { return };
        let mut files: Vec<_> = entries
            .map(|entry| entry.unwrap())
            .map(|e| {
                format!(
                    "{} {}",
                    e.file_name().display().to_string().trim_start_matches('0'),
                    e.metadata().unwrap().len()
                )
            })
            .collect();
        files.sort();
        tell!(self, "  files: {}", files.join(", "));
    }

    fn opened_after_cut(&mut self, dir: LogDir) {
        self.opened(dir);
        // It was read from a disk that had nothing else.
        self.durable_end = self.end;
        self.start_is_durable();
        self.leader_epoch = self.leader_epoch.max(self.log.latest_epoch().unwrap_or(0));
    }
}
