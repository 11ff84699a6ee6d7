//! One object and the API server: what is wanted of it, whose it is, how it is written, and what a refusal means. Knows nothing
//! of apps' specs or of when something is tried again.

use std::time::Duration;

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::ObjectMeta;
use serde_json::Value;
use tokio::time::timeout;

use super::memory::{OwnKeys, hash};
use crate::fleet::Child;
use crate::key::AppKey;
use crate::owners;
use crate::problem::Problem;
use crate::tables::ChildKind;

/// Field manager of everything that makes up an app: one complete intent per object.
pub const FIELD_MANAGER: &str = "tenbin-operator";

/// The longest that one request may take.
const REQUEST: Duration = Duration::from_secs(30);

/// A child as it is wanted.
#[derive(Debug)]
pub(super) struct Intent {
    pub(super) kind: ChildKind,
    pub(super) resource: ApiResource,
    pub(super) name: String,
    /// Hash of the object, to compare with what was written before.
    pub(super) hash: u64,
    pub(super) keys: OwnKeys,
    object: Value,
}

/// Why an object could not be written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Failure {
    /// As it is it never will be: the spec, or what stands in its way, has to change.
    Refused(Problem),
    /// It may go better another time.
    Transient(String),
    /// The namespace is being deleted, which nothing undoes: the app goes with it.
    Going,
}

impl Intent {
    /// What is wanted of `child`.
    pub(super) fn of(child: &Child) -> Result<Self, Failure> {
        let (kind, resource, object) = match child {
            Child::ConfigMap(o) => (
                ChildKind::ConfigMap,
                ApiResource::erase::<k8s_openapi::api::core::v1::ConfigMap>(&()),
                serde_json::to_value(o),
            ),
            Child::Service(o) => (
                ChildKind::Service,
                ApiResource::erase::<k8s_openapi::api::core::v1::Service>(&()),
                serde_json::to_value(o),
            ),
            Child::Budget(o) => (
                ChildKind::Budget,
                ApiResource::erase::<k8s_openapi::api::policy::v1::PodDisruptionBudget>(&()),
                serde_json::to_value(o),
            ),
            Child::Deployment(o) => (
                ChildKind::Deployment,
                ApiResource::erase::<k8s_openapi::api::apps::v1::Deployment>(&()),
                serde_json::to_value(o),
            ),
        };
        let object = object.map_err(|e| Failure::Transient(format!("{}: {e}", resource.kind)))?;
        let keys = |field: &str| match &object["metadata"][field] {
            Value::Object(map) => map.keys().cloned().collect(),
            _ => Vec::new(),
        };
        let keys = OwnKeys {
            labels: keys("labels"),
            annotations: keys("annotations"),
        };
        Ok(Intent {
            kind,
            name: object["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            hash: hash(object.to_string()),
            keys,
            resource,
            object,
        })
    }

    /// The pod template of a Deployment.
    pub(super) fn template(&self) -> &Value {
        &self.object["spec"]["template"]
    }

    /// The Deployment with this pod template in the place of its own.
    pub(super) fn set_template(&mut self, template: Value) {
        self.object["spec"]["template"] = template;
        self.hash = hash(self.object.to_string());
    }

    /// The object's name for people: `Deployment hello`.
    pub(super) fn title(&self) -> String {
        format!("{} {}", self.resource.kind, self.name)
    }

    fn api(&self, client: &Client, app: &AppKey) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), &app.namespace, &self.resource)
    }

    /// The live object where it is the app's own, from what is watched or else from the API server; none where there is none.
    pub(super) async fn find(
        &self,
        client: &Client,
        app: &AppKey,
        app_uid: &str,
        watched: Option<&ObjectMeta>,
    ) -> Result<Option<ObjectMeta>, Failure> {
        if let Some(meta) = watched.filter(|meta| owners::controls(app_uid, meta)) {
            return Ok(Some(meta.clone()));
        }
        let api = self.api(client, app);
        match request(&self.title(), api.get_metadata_opt(&self.name)).await? {
            Some(object) if owners::controls(app_uid, &object.metadata) => Ok(Some(object.metadata)),
            Some(object) => Err(self.taken(&object.metadata)),
            None => Ok(None),
        }
    }

    /// Somebody else's object has the name.
    fn taken(&self, live: &ObjectMeta) -> Failure {
        let going = live.deletion_timestamp.is_some();
        if owners::app(live).is_some() {
            // Names of children follow from their app's: it is the leftover of an app that was deleted.
            let title = self.title();
            return Failure::Transient(format!("{title} of a deleted BalancedApp of this name is not gone yet"));
        }
        let whose = live
            .owner_references
            .as_deref()
            .unwrap_or_default()
            .iter()
            .find(|o| o.controller == Some(true));
        let whose = whose
            .map(|o| format!(", it belongs to {} {}", o.kind, o.name))
            .unwrap_or_default();
        let going = if going { ", it is being deleted" } else { "" };
        let message = format!(
            "{} exists already and is not this BalancedApp's{whose}{going}; it is left alone. Delete or rename it, or name the BalancedApp otherwise",
            self.title()
        );
        Failure::Refused(Problem::fatal("metadata.name", "NameTaken", message))
    }

    /// Applies the object, or only asks whether that would go. `live` is the own object that is there: another of its name
    /// would be refused by its UID.
    pub(super) async fn apply(
        &self,
        client: &Client,
        app: &AppKey,
        live: Option<&ObjectMeta>,
        dry_run: bool,
    ) -> Result<ObjectMeta, Failure> {
        let mut object = self.object.clone();
        if let Some(uid) = live.and_then(|live| live.uid.clone()) {
            object["metadata"]["uid"] = Value::String(uid);
        }
        let mut params = PatchParams::apply(FIELD_MANAGER).force();
        params.dry_run = dry_run;
        let api = self.api(client, app);
        let patch = Patch::Apply(&object);
        let written = request(&self.title(), api.patch_metadata(&self.name, &params, &patch)).await?;
        Ok(written.metadata)
    }
}

/// One request, bounded in time, its error classified. `title` names the object.
pub(super) async fn request<T>(title: &str, call: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match timeout(REQUEST, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(failure(title, &error)),
        Err(_) => Err(Failure::Transient(format!(
            "{title}: no answer from the API server in time"
        ))),
    }
}

/// What an error means. The API server's own words are kept: they name the field.
fn failure(title: &str, error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) if status.is_forbidden() && status.message.contains("being terminated") => {
            Failure::Going
        }
        kube::Error::Api(status) => {
            let message = format!("{title}: {}", status.message);
            match status.code {
                400 | 403 | 413 | 422 => Failure::Refused(Problem::fatal("", "Rejected", message)),
                _ => Failure::Transient(message),
            }
        }
        other => Failure::Transient(format!("{title}: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
    use kube::core::Status;

    use super::*;

    fn intent(value: &str) -> Intent {
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some("hello-tenbin".to_owned()),
                labels: Some([("tenbin.dev/app".to_owned(), "hello".to_owned())].into()),
                ..Default::default()
            },
            data: Some([("ca.crt".to_owned(), value.to_owned())].into()),
            ..Default::default()
        };
        Intent::of(&Child::ConfigMap(Box::new(map))).expect("serialises")
    }

    fn owned(api_version: &str, kind: &str) -> ObjectMeta {
        let owner = OwnerReference {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name: "other".to_owned(),
            uid: "x".to_owned(),
            controller: Some(true),
            ..Default::default()
        };
        ObjectMeta {
            owner_references: Some(vec![owner]),
            ..Default::default()
        }
    }

    #[test]
    fn an_intent_is_known_by_its_content() {
        let one = intent("a");
        assert_eq!(
            (one.title().as_str(), &*one.keys.labels),
            ("ConfigMap hello-tenbin", &["tenbin.dev/app".to_owned()][..])
        );
        assert_eq!(one.hash, intent("a").hash);
        assert_ne!(one.hash, intent("b").hash);
        assert_eq!(one.object["apiVersion"], "v1");
    }

    #[test]
    fn a_foreign_object_is_named_and_a_leftover_waited_for() {
        let Failure::Refused(problem) = intent("a").taken(&owned("apps/v1", "DaemonSet")) else {
            panic!("refused");
        };
        assert_eq!((problem.reason, problem.fatal), ("NameTaken", true));
        assert!(
            problem.message.starts_with("ConfigMap hello-tenbin exists already"),
            "{}",
            problem.message
        );
        assert!(
            problem.message.contains("belongs to DaemonSet other"),
            "{}",
            problem.message
        );
        let leftover = intent("a").taken(&owned("tenbin.dev/v1alpha1", "BalancedApp"));
        assert!(matches!(leftover, Failure::Transient(_)), "{leftover:?}");
    }

    #[test]
    fn refusals_are_told_from_outages() {
        let of = |code: u16| {
            failure(
                "Service a",
                &kube::Error::Api(Status::failure("spec.ports: no", "X").with_code(code).boxed()),
            )
        };
        for code in [400, 403, 413, 422] {
            let Failure::Refused(problem) = of(code) else {
                panic!("{code}")
            };
            assert_eq!(problem.to_string(), "Service a: spec.ports: no");
        }
        let going = "forbidden: unable to create new content in namespace a because it is being terminated";
        let going = Status::failure(going, "Forbidden").with_code(403).boxed();
        assert_eq!(failure("Service a", &kube::Error::Api(going)), Failure::Going);
        for code in [401, 404, 409, 429, 500, 503, 504] {
            assert!(matches!(of(code), Failure::Transient(_)), "{code}");
        }
    }
}
