//! Encoding around record bytes that are not copied.
//!
//! The encoders of `kafka-protocol` write record bytes with [`BufMut::put_slice`]. [`Parts`] is told beforehand which
//! slices will come; when one arrives (same address, same length) it is kept as a part of its own, and everything
//! else is collected in small buffers between. The parts, written one after another, are byte for byte what a plain
//! encode gives.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::buf::UninitSlice;
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::buf::ByteBufMut;

/// Slices shorter than this are copied: a part costs more in a vectored write than the copy.
pub const SPLICE_MIN: usize = 512;

/// A buffer for `kafka-protocol` encoders that keeps the records it was given as own parts.
pub struct Parts {
    expected: VecDeque<Bytes>,
    done: Vec<Bytes>,
    done_len: usize,
    current: BytesMut,
}

impl Default for Parts {
    fn default() -> Parts {
        Parts::with_records([])
    }
}

impl Parts {
    /// A buffer that expects `records`, in the order in which the encoder will write them.
    ///
    /// Give clones of the very `Bytes` in the message (a clone shares its memory). Short ones are copied;
    /// one that never comes, or comes out of order, is copied too: the output is right in any case.
    #[must_use]
    pub fn with_records(records: impl IntoIterator<Item = Bytes>) -> Parts {
        let expected: VecDeque<Bytes> = records.into_iter().filter(|bytes| bytes.len() >= SPLICE_MIN).collect();
        Parts { done: Vec::with_capacity(2 * expected.len() + 1), expected, done_len: 0, current: BytesMut::new() }
    }

    /// Bytes written so far, spliced ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.done_len + self.current.len()
    }

    /// Whether nothing was written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The parts in order, none of them empty, and their total length.
    #[must_use]
    pub fn into_parts(mut self) -> (Vec<Bytes>, usize) {
        self.close_current();
        (self.done, self.done_len)
    }

    /// Like [`Parts::into_parts`], with a 4-byte length of everything in front: a whole response frame.
    ///
    /// The length goes into the first small buffer, so write the response header through `self` first.
    #[must_use]
    pub fn into_frame(mut self) -> (Vec<Bytes>, usize) {
        self.close_current();
        let length = u32::try_from(self.done_len).unwrap_or(u32::MAX).to_be_bytes();
        let total = self.done_len + length.len();
        match self.done.first_mut() {
            // The head is small (it ends where the first records begin), so this copies next to nothing.
            Some(first) if first.len() < SPLICE_MIN => {
                let mut head = BytesMut::with_capacity(length.len() + first.len());
                head.put_slice(&length);
                head.put_slice(first);
                *first = head.freeze();
            }
            _ => self.done.insert(0, Bytes::copy_from_slice(&length)),
        }
        (self.done, total)
    }

    fn close_current(&mut self) {
        if !self.current.is_empty() {
            let part = self.current.split().freeze();
            self.done_len += part.len();
            self.done.push(part);
        }
    }

    /// Takes the next expected slice if `src` is that slice.
    fn take_expected(&mut self, src: &[u8]) -> Option<Bytes> {
        let next = self.expected.front()?;
        let same = std::ptr::eq(next.as_ptr(), src.as_ptr()) && next.len() == src.len();
        if same { self.expected.pop_front() } else { None }
    }
}

#[expect(unsafe_code, reason = "BufMut is an unsafe trait; both unsafe methods only forward to BytesMut")]
// SAFETY: `chunk_mut` and `advance_mut` are those of `BytesMut` on one and the same buffer, so its guarantees hold.
unsafe impl BufMut for Parts {
    fn remaining_mut(&self) -> usize {
        self.current.remaining_mut()
    }

    unsafe fn advance_mut(&mut self, count: usize) {
        // SAFETY: the caller initialised `count` bytes of the chunk, which was that of `current`.
        unsafe { self.current.advance_mut(count) }
    }

    fn chunk_mut(&mut self) -> &mut UninitSlice {
        self.current.chunk_mut()
    }

    fn put_slice(&mut self, src: &[u8]) {
        if src.len() >= SPLICE_MIN
            && let Some(records) = self.take_expected(src)
        {
            self.close_current();
            self.done_len += records.len();
            self.done.push(records);
        } else {
            self.current.extend_from_slice(src);
        }
    }
}

/// Message encoders only append; these serve encoders that fill gaps, within what was written since the last splice.
impl ByteBufMut for Parts {
    fn offset(&self) -> usize {
        self.current.len()
    }

    fn seek(&mut self, offset: usize) {
        self.current.resize(offset, 0);
    }

    fn range(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.current[range]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
    use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
    use kafka_protocol::messages::{FetchResponse, ProduceRequest, TopicName};
    use kafka_protocol::protocol::{Encodable, StrBytes};

    use super::*;

    fn response(version: i16, sizes: &[usize]) -> FetchResponse {
        let partitions = sizes
            .iter()
            .enumerate()
            .map(|(index, &size)| {
                PartitionData::default()
                    .with_partition_index(index as i32)
                    .with_high_watermark(10)
                    .with_aborted_transactions(Some(vec![AbortedTransaction::default()]))
                    .with_records(Some(Bytes::from(vec![index as u8; size])))
            })
            .collect();
        let mut topic = FetchableTopicResponse::default().with_partitions(partitions);
        if version < 13 {
            topic.topic = TopicName(StrBytes::from_static_str("topic"));
        } else {
            topic.topic_id = uuid::Uuid::from_u128(7);
        }
        FetchResponse::default().with_responses(vec![topic])
    }

    fn records_of(response: &FetchResponse) -> Vec<Bytes> {
        let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
        partitions.filter_map(|partition| partition.records.clone()).collect()
    }

    #[test]
    fn a_spliced_fetch_response_has_the_bytes_of_a_plain_one_in_every_version() {
        for version in 4..=18 {
            for sizes in [&[][..], &[0], &[100_000], &[5000, 0, 10, 70_000, SPLICE_MIN]] {
                let response = response(version, sizes);
                let mut plain = BytesMut::new();
                response.encode(&mut plain, version).unwrap();

                let mut parts = Parts::with_records(records_of(&response));
                response.encode(&mut parts, version).unwrap();
                assert_eq!(parts.len(), plain.len());
                let (parts, total) = parts.into_parts();
                assert_eq!(total, plain.len());
                assert_eq!(parts.concat(), plain, "version {version}, sizes {sizes:?}");

                let large: Vec<Bytes> =
                    records_of(&response).into_iter().filter(|records| records.len() >= SPLICE_MIN).collect();
                for records in &large {
                    assert!(parts.iter().any(|part| part.as_ptr() == records.as_ptr()), "copied at {version}");
                }
                assert!(parts.len() <= 2 * large.len() + 1);
                assert!(parts.iter().all(|part| !part.is_empty()));
            }
        }
    }

    #[test]
    fn a_frame_starts_with_the_length_of_the_rest() {
        for sizes in [&[][..], &[100_000], &[5000, 0, 10, 70_000]] {
            let response = response(12, sizes);
            let mut parts = Parts::with_records(records_of(&response));
            parts.put_i32(99);
            response.encode(&mut parts, 12).unwrap();
            let (parts, total) = parts.into_frame();
            let bytes = parts.concat();
            assert_eq!(bytes.len(), total);
            assert_eq!(bytes[..4], (total as u32 - 4).to_be_bytes());
            assert_eq!(bytes[4..8], 99i32.to_be_bytes());
        }
        assert_eq!(Parts::default().into_frame().0.concat(), [0, 0, 0, 0]);
    }

    #[test]
    fn records_that_come_out_of_order_or_never_are_copied_but_right() {
        let response = response(11, &[5000, 6000]);
        let mut plain = BytesMut::new();
        response.encode(&mut plain, 11).unwrap();
        let mut expected = records_of(&response);
        expected.reverse();
        expected.push(Bytes::from(vec![1; 9000]));
        let mut parts = Parts::with_records(expected);
        response.encode(&mut parts, 11).unwrap();
        assert_eq!(parts.into_parts().0.concat(), plain);
    }

    #[test]
    fn produce_requests_are_spliced_too() {
        for version in [3, 8, 9, 12] {
            let records = Bytes::from(vec![5; 4000]);
            let partition = PartitionProduceData::default().with_records(Some(records.clone()));
            let topic = TopicProduceData::default()
                .with_name(TopicName(StrBytes::from_static_str("t")))
                .with_partition_data(vec![partition]);
            let request = ProduceRequest::default().with_acks(-1).with_topic_data(vec![topic]);
            let mut plain = BytesMut::new();
            request.encode(&mut plain, version).unwrap();
            let mut parts = Parts::with_records([records]);
            request.encode(&mut parts, version).unwrap();
            let (parts, _) = parts.into_parts();
            assert_eq!(parts.concat(), plain, "version {version}");
            assert!(parts.len() >= 2);
        }
    }
}
