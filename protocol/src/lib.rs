//! Kafka's wire protocol: bytes to values and back.
//!
//! No sockets, files, async or clock in here. What a peer sends is never trusted: every length is
//! compared with the bytes that are there before anything is allocated or indexed by it.
//!
//! Reading order:
//!
//! 1. [`frame`]: cuts a byte stream into frames and reads request headers.
//! 2. [`guard`]: walks a body before it is decoded, so that no claimed count can exhaust memory.
//! 3. [`messages`]: Kafka's messages, from the `kafka-protocol` crate. Decode guarded [`bytes::Bytes`] only.
//! 4. [`produce`]: the one message that is read and written by hand.
//! 5. [`splice`]: encodes a response around record bytes without copying them.
//! 6. [`records`]: batches: a checked view, patching, iteration, compression, building.
//! 7. [`crc`]: the checksum of batches. [`log_facts`]: what our own tools may ask of a log.
//!
//! What is *not* here: what a request means (`jackdaw-broker`), where records are kept (`jackdaw-storage`).

#![deny(missing_docs)]

pub mod crc;
pub mod frame;
pub mod guard;
pub mod log_facts;
pub mod messages;
pub mod produce;
pub mod records;
pub mod splice;
