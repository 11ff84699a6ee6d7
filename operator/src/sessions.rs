//! The keys that seal an app's session cookies: one Secret per app in the operator's own namespace, made and rotated by the leader,
//! watched by every replica. What a Secret holds is in `held`, which step is due and when in `rotate`, the writing in `keep`.
//!
//! They live here and not beside the app, so that the operator needs no right to Secrets anywhere else; what would be the owner
//! reference is the app's UID in an annotation.

mod held;
#[expect(clippy::disallowed_methods, reason = "IO: writes Secrets, by the clock")]
mod keep;
mod rotate;

use sha2::{Digest, Sha256};
use tenbin_model::{ResourceName, SessionKeys};

use crate::key::AppKey;
pub use held::{Held, HeldKey};
pub use keep::Keeper;
pub use rotate::Rotation;

/// Label of these Secrets: what the watch of them selects by.
pub const LABEL: &str = "tenbin.dev/session-keys";
/// Annotation with the UID of the app whose keys they are.
pub const APP_UID: &str = "tenbin.dev/app-uid";
/// Annotation with the app's `namespace/name`.
pub const APP: &str = "tenbin.dev/app";
/// The entry of a Secret that holds the keys.
pub const ENTRY: &str = "keys";

/// The name of an app's Secret. Another app of the same name, after this one is gone, has another.
pub fn secret_name(app_uid: &str) -> String {
    let hash = Sha256::digest(app_uid);
    let hash: String = hash.iter().take(10).map(|byte| format!("{byte:02x}")).collect();
    format!("tenbin-session-{hash}")
}

/// The name under which proxies are given the keys of an app: like those of its ports, so that none but its own can ask for it.
pub fn resource_name(app: &AppKey) -> ResourceName {
    ResourceName::app_port(&app.namespace, &app.name, "session-keys")
}

/// The keys as proxies are given them.
pub fn resource(app: &AppKey, held: &Held) -> SessionKeys {
    SessionKeys {
        name: resource_name(app),
        keys: held.keys().iter().map(|key| key.key.clone()).collect(),
    }
}
