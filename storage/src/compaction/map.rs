//! The last offset of each key, in a bounded amount of memory: 24 bytes a key.
//!
//! A key is known by 128 bits of SipHash under a secret of the process, so that nobody can craft two keys that are taken
//! for one. The entries are kept in the order of their hashes as far as the table allows (linear probing, sorted within
//! each run): the search for a key that is not there ends early, and the table may be nearly full.

use std::hint::black_box;

use siphasher::sip128::SipHasher13;
use uuid::Uuid;

/// High half, low half, offset + 1; a third word of 0 is a free slot.
type Slot = [u64; 3];

const SLOT_BYTES: usize = size_of::<Slot>();
/// Slots behind the last home, for the run that begins there.
const TAIL: usize = 256;
/// A table is never smaller.
const HOMES_MIN: usize = 16;
/// A table that is not at its bound is at most this full, in percent.
const RELAXED_PERCENT: u64 = 67;
/// Hashes whose slots are asked for together, so that the waits for memory overlap.
const TOGETHER: usize = 64;

/// The hash of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyHash(u64, u64);

/// The map.
pub(crate) struct KeyMap {
    hasher: SipHasher13,
    slots: Vec<Slot>,
    /// Slots that are a home; the tail comes on top.
    homes: usize,
    homes_max: usize,
    load_factor: f64,
    len: usize,
    limit: usize,
}

impl KeyMap {
    /// A map that never takes more than `bytes`, and is full when this share of them is used.
    pub(crate) fn new(bytes: usize, load_factor: f64) -> KeyMap {
        let (secret, _) = Uuid::new_v4().as_u64_pair();
        let (other, _) = Uuid::new_v4().as_u64_pair();
        KeyMap {
            hasher: SipHasher13::new_with_keys(secret, other),
            slots: Vec::new(),
            homes: 0,
            homes_max: (bytes / SLOT_BYTES).saturating_sub(TAIL).max(HOMES_MIN),
            load_factor: load_factor.clamp(0.1, 0.95),
            len: 0,
            limit: 0,
        }
    }

    /// Forgets everything, and gets ready for at most so many keys: what is known to be few takes little memory.
    pub(crate) fn clear(&mut self, expected: u64) {
        let relaxed = usize::try_from(expected.saturating_mul(100) / RELAXED_PERCENT).unwrap_or(usize::MAX);
        self.homes = relaxed.clamp(HOMES_MIN, self.homes_max);
        self.limit = if self.homes < self.homes_max {
            self.homes
        } else {
            ((self.homes_max as f64 * self.load_factor) as usize).max(1)
        };
        self.len = 0;
        let slots = self.homes + TAIL;
        if self.slots.len() < slots {
            self.slots = Vec::new(); // before the larger one is asked for
            self.slots = vec![[0; 3]; slots];
        } else {
            self.slots[..slots].fill([0; 3]);
        }
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> KeyHash {
        let hash = self.hasher.hash(key);
        KeyHash(hash.h1, hash.h2)
    }

    /// Notes the offsets of keys, which rise; how many were noted before the map was full.
    pub(crate) fn put_all(&mut self, keys: &[(KeyHash, i64)]) -> usize {
        let mut done = 0;
        for some in keys.chunks(TOGETHER) {
            self.touch(some.iter().map(|(hash, _)| *hash));
            for &(hash, offset) in some {
                if !self.put(hash, offset) {
                    return done;
                }
                done += 1;
            }
        }
        done
    }

    /// The last offset of each key, or -1, into `found`.
    pub(crate) fn get_all(&self, keys: &[KeyHash], found: &mut Vec<i64>) {
        found.clear();
        for some in keys.chunks(TOGETHER) {
            self.touch(some.iter().copied());
            found.extend(some.iter().map(|&hash| self.get(hash)));
        }
    }

    /// Loads are independent of one another here: the processor has many of them under way at once.
    #[inline]
    fn touch(&self, keys: impl Iterator<Item = KeyHash>) {
        let sum = keys.fold(0u64, |sum, hash| sum ^ self.slots[self.home(hash)][2]);
        black_box(sum);
    }

    #[inline]
    fn home(&self, hash: KeyHash) -> usize {
        ((u128::from(hash.0) * self.homes as u128) >> 64) as usize
    }

    fn get(&self, hash: KeyHash) -> i64 {
        for slot in &self.slots[self.home(hash)..self.homes + TAIL] {
            if slot[2] == 0 {
                return -1;
            }
            match KeyHash(slot[0], slot[1]).cmp(&hash) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return slot[2] as i64 - 1,
                std::cmp::Ordering::Greater => return -1,
            }
        }
        -1
    }

    /// `false` when there is no room for another key.
    fn put(&mut self, hash: KeyHash, offset: i64) -> bool {
        let entry = [hash.0, hash.1, offset as u64 + 1];
        let end = self.homes + TAIL;
        let mut at = self.home(hash);
        while at < end {
            let slot = &mut self.slots[at];
            if slot[2] == 0 {
                break;
            }
            match KeyHash(slot[0], slot[1]).cmp(&hash) {
                std::cmp::Ordering::Less => at += 1,
                std::cmp::Ordering::Equal => {
                    slot[2] = entry[2];
                    return true;
                }
                std::cmp::Ordering::Greater => break,
            }
        }
        if self.len >= self.limit {
            return false;
        }
        let Some(free) = self.slots[at..end].iter().position(|slot| slot[2] == 0) else { return false };
        self.slots.copy_within(at..at + free, at + 1);
        self.slots[at] = entry;
        self.len += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn put(map: &mut KeyMap, key: &[u8], offset: i64) -> bool {
        let hash = map.hash(key);
        map.put_all(&[(hash, offset)]) == 1
    }

    fn get(map: &KeyMap, key: &[u8]) -> i64 {
        let mut found = Vec::new();
        map.get_all(&[map.hash(key)], &mut found);
        found[0]
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_hash_map(keys in prop::collection::vec(0u16..2000, 1..3000)) {
            let mut map = KeyMap::new(1 << 20, 0.9);
            map.clear(keys.len() as u64);
            let mut model = HashMap::new();
            for (offset, key) in keys.iter().enumerate() {
                prop_assert!(put(&mut map, &key.to_be_bytes(), offset as i64));
                model.insert(*key, offset as i64);
            }
            prop_assert_eq!(map.len(), model.len());
            for key in 0u16..2000 {
                prop_assert_eq!(get(&map, &key.to_be_bytes()), model.get(&key).copied().unwrap_or(-1));
            }
        }
    }

    #[test]
    fn a_full_map_takes_no_new_key_and_still_updates_the_old_ones() {
        let mut map = KeyMap::new(100_000, 0.9);
        map.clear(u64::MAX);
        let fits = (0..10_000).take_while(|i: &i64| put(&mut map, &i.to_be_bytes(), *i)).count();
        assert!((3400..=3600).contains(&fits), "{fits}");
        assert!(!put(&mut map, b"another", 7));
        for i in 0..fits as i64 {
            assert_eq!(get(&map, &i.to_be_bytes()), i);
            assert!(put(&mut map, &i.to_be_bytes(), i + 1_000_000));
        }
        assert_eq!(get(&map, b"another"), -1);
        map.clear(10);
        assert_eq!((map.len(), get(&map, &0i64.to_be_bytes())), (0, -1));
    }

    #[test]
    fn its_memory_is_bounded_and_small_for_few_keys() {
        let mut map = KeyMap::new(1 << 20, 0.9);
        map.clear(100);
        assert!(map.slots.len() * SLOT_BYTES < 20_000);
        map.clear(u64::MAX);
        assert!(map.slots.len() * SLOT_BYTES <= 1 << 20);
        assert!(map.limit * SLOT_BYTES > 900 * 1024);
    }
}
