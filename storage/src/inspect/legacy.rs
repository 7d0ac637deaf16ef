//! Messages of formats 0 and 1, as brokers before 0.11 wrote them. They are recognised and checked; a compressed one
//! holds further messages, which are not looked into.
//!
//! ```text
//! offset i64 | size i32 | crc u32 (CRC-32 of what follows) | magic i8 | attributes i8 | timestamp i64 (format 1)
//! | key length i32, key | value length i32, value
//! ```

use jackdaw_protocol::records::Codec;

/// Bytes before the magic.
const MAGIC_AT: usize = 16;
const OVERHEAD: usize = 12;
/// Bytes of the smallest message, offset and size included.
pub(super) const MIN_LEN: usize = OVERHEAD + 4 + 1 + 1 + 4 + 4;

/// One message of format 0 or 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyMessage {
    /// Where it begins in the file.
    pub position: u64,
    /// Its bytes, offset and size included.
    pub size: u64,
    /// Its offset; the last one's, where it is compressed and holds several.
    pub offset: i64,
    /// 0 or 1.
    pub magic: i8,
    /// How its value is compressed; `None` for a number without meaning.
    pub codec: Option<Codec>,
    /// In ms; format 1 only.
    pub timestamp: Option<i64>,
    /// Whether checksum and lengths are right.
    pub is_sound: bool,
}

/// The size of the message that `head` begins with, if it can be one.
pub(super) fn size_of(head: &[u8]) -> Option<u64> {
    let magic = *head.get(MAGIC_AT)?;
    let size = i32::from_be_bytes(*head.get(8..)?.first_chunk()?);
    let size = u64::try_from(size).ok()? + OVERHEAD as u64;
    (magic <= 1 && size >= MIN_LEN as u64).then_some(size)
}

/// Reads a whole message.
pub(super) fn read(bytes: &[u8], position: u64) -> Option<LegacyMessage> {
    let field = |at: usize| bytes.get(at..)?.first_chunk::<8>().map(|f| i64::from_be_bytes(*f));
    let stored = u32::from_be_bytes(*bytes.get(12..)?.first_chunk()?);
    let magic = *bytes.get(MAGIC_AT)? as i8;
    let codec = Codec::from_id(bytes.get(17)? & 0b111);
    let (timestamp, fields_at) = if magic == 0 { (None, 18) } else { (Some(field(18)?), 26) };
    let is_sound = crc32fast::hash(&bytes[MAGIC_AT..]) == stored && fields_fit(bytes.get(fields_at..)?);
    let size = bytes.len() as u64;
    Some(LegacyMessage { position, size, offset: field(0)?, magic, codec, timestamp, is_sound })
}

fn fields_fit(mut rest: &[u8]) -> bool {
    for _ in 0..2 {
        let Some((length, after)) = rest.split_first_chunk::<4>() else { return false };
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        let Some(after) = after.get(length..) else { return false };
        rest = after;
    }
    rest.is_empty()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::inspect) fn message(offset: i64, magic: i8, value: &[u8]) -> Vec<u8> {
        let mut body = vec![magic as u8, 0];
        if magic == 1 {
            body.extend_from_slice(&1234i64.to_be_bytes());
        }
        body.extend_from_slice(&(-1i32).to_be_bytes());
        body.extend_from_slice(&(value.len() as i32).to_be_bytes());
        body.extend_from_slice(value);
        let mut bytes = offset.to_be_bytes().to_vec();
        bytes.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&body).to_be_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    #[test]
    fn old_messages_are_read_and_checked() {
        for magic in [0, 1] {
            let mut bytes = message(7, magic, b"value");
            assert_eq!(size_of(&bytes), Some(bytes.len() as u64));
            let read_back = read(&bytes, 40).unwrap();
            assert_eq!((read_back.offset, read_back.magic, read_back.is_sound), (7, magic, true));
            assert_eq!(read_back.timestamp, (magic == 1).then_some(1234));
            *bytes.last_mut().unwrap() ^= 1;
            assert!(!read(&bytes, 40).unwrap().is_sound);
        }
    }
}
