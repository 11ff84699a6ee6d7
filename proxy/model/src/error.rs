//! The error of everything that is parsed: which field, which value, what would be accepted.

use std::fmt;

/// A value that can't be accepted. Its text names the field, the value (shortened to 120 characters) and what would be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Path of the field from the root of its resource, as `spec.ports[0].name`.
    pub path: String,
    /// The refused value, shortened.
    pub value: String,
    /// What would be accepted.
    pub accepted: String,
}

impl FieldError {
    /// The longest part of a value that is repeated, in characters.
    const SHOWN: usize = 120;

    /// An error for `value` at `path`, where `accepted` would have been.
    pub fn new(path: impl Into<String>, value: impl fmt::Display, accepted: impl Into<String>) -> Self {
        let value = value.to_string();
        let value = match value.char_indices().nth(Self::SHOWN) {
            Some((cut, _)) => format!("{}…", &value[..cut]),
            None => value,
        };
        FieldError {
            path: path.into(),
            value,
            accepted: accepted.into(),
        }
    }

    /// The same error seen from one level further out: `prefix.path`.
    #[must_use]
    pub fn within(mut self, prefix: &str) -> Self {
        self.path = if self.path.is_empty() {
            prefix.to_owned()
        } else {
            format!("{prefix}.{}", self.path)
        };
        self
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {:?} is not accepted, expected {}",
            self.path, self.value, self.accepted
        )
    }
}

impl std::error::Error for FieldError {}
