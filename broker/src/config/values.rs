//! The layers a value may come from, and reading typed values through them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::definition::{self, Def};
use super::{size_rule, table};

/// Where a static value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of a properties file, counted from 1 where it could be found.
    File { path: Arc<PathBuf>, line: Option<usize> },
    /// An environment variable.
    Environment(String),
    /// An argument of the command line.
    Argument(&'static str),
    /// Nowhere: what a broker without a configuration file does.
    NoFile,
    /// Follows from another setting.
    Derived(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Argument(name) => write!(f, "{name}"),
            Self::NoFile => write!(f, "no configuration file"),
            Self::Derived(from) => write!(f, "from {from}"),
        }
    }
}

/// A value given at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub value: String,
    pub origin: Origin,
}

/// All values given to a broker, unresolved: the weakest layer is the default of each setting's definition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// Given at start: file, environment, command line.
    pub fixed: BTreeMap<String, Given>,
    /// Given at run time for all brokers.
    pub dynamic_default: BTreeMap<String, String>,
    /// Given at run time for this broker.
    pub dynamic: BTreeMap<String, String>,
}

impl Values {
    /// The value given for `name` in the strongest layer that has one.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.dynamic
            .get(name)
            .or_else(|| self.dynamic_default.get(name))
            .or_else(|| self.fixed.get(name).map(|given| &given.value))
            .map(|value| value.trim())
    }

    /// The value of `name`: as given, else its default.
    pub fn effective(&self, name: &str) -> Option<&str> {
        self.given(name).or_else(|| self.fallback(name))
    }

    /// The value of `name` where none is given.
    pub fn fallback(&self, name: &str) -> Option<&str> {
        if name == size_rule::MESSAGE_MAX_BYTES
            && let Some(lowered) = size_rule::lowered_message_max_bytes(self)
        {
            return Some(lowered);
        }
        Self::def(name).and_then(|def| def.default)
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.effective(name).map(str::to_owned)
    }

    pub(super) fn list(&self, name: &str) -> Vec<String> {
        definition::list(self.effective(name).unwrap_or_default()).into_iter().map(str::to_owned).collect()
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.effective(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// A number; one that is not a number was reported when the value came in, and reads as the default here.
    pub(super) fn long(&self, name: &str) -> i64 {
        self.optional_long(name).or_else(|| default_long(name)).unwrap_or_default()
    }

    pub(super) fn optional_long(&self, name: &str) -> Option<i64> {
        self.effective(name).and_then(|value| value.parse().ok())
    }

    pub(super) fn int(&self, name: &str) -> i32 {
        i32::try_from(self.long(name)).unwrap_or(i32::MAX)
    }

    /// A number that counts something; negative ones (Kafka's "no limit") read as the largest.
    pub(super) fn size(&self, name: &str) -> usize {
        usize::try_from(self.long(name)).unwrap_or(usize::MAX)
    }

    pub(super) fn fraction(&self, name: &str) -> f64 {
        self.effective(name).and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    pub(super) fn def(name: &str) -> Option<&'static Def> {
        table::broker().get(name).copied()
    }
}

fn default_long(name: &str) -> Option<i64> {
    Values::def(name).and_then(|def| def.default).and_then(|value| value.parse().ok())
}
