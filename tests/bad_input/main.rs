//! Bytes that no client should send: each costs at most its own connection, leaves the log as it was, and is logged or answered
//! with Kafka's error code.
#![allow(clippy::unwrap_used, reason = "a test that meets a surprise should stop right there")]
#![allow(clippy::disallowed_methods, reason = "a test measures how long things take and looks at the files")]

mod batches;
mod connections;
mod counts;

use jackdaw_test_support::Broker;
use jackdaw_test_support::messages::ApiVersionsRequest;

/// The broker still serves others.
fn serves(broker: &mut Broker) {
    assert!(broker.is_running(), "{}", broker.said());
    assert_eq!(broker.client().call(0, &ApiVersionsRequest::default()).error_code, 0);
    assert!(!broker.said().contains("panicked"), "{}", broker.said());
}
