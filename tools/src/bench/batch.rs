//! The one batch that a run sends again and again.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use jackdaw_protocol::records::BatchBuilder;
use jackdaw_protocol::records::Codec;

use super::BenchError;
use super::args::BatchShape;

/// A batch of that shape, and its number of records.
pub(super) fn build(shape: &BatchShape) -> Result<(Bytes, u64), BenchError> {
    let codec = Codec::from_name(&shape.codec).ok_or_else(|| {
        BenchError::Arguments(format!("unknown codec '{}'; known: none, gzip, snappy, lz4, zstd", shape.codec))
    })?;
    let size = usize::try_from(shape.record_size).map_err(|error| BenchError::Arguments(error.to_string()))?;
    let limit = shape.batch_size.map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let mut text = Text(0x9e37_79b9_7f4a_7c15);
    let mut builder = BatchBuilder::new(codec);
    let mut largest = 0;
    // Records of one size differ by the length of their offset delta only: two bytes are left for its growth.
    while builder.is_empty() || builder.size() + largest + 2 <= limit {
        let before = builder.size();
        builder.push(now, None, Some(&text.next(size)), &[]);
        largest = builder.size() - before;
    }
    let records = builder.count() as u64;
    Ok((builder.build(), records))
}

/// Text that looks like log lines to a codec: words from a small set, always the same ones.
struct Text(u64);

impl Text {
    fn next(&mut self, size: usize) -> Vec<u8> {
        const WORDS: [&str; 16] = [
            "GET ",
            "/orders/",
            "status=200 ",
            "user=",
            "latency_ms=",
            "jackdaw ",
            "warn ",
            "retry ",
            "region=eu-west ",
            "cache=hit ",
            "bytes=",
            "shard-",
            "trace=",
            "ok ",
            "timeout ",
            "id=",
        ];
        let mut out = Vec::with_capacity(size + 24);
        while out.len() < size {
            // xorshift64: the text only has to vary.
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            out.extend_from_slice(WORDS[usize::from((self.0 & 15) as u8)].as_bytes());
            out.extend_from_slice(((self.0 >> 8) % 100_000).to_string().as_bytes());
            out.push(b' ');
        }
        out.truncate(size);
        out
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use jackdaw_protocol::records::Batch;

    use super::*;

    #[test]
    fn batches_are_valid_and_fill_their_size_without_passing_it() {
        for (record_size, batch_size) in [(100, None), (1024, Some(16 << 10)), (100, Some(800_000))] {
            let shape = BatchShape { record_size, batch_size, codec: "none".to_owned() };
            let (bytes, records) = build(&shape).unwrap();
            let length = bytes.len() as u64;
            assert_eq!(u64::from(Batch::check(bytes).unwrap().header().record_count().unsigned_abs()), records);
            match batch_size {
                Some(limit) => assert!(length <= limit && length + record_size + 20 > limit, "{length} of {limit}"),
                None => assert_eq!(records, 1),
            }
        }
    }
}
