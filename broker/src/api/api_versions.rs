//! ApiVersions, 0 to 4: what this broker serves, and the cluster's finalized features (KIP-35, KIP-511, KIP-584).
//!
//! The answer's header is always v0. Version 3 adds the client's software name and version and the features; version 4
//! may name supported features whose lowest level is 0.

use jackdaw_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use jackdaw_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, Encodable, Request, ResponseError, StrBytes,
};

use super::{Context, Handler, Reply, Serving, TABLE};
use crate::net::Outgoing;

/// API key.
pub const KEY: i16 = ApiVersionsRequest::KEY;

const FEATURES_SINCE: i16 = 3;

/// `metadata.version` levels: the oldest that Kafka 4 knows (3.3-IV3) and that of Kafka 4.1 (4.1-IV1), whose protocol
/// this broker speaks. Web consoles read the broker's version from it.
const METADATA_VERSION: (i16, i16) = (7, 27);

impl Handler for ApiVersionsRequest {
    fn handle(self, ctx: &Context<'_>) -> Reply<ApiVersionsResponse> {
        if ctx.api_version >= FEATURES_SINCE
            && !(is_software_name(&self.client_software_name) && is_software_name(&self.client_software_version))
        {
            return Reply::Now(ApiVersionsResponse::default().with_error_code(ResponseError::InvalidRequest.code()));
        }
        let mut response = ApiVersionsResponse::default().with_api_keys(served(ctx.connection.serving).collect());
        if ctx.api_version >= FEATURES_SINCE {
            response.finalized_features_epoch = i64::try_from(ctx.broker.topics.image().version).unwrap_or(i64::MAX);
            response.supported_features.push(
                SupportedFeatureKey::default()
                    .with_name(StrBytes::from_static_str("metadata.version"))
                    .with_min_version(METADATA_VERSION.0)
                    .with_max_version(METADATA_VERSION.1),
            );
            response.finalized_features.push(
                FinalizedFeatureKey::default()
                    .with_name(StrBytes::from_static_str("metadata.version"))
                    .with_min_version_level(METADATA_VERSION.1)
                    .with_max_version_level(METADATA_VERSION.1),
            );
        }
        Reply::Now(response)
    }
}

fn served(serving: Serving) -> impl Iterator<Item = ApiVersion> {
    TABLE.iter().filter(move |row| row.scope.is_served(serving) && row.key != super::quorum::KEY).map(|row| {
        ApiVersion::default().with_api_key(row.key).with_min_version(row.advertised_min).with_max_version(row.max)
    })
}

/// KIP-511: letters, digits, dots and dashes, neither first nor last a dot or dash.
fn is_software_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let alphanumeric = |at: Option<&u8>| at.is_some_and(u8::is_ascii_alphanumeric);
    alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

/// Answers a version above ours: error 35 in version 0, naming only the range of ApiVersions itself, so that the client
/// comes again with a version that both know (KIP-511).
pub fn unsupported(correlation_id: i32, out: &mut Outgoing) -> Result<(), String> {
    let own = served(Serving::Clients).filter(|api| api.api_key == ApiKey::ApiVersions as i16).collect();
    let response =
        ApiVersionsResponse::default().with_error_code(ResponseError::UnsupportedVersion.code()).with_api_keys(own);
    out.frame(correlation_id, false, |tail| response.encode(tail, 0)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_are_checked_as_kip_511_says() {
        for good in ["apache-kafka-java", "4.3.1", "a", "kafka.js"] {
            assert!(is_software_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", ".", "a b", "ü"] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }
}
