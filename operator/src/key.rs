//! The identity of an app. Nothing else.

use std::fmt;

use kube::ResourceExt;
use tenbin_crds::BalancedApp;

/// Namespace and name of a BalancedApp. Its text is `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppKey {
    /// Namespace of the BalancedApp and of everything made for it.
    pub namespace: String,
    /// Name of the BalancedApp.
    pub name: String,
}

impl AppKey {
    /// The key of `namespace/name`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        AppKey {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The key of an object from the API server.
    pub fn of(app: &BalancedApp) -> Self {
        AppKey::new(app.namespace().unwrap_or_default(), app.name_any())
    }
}

impl fmt::Display for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
