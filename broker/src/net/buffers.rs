//! Read buffers, shared by all connections: one that has nothing to read holds none, and memory that was touched once is
//! used again (fresh pages cost more than the bytes that are read into them).
//!
//! One pool for all threads, behind a lock held for some nanoseconds: with a pool each, every thread that ever served as
//! a worker (appends that wait for the disk make more of them) would keep its share.

use bytes::BytesMut;
use parking_lot::Mutex;

use crate::limits;

static POOL: Mutex<Pool> = Mutex::new(Pool { buffers: Vec::new(), bytes: 0 });

struct Pool {
    /// The one that was not used for longest first.
    buffers: Vec<BytesMut>,
    /// Their capacities together.
    bytes: usize,
}

/// Lets `buffer` hold `wanted` bytes in all, those it has included, in place if it can.
pub(super) fn make_room(buffer: &mut BytesMut, wanted: usize) {
    let len = buffer.len();
    if wanted <= buffer.capacity() && wanted > len || buffer.try_reclaim(wanted.saturating_sub(len).max(1)) {
        return;
    }
    // Not `reserve`: it doubles a buffer whose front is used up, again and again.
    let mut larger = take(wanted);
    larger.extend_from_slice(buffer);
    give(std::mem::replace(buffer, larger));
}

/// Makes room to read, and says how much to read, where the frame that arrives needs `frame_bytes` in all (0 between
/// frames). A frame larger than a read buffer gets room with the bytes that have arrived, never beyond the frame, so that a
/// claimed length alone costs nothing; and it is read to its own end only, so that the next one begins a buffer and need
/// not be moved.
pub(super) fn room_for_frame(input: &mut BytesMut, frame_bytes: usize) -> usize {
    let len = input.len();
    let large = frame_bytes > limits::READ_BUFFER_BYTES;
    let wanted = if large {
        frame_bytes.min((4 * len).max(limits::READ_BUFFER_BYTES))
    } else {
        frame_bytes.max(len + limits::READ_BUFFER_BYTES / 32)
    };
    make_room(input, wanted);
    if large { frame_bytes - len } else { usize::MAX }
}

/// A buffer of at least `capacity`.
fn take(capacity: usize) -> BytesMut {
    loop {
        let pooled = POOL.lock().take(capacity);
        let Some(mut buffer) = pooled else {
            return BytesMut::with_capacity(capacity.max(limits::READ_BUFFER_BYTES));
        };
        // One whose frames are still held somewhere cannot be used again.
        if buffer.try_reclaim(capacity) {
            return buffer;
        }
    }
}

/// Takes a buffer back whose bytes are not needed any more.
pub(super) fn give(mut buffer: BytesMut) {
    buffer.clear();
    // Back to its front, where no frame cut from it is held any more; a buffer that stays short is not worth keeping.
    let _ = buffer.try_reclaim(buffer.capacity() + 1);
    if buffer.capacity() >= limits::READ_BUFFER_BYTES {
        POOL.lock().give(buffer);
    }
}

impl Pool {
    /// The smallest that fits, so that the large ones are there for large frames; of equal ones the last used.
    fn take(&mut self, capacity: usize) -> Option<BytesMut> {
        let fits = self.buffers.iter().enumerate().rev().filter(|(_, buffer)| buffer.capacity() >= capacity);
        let at = fits.min_by_key(|(_, buffer)| buffer.capacity()).map(|(at, _)| at)?;
        let buffer = self.buffers.remove(at);
        self.bytes -= buffer.capacity();
        Some(buffer)
    }

    fn give(&mut self, buffer: BytesMut) {
        self.bytes += buffer.capacity();
        self.buffers.push(buffer);
        while self.bytes > limits::POOLED_BUFFER_BYTES {
            self.bytes -= self.buffers.remove(0).capacity();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_given_back_is_used_again() {
        // Of a size that no other test asks the common pool for.
        const SIZE: usize = 3 * limits::READ_BUFFER_BYTES;
        let mut first = BytesMut::new();
        make_room(&mut first, SIZE);
        let address = first.as_ptr();
        first.extend_from_slice(&[7; 1000]);
        drop(first.split_to(900).freeze());
        give(first);
        let mut second = BytesMut::new();
        make_room(&mut second, SIZE);
        assert_eq!(second.as_ptr(), address);
        assert!(second.is_empty());
    }

    #[test]
    fn a_buffer_whose_frame_is_still_held_is_not_written_over() {
        let mut buffer = BytesMut::new();
        make_room(&mut buffer, 1);
        buffer.extend_from_slice(b"frame");
        let frame = buffer.split().freeze();
        give(buffer);
        let mut other = BytesMut::new();
        make_room(&mut other, 5);
        other.extend_from_slice(b"other");
        assert_eq!(&frame[..], b"frame");
    }

    #[test]
    fn many_frames_through_one_buffer_do_not_make_it_grow() {
        let frame = limits::READ_BUFFER_BYTES / 3;
        let mut buffer = BytesMut::new();
        for _ in 0..1000 {
            let wanted = buffer.len() + frame;
            make_room(&mut buffer, wanted);
            buffer.extend_from_slice(&vec![0; frame / 2 + frame / 4]);
            if buffer.len() >= frame {
                drop(buffer.split_to(frame).freeze());
            }
        }
        assert!(buffer.capacity() <= 2 * limits::READ_BUFFER_BYTES);
    }
}
