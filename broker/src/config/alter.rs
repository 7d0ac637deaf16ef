//! Changes to the settings of a topic, a broker or a group: old settings and wishes in, new settings out (KIP-339).

use std::collections::BTreeMap;

use super::definition::{self, Def, Type};
use super::dynamic::{self, NameError};
use super::error::ConfigError;
use super::{load, table};

/// Settings by name.
pub type Settings = BTreeMap<String, String>;

/// Whose settings change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Topic,
    Broker,
    Group,
}

/// What to do with a setting. The code is the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Set = 0,
    Delete = 1,
    /// Adds elements to a list.
    Append = 2,
    /// Takes elements from a list.
    Subtract = 3,
}

impl Operation {
    /// The operation of a code.
    pub fn of(code: i8) -> Option<Self> {
        [Self::Set, Self::Delete, Self::Append, Self::Subtract].into_iter().find(|operation| *operation as i8 == code)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::Delete => "DELETE",
            Self::Append => "APPEND",
            Self::Subtract => "SUBTRACT",
        }
    }
}

/// One wish. Only `Delete` does without a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub name: String,
    pub operation: i8,
    pub value: Option<String>,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlterError {
    /// The request makes no sense, or the setting cannot change at run time.
    #[error("{0}")]
    Request(String),
    /// A setting does not exist, or its value does not hold.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl From<NameError> for AlterError {
    fn from(error: NameError) -> Self {
        match error {
            NameError::Unknown(error) => Self::Config(error),
            NameError::ReadOnly(error) => Self::Request(error.to_string()),
        }
    }
}

/// Checks what holds for any resource: each name once, a value with each operation that needs one.
///
/// # Errors
/// In Kafka's words.
pub fn check_shape(changes: &[Change]) -> Result<(), AlterError> {
    let twice =
        changes.iter().enumerate().any(|(at, change)| changes[..at].iter().any(|other| other.name == change.name));
    if twice {
        return Err(AlterError::Request("Error due to duplicate config keys".to_owned()));
    }
    let delete = Operation::Delete as i8;
    let nulls = changes.iter().filter(|change| change.value.is_none() && change.operation != delete);
    let nulls: Vec<_> = nulls.map(|change| change.name.as_str()).collect();
    if !nulls.is_empty() {
        return Err(AlterError::Request(format!("Null value not supported for : {}", nulls.join(", "))));
    }
    match changes.iter().find(|change| Operation::of(change.operation).is_none()) {
        Some(change) => Err(AlterError::Request(format!("Unknown operations type {}", change.operation))),
        None => Ok(()),
    }
}

/// The settings after `changes`. Names, and list operations, are checked here; values are checked by the caller, who
/// knows what stands beside them.
///
/// # Errors
/// The first change that cannot be made; none is then.
pub fn apply(kind: Kind, current: &Settings, changes: &[Change]) -> Result<Settings, AlterError> {
    check_shape(changes)?;
    let mut settings = current.clone();
    for change in changes {
        let name = &change.name;
        let value = change.value.as_deref().unwrap_or_default();
        match Operation::of(change.operation) {
            // Also of names that do not exist: whatever is stored can be taken away.
            Some(Operation::Delete) | None => {
                settings.remove(name);
            }
            Some(Operation::Set) => {
                definition_of(kind, name)?;
                settings.insert(name.clone(), value.to_owned());
            }
            Some(operation @ (Operation::Append | Operation::Subtract)) => {
                let def = definition_of(kind, name)?;
                if def.kind != Type::List {
                    let message = format!("Can't {} to key {name} because its type is not LIST.", operation.name());
                    return Err(ConfigError::new(name, Some(value), message).into());
                }
                let before = settings.get(name).map_or(def.default.unwrap_or_default(), String::as_str);
                let after = edit_list(before, operation, value);
                settings.insert(name.clone(), after);
            }
        }
    }
    Ok(settings)
}

/// The settings that `AlterConfigs` of old asks for: exactly those given.
///
/// # Errors
/// An unknown name, or one that cannot change at run time.
pub fn replace(kind: Kind, changes: &[Change]) -> Result<Settings, AlterError> {
    apply(kind, &Settings::new(), changes)
}

fn edit_list(before: &str, operation: Operation, value: &str) -> String {
    let mut items = definition::list(before);
    for item in definition::list(value) {
        match (operation, items.iter().position(|known| *known == item)) {
            (Operation::Append, None) => items.push(item),
            (Operation::Subtract, Some(at)) => {
                items.remove(at);
            }
            _ => {}
        }
    }
    items.join(",")
}

fn definition_of(kind: Kind, name: &String) -> Result<&'static Def, AlterError> {
    let (table, word) = match kind {
        Kind::Topic => (table::topic(), "topic"),
        Kind::Group => (table::group(), "group"),
        Kind::Broker => {
            dynamic::check_names([name])?;
            (table::broker(), "broker")
        }
    };
    let base = if kind == Kind::Broker { load::base_name(name) } else { name };
    let known = table.get(base).copied();
    known.ok_or_else(|| ConfigError::unknown(word, name, table::nearest(name, table)).into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn change(operation: Operation, name: &str, value: &str) -> Change {
        Change { name: name.to_owned(), operation: operation as i8, value: Some(value.to_owned()) }
    }

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn set_and_delete_change_one_setting_and_leave_the_others() {
        let before = settings(&[("retention.ms", "1"), ("segment.ms", "2")]);
        let delete = Change { name: "segment.ms".into(), operation: 1, value: None };
        let after = apply(Kind::Topic, &before, &[change(Operation::Set, "retention.ms", "3"), delete]).unwrap();
        assert_eq!(after, settings(&[("retention.ms", "3")]));
    }

    #[test]
    fn append_and_subtract_edit_lists_starting_from_the_default() {
        let append = |before: &Settings, value| {
            apply(Kind::Topic, before, &[change(Operation::Append, "cleanup.policy", value)])
        };
        let both = append(&Settings::new(), "compact").unwrap();
        assert_eq!(both, settings(&[("cleanup.policy", "delete,compact")]));
        assert_eq!(append(&both, "compact").unwrap(), both);
        let subtract = [change(Operation::Subtract, "cleanup.policy", "delete")];
        assert_eq!(apply(Kind::Topic, &both, &subtract).unwrap(), settings(&[("cleanup.policy", "compact")]));
        assert_eq!(apply(Kind::Topic, &Settings::new(), &subtract).unwrap(), settings(&[("cleanup.policy", "")]));
    }

    #[test]
    fn list_operations_on_other_settings_are_refused() {
        let error =
            apply(Kind::Topic, &Settings::new(), &[change(Operation::Append, "retention.ms", "1")]).unwrap_err();
        assert_eq!(error.to_string(), "Can't APPEND to key retention.ms because its type is not LIST.");
        assert!(matches!(error, AlterError::Config(_)));
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest_but_can_be_deleted() {
        for (kind, name, hint) in [
            (Kind::Topic, "retention.mss", "Did you mean retention.ms?"),
            (Kind::Broker, "log.retention.mss", "Did you mean log.retention.ms?"),
            (Kind::Group, "consumer.session.timeout", "Did you mean consumer.session.timeout.ms?"),
        ] {
            let error = apply(kind, &Settings::new(), &[change(Operation::Set, name, "1")]).unwrap_err();
            assert!(matches!(&error, AlterError::Config(_)) && error.to_string().contains(hint), "{error}");
            let delete = Change { name: name.to_owned(), operation: 1, value: None };
            assert_eq!(apply(kind, &settings(&[(name, "1")]), &[delete]), Ok(Settings::new()));
        }
    }

    #[test]
    fn a_broker_setting_that_needs_a_restart_is_a_bad_request() {
        let error =
            apply(Kind::Broker, &Settings::new(), &[change(Operation::Set, "num.partitions", "3")]).unwrap_err();
        assert!(matches!(&error, AlterError::Request(text) if text.contains("restart")), "{error}");
    }

    #[test]
    fn the_same_name_twice_a_missing_value_and_an_unknown_operation_are_bad_requests() {
        let set = change(Operation::Set, "retention.ms", "1");
        let null = Change { value: None, ..set.clone() };
        let odd = Change { operation: 9, ..set.clone() };
        for (changes, text) in [
            (vec![set.clone(), set.clone()], "Error due to duplicate config keys"),
            (vec![null], "Null value not supported for : retention.ms"),
            (vec![odd], "Unknown operations type 9"),
        ] {
            assert_eq!(apply(Kind::Topic, &Settings::new(), &changes), Err(AlterError::Request(text.to_owned())));
        }
    }
}
