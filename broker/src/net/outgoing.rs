//! Answers on their way out: small ones share one buffer, records stay where they are.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// An idle connection keeps at most this much of its answer buffer.
const KEPT_BYTES: usize = 1024;

/// Bytes to be written to one connection, in order: the parts, then the tail.
#[derive(Default)]
pub struct Outgoing {
    parts: VecDeque<Bytes>,
    parts_len: usize,
    tail: BytesMut,
    broken: Option<String>,
}

impl Outgoing {
    /// An answer that cannot be made: the connection must be closed for this reason.
    pub fn broken(reason: String) -> Outgoing {
        Outgoing { broken: Some(reason), ..Outgoing::default() }
    }

    /// Why the connection must be closed instead of answered.
    pub fn take_broken(&mut self) -> Option<String> {
        self.broken.take()
    }

    /// Bytes waiting.
    pub fn len(&self) -> usize {
        self.parts_len + self.tail.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends one small answer: length, response header (v1 with tagged fields if `flexible`), body. On an error nothing
    /// is appended.
    pub fn frame<E: Display>(
        &mut self,
        correlation_id: i32,
        flexible: bool,
        body: impl FnOnce(&mut BytesMut) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.tail.len();
        self.tail.put_i32(0);
        self.tail.put_i32(correlation_id);
        if flexible {
            self.tail.put_u8(0);
        }
        if let Err(error) = body(&mut self.tail) {
            self.tail.truncate(start);
            return Err(error);
        }
        let length = (self.tail.len() - start - 4) as u32;
        self.tail[start..start + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// Appends one answer whose body is given in parts, none of which is copied.
    pub fn frame_of_parts(
        &mut self,
        correlation_id: i32,
        flexible: bool,
        body: impl IntoIterator<Item = Bytes>,
        len: usize,
    ) {
        let head = 4 + usize::from(flexible);
        self.tail.put_u32((head + len) as u32);
        self.tail.put_i32(correlation_id);
        if flexible {
            self.tail.put_u8(0);
        }
        self.seal_tail();
        for part in body {
            self.push(part);
        }
    }

    /// Appends what another connection task or future prepared.
    pub fn append(&mut self, mut other: Outgoing) {
        if other.parts.is_empty() && other.tail.len() <= 4096 {
            self.tail.extend_from_slice(&other.tail);
            return;
        }
        self.seal_tail();
        other.seal_tail();
        self.parts_len += other.parts_len;
        self.parts.append(&mut other.parts);
    }

    /// Everything, in one piece.
    pub fn into_bytes(mut self) -> Bytes {
        self.seal_tail();
        if self.parts.len() == 1
            && let Some(only) = self.parts.pop_front()
        {
            return only;
        }
        let mut all = BytesMut::with_capacity(self.parts_len);
        self.parts.iter().for_each(|part| all.extend_from_slice(part));
        all.freeze()
    }

    fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.parts_len += part.len();
            self.parts.push_back(part);
        }
    }

    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            let tail = self.tail.split().freeze();
            self.push(tail);
        }
    }

    /// Fills `slices` with the next bytes to write; returns how many slices are set.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        let waiting = self.parts.iter().map(|part| &part[..]).chain(std::iter::once(&self.tail[..]));
        for (slot, part) in slices.iter_mut().zip(waiting.filter(|part| !part.is_empty())) {
            *slot = IoSlice::new(part);
            count += 1;
        }
        count
    }

    /// Drops the first `written` bytes.
    pub fn advance(&mut self, mut written: usize) {
        while let Some(first) = self.parts.front_mut() {
            if written < first.len() {
                first.advance(written);
                self.parts_len -= written;
                return;
            }
            written -= first.len();
            self.parts_len -= first.len();
            self.parts.pop_front();
        }
        self.tail.advance(written);
        if self.tail.is_empty() {
            self.forget_empty_tail();
        }
    }

    fn forget_empty_tail(&mut self) {
        if self.tail.capacity() > 16 * KEPT_BYTES {
            self.tail = BytesMut::new();
        } else {
            self.tail.clear();
            // Reclaims the space in front of an advanced tail, if no written part still shares the buffer.
            self.tail.reserve(KEPT_BYTES / 4);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn drain(mut out: Outgoing, step: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while !out.is_empty() {
            let mut slices = [IoSlice::new(&[]); 3];
            let count = out.slices(&mut slices);
            let next: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).take(step).collect();
            out.advance(next.len());
            all.extend(next);
        }
        all
    }

    fn sample() -> Outgoing {
        let mut out = Outgoing::default();
        out.frame(1, false, |tail| {
            tail.put_slice(b"first");
            Ok::<_, String>(())
        })
        .unwrap();
        out.frame_of_parts(2, true, [Bytes::from_static(b"records"), Bytes::from_static(b"more")], 11);
        out.frame(3, false, |tail| {
            tail.put_slice(b"last");
            Ok::<_, String>(())
        })
        .unwrap();
        out
    }

    #[test]
    fn answers_leave_whole_and_in_order_however_short_the_writes_are() {
        let expected = b"\0\0\0\x09\0\0\0\x01first\0\0\0\x10\0\0\0\x02\0recordsmore\0\0\0\x08\0\0\0\x03last";
        for step in 1..40 {
            assert_eq!(drain(sample(), step), expected);
        }
    }

    #[test]
    fn an_answer_that_cannot_be_encoded_leaves_nothing_behind() {
        let mut out = Outgoing::default();
        let result = out.frame(1, false, |tail| {
            tail.put_slice(b"half");
            Err("no")
        });
        assert_eq!(result, Err("no"));
        assert!(out.is_empty());
    }

    #[test]
    fn a_prepared_answer_is_appended_behind_the_others() {
        let mut out = sample();
        out.append(sample());
        let mut twice = drain(sample(), 7);
        twice.extend(drain(sample(), 7));
        assert_eq!(drain(out, 5), twice);
    }
}
