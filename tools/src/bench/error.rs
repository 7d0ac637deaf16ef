//! Why a benchmark could not be finished.

use std::io;

/// One benchmark's failure, with the value that caused it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("cannot connect to {address}: {source}; is the broker running there? (--bootstrap-server HOST:PORT)")]
    Connect { address: String, source: io::Error },
    #[error("'{address}' is not an address: {source}; give HOST:PORT")]
    Address { address: String, source: io::Error },
    #[error("connection to the broker: {0}")]
    Connection(#[from] io::Error),
    #[error("the broker closed the connection after {answered} answers")]
    Closed { answered: u64 },
    #[error("{what} was answered with error code {code}{detail}")]
    Refused { what: &'static str, code: i16, detail: String },
    #[error("{what} cannot be understood: {why}")]
    Malformed { what: &'static str, why: String },
    #[error("expected the answer to request {expected}, got the one to {got}")]
    OutOfOrder { expected: i32, got: i32 },
    #[error("topic '{topic}' had no leader for all its partitions after {seconds} s")]
    NotReady { topic: String, seconds: u64 },
    #[error("batch read back at offset {offset} is damaged: {why}")]
    Damaged { offset: i64, why: String },
    #[error("process {pid} cannot be observed: {source}; is it running, and yours? (--broker-pid)")]
    Process { pid: u32, source: io::Error },
    #[error("'{path}': {source}")]
    File { path: String, source: io::Error },
    #[error("{0}")]
    Arguments(String),
    #[error("the broker did not answer within {seconds} s of its start; its command was: {command}")]
    NoStart { seconds: u64, command: String },
}
