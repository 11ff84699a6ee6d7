//! The saved snapshot, as a proxy reads it before it serves: the bytes of the file, and the bytes of a body under an honest header.

use sha2::{Digest, Sha256};
use tenbin_model::EndpointId;
use tenbin_proxy::xds::saved::{Kept, Owner};
use tenbin_proxy::xds::session::Session;

use super::world::{InUse, WEB, apply, name, nothing_else, references_hold, snapshot};

fn owner(pod: &str) -> Owner {
    Owner {
        pod: EndpointId::parse("pod", pod).expect("an identity"),
        listeners: vec![name(WEB)],
    }
}

/// A file that holds `body`, with the header that says so.
fn file(body: &[u8]) -> Vec<u8> {
    [&b"tenbin-snapshot\x01"[..], &Sha256::digest(body)[..], body].concat()
}

/// Bytes are refused, or they are a whole set in which every reference holds, which is saved as what is read again as the same, and of
/// which a proxy can be made. A change anywhere is found out; another pod's is refused.
pub(crate) fn law(wire: &[u8]) {
    read(wire);
    let bytes = file(wire);
    if !read(&bytes) {
        return;
    }
    assert!(Kept::decode(&owner("uid-2"), &bytes).is_err(), "another pod's");
    // A place that follows from the bytes, so that all are met.
    let at = wire
        .iter()
        .fold(0_usize, |sum, &b| sum.wrapping_mul(31).wrapping_add(b.into()))
        % bytes.len();
    let mut changed = bytes.clone();
    changed[at] ^= 0x10;
    assert!(Kept::decode(&owner("uid-1"), &changed).is_err(), "changed at {at}");
    assert!(Kept::decode(&owner("uid-1"), &bytes[..at]).is_err(), "cut at {at}");
}

/// Whether it is accepted.
fn read(bytes: &[u8]) -> bool {
    let owner = owner("uid-1");
    let Ok(kept) = Kept::decode(&owner, bytes) else {
        return false;
    };
    let written = kept.encode(&owner).expect("what was read is not too large");
    assert_eq!(Kept::decode(&owner, &written).as_ref(), Ok(&kept));
    let (_, update) = Session::restored("node".to_owned(), owner.listeners.clone(), &kept);
    let mut used = InUse::new();
    apply(&mut used, &update);
    assert_eq!((used.len(), update.removed.len()), (kept.len(), 0));
    references_hold(&used);
    nothing_else(&used, &owner.listeners);
    snapshot(update);
    true
}
