//! The metadata quorum: openraft behind one door, on files of our own.
//!
//! A [`Quorum`] is a node with a vote: it is [started](Quorum::start) on a directory, takes [commands](Quorum::propose) when it
//! [leads](Quorum::leadership), and applies what was committed to the application's [`Machine`]. Nodes reach each other by a
//! [`Transport`] of the application, which brings bytes to [`Quorum::handle`]. An [`Observer`] follows without a vote.
//!
//! Reading order:
//! - `frame`: pure; bytes of the journal, and what a crash may have left of them.
//! - `disk`, `journal`: the files; one append-only file and the one that alone writes and syncs it.
//! - `store`: openraft's log storage on the journal.
//! - `machine`: openraft's state machine: what the application makes of committed commands, and its snapshots; `compact`: when
//!   those are made by bytes and by time.
//! - `options`, `identity`: how a node is started, and whose files and votes are whose.
//! - `transport`, `wire`, `network`, `serve`: requests between nodes: who carries them, how they look, asking, answering.
//! - `leadership`: who leads, and when that may be relied on. `members`: who belongs to the quorum. `observer`: who follows it.
//! - `node`: all of it together. `inspect`: the files, for people.
//!
//! **Invariants.**
//! - A vote, truncation or purge is on the disk before it is acknowledged; entries are before their callback. All of them are
//!   written in the order in which they were asked for. The first failed write or sync ends the store: nothing is tried again,
//!   since the kernel may have dropped what it could not write. What a crash cut off is cut; what is damaged before the last sync
//!   is refused, since a voter that forgets may elect two leaders.
//! - For the same reason a member is known by its directory: whoever comes with another one has no say until it is taken out of
//!   the quorum and added again. Directories are in the log, as soon as they are heard.
//! - A leader is [ready](Leadership::ready) when it has applied everything that was committed before its term, and as long as a
//!   majority hears it. Only then does it take commands.
//! - Time is monotonic: no clock that people can set decides anything.
//! - Bytes from outside are checked before openraft sees them, and take no more memory than they are long, but for a small factor.

mod compact;
mod disk;
mod frame;
mod identity;
pub mod inspect;
mod journal;
mod leadership;
mod machine;
mod members;
mod network;
mod node;
mod observer;
mod options;
mod serve;
mod store;
mod transport;
mod wire;

pub use disk::{Append, Disk};
pub use identity::DirectoryId;
pub use journal::{JournalError, Writer};
pub use leadership::Leadership;
pub use machine::{At, Machine, StateMachine};
pub use members::{Member, MemberStatus, MembershipError, Status};
pub use node::{COMMAND_MAX, ProposeError, Quorum};
pub use observer::{ObserveError, Observer};
pub use options::{Options, StartError, Voters};
pub use store::{Command, Peer, Reply, Store, TypeConfig};
pub use transport::{Call, CallError, NoTransport, Target, Transport};
pub use wire::{MESSAGE_MAX, Refusal, WireError};
