//! What bodies may cost: a peer pays for every byte it makes the broker allocate.

use allocation_counter::measure;
use bytes::Bytes;
use jackdaw_protocol::guard::{self, Fault};

use super::bodies::{self, Dense, Lie, Place};
use super::codecs;
use super::shapes::{for_each, versions};

/// Bytes allocated at once while a body is checked and decoded, for each byte of it.
///
/// Decoded structures are wider than their bytes: an empty string of one byte becomes a value of 32, an empty array of
/// one byte 24, and so does the map of unknown tagged fields that flexible structures end with. Measured: up to 40.
const PER_BYTE: u64 = 64;

/// Bytes for each tagged field that the codec does not know: a map node for up to eleven of them. Measured: up to 400.
const PER_UNKNOWN_TAG: u64 = 512;

/// Bytes allocated at once whatever the size of the body.
const FLAT: u64 = 4 * 1024;

#[test]
fn the_guard_allocates_nothing() {
    for_each(|subject, version, seed| {
        let body = bodies::valid(subject.shape, version, seed);
        let allocated = measure(|| subject.check(version, &body.bytes).unwrap()).count_total;
        assert_eq!(allocated, 0, "{} version {version} seed {seed}", subject.name);
        for (i, place) in body.places.iter().enumerate() {
            if matches!(place, Place::Length { .. } | Place::TagCount) {
                let body = bodies::lying(subject.shape, version, seed, i, Lie::Claim(0x7fff_ffff)).bytes;
                let allocated = measure(|| _ = subject.check(version, &body).unwrap_err()).count_total;
                assert_eq!(allocated, 0, "{} version {version} seed {seed} place {i}", subject.name);
            }
        }
    });
}

#[test]
fn the_densest_bodies_decode_in_memory_bounded_by_their_size() {
    for subject in codecs::all() {
        for version in versions(&subject) {
            for depth in 1..=4 {
                for (below, unknown_tags) in [(0, false), (1, false), (0, true), (1, true)] {
                    let dense = Dense { elements: 1000, depth, below, unknown_tags };
                    let body = bodies::dense(subject.shape, version, dense);
                    let sections = body.places.iter().filter(|place| **place == Place::TagCount).count();
                    let unknown_tags = if unknown_tags { sections as u64 } else { 0 };
                    let at = format!("{} version {version}, {dense:?}", subject.name);
                    subject.check(version, &body.bytes).unwrap_or_else(|error| panic!("{at}: {error}"));
                    let body = Bytes::from(body.bytes);
                    let memory = measure(|| (subject.decode)(&body, version).unwrap()).bytes_max;
                    let bound = FLAT + PER_BYTE * body.len() as u64 + PER_UNKNOWN_TAG * unknown_tags;
                    assert!(memory <= bound, "{at}: {memory} bytes for {}", body.len());
                }
            }
        }
    }
}

#[test]
fn a_valid_body_cut_anywhere_with_any_count_inflated_costs_no_more_than_its_size() {
    for_each(|subject, version, seed| {
        let truth = bodies::valid(subject.shape, version, seed);
        let places = truth.places.iter().enumerate();
        let counts = places.filter(|(_, place)| matches!(place, Place::Length { .. } | Place::TagCount));
        let inflated =
            counts.map(|(i, _)| bodies::lying(subject.shape, version, seed, i, Lie::Claim(0x7fff_ffff)).bytes);
        let cut = (0..truth.bytes.len()).map(|len| truth.bytes[..len].to_vec());
        for body in inflated.chain(cut) {
            let body = Bytes::from(body);
            let memory = measure(|| {
                if subject.check(version, &body).is_ok() {
                    _ = (subject.decode)(&body, version);
                }
            });
            let bound = FLAT + PER_BYTE * body.len() as u64;
            assert!(memory.bytes_max <= bound, "{} version {version} seed {seed}: {body:02x?}", subject.name);
        }
    });
}

#[test]
fn a_body_of_one_repeated_claim_is_refused_or_decoded() {
    let patterns: [&[u8]; 6] =
        [&[0x7f, 0xff, 0xff, 0xff], &[0xff, 0xff, 0xff, 0xff, 0x07], &[0xff], &[0], &[1], &[0, 0, 0, 1]];
    for subject in codecs::all() {
        for version in versions(&subject) {
            for pattern in patterns {
                for len in 0..64 {
                    let body: Bytes = pattern.iter().copied().cycle().take(len).collect();
                    let memory = measure(|| {
                        if subject.check(version, &body).is_ok() {
                            (subject.decode)(&body, version).unwrap();
                        }
                    });
                    let bound = FLAT + PER_BYTE * len as u64;
                    assert!(memory.bytes_max <= bound, "{} version {version}: {body:02x?}", subject.name);
                }
            }
        }
    }
}

#[test]
fn more_elements_or_unknown_tags_than_the_limits_are_refused() {
    let metadata = |topics: usize, unknown_tags| {
        let api = guard::apis().find(|api| api.name == "Metadata").unwrap();
        let dense = Dense { elements: topics, depth: 1, below: 0, unknown_tags };
        let mut body = bodies::dense(&api.request, 9, dense).bytes;
        if unknown_tags {
            // The section of the message itself, which comes last, carries one too: an empty one replaces it.
            body.truncate(body.len() - 3);
            body.push(0);
        }
        guard::check_request(api.key, 9, &body).map_err(|error| error.fault)
    };
    assert_eq!(metadata(guard::MAX_ELEMENTS, false), Ok(()));
    let over = metadata(guard::MAX_ELEMENTS + 1, false);
    assert_eq!(over, Err(Fault::OverLimit { what: "array elements", limit: guard::MAX_ELEMENTS }));
    assert_eq!(metadata(guard::MAX_UNKNOWN_TAGS, true), Ok(()));
    let over = metadata(guard::MAX_UNKNOWN_TAGS + 1, true);
    assert_eq!(over, Err(Fault::OverLimit { what: "unknown tagged fields", limit: guard::MAX_UNKNOWN_TAGS }));
}
