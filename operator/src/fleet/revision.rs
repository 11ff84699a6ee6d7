//! Accepted specs, kept in the cluster as ControllerRevisions: written here, read back here. Beside the spec is the pod template
//! that it was carried out with, so that another operator, with other settings or of another version, makes the same pods of it.

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tenbin_crds::{BalancedApp, BalancedAppSpec};

use super::{PROXY_CONTAINER, objects};
use crate::key::AppKey;
use crate::problem::Problem;
use crate::tables::Tables;

/// Key of the spec in a revision's data.
const SPEC: &str = "spec";
/// Key of the `metadata.generation` that the spec was accepted as.
const GENERATION: &str = "generation";
/// Key of the pod template: JSON as the API server has it, so that nothing is lost that this version does not know.
const TEMPLATE: &str = "podTemplate";
/// Key of what the revision was made for, where that was not a change of the spec.
const CAUSE: &str = "cause";
/// The same spec with the operator's newest pod template.
const UPGRADE: &str = "ProxyUpgrade";

/// A spec that was accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// The `metadata.generation` it was accepted as.
    pub generation: i64,
    /// The spec.
    pub spec: BalancedAppSpec,
}

/// What a revision is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The spec is another.
    Spec,
    /// The proxies of a spec that stays are to be replaced.
    Upgrade,
}

/// The current spec as an accepted one, with the pod template it is carried out with. `number` is one more than the newest
/// revision's. Its name is the same for the same content and number, and no other's: one that is there already is this one.
pub fn revision(app: &BalancedApp, template: &Value, number: i64, cause: Cause) -> ControllerRevision {
    let generation = app.metadata.generation.unwrap_or_default();
    let mut data = json!({ GENERATION: generation, SPEC: app.spec, TEMPLATE: template });
    if cause == Cause::Upgrade {
        data[CAUSE] = UPGRADE.into();
    }
    let uid = app.metadata.uid.as_deref().unwrap_or_default();
    let hash = Sha256::digest(format!("{uid}\n{number}\n{data}"));
    let hash: String = hash.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    let name = app.metadata.name.as_deref().unwrap_or_default();
    ControllerRevision {
        metadata: objects::metadata(app, format!("{name}-{hash}")),
        data: Some(RawExtension(data)),
        revision: number,
    }
}

fn entry<'a>(revision: &'a ControllerRevision, key: &str) -> Option<&'a Value> {
    revision.data.as_ref().and_then(|data| data.0.get(key))
}

/// Reads a spec back from a revision.
///
/// # Errors
/// Says why in words: no data, or not what this version understands.
pub fn spec_of(revision: &ControllerRevision) -> Result<BalancedAppSpec, String> {
    let spec = entry(revision, SPEC).ok_or("it holds no spec")?;
    BalancedAppSpec::deserialize(spec).map_err(|error| error.to_string())
}

/// The pod template of a revision, if it has one.
pub fn template_of(revision: &ControllerRevision) -> Option<Value> {
    match entry(revision, TEMPLATE)? {
        // As `packed` leaves it.
        Value::String(text) => serde_json::from_str(text).ok(),
        template => Some(template.clone()),
    }
}

/// The proxy's image in a pod template.
pub fn proxy_image(template: &Value) -> Option<&str> {
    let containers = template.pointer("/spec/initContainers")?.as_array()?;
    let proxy = containers
        .iter()
        .find(|container| container["name"] == PROXY_CONTAINER)?;
    proxy["image"].as_str()
}

/// Whether it was made to replace proxies, not for a new spec.
pub fn is_upgrade(revision: &ControllerRevision) -> bool {
    entry(revision, CAUSE).and_then(Value::as_str) == Some(UPGRADE)
}

/// Turns the template, which is large and rarely read, into text: a fraction of the memory.
pub fn pack(revision: &mut ControllerRevision) {
    let template = revision.data.as_mut().and_then(|data| data.0.get_mut(TEMPLATE));
    if let Some(template) = template.filter(|template| template.is_object()) {
        *template = Value::String(template.to_string());
    }
}

/// The newest revision of an app whose spec can be read.
pub fn newest<'a>(tables: &'a Tables, key: &AppKey) -> Option<&'a ControllerRevision> {
    let mut revisions = tables.revisions(key).into_iter();
    revisions
        .find(|revision| spec_of(revision).is_ok())
        .map(|revision| &**revision)
}

/// The newest accepted spec that can be read, and a warning for each newer one that can't.
pub fn accepted(tables: &Tables, key: &AppKey) -> (Option<Accepted>, Vec<Problem>) {
    let mut unreadable = Vec::new();
    for revision in tables.revisions(key) {
        match spec_of(revision) {
            Ok(spec) => {
                let generation = entry(revision, GENERATION).and_then(Value::as_i64);
                let generation = generation.unwrap_or(revision.revision);
                return (Some(Accepted { generation, spec }), unreadable);
            }
            Err(error) => {
                let name = revision.metadata.name.as_deref().unwrap_or_default();
                let message =
                    format!("ControllerRevision {name} can't be read ({error}): an older one is used, or spec");
                unreadable.push(Problem::warning("", "UnreadableRevision", message));
            }
        }
    }
    (None, unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(uid: &str, generation: i64, image: &str) -> BalancedApp {
        serde_json::from_value(json!({
            "apiVersion": "tenbin.dev/v1alpha1",
            "kind": "BalancedApp",
            "metadata": {"name": "hello", "namespace": "default", "uid": uid, "generation": generation},
            "spec": {"image": image, "ports": [{"name": "http", "port": 80}], "podTemplate": {"spec": {"nodeName": "n"}}},
        }))
        .expect("valid")
    }

    fn first(app: &BalancedApp) -> ControllerRevision {
        revision(app, &json!({"spec": {}}), 1, Cause::Spec)
    }

    #[test]
    fn a_revision_reads_back_as_it_was_written_packed_or_not() {
        let app = app("u", 3, "shop:1");
        let template = json!({"spec": {"fieldOfTheFuture": {"a": [1, 2]}}});
        let written = revision(&app, &template, 7, Cause::Upgrade);
        let written = serde_json::to_value(written).expect("writable");
        let mut read: ControllerRevision = serde_json::from_value(written).expect("readable");
        for _ in 0..2 {
            assert_eq!(spec_of(&read), Ok(app.spec.clone()));
            assert_eq!(template_of(&read), Some(template.clone()));
            assert!(is_upgrade(&read));
            assert_eq!(read.revision, 7);
            assert_eq!(entry(&read, GENERATION), Some(&json!(3)));
            pack(&mut read);
            assert!(entry(&read, TEMPLATE).expect("there").is_string());
        }
        assert!(!is_upgrade(&first(&app)));
    }

    #[test]
    fn the_name_is_the_same_for_the_same_and_no_others() {
        let name = |app: &BalancedApp| first(app).metadata.name.expect("a name");
        let this = name(&app("u", 1, "shop:1"));
        let hash = this.strip_prefix("hello-").expect("the app's name first");
        assert!(
            hash.len() == 10 && hash.bytes().all(|b| b.is_ascii_hexdigit()),
            "{this}"
        );
        assert_eq!(name(&app("u", 1, "shop:1")), this);
        for other in [app("v", 1, "shop:1"), app("u", 2, "shop:1"), app("u", 1, "shop:2")] {
            assert_ne!(name(&other), this);
        }
        let app = app("u", 1, "shop:1");
        let template = json!({"spec": {}});
        for other in [
            revision(&app, &template, 2, Cause::Spec),
            revision(&app, &template, 1, Cause::Upgrade),
            revision(&app, &json!({}), 1, Cause::Spec),
        ] {
            assert_ne!(other.metadata.name.expect("a name"), this);
        }
    }

    #[test]
    fn what_can_not_be_read_says_why() {
        let mut bad = first(&app("u", 1, "shop:1"));
        bad.data = Some(RawExtension(json!({SPEC: {"image": 1}})));
        assert!(spec_of(&bad).expect_err("unreadable").contains("expected a string"));
        bad.data = None;
        assert_eq!(spec_of(&bad), Err("it holds no spec".to_owned()));
    }
}
