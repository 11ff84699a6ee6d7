//! What to run, made of what the process was told: a sidecar's environment or a file. Plain values; `run` acts on them.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use tenbin_model::{AccessLogFormat, EndpointId, SidecarPort, Update, UpstreamTls};

use crate::app_tls;
use crate::certificates::CertificateFiles;
use crate::config::{self, LogFormat, Switch};
use crate::state::Bootstrap;
use crate::xds::client::ClientConfig;
use crate::xds::file;
use crate::xds::saved::Owner;
use crate::xds::store::Store;

/// What to run.
#[derive(Debug)]
pub struct Plan {
    /// What is known before any update.
    pub bootstrap: Bootstrap,
    /// What is not, though it should be: files, each with the reason.
    pub missing: Vec<String>,
    /// The first update, from a file.
    pub first: Option<Update>,
    /// The files of the certificates in it.
    pub certificates: Vec<CertificateFiles>,
    /// Where more come from.
    pub stream: Option<StreamPlan>,
    /// The status port.
    pub status: Option<SocketAddr>,
    /// The admin socket.
    pub admin: Option<PathBuf>,
    /// Threads that serve traffic.
    pub workers: usize,
    /// How long requests may go on after the first signal to end.
    pub drain: Duration,
    /// How requests are logged on listeners whose own log is off.
    pub access_log: AccessLogFormat,
}

/// A stream to the operator.
#[derive(Debug)]
pub struct StreamPlan {
    /// How to reach it.
    pub client: ClientConfig,
    /// A name for the operator's logs.
    pub node_id: String,
    /// Where what it says is kept for the next start, and for whom.
    pub store: Store,
}

impl Plan {
    /// The plan of a sidecar.
    ///
    /// # Errors
    /// A value that cannot be used, with its name.
    pub fn sidecar(sidecar: &config::Sidecar) -> anyhow::Result<Self> {
        let mut missing = Vec::new();
        let bootstrap = sidecar.bootstrap(|port| app_tls(sidecar, port, &mut missing))?;
        let stream = match (&sidecar.xds_address, &sidecar.xds_ca, &sidecar.xds_token) {
            (Some(address), Some(ca), Some(token)) => {
                let client = ClientConfig {
                    address: address.clone(),
                    ca: ca.clone(),
                    token: token.clone(),
                };
                let owner = Owner {
                    pod: EndpointId::parse("pod-uid", &sidecar.pod_uid)?,
                    listeners: bootstrap.ports.iter().map(|port| port.name.clone()).collect(),
                };
                Some(StreamPlan {
                    client,
                    node_id: sidecar.pod_name.clone(),
                    store: Store::new(&sidecar.state_dir, owner),
                })
            }
            _ => None,
        };
        Ok(Plan {
            bootstrap,
            missing,
            first: None,
            stream,
            status: Some(SocketAddr::from((Ipv6Addr::UNSPECIFIED, sidecar.status_port))),
            admin: Some(sidecar.admin_socket()),
            ..Plan::common(&sidecar.common, 1)
        })
    }

    /// The plan of a proxy with a file.
    ///
    /// # Errors
    /// The file cannot be used; the text says where and why.
    pub fn standalone(standalone: &config::Standalone) -> anyhow::Result<Self> {
        let Some(path) = &standalone.config else {
            bail!("--config: a file is needed, or one of the subcommands sidecar and admin");
        };
        let file = file::load(path)?;
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Plan {
            bootstrap: Bootstrap::from_update(&file.update),
            first: Some(file.update),
            certificates: file.certificates,
            status: file.status,
            admin: file.admin,
            ..Plan::common(&standalone.common, cpus)
        })
    }

    fn common(common: &config::Common, workers: usize) -> Self {
        let access_log = match (common.access_log, common.log_format) {
            (Switch::Off, _) => AccessLogFormat::Off,
            (Switch::On, LogFormat::Text) => AccessLogFormat::Text,
            (Switch::On, LogFormat::Json) => AccessLogFormat::Json,
        };
        Plan {
            bootstrap: Bootstrap {
                own: None,
                instance: String::new(),
                ports: Vec::new(),
            },
            missing: Vec::new(),
            first: None,
            certificates: Vec::new(),
            stream: None,
            status: None,
            admin: None,
            workers: common.workers.map_or(workers, usize::from),
            drain: common.drain(),
            access_log,
        }
    }
}

/// How the app is verified on a port. Where that cannot be had nobody is trusted, and nothing is sent before an update says it.
fn app_tls(sidecar: &config::Sidecar, port: &SidecarPort, missing: &mut Vec<String>) -> UpstreamTls {
    app_tls::read(&sidecar.tls_dir, &port.name).unwrap_or_else(|reason| {
        missing.push(reason);
        UpstreamTls {
            server_name: format!("{}.{}.svc", sidecar.app, sidecar.namespace),
            ca: String::new(),
        }
    })
}
