//! The guard and the codec, held against each other: bodies made from the shapes of every request and response, at
//! every version, whole, cut, inflated and mutated.
//!
//! Everything random comes from one seed, which failures print. `JACKDAW_SEED=<number>` tries another one.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod bodies;
mod bombs;
mod codecs;
mod mutations;
mod shapes;
