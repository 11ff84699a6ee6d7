//! Names of resources. Parsed once at the edge, cheap to clone, compared as text.

use std::fmt;
use std::sync::Arc;

use crate::FieldError;

/// The name of a resource: 1 to 512 bytes of printable ASCII. A sidecar's resources are named `namespace/app/port`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName(Arc<str>);

impl ResourceName {
    /// The longest name accepted, in bytes.
    pub const MAX_LEN: usize = 512;

    /// The name of all resources that belong to one port of an app.
    pub fn app_port(namespace: &str, app: &str, port: &str) -> Self {
        ResourceName(format!("{namespace}/{app}/{port}").into())
    }

    /// Parses a name from outside; `path` is where it stood.
    ///
    /// # Errors
    /// Empty, longer than [`Self::MAX_LEN`], or with bytes other than printable ASCII.
    pub fn parse(path: &str, name: &str) -> Result<Self, FieldError> {
        let ok = !name.is_empty() && name.len() <= Self::MAX_LEN && name.bytes().all(|b| b.is_ascii_graphic());
        if ok {
            Ok(ResourceName(name.into()))
        } else {
            Err(FieldError::new(
                path,
                name,
                "a name of 1 to 512 printable ASCII characters",
            ))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
