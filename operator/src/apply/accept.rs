//! Writing an accepted spec down, with the pod template it is carried out with: a ControllerRevision, which every operator reads.

use std::time::Duration;

use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use kube::{Resource, ResourceExt};
use serde_json::Value;
use tracing::{info, warn};

use super::memory::{Memory, Pending};
use super::object::{FIELD_MANAGER, Failure, request};
use super::{Applier, Stop, View};
use crate::events::Note;
use crate::fleet::{self, Cause};
use crate::owners;
use crate::problem::Problem;

/// Accepted specs kept, the newest included: one to look back at.
const REVISIONS_KEPT: usize = 2;
/// The longest that writing a revision may take.
const REQUEST: Duration = Duration::from_secs(30);

impl Applier {
    /// Writes the current spec down as the accepted one, carried out with `template`, and removes the oldest of those before.
    pub(super) async fn accept(
        &self,
        view: &View,
        memory: &mut Memory,
        template: &Value,
        cause: Cause,
    ) -> Result<(), Stop> {
        let number = view.number.saturating_add(1);
        let revision = fleet::revision(&view.app, template, number, cause);
        let name = revision.name_any();
        let title = format!("ControllerRevision {name}");
        let api: Api<ControllerRevision> = Api::namespaced(self.client.clone(), &view.key.namespace);
        self.still_leading()?;
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let created = tokio::time::timeout(REQUEST, api.create(&params, &revision)).await;
        match created {
            Ok(Err(kube::Error::Api(status))) if status.is_already_exists() => {
                // Ours, when the watch has not brought it yet, or an earlier run got no further.
                let live = request(&title, api.get_metadata(&name)).await?;
                if !owners::controls(&view.uid, &live.metadata) {
                    let message = format!("{title} exists already and is not this BalancedApp's; it is left alone");
                    return Err(Failure::Refused(Problem::fatal("metadata.name", "NameTaken", message)).into());
                }
            }
            Ok(result) => {
                request(&title, async { result }).await?;
                self.tell(view, &name, cause);
            }
            Err(_) => return Err(Failure::Transient(format!("{title}: no answer from the API server in time")).into()),
        }
        self.remove_old(view, &api, &name).await;
        memory.outdated = false;
        memory.pending = Some(Pending {
            number,
            spec: view.app.spec.clone(),
            template: template.clone(),
        });
        Ok(())
    }

    fn tell(&self, view: &View, name: &str, cause: Cause) {
        let generation = view.generation();
        let (reason, text) = match cause {
            Cause::Spec => (
                "Accepted",
                format!("generation {generation} is carried out (ControllerRevision {name})"),
            ),
            Cause::Upgrade => (
                "ProxyUpgrade",
                format!("pods are replaced to run proxy image {}", view.settings.proxy_image),
            ),
        };
        info!(app = %view.key, revision = name, generation, reason, "spec accepted");
        self.notes.publish(Note::normal(view.app.object_ref(&()), reason, text));
    }

    /// Removes revisions but the newest; what can't be removed now goes with the next one.
    async fn remove_old(&self, view: &View, api: &Api<ControllerRevision>, newest: &str) {
        let others = view.revisions.iter().filter(|r| r.name.as_deref() != Some(newest));
        for old in others.skip(REVISIONS_KEPT - 1) {
            let (Some(name), true) = (&old.name, self.leadership.is_leader()) else {
                return;
            };
            let params = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: old.uid.clone(),
                    resource_version: None,
                }),
                ..DeleteParams::default()
            };
            let title = format!("ControllerRevision {name}");
            if let Err(failure) = request(&title, api.delete(name, &params)).await {
                warn!(app = %view.key, ?failure, "an old revision stays for now");
            }
        }
    }
}
