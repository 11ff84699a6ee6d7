//! Who belongs to whom: by controller owner references and UIDs alone. Never by labels or names, which anyone may set.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tenbin_crds::GROUP;

/// The UID of the object's controller, if that is of the API group and kind given.
pub fn controller<'a>(meta: &'a ObjectMeta, group: &str, kind: &str) -> Option<&'a str> {
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    let owner = owners.iter().find(|o| o.controller == Some(true))?;
    let (owner_group, _) = owner.api_version.split_once('/')?;
    (owner_group == group && owner.kind == kind && !owner.uid.is_empty()).then_some(owner.uid.as_str())
}

/// The UID of the BalancedApp that is the object's controller, if one is.
pub fn app(meta: &ObjectMeta) -> Option<&str> {
    controller(meta, GROUP, "BalancedApp")
}

/// Whether the object's controller is the BalancedApp with this UID.
pub fn controls(app_uid: &str, meta: &ObjectMeta) -> bool {
    app(meta) == Some(app_uid)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    fn owned(api_version: &str, kind: &str, uid: &str, controller: Option<bool>) -> ObjectMeta {
        ObjectMeta {
            owner_references: Some(vec![OwnerReference {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
                name: "hello".to_owned(),
                uid: uid.to_owned(),
                controller,
                block_owner_deletion: None,
            }]),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn only_the_controller_of_the_right_kind_and_uid_owns() {
        let ours = owned("tenbin.dev/v1alpha1", "BalancedApp", "u1", Some(true));
        assert!(controls("u1", &ours));
        assert!(!controls("u2", &ours));
        assert!(controls("u1", &owned("tenbin.dev/v2", "BalancedApp", "u1", Some(true))));
        for foreign in [
            owned("tenbin.dev/v1alpha1", "BalancedApp", "u1", None),
            owned("tenbin.dev/v1alpha1", "BalancedApp", "u1", Some(false)),
            owned("other.dev/v1alpha1", "BalancedApp", "u1", Some(true)),
            owned("tenbin.dev/v1alpha1", "Deployment", "u1", Some(true)),
            ObjectMeta::default(),
        ] {
            assert!(!controls("u1", &foreign), "{foreign:?}");
        }
        // An object without a UID never owns, not even what names no UID.
        assert!(!controls(
            "",
            &owned("tenbin.dev/v1alpha1", "BalancedApp", "", Some(true))
        ));
    }
}
