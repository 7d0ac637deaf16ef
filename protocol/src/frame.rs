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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use bytes::BufMut;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 20;

    fn next(bytes: &[u8]) -> Result<Next, FrameError> {
        Splitter::new(LIMIT).next(&mut BytesMut::from(bytes))
    }

    fn header(client_id: Option<&[u8]>, tags: &[u8], body: &[u8]) -> Bytes {
        let mut out = BytesMut::new();
        out.put_i16(3);
        out.put_i16(12);
        out.put_i32(-5);
        out.put_i16(client_id.map_or(-1, |id| id.len() as i16));
        out.put_slice(client_id.unwrap_or_default());
        out.put_slice(tags);
        out.put_slice(body);
        out.freeze()
    }

    proptest! {
        #[test]
        fn frames_are_cut_alike_however_the_stream_is_chopped(
            frames in vec(vec(any::<u8>(), 0..60), 0..8),
            chunk in 1usize..30,
        ) {
            let mut stream = Vec::new();
            for frame in &frames {
                stream.put_u32(frame.len() as u32);
                stream.put_slice(frame);
            }
            let splitter = Splitter::new(LIMIT);
            let mut buf = BytesMut::new();
            let mut cut = Vec::new();
            for piece in stream.chunks(chunk) {
                buf.extend_from_slice(piece);
                while let Next::Frame(frame) = splitter.next(&mut buf).unwrap() {
                    cut.push(frame.to_vec());
                }
            }
            prop_assert_eq!(cut, frames);
            prop_assert!(buf.is_empty());
        }

        #[test]
        fn any_bytes_as_a_header_never_panic(bytes in vec(any::<u8>(), 0..80), flexible: bool) {
            let _ = next(&bytes);
            if let Ok(frame) = parse_header(bytes.clone().into(), |_, _| Some(flexible)) {
                prop_assert_eq!(frame.size, bytes.len());
                prop_assert!(frame.body.len() + FIXED_HEADER_LEN + 2 <= bytes.len());
            }
        }
    }

    #[test]
    fn a_short_buffer_says_how_much_is_missing_and_reserves_nothing() {
        assert_eq!(next(b""), Ok(Next::NeedMore { at_least: 4 }));
        assert_eq!(next(&[0, 0]), Ok(Next::NeedMore { at_least: 2 }));
        let mut buf = BytesMut::from(&[0, 0x0f, 0xff, 0xff, 9][..]);
        let capacity = buf.capacity();
        let next = Splitter::new(LIMIT).next(&mut buf);
        assert_eq!(next, Ok(Next::NeedMore { at_least: 0x000f_ffff - 1 }));
        assert_eq!(buf.capacity(), capacity);
    }

    #[test]
    fn what_is_not_a_kafka_client_is_named() {
        assert_eq!(next(&[0x16, 3, 1, 2, 0]), Err(FrameError::TlsHello));
        assert_eq!(next(b"GET / HTTP/1.1\r\n"), Err(FrameError::Http));
        assert_eq!(next(b"POST"), Err(FrameError::Http));
        assert_eq!(next(&[0xff; 4]), Err(FrameError::Negative(-1)));
        assert_eq!(
            next(&(LIMIT as u32 + 1).to_be_bytes()),
            Err(FrameError::TooLarge { size: 1_048_577, limit: LIMIT })
        );
        assert!(FrameError::TlsHello.to_string().contains("security.protocol"));
    }

    #[test]
    fn the_body_starts_after_client_id_and_tags() {
        let frame = parse_header(header(Some(b"me"), b"", b"body"), |_, _| Some(false)).unwrap();
        assert_eq!((frame.api_key, frame.api_version, frame.correlation_id), (3, 12, -5));
        assert_eq!(frame.client_id.as_deref(), Some("me"));
        assert_eq!((&frame.body[..], frame.size), (&b"body"[..], 16));

        // Two unknown tags: number 9 with 3 bytes, number 300 with none.
        let tags = [2, 9, 3, b'x', b'y', b'z', 0xac, 2, 0];
        let frame = parse_header(header(None, &tags, b"body"), |_, _| Some(true)).unwrap();
        assert_eq!((frame.client_id, &frame.body[..]), (None, &b"body"[..]));
    }

    #[test]
    fn an_unknown_key_is_read_without_tags() {
        let frame = parse_header(header(Some(b""), b"", &[0, 1, 2]), |_, _| None).unwrap();
        assert_eq!((frame.client_id.as_deref(), &frame.body[..]), (Some(""), &[0, 1, 2][..]));
    }

    #[test]
    fn a_client_id_that_is_not_text_is_shown_as_well_as_it_can_be() {
        let frame = parse_header(header(Some(b"a\xffb"), b"", b""), |_, _| Some(false)).unwrap();
        assert_eq!(frame.client_id.as_deref(), Some("a\u{fffd}b"));
    }

    #[test]
    fn headers_that_do_not_fit_their_frame_are_refused() {
        let flexible = |_, _| Some(true);
        assert_eq!(parse_header(Bytes::from_static(&[0; 7]), flexible), Err(FrameError::Truncated(7)));
        assert_eq!(parse_header(Bytes::from_static(&[0; 9]), flexible), Err(FrameError::Truncated(9)));
        let mut bytes = header(Some(b"abc"), b"", b"").to_vec();
        bytes[9] = 4;
        assert_eq!(parse_header(bytes.clone().into(), flexible), Err(FrameError::BadClientId(4)));
        bytes[8..10].copy_from_slice(&(-2i16).to_be_bytes());
        assert_eq!(parse_header(bytes.into(), flexible), Err(FrameError::BadClientId(-2)));
        for tags in [&[][..], &[1], &[1, 0, 5, 1], &[0xff, 0xff, 0xff, 0xff, 0xff, 1]] {
            assert_eq!(parse_header(header(None, tags, b""), flexible), Err(FrameError::BadTags), "{tags:?}");
        }
    }
}
