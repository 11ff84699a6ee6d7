//! What is left of a connection when HTTP has ended on it: bytes both ways, beginning with those that came with the last head.

use bytes::Bytes;

use super::socket::Socket;

/// The endpoint's end of an upgrade that was agreed on.
pub struct Upgraded {
    /// What carries the bytes.
    pub socket: Socket,
    /// What came already.
    pub ahead: Bytes,
}

impl std::fmt::Debug for Upgraded {
    /// Without what was read.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upgraded").finish_non_exhaustive()
    }
}
