//! Every message that the codec decodes, after Kafka's message schemas, in the versions of the codec.
//!
//! The codec is the referee: `tests/guard/` makes bodies from these tables and has it decode and encode them, so a
//! wrong line fails a test. Only where null is allowed it does not say: its types are nullable in all versions or in
//! none, so that comes from Kafka's schemas alone.
//!
//! When the codec learns a version, its row gets a new last version and the fields that came with it.

mod cluster;
mod data;
mod groups;
mod quorum;
mod security;
mod share;
mod topics;
mod transactions;

use super::shape::Api;

pub(super) use groups::{CONSUMER_ASSIGNMENT, CONSUMER_SUBSCRIPTION};

const GROUPS: [&[Api]; 8] = [
    data::APIS,
    groups::APIS,
    transactions::APIS,
    topics::APIS,
    security::APIS,
    cluster::APIS,
    quorum::APIS,
    share::APIS,
];

const KEYS: usize = 93;

static BY_KEY: [Option<&Api>; KEYS] = by_key();

const fn by_key() -> [Option<&'static Api>; KEYS] {
    let mut index = [None; KEYS];
    let mut group = 0;
    while group < GROUPS.len() {
        let mut i = 0;
        while i < GROUPS[group].len() {
            let api = &GROUPS[group][i];
            assert!(index[api.key as usize].is_none(), "two rows for one API key");
            index[api.key as usize] = Some(api);
            i += 1;
        }
        group += 1;
    }
    index
}

/// The API with this key, if the codec knows it.
#[inline]
pub(super) fn find(key: i16) -> Option<&'static Api> {
    BY_KEY.get(usize::try_from(key).ok()?).copied().flatten()
}

/// All APIs, by ascending key.
pub(super) fn all() -> impl Iterator<Item = &'static Api> {
    BY_KEY.iter().copied().flatten()
}
