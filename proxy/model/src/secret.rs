//! Keys that proxies share.

use std::fmt;

use crate::ResourceName;

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
