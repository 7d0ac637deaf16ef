//! Who is heard, on the active controller. Pure: monotonic time in; whom to fence and whom to dial, out.
//!
//! A broker that stops is noticed by its connection, which closes: then its listener is dialled, and if nothing listens
//! there, its process has ended. One that answers nothing any more is noticed by its session. Time is the monotonic
//! clock's; a pause of this process itself is held against nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use super::registration::Presence;

/// How long after a dial that was taken, or found no way, the broker is dialled again while it is not heard.
pub const REDIAL: Duration = Duration::from_millis(100);
/// How long a new controller waits for a broker's connection before it dials the broker: those that are there come by
/// themselves within moments, and one that went together with the last controller is not led by for long.
pub const INTRODUCTION: Duration = Duration::from_millis(20);

/// What a dial found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialed {
    /// Nothing listens there.
    Refused,
    /// The connection was taken. What listens for a process that is just ending may do that too.
    Taken,
    /// No way, or no answer in time: it may be alive.
    Unknown,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Brokers that are not heard any more, with their epochs.
    pub fence: Vec<(i32, i64)>,
    /// Brokers to dial, with their epochs.
    pub dial: Vec<(i32, i64)>,
}

struct Session {
    epoch: i64,
    /// When it was heard last.
    heard: Duration,
    /// The connection that it was heard on. None: it has none, or needs none.
    connection: Option<u64>,
    /// When to dial it, while it has no connection.
    dial_at: Option<Duration>,
    /// A dial is under way.
    dialing: bool,
}

/// The sessions of all brokers that are not fenced.
pub struct Liveness {
    session: Duration,
    sessions: BTreeMap<i32, Session>,
    looked: Duration,
}

impl Liveness {
    /// Knows nobody. A broker that is not heard for `session` (`broker.session.timeout.ms`) is given up.
    pub fn new(session: Duration) -> Liveness {
        Liveness { session, sessions: BTreeMap::new(), looked: Duration::ZERO }
    }

    /// This controller becomes the active one: these brokers are not fenced, and begin with full sessions. Where one has no
    /// connection to us soon, it is dialled.
    pub fn begin(&mut self, now: Duration, brokers: impl IntoIterator<Item = (i32, i64)>) {
        self.looked = now;
        let before = std::mem::take(&mut self.sessions);
        for (broker, epoch) in brokers {
            let connection =
                before.get(&broker).filter(|known| known.epoch == epoch).and_then(|known| known.connection);
            let dial_at = connection.is_none().then_some(now + INTRODUCTION);
            self.sessions.insert(broker, Session { epoch, heard: now, connection, dial_at, dialing: false });
        }
    }

    /// This controller is the active one no more.
    pub fn end(&mut self) {
        self.sessions.clear();
    }

    /// A broker was heard, on this connection; none for the broker in this process.
    pub fn heard(&mut self, now: Duration, broker: i32, epoch: i64, connection: Option<u64>) {
        self.sessions.insert(broker, Session { epoch, heard: now, connection, dial_at: None, dialing: false });
    }

    /// A connection closed. If a broker was heard on it, it is to be dialled at once: then true.
    pub fn closed(&mut self, now: Duration, connection: u64) -> bool {
        let of = |session: &&mut Session| session.connection == Some(connection);
        let Some(session) = self.sessions.values_mut().find(of) else { return false };
        session.connection = None;
        session.dial_at = Some(now);
        true
    }

    /// What a dial found; whom to fence for it.
    pub fn dialed(&mut self, now: Duration, broker: i32, epoch: i64, found: Dialed) -> Due {
        let mut due = Due::default();
        let Some(session) = self.sessions.get_mut(&broker).filter(|session| session.epoch == epoch) else { return due };
        session.dialing = false;
        if session.dial_at.is_none() {
            // It was heard meanwhile.
            return due;
        }
        match found {
            Dialed::Refused => {
                self.sessions.remove(&broker);
                due.fence.push((broker, epoch));
            }
            Dialed::Taken | Dialed::Unknown => session.dial_at = Some(now + REDIAL),
        }
        due
    }

    /// What is due at this moment.
    pub fn tick(&mut self, now: Duration) -> Due {
        let pause = now.saturating_sub(self.looked);
        self.looked = now;
        if pause > self.patience() {
            // We were stopped, or starved: what the brokers said meanwhile is still unread.
            for session in self.sessions.values_mut() {
                session.heard = (session.heard + pause).min(now);
            }
        }
        let mut due = Due::default();
        let patience = self.session;
        self.sessions.retain(|broker, session| {
            if now.saturating_sub(session.heard) < patience {
                return true;
            }
            due.fence.push((*broker, session.epoch));
            false
        });
        for (broker, session) in &mut self.sessions {
            if !session.dialing && session.dial_at.is_some_and(|at| at <= now) {
                session.dialing = true;
                due.dial.push((*broker, session.epoch));
            }
        }
        due
    }

    /// The longest time between two looks that is no pause of ours.
    fn patience(&self) -> Duration {
        self.session / 4
    }

    /// How long [`Liveness::tick`] may wait from now, if nothing happens before.
    pub fn wait(&self, now: Duration) -> Duration {
        let session = |session: &Session| {
            let ends = session.heard + self.session;
            let dial = session.dial_at.filter(|_| !session.dialing).unwrap_or(ends);
            ends.min(dial).saturating_sub(now)
        };
        self.sessions.values().map(session).min().unwrap_or(self.session).min(self.patience() / 2)
    }

    /// The broker is fenced or gone for another reason.
    pub fn forget(&mut self, broker: i32) {
        self.sessions.remove(&broker);
    }

    /// Whether the broker is here.
    pub fn presence(&self, now: Duration, broker: i32) -> Presence {
        match self.sessions.get(&broker) {
            None => Presence::Gone,
            Some(session) if now.saturating_sub(session.heard) >= self.session => Presence::Gone,
            Some(session) if session.dial_at.is_some() => Presence::Doubtful,
            Some(_) => Presence::Here,
        }
    }
}

#[cfg(test)]
#[path = "liveness_tests.rs"]
mod tests;
