//! Kafka's messages: the one door to the `kafka-protocol` crate, which encodes and decodes them.
//!
//! Its decoders trust the counts that a body claims, so bytes from outside go through [`crate::guard`] first, and
//! always as [`bytes::Bytes`]: strings and records are then slices of the frame, not copies. They keep the whole
//! frame alive; what outlives a request must be copied out.

use std::ops::RangeInclusive;

pub use kafka_protocol::error::ResponseError;
pub use kafka_protocol::messages::*;
pub use kafka_protocol::protocol::buf::{ByteBuf, ByteBufMut};
pub use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, Request, StrBytes, VersionRange};

/// The versions of request `R` that the codec can decode.
///
/// `ApiKey::valid_versions` is not that: for some APIs it reports versions that only the response knows
/// (OffsetCommit 10, OffsetFetch 10, InitProducerId 6).
pub const fn request_versions<R: Request>() -> RangeInclusive<i16> {
    R::VERSIONS.min..=R::VERSIONS.max
}

/// Whether version `version` of a request carries tagged fields, in its header too (header version 2, KIP-482).
/// `None` for an API that the codec does not know.
pub fn is_flexible(api_key: i16, version: i16) -> Option<bool> {
    let api = ApiKey::try_from(api_key).ok()?;
    Some(api.request_header_version(version) >= 2)
}

/// The header version of the response to version `version` of a request: 1 (tagged fields) or 0. ApiVersions
/// answers with 0 always, since its client does not know yet what the broker speaks (KIP-511).
/// `None` for an API that the codec does not know.
pub fn response_header_version(api_key: i16, version: i16) -> Option<i16> {
    let api = ApiKey::try_from(api_key).ok()?;
    Some(api.response_header_version(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_versions_response_always_has_the_oldest_header() {
        let key = ApiVersionsRequest::KEY;
        assert!((0..=4).all(|version| response_header_version(key, version) == Some(0)));
        assert_eq!(is_flexible(key, 2), Some(false));
        assert_eq!(is_flexible(key, 3), Some(true));
    }

    #[test]
    fn headers_follow_the_first_flexible_version() {
        assert_eq!(is_flexible(ProduceRequest::KEY, 8), Some(false));
        assert_eq!(is_flexible(ProduceRequest::KEY, 9), Some(true));
        assert_eq!(response_header_version(ProduceRequest::KEY, 8), Some(0));
        assert_eq!(response_header_version(ProduceRequest::KEY, 9), Some(1));
        assert_eq!(is_flexible(SaslHandshakeRequest::KEY, 1), Some(false));
        assert_eq!(is_flexible(4, 0), None);
    }

    #[test]
    fn versions_are_those_the_request_decoder_takes() {
        assert_eq!(request_versions::<OffsetCommitRequest>(), 2..=9);
        assert_eq!(request_versions::<OffsetFetchRequest>(), 1..=9);
        assert_eq!(request_versions::<InitProducerIdRequest>(), 0..=5);
    }
}
