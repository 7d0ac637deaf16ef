//! Encoding of a Fetch answer: records spliced as parts, beside the codec's own copying way.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up must stop")]

use bytes::{Bytes, BytesMut};
use divan::{AllocProfiler, Bencher, black_box};
use jackdaw_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use jackdaw_protocol::messages::{Encodable, FetchResponse};
use jackdaw_protocol::splice::Parts;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const VERSIONS: [i16; 2] = [11, 18];

fn main() {
    divan::main();
}

/// Three partitions with 1 MiB each.
fn response() -> (FetchResponse, Vec<Bytes>) {
    let records: Vec<Bytes> = (0..3).map(|fill| Bytes::from(vec![fill; 1 << 20])).collect();
    let part = |records: &Bytes| PartitionData::default().with_records(Some(records.clone()));
    let topic = FetchableTopicResponse::default().with_partitions(records.iter().map(part).collect());
    (FetchResponse::default().with_responses(vec![topic]), records)
}

#[divan::bench(args = VERSIONS)]
fn encode_spliced(bencher: Bencher, version: i16) {
    let (response, records) = response();
    bencher.bench(|| {
        let mut parts = Parts::with_records(records.iter().cloned());
        black_box(&response).encode(&mut parts, version).unwrap();
        parts.into_parts()
    });
}

#[divan::bench(args = VERSIONS)]
fn encode_copying(bencher: Bencher, version: i16) {
    let (response, _) = response();
    bencher.bench(|| {
        let mut out = BytesMut::new();
        black_box(&response).encode(&mut out, version).unwrap();
        out
    });
}
