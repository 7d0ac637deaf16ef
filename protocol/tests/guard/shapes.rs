//! The shapes against the codec.

use bytes::Bytes;
use jackdaw_protocol::guard::shape::{Field, Holds};
use jackdaw_protocol::guard::{self, Fault};

use super::bodies::{self, Lie, Place};
use super::codecs::{self, Subject};

/// Bodies for each version of each message.
const ROUNDS: u64 = 12;

#[test]
fn every_message_has_a_shape_with_the_versions_of_the_codec() {
    let subjects = codecs::all();
    for subject in &subjects {
        let shape = (subject.shape.oldest, subject.shape.newest);
        assert_eq!(shape, (subject.versions.min, subject.versions.max), "{}", subject.name);
    }
    assert_eq!(subjects.len(), 2 * guard::apis().count() + 2, "every API is among the subjects");
}

#[test]
fn a_request_is_flexible_exactly_when_its_header_is() {
    for api in guard::apis() {
        for version in api.request.oldest..=api.request.newest {
            let flexible = jackdaw_protocol::messages::is_flexible(api.key, version);
            assert_eq!(flexible, Some(version >= api.request.flexible), "{} version {version}", api.name);
        }
    }
}

#[test]
fn every_array_element_takes_bytes_and_no_nesting_is_deeper_than_a_path() {
    fn visit(fields: &[Field], version: i16, flexible: bool, depth: usize) {
        assert!(depth <= 7);
        for field in fields.iter().filter(|field| field.is_in(version)) {
            match field.holds {
                Holds::Array { fields, least } => {
                    assert!(least > 0);
                    let some = fields.iter().any(|inner| inner.is_in(version) && inner.tag < 0);
                    assert!(some || flexible, "elements of {} are empty in version {version}", field.name);
                    visit(fields, version, flexible, depth + 1);
                }
                Holds::Object(fields) => visit(fields, version, flexible, depth + 1),
                _ => {}
            }
        }
    }
    for subject in codecs::all() {
        for version in versions(&subject) {
            visit(subject.shape.fields, version, version >= subject.shape.flexible, 1);
        }
    }
}

#[test]
fn what_a_shape_makes_passes_the_guard_and_comes_back_from_the_codec_unchanged() {
    for_each(|subject, version, seed| {
        let body = Bytes::from(bodies::valid(subject.shape, version, seed).bytes);
        let at = format!("{} version {version} seed {seed}", subject.name);
        subject.check(version, &body).unwrap_or_else(|error| panic!("{at}: {error}\n{body:02x?}"));
        let encoded = (subject.recode)(&body, version).unwrap_or_else(|error| panic!("{at}: {error}\n{body:02x?}"));
        assert_eq!(encoded, body, "{at}");
    });
}

#[test]
fn a_count_or_length_beyond_the_bytes_left_is_refused() {
    for_each(|subject, version, seed| {
        let body = bodies::valid(subject.shape, version, seed);
        let beyond = body.bytes.len() as i64 + 1;
        for (i, place) in body.places.iter().enumerate() {
            let claims: &[i64] = match place {
                Place::StringLength { .. } => &[beyond, 0x7fff, -2],
                Place::Length { .. } => &[beyond, 100_000_000, 0x7fff_ffff, -2, i64::from(i32::MIN)],
                Place::TagCount | Place::TagSize => &[beyond, 0x7fff_ffff, 0xffff_ffff],
                Place::Marker => &[0, 2, 127, -128],
                Place::Text => continue,
            };
            for claim in claims {
                refused(subject, version, seed, i, Lie::Claim(*claim));
            }
        }
    });
}

#[test]
fn null_is_refused_where_the_version_does_not_allow_it() {
    for_each(|subject, version, seed| {
        let body = bodies::valid(subject.shape, version, seed);
        for (i, place) in body.places.iter().enumerate() {
            if matches!(place, Place::Length { nullable: false } | Place::StringLength { nullable: false }) {
                let fault = refused(subject, version, seed, i, Lie::Claim(-1));
                assert_eq!(fault, Fault::Null, "{} version {version} seed {seed}", subject.name);
            }
        }
    });
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    for_each(|subject, version, seed| {
        let body = bodies::valid(subject.shape, version, seed);
        for (i, _) in body.places.iter().enumerate().filter(|(_, place)| **place == Place::Text) {
            let fault = refused(subject, version, seed, i, Lie::BadText);
            assert_eq!(fault, Fault::NotUtf8, "{} version {version} seed {seed}", subject.name);
        }
    });
}

#[test]
fn a_varint_without_an_end_is_refused() {
    for_each(|subject, version, seed| {
        if version < subject.shape.flexible {
            return;
        }
        let body = bodies::valid(subject.shape, version, seed);
        for (i, place) in body.places.iter().enumerate() {
            if !matches!(place, Place::Text | Place::Marker) {
                refused(subject, version, seed, i, Lie::EndlessVarint);
            }
        }
    });
}

#[test]
fn a_tagged_field_must_fill_its_size() {
    for_each(|subject, version, seed| {
        let body = bodies::valid(subject.shape, version, seed);
        for (i, _) in body.places.iter().enumerate().filter(|(_, place)| **place == Place::TagSize) {
            refused(subject, version, seed, i, Lie::OneMore);
            refused(subject, version, seed, i, Lie::OneLess);
        }
    });
}

#[test]
fn a_tagged_field_of_another_version_is_refused_as_the_codec_refuses_it() {
    let mut told = 0;
    for_each(|subject, version, seed| {
        let truth = bodies::valid(subject.shape, version, seed);
        for (i, _) in truth.places.iter().enumerate().filter(|(_, place)| **place == Place::TagCount) {
            let lying = bodies::lying(subject.shape, version, seed, i, Lie::TagOfOtherVersion);
            if lying.told_of_other_version {
                told += 1;
                let at = format!("{} version {version} seed {seed}: {:02x?}", subject.name, lying.bytes);
                let fault = subject.check(version, &lying.bytes).unwrap_err().fault;
                assert!(matches!(fault, Fault::BadTag(_)), "{at}: {fault}");
                let error = (subject.decode)(&Bytes::from(lying.bytes), version).unwrap_err();
                assert!(error.contains("is not valid for version"), "{at}: {error}");
            }
        }
    });
    assert!(told > 100, "only {told} bodies with such a field");
}

#[test]
fn a_cut_body_and_a_response_with_a_byte_more_are_refused() {
    for_each(|subject, version, seed| {
        let mut body = bodies::valid(subject.shape, version, seed).bytes;
        for len in 0..body.len() {
            let at = || format!("{} version {version} seed {seed}, {len} bytes", subject.name);
            assert!(subject.check(version, &body[..len]).is_err(), "{}", at());
        }
        body.push(0);
        let found = subject.check(version, &body).map_err(|error| error.fault);
        let expected =
            if subject.name.ends_with("response") { Err(Fault::TrailingBytes { remaining: 1 }) } else { Ok(()) };
        assert_eq!(found, expected, "{} version {version}", subject.name);
    });
}

#[test]
pub(crate) fn versions_outside_the_shape_are_refused() {
    for api in guard::apis() {
        for version in [i16::MIN, -1, api.request.oldest - 1, api.request.newest + 1, i16::MAX] {
            let error = guard::check_request(api.key, version, &[]).unwrap_err();
            assert_eq!(error.fault, Fault::UnknownVersion, "{} version {version}", api.name);
        }
    }
    for key in [i16::MIN, -1, 4, 5, 6, 7, 88, 89, 93, i16::MAX] {
        assert_eq!(guard::check_request(key, 0, &[]).unwrap_err().fault, Fault::UnknownApi);
    }
}

#[test]
fn consumers_of_the_future_are_read_as_the_newest_version_known() {
    let body = [0, 0, 0, 0, 0, 0, 0, 0, 0xab, 0xcd];
    assert_eq!(guard::check_consumer_assignment(9, &body), Ok(3));
    assert!(guard::check_consumer_assignment(-1, &body).is_err());
}

#[test]
fn an_error_names_the_api_the_field_and_the_claim() {
    // Metadata 1: 2^31 - 1 topics, and nothing after.
    let error = guard::check_request(3, 1, &[0x7f, 0xff, 0xff, 0xff]).unwrap_err();
    let text = "Metadata request version 1: topics (byte 4) claims 2147483647 elements, but 0 bytes remain";
    assert_eq!(error.to_string(), text);

    // Produce 3: one topic, one partition, whose records claim 9 bytes of 1.
    let mut body =
        b"\xff\xff\x00\x01\x00\x00\x03\xe8\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x01\x00\x00\x00\x00".to_vec();
    body.extend(b"\x00\x00\x00\x09r");
    let error = guard::check_request(0, 3, &body).unwrap_err();
    let path: Vec<_> = error.path().collect();
    assert_eq!(path, ["topic_data", "partition_data", "records"]);
    assert_eq!(error.position, body.len() - 1);
    assert_eq!(error.fault, Fault::Truncated { claimed: 9, remaining: 1 });

    assert_eq!(
        guard::check_request(4, 0, &[]).unwrap_err().to_string(),
        "API key 4 request version 0: there is no such API"
    );
}

pub(crate) fn versions(subject: &Subject) -> std::ops::RangeInclusive<i16> {
    subject.versions.min..=subject.versions.max
}

pub(crate) fn for_each(mut act: impl FnMut(&Subject, i16, u64)) {
    let seed = bodies::seed();
    for subject in codecs::all() {
        for version in versions(&subject) {
            for round in 0..ROUNDS {
                act(&subject, version, seed.wrapping_add(round));
            }
        }
    }
}

fn refused(subject: &Subject, version: i16, seed: u64, place: usize, lie: Lie) -> Fault {
    let body = bodies::lying(subject.shape, version, seed, place, lie).bytes;
    match subject.check(version, &body) {
        Err(error) => error.fault,
        Ok(()) => {
            panic!("{} version {version} seed {seed}: passed with {lie:?} at place {place}\n{body:02x?}", subject.name)
        }
    }
}
