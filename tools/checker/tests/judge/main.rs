//! The checker against histories made by hand, histories of a simulated log that is right, and such histories spoiled.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod by_hand;
mod cycles;
mod groups;
mod mutations;
mod reading;
mod script;
mod simulated;
