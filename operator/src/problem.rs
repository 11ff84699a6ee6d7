//! What is wrong with an object, told so that its author can put it right. Who finds a problem decides nothing about it.

use std::fmt;

/// One problem of one BalancedApp.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Problem {
    /// Path of the field in the BalancedApp, as `spec.podTemplate.spec.containers[0].name`; empty where no field is to blame.
    pub path: String,
    /// In CamelCase, from a closed list; becomes the reason of conditions and events.
    pub reason: &'static str,
    /// What is wrong, with the value, and what would be accepted.
    pub message: String,
    /// Whether it keeps the current spec from being carried out; the last accepted one stays then.
    pub fatal: bool,
}

impl Problem {
    /// A problem that keeps the current spec from being carried out.
    pub fn fatal(path: impl Into<String>, reason: &'static str, message: impl Into<String>) -> Self {
        Problem {
            path: path.into(),
            reason,
            message: message.into(),
            fatal: true,
        }
    }

    /// A problem that the app lives with.
    pub fn warning(path: impl Into<String>, reason: &'static str, message: impl Into<String>) -> Self {
        Problem {
            fatal: false,
            ..Problem::fatal(path, reason, message)
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}
