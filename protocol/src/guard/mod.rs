//! The guard in front of the message decoders.

mod error;

pub use error::{Fault, GuardError, Kind};

/// Checks the body of a request.
pub fn check_request(api_key: i16, version: i16, body: &[u8]) -> Result<(), GuardError> {
    let _ = (api_key, version, body);
    Ok(())
}

/// Checks the body of a response.
pub fn check_response(api_key: i16, version: i16, body: &[u8]) -> Result<(), GuardError> {
    let _ = (api_key, version, body);
    Ok(())
}

/// Checks the subscription of a member of a classic consumer group, without its two leading version bytes.
pub fn check_consumer_subscription(version: i16, body: &[u8]) -> Result<(), GuardError> {
    let _ = (version, body);
    Ok(())
}

/// Checks the assignment of a member of a classic consumer group, without its two leading version bytes.
pub fn check_consumer_assignment(version: i16, body: &[u8]) -> Result<(), GuardError> {
    let _ = (version, body);
    Ok(())
}
