//! Accepted specs, kept in the cluster as ControllerRevisions: written here, read back here.

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use tenbin_crds::{BalancedApp, BalancedAppSpec};

use super::objects;
use crate::key::AppKey;
use crate::problem::Problem;
use crate::tables::Tables;

/// Key of the spec in a revision's data; beside it is room for more.
const SPEC: &str = "spec";

/// A spec that was accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// The `metadata.generation` it was accepted as.
    pub generation: i64,
    /// The spec.
    pub spec: BalancedAppSpec,
}

/// The current spec as an accepted one: data `{"spec": …}`, the generation as its number. Its name is the same for the same object,
/// generation and spec, and no other's: one that is there already is this one.
pub fn revision(app: &BalancedApp) -> ControllerRevision {
    let generation = app.metadata.generation.unwrap_or_default();
    let data = json!({ SPEC: app.spec });
    let uid = app.metadata.uid.as_deref().unwrap_or_default();
    let hash = Sha256::digest(format!("{uid}\n{generation}\n{data}"));
    let hash: String = hash.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    let name = app.metadata.name.as_deref().unwrap_or_default();
    ControllerRevision {
        metadata: objects::metadata(app, format!("{name}-{hash}")),
        data: Some(RawExtension(data)),
        revision: generation,
    }
}

/// Reads a spec back from a revision.
///
/// # Errors
/// Says why in words: no data, or not what this version understands.
pub fn spec_of(revision: &ControllerRevision) -> Result<BalancedAppSpec, String> {
    let spec = revision
        .data
        .as_ref()
        .and_then(|data| data.0.get(SPEC))
        .ok_or("it holds no spec")?;
    BalancedAppSpec::deserialize(spec).map_err(|error| error.to_string())
}

/// The newest accepted spec that can be read, and a warning for each newer one that can't.
pub fn accepted(tables: &Tables, key: &AppKey) -> (Option<Accepted>, Vec<Problem>) {
    let mut unreadable = Vec::new();
    for revision in tables.revisions(key) {
        match spec_of(revision) {
            Ok(spec) => {
                let generation = revision.revision;
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

    #[test]
    fn a_spec_reads_back_as_it_was_written() {
        let app = app("u", 3, "shop:1");
        let written = serde_json::to_value(revision(&app)).expect("writable");
        let read: ControllerRevision = serde_json::from_value(written).expect("readable");
        assert_eq!(spec_of(&read), Ok(app.spec));
        assert_eq!(read.revision, 3);
    }

    #[test]
    fn the_name_is_the_same_for_the_same_and_no_others() {
        let name = |app: &BalancedApp| revision(app).metadata.name.expect("a name");
        let first = name(&app("u", 1, "shop:1"));
        let hash = first.strip_prefix("hello-").expect("the app's name first");
        assert!(
            hash.len() == 10 && hash.bytes().all(|b| b.is_ascii_hexdigit()),
            "{first}"
        );
        assert_eq!(name(&app("u", 1, "shop:1")), first);
        for other in [app("v", 1, "shop:1"), app("u", 2, "shop:1"), app("u", 1, "shop:2")] {
            assert_ne!(name(&other), first);
        }
    }

    #[test]
    fn what_can_not_be_read_says_why() {
        let mut bad = revision(&app("u", 1, "shop:1"));
        bad.data = Some(RawExtension(json!({SPEC: {"image": 1}})));
        assert!(spec_of(&bad).expect_err("unreadable").contains("expected a string"));
        bad.data = None;
        assert_eq!(spec_of(&bad), Err("it holds no spec".to_owned()));
    }
}
