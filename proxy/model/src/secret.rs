//! Keys that proxies share.

use std::collections::BTreeSet;
use std::fmt;

use crate::{FieldError, ResourceName};

/// The keys that seal an app's session cookies. The first seals, all open: while keys rotate there are several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionKeys {
    /// Its name.
    pub name: ResourceName,
    /// 1 to [`Self::MAX`], none twice by id.
    pub keys: Vec<SessionKey>,
}

impl SessionKeys {
    /// The most keys.
    pub const MAX: usize = 8;

    /// Judges the keys of a set; `path` is where they stood.
    ///
    /// # Errors
    /// None, more than [`Self::MAX`], or an id twice.
    pub fn new(path: &str, name: ResourceName, keys: Vec<SessionKey>) -> Result<Self, FieldError> {
        if !(1..=Self::MAX).contains(&keys.len()) {
            let accepted = format!("1 to {} keys", Self::MAX);
            return Err(FieldError::new(path, format!("{} keys", keys.len()), accepted));
        }
        let mut ids = BTreeSet::new();
        match keys.iter().find(|key| !ids.insert(key.id)) {
            Some(twice) => Err(FieldError::new(
                path,
                format!("id {}", twice.id),
                "each id at most once",
            )),
            None => Ok(SessionKeys { name, keys }),
        }
    }
}

/// One key. Its secret is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionKey {
    /// What a cookie names it by.
    pub id: u32,
    /// The secret: for an AEAD of 256 bits.
    pub secret: [u8; 32],
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKey({})", self.id)
    }
}
