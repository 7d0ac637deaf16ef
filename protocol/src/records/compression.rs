//! The codecs of batches, with a cap on what they decompress to.
//!
//! Snappy is framed the way of the xerial Java library (16-byte header, then blocks with a length): Kafka's Java clients
//! and librdkafka read nothing else. Raw snappy, which some clients send, is read as well.

use std::io::{self, Read, Write};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use thiserror::Error;

const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Magic, version, and oldest version that can read it, both 1.
const XERIAL_HEADER: [u8; 16] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
/// Block size of the Java library's writer.
const XERIAL_BLOCK: usize = 32 * 1024;
/// A snappy element of 3 bytes gives at most 64: whoever claims more is lying, and is refused before allocation.
const SNAPPY_MAX_RATIO: usize = 22;
/// What a decompressor's output grows by.
const STEP: usize = 64 * 1024;
/// Kafka's defaults.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;
/// At its default, Kafka compresses with lz4's fast method, at any other level with the thorough one.
const LZ4_LEVEL: i32 = 9;

/// How the records of a batch are compressed; the numbers are those of the batch's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// Not at all.
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Snappy in xerial framing.
    Snappy = 2,
    /// LZ4 frames.
    Lz4 = 3,
    /// Zstandard frames (KIP-110).
    Zstd = 4,
}

/// Why bytes do not (de)compress.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CompressionError {
    /// More output than the caller allows.
    #[error("{codec} data decompress to more than the limit of {cap} bytes")]
    TooLarge {
        /// Which codec.
        codec: Codec,
        /// The limit.
        cap: usize,
    },
    /// Input that the codec cannot read.
    #[error("corrupt {codec} data: {reason}")]
    Corrupt {
        /// Which codec.
        codec: Codec,
        /// The codec's words.
        reason: String,
    },
    /// The codec failed to compress.
    #[error("cannot compress with {codec}: {reason}")]
    Failed {
        /// Which codec.
        codec: Codec,
        /// The codec's words.
        reason: String,
    },
}

impl Codec {
    /// Every codec.
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The codec of a number in a batch's attributes.
    #[inline]
    #[must_use]
    pub fn from_id(id: u8) -> Option<Codec> {
        Codec::ALL.get(usize::from(id)).copied()
    }

    /// Kafka's name, as in `compression.type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }

    /// The codec with a name of Kafka's.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// Compresses `data`; `level` only matters to gzip (1-9), lz4 (1-17) and zstd, and is brought into their range.
    pub fn compress(self, data: &[u8], level: Option<i32>) -> Result<Vec<u8>, CompressionError> {
        let mut out = Vec::new();
        self.compress_into(data, level, &mut out)?;
        Ok(out)
    }

    /// As [`Codec::compress`], appended to `out`.
    pub fn compress_into(self, data: &[u8], level: Option<i32>, out: &mut Vec<u8>) -> Result<(), CompressionError> {
        let failed =
            |error: &dyn std::fmt::Display| CompressionError::Failed { codec: self, reason: error.to_string() };
        match self {
            Codec::None => out.extend_from_slice(data),
            Codec::Gzip => {
                let level = level.map_or(GZIP_LEVEL, |level| level.clamp(1, 9) as u32);
                let mut encoder = GzEncoder::new(out, flate2::Compression::new(level));
                encoder.write_all(data).map_err(|e| failed(&e))?;
                encoder.finish().map_err(|e| failed(&e))?;
            }
            Codec::Snappy => snappy_compress(data, out).map_err(|e| failed(&e))?,
            Codec::Lz4 if level.is_some_and(|level| level != LZ4_LEVEL) => {
                let mut builder = lz4::EncoderBuilder::new();
                builder.block_mode(lz4::BlockMode::Independent).block_size(lz4::BlockSize::Max64KB);
                builder
                    .checksum(lz4::ContentChecksum::NoChecksum)
                    .level(level.unwrap_or(LZ4_LEVEL).clamp(1, 17) as u32);
                let mut encoder = builder.build(out).map_err(|e| failed(&e))?;
                encoder.write_all(data).map_err(|e| failed(&e))?;
                encoder.finish().1.map_err(|e| failed(&e))?;
            }
            Codec::Lz4 => {
                // Kafka's reader accepts independent blocks only.
                let frame = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
                let mut encoder = FrameEncoder::with_frame_info(frame, out);
                encoder.write_all(data).map_err(|e| failed(&e))?;
                encoder.finish().map_err(|e| failed(&e))?;
            }
            Codec::Zstd => {
                let range = zstd::compression_level_range();
                let level = level.unwrap_or(ZSTD_LEVEL).clamp(*range.start(), *range.end());
                let packed = zstd::bulk::compress(data, level).map_err(|e| failed(&e))?;
                out.extend_from_slice(&packed);
            }
        }
        Ok(())
    }

    /// Decompresses `data` to at most `cap` bytes. Memory grows with the output, never by what the data claim.
    pub fn decompress(self, data: &[u8], cap: usize) -> Result<Vec<u8>, CompressionError> {
        let mut out = Vec::new();
        self.decompress_into(data, cap, &mut out)?;
        Ok(out)
    }

    /// As [`Codec::decompress`], into `out`, which must be empty and keeps its memory from call to call.
    pub fn decompress_into(self, data: &[u8], cap: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
        match self {
            Codec::None if data.len() > cap => Err(CompressionError::TooLarge { codec: self, cap }),
            Codec::None => {
                out.extend_from_slice(data);
                Ok(())
            }
            Codec::Gzip => self.read_capped(MultiGzDecoder::new(data), data.len(), cap, out),
            Codec::Snappy => snappy_decompress(data, cap, out),
            Codec::Lz4 => self.read_capped(FrameDecoder::new(data), data.len(), cap, out),
            Codec::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(data).map_err(|e| self.corrupt(&e))?;
                self.read_capped(decoder, data.len(), cap, out)
            }
        }
    }

    fn read_capped(
        self,
        mut reader: impl Read,
        input: usize,
        cap: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CompressionError> {
        out.reserve(cap.min(STEP.max(4 * input)));
        // One byte above the cap tells "exactly the cap" from "more".
        let limit = cap.saturating_add(1) as u64;
        match reader.by_ref().take(limit).read_to_end(out) {
            Ok(_) if out.len() > cap => Err(CompressionError::TooLarge { codec: self, cap }),
            Ok(_) => Ok(()),
            Err(error) => Err(self.corrupt(&error)),
        }
    }

    fn corrupt(self, error: &dyn std::fmt::Display) -> CompressionError {
        CompressionError::Corrupt { codec: self, reason: error.to_string() }
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

fn snappy_compress(data: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = snap::raw::Encoder::new();
    out.reserve(XERIAL_HEADER.len() + data.len() / 2 + 64);
    out.extend_from_slice(&XERIAL_HEADER);
    let mut block = vec![0; snap::raw::max_compress_len(XERIAL_BLOCK.min(data.len()))];
    for chunk in data.chunks(XERIAL_BLOCK) {
        let packed = encoder.compress(chunk, &mut block)?;
        out.extend_from_slice(&(packed as u32).to_be_bytes());
        out.extend_from_slice(&block[..packed]);
    }
    Ok(())
}

fn snappy_decompress(data: &[u8], cap: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let Some(framed) = data.strip_prefix(&XERIAL_MAGIC) else {
        return snappy_block(data, cap, out);
    };
    // The two version numbers; the Java library never wrote others.
    let mut rest = framed.get(8..).ok_or_else(|| Codec::Snappy.corrupt(&"the xerial header is cut short"))?;
    while !rest.is_empty() {
        let (length, after) =
            rest.split_first_chunk::<4>().ok_or_else(|| Codec::Snappy.corrupt(&"a block length is cut short"))?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) = after
            .split_at_checked(length)
            .ok_or_else(|| Codec::Snappy.corrupt(&format_args!("a block of {length} bytes is cut short")))?;
        snappy_block(block, cap, out)?;
        rest = after;
    }
    Ok(())
}

/// Appends one decompressed block to `out`, which may grow to `cap` bytes.
fn snappy_block(block: &[u8], cap: usize, out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let claimed = snap::raw::decompress_len(block).map_err(|e| Codec::Snappy.corrupt(&e))?;
    let end = out.len().saturating_add(claimed);
    if end > cap {
        return Err(CompressionError::TooLarge { codec: Codec::Snappy, cap });
    }
    if claimed > block.len().saturating_mul(SNAPPY_MAX_RATIO) {
        return Err(Codec::Snappy.corrupt(&format_args!("{} bytes claim to hold {claimed}", block.len())));
    }
    let start = out.len();
    out.resize(end, 0);
    let written =
        snap::raw::Decoder::new().decompress(block, &mut out[start..]).map_err(|e| Codec::Snappy.corrupt(&e))?;
    out.truncate(start + written);
    Ok(())
}
