//! What the proxy knows before anybody tells it anything: the ports it listens on, and in a sidecar the app beside it.
//! Plain data; reading it from the environment is `config`'s work.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tenbin_model::{Cluster, EndpointId, Listener, Resource, ResourceName, Target, Timeouts, Update};

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
    /// What it is like until more is said of it.
    pub listener: Arc<Listener>,
    /// In a sidecar, the app that serves when there is nothing better.
    pub app: Option<OwnApp>,
}

/// The app beside a sidecar, on one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnApp {
    /// Where it listens.
    pub address: SocketAddr,
    /// How it is spoken with until more is said of it.
    pub cluster: Cluster,
}

impl Port {
    /// A port for HTTP with the defaults of everything, and no app.
    pub fn new(name: ResourceName, address: SocketAddr) -> Self {
        Port {
            listener: Arc::new(Listener::new(name.clone(), address, name.clone())),
            name,
            address,
            app: None,
        }
    }

    /// The port for an app at `app`, of which `cluster` says what it speaks; its connections are for plain TCP where `is_tcp`.
    pub fn of_app(address: SocketAddr, app: SocketAddr, cluster: Cluster, is_tcp: bool) -> Self {
        let mut port = Port::new(cluster.name.clone(), address);
        if is_tcp {
            port.listener = Arc::new(Listener {
                target: Target::Tcp(cluster.name.clone()),
                idle_timeout: Timeouts::default().tunnel_idle,
                ..Listener::clone(&port.listener)
            });
        }
        port.app = Some(OwnApp { address: app, cluster });
        port
    }
}

impl Bootstrap {
    /// The address at which a sidecar's own pod is reached.
    pub const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// The bootstrap of a proxy without a pod: its listeners are those of its first update.
    pub fn from_update(update: &Update) -> Self {
        let ports = update.set.iter().filter_map(|resource| match resource {
            Resource::Listener(listener) => Some(Port::new(listener.name.clone(), listener.address)),
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
    pub(super) fn app(&self, name: &ResourceName) -> Option<&OwnApp> {
        self.ports.iter().find(|port| port.name == *name)?.app.as_ref()
    }
}
