//! Frames of the journal.
//!
//! ```text
//! offset  size  what
//!      0     4  magic "JKDQ"
//!      4     4  length of the payload, little-endian
//!      8     8  number of the sync that this frame was written for
//!     16     4  CRC-32C of bytes 4 to 16 and the payload
//!     20     n  payload
//! ```
//!
//! All frames of one write carry the number of the sync that covers them, and the next write begins only after that sync.
//! So when a frame is broken, frames behind it tell what happened: with the same number, or the next, a crash tore a write
//! that nobody was told about; with a later one, something that was synced is damaged.

use crc_fast::{CrcAlgorithm, Digest};

const MAGIC: [u8; 4] = *b"JKDQ";
const HEAD: usize = 20;

/// The largest payload; openraft is told to keep its batches far below.
pub(crate) const PAYLOAD_MAX: usize = 64 << 20;

/// Appends a frame to `out`.
pub(crate) fn encode(sync: u64, payload: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).expect("the caller checks PAYLOAD_MAX, which fits");
    let (length, sync) = (length.to_le_bytes(), sync.to_le_bytes());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&length);
    out.extend_from_slice(&sync);
    out.extend_from_slice(&checksum(length, sync, payload).to_le_bytes());
    out.extend_from_slice(payload);
}

fn checksum(length: [u8; 4], sync: [u8; 8], payload: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&length);
    digest.update(&sync);
    digest.update(payload);
    u32::try_from(digest.finalize()).expect("a CRC of 32 bits")
}

/// A frame that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) sync: u64,
    pub(crate) payload: &'a [u8],
}

impl Frame<'_> {
    pub(crate) fn length(&self) -> usize {
        HEAD + self.payload.len()
    }
}

/// The frame that `bytes` begin with, if they begin with a whole one.
pub(crate) fn decode(bytes: &[u8]) -> Option<Frame<'_>> {
    let rest = bytes.strip_prefix(&MAGIC)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (sync, rest) = rest.split_first_chunk::<8>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let wanted = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|wanted| *wanted <= PAYLOAD_MAX)?;
    let payload = rest.get(..wanted)?;
    let right = checksum(*length, *sync, payload) == u32::from_le_bytes(*crc);
    right.then(|| Frame { sync: u64::from_le_bytes(*sync), payload })
}

/// What a file holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scan<'a> {
    pub(crate) frames: Vec<Frame<'a>>,
    /// Bytes of whole frames from the beginning; what is behind was torn by a crash.
    pub(crate) sound: usize,
}

/// A frame that had been synced, and is broken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) at: usize,
    /// Where a frame of a later sync stands.
    pub(crate) proof: usize,
}

/// Reads all frames. Torn bytes at the end are left out; damage before what was synced later is an error.
pub(crate) fn scan(bytes: &[u8]) -> Result<Scan<'_>, Damage> {
    let mut frames: Vec<Frame<'_>> = Vec::new();
    let mut sound = 0;
    while let Some(frame) = decode(&bytes[sound..]) {
        // Numbers never go back, and by one at most forward: else these bytes are of another time of this file.
        let last = frames.last().map(|frame| frame.sync);
        if last.is_some_and(|last| frame.sync != last && frame.sync != last + 1) {
            break;
        }
        sound += frame.length();
        frames.push(frame);
    }
    let last = frames.last().map_or(0, |frame| frame.sync);
    let starts = (sound..bytes.len()).filter(|&at| bytes[at..].starts_with(&MAGIC));
    for at in starts {
        if let Some(frame) = decode(&bytes[at..])
            && frame.sync > last + 1
        {
            return Err(Damage { at: sound, proof: at });
        }
    }
    Ok(Scan { frames, sound })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(syncs: &[(u64, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        syncs.iter().for_each(|(sync, text)| encode(*sync, text.as_bytes(), &mut bytes));
        bytes
    }

    #[test]
    fn a_tail_torn_at_any_byte_leaves_the_frames_before_it() {
        let bytes = file(&[(1, "a"), (2, "bb"), (2, "ccc"), (3, "")]);
        let ends = [0, 21, 43, 66, 86];
        assert_eq!(bytes.len(), 86);
        for cut in 0..=bytes.len() {
            let scan = scan(&bytes[..cut]).unwrap();
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            assert_eq!((scan.frames.len(), scan.sound), (whole, ends[whole]), "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_of_the_last_write_cuts_it_and_one_before_is_refused() {
        let bytes = file(&[(1, "a"), (2, "bb"), (3, "ccc"), (3, "d")]);
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            match at {
                // The second sync began when the first was done, the third when the second was.
                0..21 => assert_eq!(scan(&bytes).unwrap_err().at, 0, "bit at {at}"),
                21..43 => assert_eq!(scan(&bytes).unwrap_err(), Damage { at: 21, proof: 43 }, "bit at {at}"),
                43..66 => assert_eq!(scan(&bytes).unwrap().sound, 43, "bit at {at}"),
                _ => assert_eq!(scan(&bytes).unwrap().sound, 66, "bit at {at}"),
            }
        }
    }

    #[test]
    fn lengths_that_lie_are_no_frames() {
        let mut bytes = file(&[(1, "a")]);
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(scan(&bytes).unwrap().sound, 0);
        assert_eq!(scan(&[]).unwrap().sound, 0);
        assert_eq!(scan(&[0; 4096]).unwrap().sound, 0);
    }
}
