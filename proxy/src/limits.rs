//! The limits of the process and what follows from them: descriptors, connections, buffers.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// The most bytes buffered each way of a connection: the size of the largest chunk that a body is relayed in, and of what a client may
/// send ahead of what we read.
pub const MAX_BUFFER: usize = 128 * 1024;
/// The largest head of a message, in bytes; 431 above it in a request.
pub const MAX_HEAD: usize = 64 * 1024;
/// The most headers of a message, whatever it came over; 431 above it in a request.
pub const MAX_HEADERS: usize = 100;
/// The largest target of a request, in bytes; 414 above it.
pub const MAX_TARGET: usize = 32 * 1024;
/// What HTTP/1 takes for a head.
pub const HEAD: tenbin_http1::Limits = tenbin_http1::Limits {
    head: MAX_HEAD,
    headers: MAX_HEADERS,
    target: MAX_TARGET,
};

/// Descriptors kept for everything that is not traffic: listeners, streams, admin, logs.
const RESERVED: u64 = 64;
/// The most connections whatever the descriptors allow: they cost memory too.
const MAX_CONNECTIONS: u64 = 100_000;

/// The limit of descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// What it was when the process started.
    pub before: u64,
    /// What it is now.
    pub now: u64,
}

/// Raises the soft limit of descriptors to the hard one, as far as that is allowed.
///
/// # Errors
/// The limit cannot be read.
pub fn raise_descriptors() -> nix::Result<Descriptors> {
    let (before, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let now = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(error) => {
            warn!(%error, soft = before, hard, "the limit of descriptors could not be raised");
            before
        }
    };
    Ok(Descriptors { before, now })
}

/// How many client connections a limit of descriptors allows: each may need a second one to an endpoint.
pub fn connections(descriptors: u64) -> usize {
    let pairs = descriptors.saturating_sub(RESERVED) / 2;
    usize::try_from(pairs.clamp(1, MAX_CONNECTIONS)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::connections;

    #[test]
    fn two_descriptors_a_connection() {
        assert_eq!(connections(1024), 480);
        assert_eq!(connections(10), 1);
        assert_eq!(connections(u64::MAX), 100_000);
    }
}
