//! This node's part in the cluster: who the active controller is, and how other nodes are called.

pub mod channel;
