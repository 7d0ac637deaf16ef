//! The metadata quorum: openraft behind one door, with a log store of our own.
//!
//! - `frame`: pure; bytes of the journal, and what a crash may have left of them.
//! - `journal`: one append-only file and the thread that alone writes and syncs it.
//! - `store`: openraft's log storage on the journal.
//! - `machine`: openraft's state machine: what the application makes of committed commands, and its snapshots.
//!
//! **Invariants.** A vote, truncation or purge is on the disk before it is acknowledged; entries are before their callback. All
//! of them are written in the order in which they were asked for. The first failed write or sync ends the store: nothing is
//! tried again, since the kernel may have dropped what it could not write. What a crash cut off is cut; what is damaged
//! before the last sync is refused, since a voter that forgets may elect two leaders.

mod compact;
mod disk;
mod frame;
mod identity;
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
