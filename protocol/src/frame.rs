//! Frames: a length, then a request header and a body.
//!
//! ```text
//! length: i32 | api_key: i16 | api_version: i16 | correlation_id: i32 | client_id: nullable string | [tags] | body
//! ```
//!
//! Header version 2 (flexible requests) has tagged fields after the client id; the client id keeps its two-byte length
//! in both versions.

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use thiserror::Error;

const LENGTH_LEN: usize = 4;
/// Key, version and correlation id: what every header has.
const FIXED_HEADER_LEN: usize = 8;
/// Longest form of an unsigned 32-bit varint.
const MAX_VARINT_LEN: usize = 5;

/// Why bytes are not a request frame. The connection must be closed: nothing after this can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A TLS client hello on a plaintext listener.
    #[error(
        "the peer speaks TLS, but this listener is plaintext: set the client's security.protocol to PLAINTEXT, \
         or connect to a TLS listener"
    )]
    TlsHello,
    /// An HTTP request on a Kafka listener.
    #[error("the peer sent an HTTP request, but this port speaks Kafka's protocol: point a Kafka client at it")]
    Http,
    /// A frame length below zero.
    #[error(
        "a frame of length {0} was announced; lengths are never negative: the peer does not speak Kafka's protocol"
    )]
    Negative(i32),
    /// A frame longer than the limit.
    #[error(
        "a frame of {size} bytes was announced, above the limit of {limit}: \
         raise socket.request.max.bytes if the peer is a Kafka client"
    )]
    TooLarge {
        /// The announced length.
        size: u32,
        /// The limit it broke.
        limit: usize,
    },
    /// A header that ends before its fields do.
    #[error("a frame of {0} bytes ends within its request header")]
    Truncated(usize),
    /// A client id whose length points outside of the frame.
    #[error("the client id's length of {0} does not fit into its frame")]
    BadClientId(i16),
    /// Tagged fields in the header that do not fit into the frame.
    #[error("the tagged fields of the request header do not fit into its frame")]
    BadTags,
}

/// What [`Splitter::next`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// One frame, without its length prefix.
    Frame(Bytes),
    /// No whole frame yet: at least so many bytes are missing.
    ///
    /// The length of the frame was checked against the limit, but the peer has not sent its bytes: grow the buffer in
    /// bounded steps as they arrive, not by this number at once.
    NeedMore {
        /// Bytes still missing.
        at_least: usize,
    },
}

/// Cuts a stream into frames no longer than a limit.
#[derive(Debug, Clone, Copy)]
pub struct Splitter {
    limit: usize,
}

impl Splitter {
    /// A splitter that refuses frames of more than `limit` bytes (`socket.request.max.bytes`).
    #[must_use]
    pub fn new(limit: usize) -> Splitter {
        Splitter { limit }
    }

    /// Takes the next frame off the front of `buf`. Never reserves memory.
    #[inline]
    pub fn next(&self, buf: &mut BytesMut) -> Result<Next, FrameError> {
        let Some(prefix) = buf.first_chunk::<LENGTH_LEN>() else {
            return Ok(Next::NeedMore { at_least: LENGTH_LEN - buf.len() });
        };
        let size = self.check_length(*prefix)?;
        let whole = LENGTH_LEN + size;
        if buf.len() < whole {
            return Ok(Next::NeedMore { at_least: whole - buf.len() });
        }
        buf.advance(LENGTH_LEN);
        Ok(Next::Frame(buf.split_to(size).freeze()))
    }

    fn check_length(&self, prefix: [u8; LENGTH_LEN]) -> Result<usize, FrameError> {
        let length = i32::from_be_bytes(prefix);
        match usize::try_from(length) {
            Ok(size) if size <= self.limit => Ok(size),
            Ok(_) if looks_like_tls(prefix) => Err(FrameError::TlsHello),
            Ok(_) if looks_like_http(prefix) => Err(FrameError::Http),
            Ok(_) => Err(FrameError::TooLarge { size: length.unsigned_abs(), limit: self.limit }),
            Err(_) => Err(FrameError::Negative(length)),
        }
    }
}

/// A TLS record: type 22 (handshake), protocol version 3.x.
fn looks_like_tls(prefix: [u8; LENGTH_LEN]) -> bool {
    prefix[0] == 0x16 && prefix[1] == 0x03 && prefix[2] <= 0x04
}

fn looks_like_http(prefix: [u8; LENGTH_LEN]) -> bool {
    const METHODS: [&[u8; LENGTH_LEN]; 10] =
        [b"GET ", b"POST", b"PUT ", b"HEAD", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", b"PRI "];
    METHODS.contains(&&prefix)
}

/// One request: its header's fields, and its body not yet decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Which API.
    pub api_key: i16,
    /// Which version of it.
    pub api_version: i16,
    /// Echoed in the response.
    pub correlation_id: i32,
    /// How the client calls itself. Shares the frame's memory: copy it to keep it beyond the request.
    pub client_id: Option<StrBytes>,
    /// The message after the header.
    pub body: Bytes,
    /// Length of the whole frame without its length prefix.
    pub size: usize,
}

/// Reads the header of a request frame.
///
/// `flexible` says whether a version of an API has tagged fields (header version 2); for a key or version it does not
/// know (`None`) the header is read as version 1, so that the caller can name the key and close the connection.
pub fn parse_header(frame: Bytes, flexible: impl Fn(i16, i16) -> Option<bool>) -> Result<Frame, FrameError> {
    let size = frame.len();
    let mut rest = frame;
    if rest.len() < FIXED_HEADER_LEN {
        return Err(FrameError::Truncated(size));
    }
    let api_key = rest.get_i16();
    let api_version = rest.get_i16();
    let correlation_id = rest.get_i32();
    let client_id = client_id(&mut rest, size)?;
    if flexible(api_key, api_version) == Some(true) {
        skip_tags(&mut rest)?;
    }
    Ok(Frame { api_key, api_version, correlation_id, client_id, body: rest, size })
}

fn client_id(rest: &mut Bytes, size: usize) -> Result<Option<StrBytes>, FrameError> {
    let claimed = rest.try_get_i16().map_err(|_| FrameError::Truncated(size))?;
    let Ok(length) = usize::try_from(claimed) else {
        return if claimed == -1 { Ok(None) } else { Err(FrameError::BadClientId(claimed)) };
    };
    if length > rest.len() {
        return Err(FrameError::BadClientId(claimed));
    }
    let bytes = rest.split_to(length);
    // Kafka takes any bytes here and shows what is not UTF-8 as U+FFFD.
    let id = StrBytes::from_utf8(bytes.clone())
        .unwrap_or_else(|_| StrBytes::from_string(String::from_utf8_lossy(&bytes).into_owned()));
    Ok(Some(id))
}

/// Unknown tags in a header must be skipped (KIP-482).
fn skip_tags(rest: &mut Bytes) -> Result<(), FrameError> {
    let count = unsigned_varint(rest)?;
    for _ in 0..count {
        let _tag = unsigned_varint(rest)?;
        let length = unsigned_varint(rest)? as usize;
        if length > rest.len() {
            return Err(FrameError::BadTags);
        }
        rest.advance(length);
    }
    Ok(())
}

fn unsigned_varint(rest: &mut Bytes) -> Result<u32, FrameError> {
    let mut value = 0u32;
    for shift in 0..MAX_VARINT_LEN {
        let byte = rest.try_get_u8().map_err(|_| FrameError::BadTags)?;
        value |= u32::from(byte & 0x7f) << (7 * shift);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(FrameError::BadTags)
}
