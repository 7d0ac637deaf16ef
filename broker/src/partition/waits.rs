//! Who waits for an acknowledgement: for the disk of this broker, and for the replicas that are in sync.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::role::{Kind, Standing};
use super::{NotDurable, Partition};

/// So many may have given up before somebody looks for them.
const PURGE_FROM: usize = 64;

struct Wait {
    offset: i64,
    answer: oneshot::Sender<Result<(), NotDurable>>,
}

/// Those who wait at one partition, in no order.
#[derive(Default)]
pub(super) struct Waits {
    list: Vec<Wait>,
    purge_at: usize,
    /// A follower was sent what is below, or has it.
    sent: i64,
}

impl Waits {
    fn push(&mut self, wait: Wait) {
        if self.list.len() >= self.purge_at.max(PURGE_FROM) {
            // Whose request has timed out waits no more, though the offset may never be reached.
            self.list.retain(|wait| !wait.answer.is_closed());
            self.purge_at = 2 * self.list.len();
        }
        self.list.push(wait);
    }

    fn end(&mut self, is_over: impl Fn(i64) -> bool, result: &Result<(), NotDurable>) {
        let mut at = 0;
        while at < self.list.len() {
            if is_over(self.list[at].offset) {
                // The connection may be gone; then nobody waits.
                let _ = self.list.swap_remove(at).answer.send(result.clone());
            } else {
                at += 1;
            }
        }
    }
}

fn has_others_in_sync(standing: &Standing) -> bool {
    standing.leading().is_some_and(|leading| leading.state.lock().isr().len() > 1)
}

impl Partition {
    /// Returns once every byte below `offset`, appended in `epoch`, is acknowledged: on the disk (unless the topic says
    /// `write.caching=true`), and on that of every replica in sync.
    ///
    /// Must be called on a partition whose records below `offset` are appended; the sync is seen to before it returns its
    /// future, so the caller may drop or await it later.
    pub fn durable(
        self: &Arc<Self>,
        offset: i64,
        epoch: i32,
    ) -> impl Future<Output = Result<(), NotDurable>> + Send + use<> {
        let waiting = self.wait_for(offset, epoch);
        async move {
            match waiting {
                Ok(None) => Ok(()),
                Ok(Some(receiver)) => receiver.await.unwrap_or(Err(NotDurable::Stopping)),
                Err(error) => Err(error),
            }
        }
    }

    /// Whether there is nothing to wait for.
    pub fn is_acknowledged(&self, offset: i64, epoch: i32) -> bool {
        let standing = self.standing.load();
        epoch >= standing.leading_since
            && self.acknowledged(&standing) >= offset
            && self.enough_replicas(&standing).is_ok()
    }

    fn wait_for(
        self: &Arc<Self>,
        offset: i64,
        epoch: i32,
    ) -> Result<Option<oneshot::Receiver<Result<(), NotDurable>>>, NotDurable> {
        let mut waits = self.waits.lock();
        // Under the lock: a change of role that is not seen here will see the wait.
        let standing = self.standing.load();
        if !standing.leads() || epoch < standing.leading_since {
            return Err(NotDurable::NotLeader);
        }
        if self.acknowledged(&standing) >= offset {
            return self.enough_replicas(&standing).map(|()| None);
        }
        let (answer, receiver) = oneshot::channel();
        waits.push(Wait { offset, answer });
        let is_later = waits.sent < offset && has_others_in_sync(&standing);
        drop(waits);
        let is_on_disk = self.on_disk() >= offset;
        if !is_on_disk && !is_later {
            self.ask_for_sync();
        }
        if is_on_disk || standing.leading().is_some() {
            // What came between the look at the offsets and the wait has not seen it: a sync by somebody else, such as a
            // compaction's, or a replica.
            self.acknowledge();
        }
        Ok(Some(receiver))
    }

    /// Below it, everything is where an acknowledgement needs it to be.
    fn acknowledged(&self, standing: &Standing) -> i64 {
        match standing.kind {
            Kind::Alone => self.on_disk(),
            Kind::Leading(_) => self.on_disk().min(self.log().high_watermark()),
            Kind::Following => -1,
        }
    }

    fn on_disk(&self) -> i64 {
        if self.with_config(|config| config.write_caching) { i64::MAX } else { self.log().flushed_offset() }
    }

    /// Replicas may have left after the records had come to all of them.
    fn enough_replicas(&self, standing: &Standing) -> Result<(), NotDurable> {
        let Some(leading) = standing.leading() else { return Ok(()) };
        let (wanted, in_sync) = (self.min_isr(leading), leading.state.lock().isr().len());
        if in_sync >= wanted { Ok(()) } else { Err(NotDurable::TooFewReplicas { in_sync, wanted }) }
    }

    /// Ends the waits for what is acknowledged by now.
    pub(super) fn acknowledge(&self) {
        let mut waits = self.waits.lock();
        if waits.list.is_empty() {
            return;
        }
        let standing = self.standing.load();
        let (acknowledged, result) = (self.acknowledged(&standing), self.enough_replicas(&standing));
        waits.end(|offset| offset <= acknowledged, &result);
    }

    /// Lets those who wait for the disk go on waiting in the directory that the log was moved to.
    pub fn resume_syncs(self: &Arc<Self>) {
        if !self.waits.lock().list.is_empty() {
            self.ask_for_sync();
        }
    }

    /// A follower has what is below `offset`, or will soon: where somebody waits for that, it is brought to this disk too.
    ///
    /// Not before: with others in sync an acknowledgement takes their syncs anyway, which begin no earlier. So a leader
    /// under load syncs as often as it is asked for records, and not once for each batch or two.
    pub fn follower_gets(self: &Arc<Self>, offset: i64) {
        if self.on_disk() >= offset {
            return;
        }
        let mut waits = self.waits.lock();
        waits.sent = waits.sent.max(offset);
        let is_waited_for = !waits.list.is_empty();
        drop(waits);
        if is_waited_for {
            self.ask_for_sync();
        }
    }

    /// To be called after a change of the replicas in sync: where none is left but this one, no follower asks any more.
    pub(super) fn sync_what_nobody_asks_for(self: &Arc<Self>) {
        if !has_others_in_sync(&self.standing.load()) {
            self.resume_syncs();
        }
    }

    pub(super) fn ask_for_sync(self: &Arc<Self>) {
        let home = self.home.load_full();
        home.flusher.ask(self, &home);
    }

    /// Ends the waits that a sync satisfies, or all on an error.
    pub(super) fn synced(&self, result: Result<i64, NotDurable>) {
        match result {
            Ok(_) => self.acknowledge(),
            Err(error) => self.waits.lock().end(|_| true, &Err(error)),
        }
    }
}
