//! Which partition a record goes to, as Kafka's Java client decides it.

/// The hash of keys in Kafka's clients: MurmurHash2, 32 bits, with their seed.
pub(super) fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let mix = |word: u32| {
        let word = word.wrapping_mul(M);
        (word ^ (word >> 24)).wrapping_mul(M)
    };
    let words = data.chunks_exact(4);
    let tail = words.remainder();
    let mut hash = SEED ^ data.len() as u32;
    for word in words {
        let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        hash = hash.wrapping_mul(M) ^ mix(word);
    }
    if !tail.is_empty() {
        let rest = tail.iter().rev().fold(0, |rest, &byte| rest << 8 | u32::from(byte));
        hash = (hash ^ rest).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of a key among `count`.
pub(super) fn partition_of_key(key: &[u8], count: i32) -> i32 {
    let positive = (murmur2(key) & 0x7fff_ffff) as i32;
    positive % count.max(1)
}

/// Records without a key stay on one partition until its batch is sent, so that batches fill up (KIP-480).
#[derive(Debug)]
pub(super) struct Sticky {
    current: i32,
    count: i32,
}

impl Sticky {
    /// Starts anywhere.
    pub(super) fn new(count: i32) -> Sticky {
        let count = count.max(1);
        Sticky { current: rand::random_range(0..count), count }
    }

    pub(super) fn current(&self) -> i32 {
        self.current
    }

    /// The batch of `partition` was sent: goes on to another one.
    pub(super) fn sent(&mut self, partition: i32) {
        if partition == self.current && self.count > 1 {
            self.current = (self.current + rand::random_range(1..self.count)) % self.count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hash_as_in_kafkas_clients() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn a_key_has_one_partition_within_the_topic() {
        for count in [1, 2, 7, 100] {
            for key in 0..1000u32 {
                let partition = partition_of_key(&key.to_be_bytes(), count);
                assert!((0..count).contains(&partition));
                assert_eq!(partition, partition_of_key(&key.to_be_bytes(), count));
            }
        }
    }

    #[test]
    fn records_without_key_stay_until_a_batch_is_sent() {
        let mut sticky = Sticky::new(3);
        let first = sticky.current();
        sticky.sent((first + 1) % 3);
        assert_eq!(sticky.current(), first);
        sticky.sent(first);
        assert_ne!(sticky.current(), first);
        let mut only = Sticky::new(1);
        only.sent(0);
        assert_eq!(only.current(), 0);
    }
}
