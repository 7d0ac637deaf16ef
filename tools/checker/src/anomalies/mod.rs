//! The checks, one file for each family of anomalies. Each is a function of the history and its version order.

pub(crate) mod commits;
pub(crate) mod consumed;
pub(crate) mod cycles;
pub(crate) mod ends;
pub(crate) mod groups;
pub(crate) mod lag;
pub(crate) mod lost;
pub(crate) mod offsets;
pub(crate) mod polls;
pub(crate) mod reads;
pub(crate) mod sends;
