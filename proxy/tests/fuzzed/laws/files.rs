//! The configuration file of a proxy without an operator.

use tenbin_model::{Kind, Resource};
use tenbin_proxy::xds::file::{LoadError, parse};

use super::resources::the_same;
use super::world::{InUse, apply, references_hold, snapshot};

/// A text is refused at a place or by a field, or it is a set of resources within the bounds of the contract, each of which the stream
/// could have brought, in which every reference holds, and a proxy can be made of it.
pub(crate) fn law(wire: &[u8]) {
    let Ok(text) = std::str::from_utf8(wire) else { return };
    // Files that are named are read: none that has no end.
    if text.contains("/dev") || text.contains("/proc") {
        return;
    }
    let standalone = match parse("file", text) {
        Ok(standalone) => standalone,
        Err(LoadError::Field { error, .. }) => {
            assert!(!error.path.is_empty() && !error.accepted.is_empty(), "{error}");
            return;
        }
        Err(other) => {
            assert!(other.to_string().starts_with("file: "), "{other}");
            return;
        }
    };
    assert!(standalone.update.removed.is_empty());
    let mut used = InUse::new();
    apply(&mut used, &standalone.update);
    references_hold(&used);
    for resource in used.values() {
        the_same(resource);
        if let Resource::Cluster(cluster) = resource {
            assert!(
                used.contains_key(&(Kind::Endpoints, cluster.name.clone())),
                "{}",
                cluster.name
            );
            assert!(
                cluster
                    .keys()
                    .is_none_or(|keys| used.contains_key(&(Kind::Secret, keys.clone())))
            );
        }
    }
    let snapshot = snapshot(standalone.update);
    let listeners = used.keys().filter(|(kind, _)| *kind == Kind::Listener).count();
    assert_eq!(snapshot.listeners().len(), listeners);
}
