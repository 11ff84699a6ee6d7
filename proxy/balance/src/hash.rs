//! The hash of consistent hashing: XXH3 with 64 bits, the same on every proxy, in every version. Not for secrets, and not a
//! defence: who may choose keys may choose endpoints.

use xxhash_rust::xxh3::xxh3_64;

/// The hash of an affinity key.
pub fn hash_key(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// The hash of an endpoint's identity.
pub(crate) fn of_endpoint(id: &str) -> u64 {
    xxh3_64(id.as_bytes())
}
