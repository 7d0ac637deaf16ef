//! Topics, their partitions and configs: what exists, and where.
//!
//! Reading order: `record` (the changes that can happen), `image` (what they add up to), `names` (which names a topic
//! may have), `catalog` (commands in, records or errors out).

pub mod catalog;
pub mod image;
pub mod names;
pub mod record;
