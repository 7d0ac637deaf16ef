//! What can be wrong with a setting, said so that the reader can fix it.

use std::fmt;

use super::Origin;

/// One wrong setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    /// The setting at fault.
    pub key: String,
    /// Its value as given; none where there is no single value to blame, or it is a secret.
    pub value: Option<String>,
    /// What would be accepted.
    pub allowed: String,
    message: String,
}

impl ConfigError {
    /// A value out of its type or bounds.
    pub fn invalid(key: &str, value: &str, allowed: impl Into<String>) -> Self {
        let allowed = allowed.into();
        let message = format!("Invalid value {value} for configuration {key}: it must be {allowed}.");
        Self { key: key.to_owned(), value: Some(value.to_owned()), allowed, message }
    }

    /// A value whose text must not be repeated.
    pub(super) fn invalid_secret(key: &str, allowed: impl Into<String>) -> Self {
        let allowed = allowed.into();
        let message = format!("Invalid value (hidden) for configuration {key}: it must be {allowed}.");
        Self { key: key.to_owned(), value: None, allowed, message }
    }

    /// A name that does not exist, with the one that was probably meant.
    pub fn unknown(kind: &str, key: &str, nearest: Option<&str>) -> Self {
        let hint = nearest.map_or_else(String::new, |known| format!(" Did you mean {known}?"));
        let message = format!("Unknown {kind} config name: {key}.{hint}");
        Self { key: key.to_owned(), value: None, allowed: nearest.unwrap_or_default().to_owned(), message }
    }

    /// Anything else: `message` names cause, values and fix.
    pub fn new(key: &str, value: Option<&str>, message: impl Into<String>) -> Self {
        Self { key: key.to_owned(), value: value.map(str::to_owned), allowed: String::new(), message: message.into() }
    }

    pub(super) fn at(mut self, origin: &Origin) -> Self {
        self.message = format!("{} ({origin})", self.message);
        self
    }
}

/// Everything that is wrong with a configuration, found in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = if self.0.len() == 1 { "error" } else { "errors" };
        write!(f, "{} {errors} in the configuration:", self.0.len())?;
        self.0.iter().try_for_each(|error| write!(f, "\n  - {error}"))
    }
}

impl std::error::Error for ConfigErrors {}
