//! The walk along a body. It allocates nothing, and takes time in proportion to the body.
//!
//! Every function takes the bytes left and returns the bytes left after what it checked, or `None` once it has put
//! the fault into [`Found`]: two registers on the hot path, and all that an error needs on the other.

use super::error::{Fault, Path};
use super::shape::{Field, Holds};
use super::{MAX_ELEMENTS, MAX_UNKNOWN_TAGS};

/// The longest string that Kafka takes, whatever the width of its length.
const LONGEST_STRING: usize = i16::MAX as usize;

/// The fault that ended a walk, and what a walk may still spend.
pub(super) struct Found {
    pub(super) fault: Fault,
    pub(super) path: Path,
    /// Where the bytes left began: an address within the body.
    pub(super) at: usize,
    elements_left: usize,
    unknown_tags_left: usize,
}

impl Found {
    pub(super) fn nothing() -> Self {
        Found {
            fault: Fault::UnknownVersion,
            path: Path::default(),
            at: 0,
            elements_left: MAX_ELEMENTS,
            unknown_tags_left: MAX_UNKNOWN_TAGS,
        }
    }

    #[cold]
    #[inline(never)]
    fn fail<T>(&mut self, fault: Fault, rest: &[u8]) -> Option<T> {
        self.fault = fault;
        self.at = rest.as_ptr().addr();
        None
    }

    #[cold]
    fn inside(&mut self, place: usize) {
        self.path.push(place);
    }
}

/// Walks a structure: its ordinary fields, then its tagged section if `FLEXIBLE`.
#[inline]
pub(super) fn structure<'a, const FLEXIBLE: bool>(
    fields: &[Field],
    version: i16,
    mut rest: &'a [u8],
    found: &mut Found,
) -> Option<&'a [u8]> {
    for (place, field) in fields.iter().enumerate() {
        if !field.is_in(version) || field.tag >= 0 {
            continue;
        }
        match value::<FLEXIBLE>(field, version, rest, found) {
            Some(left) => rest = left,
            None => {
                found.inside(place);
                return None;
            }
        }
    }
    match (FLEXIBLE, rest) {
        (true, [0, left @ ..]) => Some(left),
        (true, _) => tagged(fields, version, rest, found),
        (false, _) => Some(rest),
    }
}

#[inline]
fn value<'a, const FLEXIBLE: bool>(field: &Field, version: i16, rest: &'a [u8], found: &mut Found) -> Option<&'a [u8]> {
    match field.holds {
        Holds::Scalar(scalar) => skip(scalar.width(), rest, found),
        Holds::String => string::<FLEXIBLE>(field.is_nullable(version), rest, found),
        Holds::Bytes => match length::<FLEXIBLE>(field, version, rest, found)? {
            (Some(len), left) => skip(len, left, found),
            (None, left) => Some(left),
        },
        Holds::Object(fields) if field.is_nullable(version) => match rest {
            [1, left @ ..] => structure::<FLEXIBLE>(fields, version, left, found),
            [0xff, left @ ..] => Some(left),
            [marker, ..] => found.fail(Fault::BadMarker(*marker as i8), rest),
            [] => found.fail(Fault::Truncated { claimed: 1, remaining: 0 }, rest),
        },
        Holds::Object(fields) => structure::<FLEXIBLE>(fields, version, rest, found),
        Holds::Scalars(_) | Holds::Strings | Holds::Array { .. } => array::<FLEXIBLE>(field, version, rest, found),
    }
}

// Not inlined: it closes the recursion through `structure`, which so has one frame for each level of nesting.
#[inline(never)]
fn array<'a, const FLEXIBLE: bool>(field: &Field, version: i16, rest: &'a [u8], found: &mut Found) -> Option<&'a [u8]> {
    let (count, mut left) = length::<FLEXIBLE>(field, version, rest, found)?;
    let Some(count) = count else { return Some(left) };
    let least = match field.holds {
        Holds::Scalars(scalar) => scalar.width(),
        Holds::Array { least, .. } => least,
        _ => 1, // the shortest string
    };
    let bytes = count.saturating_mul(least);
    if bytes > left.len() {
        return found.fail(Fault::TooManyElements { claimed: count, remaining: left.len() }, left);
    }
    if let Holds::Scalars(_) = field.holds {
        return skip(bytes, left, found);
    }
    match found.elements_left.checked_sub(count) {
        Some(elements_left) => found.elements_left = elements_left,
        None => return found.fail(Fault::OverLimit { what: "array elements", limit: MAX_ELEMENTS }, rest),
    }
    match field.holds {
        Holds::Array { fields, .. } => {
            for _ in 0..count {
                left = structure::<FLEXIBLE>(fields, version, left, found)?;
            }
            Some(left)
        }
        _ => {
            for _ in 0..count {
                left = string::<FLEXIBLE>(false, left, found)?;
            }
            Some(left)
        }
    }
}

#[inline]
fn skip<'a>(len: usize, rest: &'a [u8], found: &mut Found) -> Option<&'a [u8]> {
    match rest.get(len..) {
        Some(left) => Some(left),
        None => found.fail(Fault::Truncated { claimed: len, remaining: rest.len() }, rest),
    }
}

#[inline]
fn string<'a, const FLEXIBLE: bool>(nullable: bool, rest: &'a [u8], found: &mut Found) -> Option<&'a [u8]> {
    let (len, left) = if FLEXIBLE {
        let (claimed, left) = varint(rest, found)?;
        (i64::from(claimed) - 1, left)
    } else {
        match rest.split_first_chunk() {
            Some((len, left)) => (i64::from(i16::from_be_bytes(*len)), left),
            None => return found.fail(Fault::Truncated { claimed: 2, remaining: rest.len() }, rest),
        }
    };
    let Ok(len) = usize::try_from(len) else {
        return if nullable && len == -1 { Some(left) } else { found.fail(no_length(len), rest) };
    };
    if len > LONGEST_STRING {
        return found.fail(Fault::LongString { claimed: len }, rest);
    }
    match left.split_at_checked(len) {
        Some((text, left)) if std::str::from_utf8(text).is_ok() => Some(left),
        Some(_) => found.fail(Fault::NotUtf8, left),
        None => found.fail(Fault::Truncated { claimed: len, remaining: left.len() }, left),
    }
}

/// The length of a bytes field or the count of an array; `None` inside for null.
#[inline]
fn length<'a, const FLEXIBLE: bool>(
    field: &Field,
    version: i16,
    rest: &'a [u8],
    found: &mut Found,
) -> Option<(Option<usize>, &'a [u8])> {
    let (len, left) = if FLEXIBLE {
        let (claimed, left) = varint(rest, found)?;
        (i64::from(claimed) - 1, left)
    } else {
        match rest.split_first_chunk() {
            Some((len, left)) => (i64::from(i32::from_be_bytes(*len)), left),
            None => return found.fail(Fault::Truncated { claimed: 4, remaining: rest.len() }, rest),
        }
    };
    match usize::try_from(len) {
        Ok(len) => Some((Some(len), left)),
        Err(_) if len == -1 && field.is_nullable(version) => Some((None, left)),
        Err(_) => found.fail(no_length(len), rest),
    }
}

fn no_length(len: i64) -> Fault {
    match i32::try_from(len) {
        Ok(-1) | Err(_) => Fault::Null,
        Ok(len) => Fault::NegativeLength(len),
    }
}

/// An unsigned variable-length integer (7 bits a byte, lowest first), of at most 5 bytes and 32 bits: the codec
/// would take a fifth byte without an end, and drop the bits above.
#[inline]
fn varint<'a>(rest: &'a [u8], found: &mut Found) -> Option<(u32, &'a [u8])> {
    match rest {
        [byte @ 0..0x80, left @ ..] => Some((u32::from(*byte), left)),
        _ => long_varint(rest, found),
    }
}

fn long_varint<'a>(rest: &'a [u8], found: &mut Found) -> Option<(u32, &'a [u8])> {
    let mut value = 0_u64;
    for (i, &byte) in rest.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return match (u32::try_from(value), rest.get(i + 1..)) {
                (Ok(value), Some(left)) => Some((value, left)),
                _ => found.fail(Fault::BadVarint, rest),
            };
        }
    }
    match rest.len() {
        remaining @ 0..5 => found.fail(Fault::Truncated { claimed: remaining + 1, remaining }, rest),
        _ => found.fail(Fault::BadVarint, rest),
    }
}

/// The tagged section of a structure. Tags that no version knows are skipped, as KIP-482 asks for; the codec keeps
/// them as bytes.
#[inline(never)]
fn tagged<'a>(fields: &[Field], version: i16, rest: &'a [u8], found: &mut Found) -> Option<&'a [u8]> {
    let (count, mut left) = varint(rest, found)?;
    if u64::from(count) * 2 > left.len() as u64 {
        return found.fail(Fault::TooManyElements { claimed: count as usize, remaining: left.len() }, left);
    }
    for _ in 0..count {
        let (tag, after_tag) = varint(left, found)?;
        let (size, after_size) = varint(after_tag, found)?;
        let size = size as usize;
        let Some((content, next)) = after_size.split_at_checked(size) else {
            return found.fail(Fault::Truncated { claimed: size, remaining: after_size.len() }, after_size);
        };
        let known = fields.iter().enumerate().find(|(_, field)| i64::from(field.tag) == i64::from(tag));
        if let Some((place, field)) = known {
            if !field.is_in(version) {
                return found.fail(Fault::BadTag(tag), left);
            }
            if content_of_tag(field, version, content, found).is_none() {
                found.inside(place);
                return None;
            }
        } else if found.unknown_tags_left == 0 {
            return found.fail(Fault::OverLimit { what: "unknown tagged fields", limit: MAX_UNKNOWN_TAGS }, left);
        } else {
            found.unknown_tags_left -= 1;
        }
        left = next;
    }
    Some(left)
}

/// A tagged field must fill its size: the codec reads it without a look at the size, and would go on somewhere else.
fn content_of_tag(field: &Field, version: i16, content: &[u8], found: &mut Found) -> Option<()> {
    match value::<true>(field, version, content, found)? {
        [] => Some(()),
        left => {
            let fault = Fault::TagSize { claimed: content.len(), taken: content.len() - left.len() };
            found.fail(fault, left)
        }
    }
}
