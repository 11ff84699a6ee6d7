//! What the proxy knows before anybody tells it anything: the ports it listens on, and in a sidecar the app beside it.
//! Plain data; reading it from the environment is `config`'s work.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tenbin_model::{EndpointId, Resource, ResourceName, Update};

/// The ports that stay open as long as the process lives, and who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// In a sidecar, the identity of its own pod: that endpoint is reached over loopback.
    pub own: Option<EndpointId>,
    /// The pod's name, for people. Empty where there is none.
    pub instance: String,
    /// The ports, in the order in which listeners are numbered.
    pub ports: Vec<Port>,
}

/// One port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The name of its resources.
    pub name: ResourceName,
    /// Where it is bound. Port 0 takes a free one.
    pub address: SocketAddr,
    /// In a sidecar, the app that serves when there is nothing better.
    pub app: Option<SocketAddr>,
}

impl Bootstrap {
    /// The address at which a sidecar's own pod is reached.
    pub const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// The bootstrap of a proxy without a pod: its listeners are those of its first update.
    pub fn from_update(update: &Update) -> Self {
        let ports = update.set.iter().filter_map(|resource| match resource {
            Resource::Listener(listener) => Some(Port {
                name: listener.name.clone(),
                address: listener.address,
                app: None,
            }),
            Resource::Keys(_)
            | Resource::Certificate(_)
            | Resource::Cluster(_)
            | Resource::Endpoints(_)
            | Resource::Routes(_) => None,
        });
        Bootstrap {
            own: None,
            instance: String::new(),
            ports: ports.collect(),
        }
    }

    /// The app beside us that answers for the resources called `name`.
    pub(super) fn app(&self, name: &ResourceName) -> Option<SocketAddr> {
        self.ports.iter().find(|port| port.name == *name)?.app
    }
}
