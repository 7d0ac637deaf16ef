//! How many different keys there are, without keeping them: a HyperLogLog sketch of 2^15 registers, and as long as there
//! are few keys, their hashes.
//!
//! A sealed segment's sketch lies beside it as `BASE.keys`, a file that other brokers ignore and that can be made again
//! from the segment at any time. Sketches of segments are merged into the partition's: a key that is in several of them
//! counts once.
//!
//! The standard error is 1.04 / sqrt(2^15) = 0.6 %, so that 2 % are more than three of them; up to 1024 keys are counted
//! exactly. The estimator is Ertl's ("New cardinality estimation algorithms for HyperLogLog sketches", 2017, section 4),
//! which needs no table of biases.
//!
//! ```text
//! at  size  field, big-endian
//!  0   4    CRC-32 of everything that follows
//!  4   1    version of this layout: 1
//!  5   1    log2 of the number of registers: 15
//!  6   1    form: 0 hashes, 1 sparse, 2 dense
//!  7   1    0
//!  8   8    base offset of the segment
//! 16   8    offset after its last record
//! 24   4    bytes of its data file
//! 28   8    records in it, without control records
//! 36   8    of these, records with a key
//! 44        hashes: u64 each, rising; sparse: the registers that are not 0, each u16 index, u8 value, rising;
//!           dense: 2^15 values of u8
//! ```

use std::collections::BTreeSet;

use twox_hash::XxHash64;

use crate::segment::End;

const PRECISION: u32 = 15;
const REGISTERS: usize = 1 << PRECISION;
/// Bits of a hash that are left to count zeros in; a register holds at most one more.
const RANK_BITS: u32 = 64 - PRECISION;
const VERSION: u8 = 1;
const HEAD: usize = 44;
const HASHES: u8 = 0;
const SPARSE: u8 = 1;
const DENSE: u8 = 2;
/// Up to so many keys their hashes are kept.
const HASHES_MAX: usize = 1024;
const SPARSE_ENTRY: usize = 3;

/// The keys of some records.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct KeySketch {
    /// All of them, while they are few.
    hashes: Option<BTreeSet<u64>>,
    registers: Box<[u8; REGISTERS]>,
    records: u64,
    keyed: u64,
}

impl Default for KeySketch {
    fn default() -> KeySketch {
        KeySketch { hashes: Some(BTreeSet::new()), registers: Box::new([0; REGISTERS]), records: 0, keyed: 0 }
    }
}

impl KeySketch {
    /// Takes in one record; control records are none.
    pub(crate) fn add(&mut self, key: Option<&[u8]>) {
        self.records += 1;
        let Some(key) = key else { return };
        self.keyed += 1;
        self.add_hash(XxHash64::oneshot(0, key));
    }

    fn add_hash(&mut self, hash: u64) {
        if let Some(hashes) = &mut self.hashes
            && hashes.insert(hash)
            && hashes.len() > HASHES_MAX
        {
            self.hashes = None;
        }
        let register = (hash >> RANK_BITS) as usize;
        // A bit set below the hash's own ends the count where all of them are zero.
        let rank = ((hash << PRECISION) | 1 << (PRECISION - 1)).leading_zeros() + 1;
        let value = &mut self.registers[register];
        *value = (*value).max(rank as u8);
    }

    /// Takes in what another one has seen.
    pub(crate) fn merge(&mut self, other: &KeySketch) {
        for (mine, theirs) in self.registers.iter_mut().zip(other.registers.iter()) {
            *mine = (*mine).max(*theirs);
        }
        match (&mut self.hashes, &other.hashes) {
            (Some(mine), Some(theirs)) => mine.extend(theirs),
            _ => self.hashes = None,
        }
        if self.hashes.as_ref().is_some_and(|hashes| hashes.len() > HASHES_MAX) {
            self.hashes = None;
        }
        self.records += other.records;
        self.keyed += other.keyed;
    }

    /// Records taken in.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Of them, those with a key.
    pub(crate) fn keyed(&self) -> u64 {
        self.keyed
    }

    /// About how many different keys there were; never more than records with one.
    pub(crate) fn keys(&self) -> u64 {
        if let Some(hashes) = &self.hashes {
            return hashes.len() as u64;
        }
        let mut counts = [0u32; RANK_BITS as usize + 2];
        for &value in self.registers.iter() {
            counts[usize::from(value)] += 1;
        }
        let m = REGISTERS as f64;
        let share = |count: u32| f64::from(count) / m;
        let saturated = counts[RANK_BITS as usize + 1];
        let mut z = m * tau(1.0 - share(saturated));
        for &count in counts[1..=RANK_BITS as usize].iter().rev() {
            z = 0.5 * (z + f64::from(count));
        }
        z += m * sigma(share(counts[0]));
        let estimate = m * m / (2.0 * std::f64::consts::LN_2 * z);
        (estimate.round() as u64).min(self.keyed)
    }

    /// The file of the segment that begins at `base` and ends at `end`, all of whose records were taken in.
    pub(crate) fn encode(&self, base: i64, end: End) -> Vec<u8> {
        let used = self.registers.iter().filter(|&&value| value != 0).count();
        let form = match &self.hashes {
            Some(_) => HASHES,
            None if used * SPARSE_ENTRY < REGISTERS => SPARSE,
            None => DENSE,
        };
        let mut out = vec![0; 4];
        out.extend_from_slice(&[VERSION, PRECISION as u8, form, 0]);
        out.extend_from_slice(&base.to_be_bytes());
        out.extend_from_slice(&end.offset.to_be_bytes());
        out.extend_from_slice(&end.size.to_be_bytes());
        out.extend_from_slice(&self.records.to_be_bytes());
        out.extend_from_slice(&self.keyed.to_be_bytes());
        if let Some(hashes) = &self.hashes {
            hashes.iter().for_each(|hash| out.extend_from_slice(&hash.to_be_bytes()));
        } else if form == DENSE {
            out.extend_from_slice(&self.registers[..]);
        } else {
            for (register, &value) in self.registers.iter().enumerate().filter(|(_, value)| **value != 0) {
                out.extend_from_slice(&(register as u16).to_be_bytes());
                out.push(value);
            }
        }
        let crc = crc32fast::hash(&out[4..]);
        out[..4].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// Reads a file; `None` where it is damaged, of another layout, or tells of another segment than that of `base` and
    /// `end`: one that compaction has replaced, say.
    pub(crate) fn decode(bytes: &[u8], base: i64, end: End) -> Option<KeySketch> {
        let (head, body) = bytes.split_first_chunk::<HEAD>()?;
        let u64_at = |at: usize| head[at..].first_chunk().map(|field| u64::from_be_bytes(*field));
        let u32_at = |at: usize| head[at..].first_chunk().map(|field| u32::from_be_bytes(*field));
        if u32_at(0)? != crc32fast::hash(&bytes[4..]) || head[4] != VERSION || u32::from(head[5]) != PRECISION {
            return None;
        }
        if u64_at(8)? != base as u64 || u64_at(16)? != end.offset as u64 || u32_at(24)? != end.size {
            return None;
        }
        let mut sketch = KeySketch { records: u64_at(28)?, keyed: u64_at(36)?, ..KeySketch::default() };
        match head[6] {
            HASHES => body.as_chunks().0.iter().for_each(|hash| sketch.add_hash(u64::from_be_bytes(*hash))),
            DENSE => sketch.registers.copy_from_slice(body.first_chunk::<REGISTERS>()?),
            SPARSE => {
                for [high, low, value] in body.as_chunks::<SPARSE_ENTRY>().0 {
                    *sketch.registers.get_mut(usize::from(u16::from_be_bytes([*high, *low])))? = *value;
                }
            }
            _ => return None,
        }
        if head[6] != HASHES {
            sketch.hashes = None;
        }
        sketch.registers.iter().all(|&value| u32::from(value) <= RANK_BITS + 1).then_some(sketch)
    }
}

/// The share of registers that are 0, as a sum that says how few keys there were.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// The share of registers that are not full, as a sum that says how many keys there were.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: End = End { offset: 900, size: 77 };

    fn of(keys: impl Iterator<Item = u64>) -> KeySketch {
        let mut sketch = KeySketch::default();
        keys.for_each(|key| sketch.add(Some(format!("user-{key}").as_bytes())));
        sketch
    }

    fn error(sketch: &KeySketch, keys: u64) -> f64 {
        (sketch.keys() as f64 - keys as f64).abs() / keys as f64
    }

    #[test]
    fn the_estimate_is_within_two_percent_from_one_key_to_ten_million() {
        let mut sketch = KeySketch::default();
        let (mut next, mut key) = (1u64, 0u64);
        while key < 10_000_000 {
            sketch.add(Some(&key.to_be_bytes()));
            key += 1;
            if key == next {
                assert!(error(&sketch, key) <= 0.02, "{key} keys, estimated {}", sketch.keys());
                next += (next / 4).max(1);
            }
        }
        assert!(error(&sketch, key) <= 0.02, "{key} keys, estimated {}", sketch.keys());
    }

    #[test]
    fn up_to_1024_keys_are_counted_exactly_and_no_key_is_none() {
        assert_eq!(KeySketch::default().keys(), 0);
        for keys in [1, 2, 97, 1024] {
            assert_eq!(of(0..keys).keys(), keys);
        }
        let mut none = KeySketch::default();
        none.add(None);
        assert_eq!((none.records(), none.keyed(), none.keys()), (1, 0, 0));
    }

    #[test]
    fn the_error_spreads_as_the_theory_says() {
        // Of 60 different sets: the mean near 0, and the standard deviation near 0.6 %.
        let errors: Vec<f64> = (0..60u64)
            .map(|set| {
                let keys = 30_000 + set * 500;
                of((0..keys).map(|key| set << 32 | key)).keys() as f64 / keys as f64 - 1.0
            })
            .collect();
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        let spread = (errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64).sqrt();
        assert!(mean.abs() < 0.003 && spread < 0.008, "mean {mean}, spread {spread}");
    }

    #[test]
    fn merged_sketches_count_a_common_key_once() {
        let mut merged = of(0..60_000);
        merged.merge(&of(30_000..90_000));
        assert_eq!((merged.records(), merged.keyed()), (120_000, 120_000));
        assert_eq!(merged.keys(), {
            let mut whole = of(0..90_000);
            whole.keyed = 120_000;
            whole.keys()
        });
        assert!(error(&merged, 90_000) <= 0.02);
    }

    #[test]
    fn a_sketch_survives_its_file_small_and_large() {
        for keys in [0, 1, 1000, 2000, 200_000] {
            let sketch = of(0..keys);
            let bytes = sketch.encode(5, END);
            assert!(bytes.len() <= HEAD + REGISTERS, "{}", bytes.len());
            assert!(KeySketch::decode(&bytes, 5, END).is_some_and(|back| back == sketch));
        }
        assert!(of(0..100).encode(5, END).len() < 900, "few keys make a small file");
    }

    #[test]
    fn damage_and_the_sketch_of_another_segment_are_told() {
        let bytes = of(0..50).encode(5, END);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(KeySketch::decode(&bad, 5, END).is_none(), "byte {at}");
            assert!(KeySketch::decode(&bytes[..at], 5, END).is_none(), "cut to {at}");
        }
        assert!(KeySketch::decode(&bytes, 6, END).is_none());
        assert!(KeySketch::decode(&bytes, 5, End { offset: 901, ..END }).is_none());
        assert!(KeySketch::decode(&bytes, 5, End { size: 78, ..END }).is_none(), "compacted since");
        let mut lie = of(0..2000).encode(5, END);
        let last = lie.len() - 1;
        lie[last] = 200;
        let crc = crc32fast::hash(&lie[4..]);
        lie[..4].copy_from_slice(&crc.to_be_bytes());
        assert!(KeySketch::decode(&lie, 5, END).is_none(), "a value that no hash gives");
    }
}
