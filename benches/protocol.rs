//! What one Produce costs before it reaches a log: header view, batch check, guard, decoding.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up must stop")]

use bytes::{Bytes, BytesMut};
use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher, black_box};
use jackdaw_protocol::frame::{self, Next, Splitter};
use jackdaw_protocol::guard;
use jackdaw_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use jackdaw_protocol::messages::{
    Decodable, Encodable, HeaderVersion, ProduceRequest, Request, RequestHeader, StrBytes, TopicName, is_flexible,
};
use jackdaw_protocol::records::{Batch, BatchBuilder, Codec, Header};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const SIZES: [usize; 3] = [100, 16 << 10, 1 << 20];

fn main() {
    divan::main();
}

fn batch(bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    let value = vec![b'x'; bytes.min(1024)];
    while builder.is_empty() || builder.size() < bytes {
        builder.push(1_700_000_000_000, None, Some(&value), &[]);
    }
    builder.build()
}

fn body(records: Bytes, version: i16) -> Bytes {
    let data = PartitionProduceData::default().with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str(if version < 13 { "orders" } else { "" })))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(1).with_timeout_ms(1_000).with_topic_data(vec![topic]);
    let mut out = BytesMut::new();
    request.encode(&mut out, version).unwrap();
    out.freeze()
}

#[divan::bench]
fn header_view(bencher: Bencher) {
    let batch = batch(100);
    bencher.bench(|| {
        let header = Header::parse(black_box(&batch)).unwrap();
        (header.record_count(), header.producer_id(), header.max_timestamp(), header.last_offset())
    });
}

#[divan::bench(args = SIZES)]
fn batch_check(bencher: Bencher, size: usize) {
    let batch = batch(size);
    bencher.counter(BytesCount::new(batch.len())).bench(|| Batch::check(black_box(&batch).clone()).unwrap());
}

#[divan::bench(args = [7, 13])]
fn guard_produce(bencher: Bencher, version: i16) {
    let body = body(batch(16 << 10), version);
    bencher.bench(|| guard::check_request(ProduceRequest::KEY, version, black_box(&body)).unwrap());
}

#[divan::bench(args = [7, 13])]
fn decode_produce(bencher: Bencher, version: i16) {
    let body = body(batch(16 << 10), version);
    bencher.bench(|| ProduceRequest::decode(&mut black_box(&body).clone(), version).unwrap());
}

#[divan::bench(args = [1, 16])]
fn cut_frames_and_headers(bencher: Bencher, frames: usize) {
    let body = body(batch(100), 7);
    let mut head = BytesMut::new();
    RequestHeader::default()
        .with_request_api_version(7)
        .with_client_id(Some(StrBytes::from_static_str("bench")))
        .encode(&mut head, ProduceRequest::header_version(7))
        .unwrap();
    let mut input = BytesMut::new();
    for _ in 0..frames {
        input.extend_from_slice(&u32::try_from(head.len() + body.len()).unwrap().to_be_bytes());
        input.extend_from_slice(&head);
        input.extend_from_slice(&body);
    }
    let splitter = Splitter::new(1 << 20);
    bencher.with_inputs(|| input.clone()).bench_local_refs(|input| {
        while let Next::Frame(frame) = splitter.next(input).unwrap() {
            black_box(frame::parse_header(frame, is_flexible).unwrap());
        }
    });
}
