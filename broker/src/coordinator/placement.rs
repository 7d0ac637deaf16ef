//! Pure: which partition of `__consumer_offsets` a group lives in.

/// The partition of `__consumer_offsets` that a group lives in: Java's hash of the name, because tools compute it too.
pub fn partition_for(group: &str, partitions: usize) -> usize {
    let hash = group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // Java's absolute value of its smallest integer is negative; Kafka takes 0 there.
    hash.checked_abs().unwrap_or(0) as usize % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_live_where_javas_hash_puts_them() {
        // Computed by Java: Math.abs("my-group".hashCode()) % 50, and so on.
        assert_eq!(partition_for("", 50), 0);
        assert_eq!(partition_for("billing", 2), 1);
        assert_eq!(partition_for("audit", 2), 1);
        assert_eq!(partition_for("polygenelubricants", 50), 0, "whose hash is the smallest integer");
        assert_eq!(partition_for("a", 50), 97 % 50);
        assert_eq!(partition_for("ab", 50), (97 * 31 + 98) % 50);
        assert_eq!(partition_for("😀", 1_000_000), 1_772_899 % 1_000_000);
    }
}
