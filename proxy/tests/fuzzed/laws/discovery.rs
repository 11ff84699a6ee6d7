//! The conversation with the operator: what follows from any responses. The first byte says whether the proxy serves already (odd), and
//! whether Maglev's tables are filled (its upper half is all ones); the rest is `DeltaDiscoveryResponse`s, each with its length in front.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource as XdsResource};
use prost::Message;
use tenbin_model::{Affinity, EndpointId, HashTable, Kind, Resource, Update, xds};
use tenbin_proxy::state::{Bootstrap, Port, Snapshot};
use tenbin_proxy::xds::saved::{Kept, Owner};
use tenbin_proxy::xds::session::{Judged, Session};

use super::world::{InUse, WEB, apply, listener, name, next, nothing_else, references_hold, serving};

const RESPONSES: usize = 12;

/// One that is told all there is, and one that is told only what the first accepts.
struct Conversation {
    session: Session,
    clean: Session,
    used: InUse,
    snapshot: Snapshot,
    /// Whether Maglev's tables are filled. Under a sanitizer their 110,017 slots take longer than all else, for every update and cluster.
    fills_tables: bool,
}

/// An answer to each response; every refusal named, and nothing changed by it; never a reference that does not hold, or anything that
/// nothing names; what is in use is saved and restored as it is, and a proxy can be made of it.
pub(crate) fn law(wire: &[u8]) {
    let Some((serves, mut wire)) = wire.split_first() else {
        return;
    };
    let mut conversation = Conversation::new(serves & 0xf0 == 0xf0);
    if serves & 1 == 1 {
        conversation.begin();
    }
    for _ in 0..RESPONSES {
        let Ok(response) = DeltaDiscoveryResponse::decode_length_delimited(&mut wire) else {
            break;
        };
        conversation.take(response);
    }
    conversation.saved();
}

fn owner() -> Owner {
    Owner {
        pod: EndpointId::parse("pod", "uid-1").expect("an identity"),
        listeners: vec![name(WEB)],
    }
}

/// A response that sets `resources`, all of one kind.
pub(crate) fn response(resources: &[Resource]) -> DeltaDiscoveryResponse {
    let sent = |resource: &Resource| XdsResource {
        name: resource.name().as_str().to_owned(),
        version: "v".to_owned(),
        resource: Some(xds::encode(resource)),
        ..XdsResource::default()
    };
    DeltaDiscoveryResponse {
        type_url: resources
            .first()
            .map(|resource| resource.kind().type_url().to_owned())
            .unwrap_or_default(),
        nonce: "n".to_owned(),
        resources: resources.iter().map(sent).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

impl Conversation {
    fn new(fills_tables: bool) -> Self {
        let session = || {
            let mut session = Session::new("node".to_owned(), vec![name(WEB)]);
            session.connect();
            session
        };
        let bootstrap = Bootstrap {
            own: None,
            instance: String::new(),
            ports: vec![Port::new(name(WEB), ([0, 0, 0, 0], 15080).into())],
        };
        Conversation {
            session: session(),
            clean: session(),
            used: InUse::new(),
            snapshot: Snapshot::bootstrap(bootstrap, 1),
            fills_tables,
        }
    }

    fn take(&mut self, response: DeltaDiscoveryResponse) {
        let judged = self.session.on_response(response.clone());
        answered(&response, &judged);
        let Some(kind) = Kind::from_type_url(&response.type_url) else {
            assert_eq!(
                (&judged.update, judged.requests.len(), judged.rejected.len()),
                (&None, 1, 1)
            );
            return;
        };
        assert!(judged.rejected.iter().all(|rejected| rejected.kind == Some(kind)));
        let refused: BTreeSet<&str> = judged.rejected.iter().map(|rejected| rejected.name.as_str()).collect();
        assert_eq!(refused.len(), judged.rejected.len(), "each is refused once");
        let mut good = response;
        good.resources
            .retain(|resource| !refused.contains(resource.name.as_str()));
        good.removed_resources.retain(|name| !refused.contains(name.as_str()));
        let expected = self.clean.on_response(good);
        assert_eq!(expected.rejected, []);
        assert_eq!(judged.update, expected.update, "a bad resource hurts itself alone");
        assert_eq!(judged.requests.get(1..), expected.requests.get(1..));
        assert_eq!(self.session.kept(7), self.clean.kept(7));
        if let Some(update) = judged.update {
            self.put(update);
        }
    }

    /// All that a listener needs. Nothing is asked of it that is not asked of the same responses in the corpus: it would be most of the time.
    fn begin(&mut self) {
        static RESOURCES: LazyLock<Vec<DeltaDiscoveryResponse>> = LazyLock::new(|| {
            let resources = serving(listener(), &[(&["*"], &[("/", "a")])]);
            resources.into_iter().map(|resource| response(&[resource])).collect()
        });
        for response in RESOURCES.iter() {
            self.clean.on_response(response.clone());
            if let Some(update) = self.session.on_response(response.clone()).update {
                apply(&mut self.used, &update);
                self.snapshot = next(&self.snapshot, update);
            }
        }
        assert_eq!(self.used.len(), 4);
    }

    fn put(&mut self, mut update: Update) {
        assert_ne!(update, Update::default());
        apply(&mut self.used, &update);
        references_hold(&self.used);
        nothing_else(&self.used, &[name(WEB)]);
        if !self.fills_tables {
            update.set.iter_mut().for_each(with_ring);
        }
        self.snapshot = next(&self.snapshot, update);
        assert_eq!(self.snapshot.listeners().len(), 1);
    }

    /// What is in use at the end can be had again.
    fn saved(&self) {
        let kept = self.session.kept(7);
        assert_eq!(kept.len(), self.used.len());
        let (restored, update) = Session::restored("node".to_owned(), vec![name(WEB)], &kept);
        assert!(update.removed.is_empty() && update.set.iter().eq(self.used.values()));
        assert_eq!(restored.kept(7), kept);
        if let Ok(bytes) = kept.encode(&owner()) {
            assert_eq!(Kept::decode(&owner(), &bytes), Ok(kept));
        }
    }
}

/// A ring in the place of Maglev's table: its points are few.
fn with_ring(resource: &mut Resource) {
    if let Resource::Cluster(cluster) = resource
        && let Some(Affinity::Hash { table, .. }) = &mut cluster.balancing.affinity
    {
        *table = HashTable::Ring;
    }
}

/// The answer comes first and names what is refused; what follows changes subscriptions.
fn answered(response: &DeltaDiscoveryResponse, judged: &Judged) {
    let (answer, more) = judged.requests.split_first().expect("an answer");
    assert_eq!(
        (&answer.response_nonce, &answer.type_url),
        (&response.nonce, &response.type_url)
    );
    assert_eq!(answer.error_detail.is_some(), !judged.rejected.is_empty());
    if let Some(error) = &answer.error_detail {
        assert_eq!(error.code, 3, "INVALID_ARGUMENT");
        assert!(!error.message.is_empty() && error.message.chars().count() <= 4096);
    }
    assert!(answer.resource_names_subscribe.is_empty() && answer.resource_names_unsubscribe.is_empty());
    for request in more {
        assert!(request.response_nonce.is_empty() && request.error_detail.is_none());
        assert!(Kind::from_type_url(&request.type_url).is_some());
        assert!(request.resource_names_subscribe.len() + request.resource_names_unsubscribe.len() > 0);
    }
}
