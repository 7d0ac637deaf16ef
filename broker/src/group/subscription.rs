//! Which topics a consumer subscribes to, read from the metadata it joins with.
//!
//! The layout is `version: int16, topics: [string], ...`; every version starts with these two fields, and nothing behind
//! them is read. The bytes come from clients and are otherwise opaque to the broker.

use std::collections::BTreeSet;

/// Adds the topics of one member's subscription to `topics`. `None` if the bytes are no subscription.
pub fn add_topics(subscription: &[u8], topics: &mut BTreeSet<String>) -> Option<()> {
    let rest = subscription.get(2..)?;
    let version = i16::from_be_bytes(subscription.first_chunk().copied()?);
    if version < 0 {
        return None;
    }
    let count = i32::from_be_bytes(rest.first_chunk().copied()?);
    let mut rest = rest.get(4..)?;
    for _ in 0..usize::try_from(count).ok()? {
        let len = usize::try_from(i16::from_be_bytes(rest.first_chunk().copied()?)).ok()?;
        let name = rest.get(2..2 + len)?;
        topics.insert(std::str::from_utf8(name).ok()?.to_owned());
        rest = rest.get(2 + len..)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics_of(bytes: &[u8]) -> Option<Vec<String>> {
        let mut topics = BTreeSet::new();
        add_topics(bytes, &mut topics).map(|()| topics.into_iter().collect())
    }

    #[test]
    fn topics_come_first_in_every_version_and_what_follows_is_ignored() {
        let mut bytes = vec![0, 3, 0, 0, 0, 2, 0, 1, b'b', 0, 1, b'a'];
        bytes.extend([0xff; 9]);
        assert_eq!(topics_of(&bytes), Some(vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn bytes_that_are_no_subscription_are_told_apart_from_an_empty_one() {
        assert_eq!(topics_of(&[0, 0, 0, 0, 0, 0]), Some(vec![]));
        assert_eq!(topics_of(&[]), None);
        assert_eq!(topics_of(&[0, 0, 0x7f, 0xff, 0xff, 0xff]), None, "a count without the names");
        assert_eq!(topics_of(&[0, 0, 0xff, 0xff, 0xff, 0xff]), None, "a negative count");
        assert_eq!(topics_of(&[0, 0, 0, 0, 0, 1, 0, 9, b'a']), None, "a name longer than the bytes");
        assert_eq!(topics_of(&[0, 0, 0, 0, 0, 1, 0, 1, 0xff]), None, "a name that is not UTF-8");
        assert_eq!(topics_of(&[0xff, 0xff, 0, 0, 0, 0]), None, "a negative version");
    }
}
