//! ApiVersions, the first thing that clients ask (rules 2-6 and 8 of the wire, KIP-511).

use bytes::{Buf, BufMut};
use jackdaw_test_support::messages::{ApiVersionsRequest, ApiVersionsResponse};
use jackdaw_test_support::requests::text;
use jackdaw_test_support::wire;

use crate::client;

fn ask(version: i16) -> ApiVersionsResponse {
    let request = match version {
        3.. => ApiVersionsRequest::default()
            .with_client_software_name(text("test"))
            .with_client_software_version(text("1.0")),
        _ => ApiVersionsRequest::default(),
    };
    client().call(version, &request)
}

#[test]
fn every_version_lists_the_same_apis_in_ascending_order() {
    let newest: Vec<_> = ask(4).api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
    assert!(newest.is_sorted() && newest.len() > 20, "{newest:?}");
    for version in 0..4 {
        let response = ask(version);
        assert_eq!(response.error_code, 0);
        let apis: Vec<_> =
            response.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
        assert_eq!(apis, newest, "version {version}");
    }
}

#[test]
fn produce_is_advertised_from_version_zero_so_that_old_librdkafka_turns_compression_on() {
    let produce = ask(4).api_keys.into_iter().find(|api| api.api_key == 0).unwrap();
    assert_eq!((produce.min_version, produce.max_version), (0, 13));
}

#[test]
fn what_is_not_there_yet_is_not_advertised() {
    let keys: Vec<i16> = ask(4).api_keys.iter().map(|api| api.api_key).collect();
    for later in [24, 25, 26, 28, 68, 76] {
        assert!(!keys.contains(&later), "API {later} is advertised");
    }
}

#[test]
fn the_answer_to_an_unknown_version_is_version_0_with_the_range_of_api_versions() {
    let mut client = client();
    let mut request = wire::header(18, 99, 7, 2);
    request.put_slice(b"what a later version may hold");
    client.send_frame(&request);
    let mut answer = client.recv_frame();
    assert_eq!(answer.get_i32(), 7, "correlation id, in a header without tags");
    assert_eq!(answer.get_i16(), 35, "UNSUPPORTED_VERSION");
    assert_eq!(answer.get_i32(), 1, "one API");
    assert_eq!((answer.get_i16(), answer.get_i16(), answer.get_i16()), (18, 0, 4));
    assert!(answer.is_empty());
}

#[test]
fn the_connection_goes_on_after_an_unknown_version() {
    let mut client = client();
    client.send_frame(&wire::header(18, 99, 1, 2));
    client.recv_frame();
    assert_eq!(client.call(0, &ApiVersionsRequest::default()).error_code, 0);
}

#[test]
fn a_software_name_with_odd_characters_is_an_invalid_request() {
    for (name, version) in [("", "1.0"), ("a b", "1.0"), ("test", "1.0;"), ("-test", "1")] {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(text(name))
            .with_client_software_version(text(version));
        assert_eq!(client().call(3, &request).error_code, 42, "{name:?} {version:?}");
    }
}

#[test]
fn the_metadata_version_is_a_finalized_feature_and_versions_of_unfinished_features_are_not() {
    let response = ask(4);
    let finalized: Vec<_> =
        response.finalized_features.iter().map(|feature| (feature.name.as_str(), feature.max_version_level)).collect();
    assert!(finalized.iter().any(|(name, level)| *name == "metadata.version" && *level >= 25), "{finalized:?}");
    for later in ["transaction.version", "group.version", "share.version"] {
        assert!(finalized.iter().all(|(name, _)| *name != later), "{finalized:?}");
    }
}

#[test]
fn features_that_may_be_off_are_hidden_from_version_3() {
    assert!(ask(3).supported_features.iter().all(|feature| feature.min_version > 0));
}
