//! Which names a topic may have. The sentences are what Kafka's clients and tools show.

/// Longest name: a partition's directory is `<name>-<partition>` with room for a suffix within 255 bytes.
pub const MAX_NAME_LENGTH: usize = 249;
/// The log of the metadata records. No client may create a topic of this name.
pub const CLUSTER_METADATA: &str = "__cluster_metadata";
/// Committed offsets and groups.
pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";
/// State of transactions.
pub const TRANSACTION_STATE: &str = "__transaction_state";
/// State of share groups.
pub const SHARE_GROUP_STATE: &str = "__share_group_state";

/// A name that no topic may have. Displays as the whole sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    #[error("Topic name is invalid: the empty string is not allowed")]
    Empty,
    #[error("Topic name is invalid: '{0}' is not allowed")]
    Dots(&'static str),
    #[error("Topic name is invalid: the length of '{0}' is longer than the max allowed length {MAX_NAME_LENGTH}")]
    TooLong(String),
    #[error(
        "Topic name is invalid: '{0}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
    )]
    BadCharacter(String),
}

/// Checks a name against Kafka's rules.
pub fn check(name: &str) -> Result<(), InvalidName> {
    match name {
        "" => return Err(InvalidName::Empty),
        "." => return Err(InvalidName::Dots(".")),
        ".." => return Err(InvalidName::Dots("..")),
        _ => {}
    }
    if name.chars().count() > MAX_NAME_LENGTH {
        return Err(InvalidName::TooLong(shown(name)));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
        return Err(InvalidName::BadCharacter(shown(name)));
    }
    Ok(())
}

/// The name as an error repeats it: a hostile name may be as long as a request.
fn shown(name: &str) -> String {
    const SHOWN: usize = 512;
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.to_owned(),
    }
}

/// Whether the broker itself writes this topic.
pub fn is_internal(name: &str) -> bool {
    matches!(name, CONSUMER_OFFSETS | TRANSACTION_STATE | SHARE_GROUP_STATE)
}

/// Names with the same key collide: metrics have replaced `.` by `_` since Kafka's first days. None if the name has
/// neither.
pub fn collision_key(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_legal_characters_up_to_249_are_allowed() {
        for name in ["a", "A-Z_0.9", "...", "-", &"x".repeat(249)] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn other_names_are_refused_with_the_reason() {
        let reason = |name: &str| check(name).expect_err(name).to_string();
        assert_eq!(reason(""), "Topic name is invalid: the empty string is not allowed");
        assert_eq!(reason("."), "Topic name is invalid: '.' is not allowed");
        assert_eq!(reason(".."), "Topic name is invalid: '..' is not allowed");
        assert!(reason(&"x".repeat(250)).ends_with("is longer than the max allowed length 249"));
        for name in ["a b", "a/b", "ä", "a\0", "a,b"] {
            assert!(reason(name).contains(&format!("'{name}' contains one or more characters other than")), "{name}");
        }
    }

    #[test]
    fn a_giant_name_does_not_make_a_giant_message() {
        assert!(check(&"ü".repeat(1_000_000)).expect_err("too long").to_string().len() < 2_000);
    }

    #[test]
    fn names_that_differ_in_dots_and_underscores_collide() {
        assert_eq!(collision_key("a.b_c"), collision_key("a_b.c"));
        assert_ne!(collision_key("a.b"), collision_key("a.c"));
        assert_eq!(collision_key("ab"), None);
    }
}
