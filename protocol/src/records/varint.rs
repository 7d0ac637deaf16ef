//! Variable-length integers of records: zigzag, seven bits a byte, low bits first.

const MAX_32: u32 = 5;
const MAX_64: u32 = 10;

/// Takes a 32-bit varint off the front; `None` if it does not end within the bytes or within its longest form.
#[inline]
pub(super) fn read_i32(bytes: &mut &[u8]) -> Option<i32> {
    let raw = read(bytes, MAX_32)? as u32;
    Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// Takes a 64-bit varint off the front.
#[inline]
pub(super) fn read_i64(bytes: &mut &[u8]) -> Option<i64> {
    let raw = read(bytes, MAX_64)?;
    Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

#[inline]
fn read(bytes: &mut &[u8], longest: u32) -> Option<u64> {
    let mut value = 0u64;
    for index in 0..longest {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[inline]
pub(super) fn write_i32(out: &mut Vec<u8>, value: i32) {
    write(out, u64::from((value.wrapping_shl(1) ^ (value >> 31)) as u32));
}

#[inline]
pub(super) fn write_i64(out: &mut Vec<u8>, value: i64) {
    write(out, (value.wrapping_shl(1) ^ (value >> 63)) as u64);
}

#[inline]
fn write(out: &mut Vec<u8>, mut raw: u64) {
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// Bytes that [`write_i32`] takes.
#[inline]
pub(super) fn len_i32(value: i32) -> usize {
    len(u64::from((value.wrapping_shl(1) ^ (value >> 31)) as u32))
}

/// Bytes that [`write_i64`] takes.
#[inline]
pub(super) fn len_i64(value: i64) -> usize {
    len((value.wrapping_shl(1) ^ (value >> 63)) as u64)
}

#[inline]
fn len(raw: u64) -> usize {
    let bits = 64 - (raw | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(narrow: i32, wide: i64) {
            let mut out = Vec::new();
            write_i32(&mut out, narrow);
            prop_assert_eq!(out.len(), len_i32(narrow));
            write_i64(&mut out, wide);
            prop_assert_eq!(out.len(), len_i32(narrow) + len_i64(wide));
            let mut rest = out.as_slice();
            prop_assert_eq!(read_i32(&mut rest), Some(narrow));
            prop_assert_eq!(read_i64(&mut rest), Some(wide));
            prop_assert!(rest.is_empty());
        }
    }

    #[test]
    fn small_numbers_take_the_bytes_kafka_gives_them() {
        for (value, bytes) in
            [(0, vec![0]), (-1, vec![1]), (1, vec![2]), (63, vec![0x7e]), (-64, vec![0x7f]), (64, vec![0x80, 1])]
        {
            let mut out = Vec::new();
            write_i32(&mut out, value);
            assert_eq!(out, bytes, "{value}");
        }
    }

    #[test]
    fn a_varint_without_end_is_refused() {
        assert_eq!(read_i32(&mut [0xff; 5].as_slice()), None);
        assert_eq!(read_i64(&mut [0xff; 10].as_slice()), None);
        assert_eq!(read_i32(&mut [0x80, 0x80].as_slice()), None);
        assert_eq!(read_i32(&mut [].as_slice()), None);
    }
}
