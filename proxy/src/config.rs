//! What the process is told: command line and environment, parsed into plain values. Every flag can be set by the variable it names.
//! Acting on them is `run`'s work.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tenbin_model::{Cluster, EndpointId, FieldError, ResourceName, SidecarPort, Speaks, UpstreamTls};

use crate::state::{Bootstrap, Port};

/// The Tenbin proxy: balances HTTP requests over the replicas of an application.
#[derive(Debug, Parser)]
#[command(
    name = "tenbin-proxy",
    version,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to run as.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Run from a YAML file, with no control plane.
    #[command(flatten)]
    pub standalone: Standalone,
}

/// What to run as.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run beside a replica of an application.
    Sidecar(Box<Sidecar>),
    /// Talk to a running proxy over its admin socket.
    Admin(Admin),
}

/// A proxy with a file.
#[derive(Debug, Args)]
pub struct Standalone {
    /// The file with listeners, routes, clusters and endpoints.
    #[arg(long, env = "TENBIN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What every kind of proxy can be told.
    #[command(flatten)]
    pub common: Common,
}

/// What every kind of proxy can be told.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Threads that serve traffic. Default: 1 as a sidecar, else as many as the CPUs it may use.
    #[arg(long, env = "TENBIN_WORKERS", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,
    /// How long requests may go on after SIGTERM, in seconds.
    #[arg(long, env = "TENBIN_DRAIN_SECONDS", default_value_t = 25, value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub drain_seconds: u32,
    /// What is logged: a level, or levels by module as `info,tenbin_proxy=debug`.
    #[arg(long, env = "TENBIN_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
    /// How it is logged.
    #[arg(long, env = "TENBIN_LOG_FORMAT", default_value = "text", value_enum)]
    pub log_format: LogFormat,
    /// Whether each request is logged, on standard output, in the format of the log: on listeners whose own access log is off.
    #[arg(long, env = "TENBIN_ACCESS_LOG", default_value = "off", value_enum)]
    pub access_log: Switch,
}

impl Common {
    /// How long requests may go on after SIGTERM.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds.into())
    }
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// A proxy beside a replica.
#[derive(Debug, Args)]
pub struct Sidecar {
    /// The pod's namespace.
    #[arg(long, env = "TENBIN_NAMESPACE")]
    pub namespace: String,
    /// The app.
    #[arg(long, env = "TENBIN_APP")]
    pub app: String,
    /// The pod's name.
    #[arg(long, env = "TENBIN_POD_NAME")]
    pub pod_name: String,
    /// The pod's UID: the identity of its endpoint.
    #[arg(long, env = "TENBIN_POD_UID")]
    pub pod_uid: String,
    /// The app's ports, as `http=15080:8080,grpc=15081:9090/h2c`: name, port to listen on, port of the app, and what it speaks: http
    /// unless given, https, h2c, h2 or tcp.
    #[arg(long, env = SidecarPort::VARIABLE, value_delimiter = ',', required = true, num_args = 1..=16)]
    pub ports: Vec<SidecarPort>,
    /// The folder with the TLS of each port on which the app speaks https or h2: `tls-NAME.json`, with `serverName` and `caBundle`. Where it
    /// is missing, the proxy is not ready before its first update.
    #[arg(
        long,
        env = "TENBIN_TLS_DIR",
        default_value = "/var/run/tenbin/ca",
        value_name = "DIR"
    )]
    pub tls_dir: PathBuf,
    /// The operator's stream, as `host:port`; its certificate must be for that host. Without it, only the own app is served.
    #[arg(long, env = "TENBIN_XDS_ADDRESS", requires_all = ["xds_ca", "xds_token"])]
    pub xds_address: Option<String>,
    /// The file with the CA certificates of the stream.
    #[arg(long, env = "TENBIN_XDS_CA", value_name = "FILE")]
    pub xds_ca: Option<PathBuf>,
    /// The file with the token that tells the operator who this is.
    #[arg(long, env = "TENBIN_XDS_TOKEN", value_name = "FILE")]
    pub xds_token: Option<PathBuf>,
    /// The port on which `/readyz` and `/metrics` are answered.
    #[arg(long, env = "TENBIN_STATUS_PORT")]
    pub status_port: u16,
    /// The folder for the admin socket and the saved snapshot: the pod's own, in memory.
    #[arg(
        long,
        env = "TENBIN_STATE_DIR",
        default_value = "/var/run/tenbin/state",
        value_name = "DIR"
    )]
    pub state_dir: PathBuf,
    /// What every kind of proxy can be told.
    #[command(flatten)]
    pub common: Common,
}

impl Sidecar {
    /// The admin socket.
    pub fn admin_socket(&self) -> PathBuf {
        self.state_dir.join(ADMIN_SOCKET)
    }

    /// What the proxy knows before the operator says anything. `tls` says how the app is verified on a port on which it speaks TLS.
    ///
    /// # Errors
    /// A name or identity that cannot be one, or a port that is there twice.
    pub fn bootstrap(&self, mut tls: impl FnMut(&SidecarPort) -> UpstreamTls) -> Result<Bootstrap, FieldError> {
        let mut ports: Vec<Port> = Vec::new();
        for port in &self.ports {
            let name = ResourceName::app_port(&self.namespace, &self.app, &port.name);
            let name = ResourceName::parse(SidecarPort::VARIABLE, name.as_str())?;
            let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port.listen));
            let taken = |other: &Port| other.name == name || (port.listen != 0 && other.address == address);
            if ports.iter().any(taken) {
                return Err(FieldError::new(
                    SidecarPort::VARIABLE,
                    &port.name,
                    "each name and port to listen on once",
                ));
            }
            let app = SocketAddr::from((Bootstrap::LOOPBACK, port.app));
            let cluster = Cluster {
                protocol: port.speaks.protocol(),
                tls: port.speaks.is_tls().then(|| tls(port)),
                ..Cluster::new(name)
            };
            ports.push(Port::of_app(address, app, cluster, port.speaks == Speaks::Tcp));
        }
        Ok(Bootstrap {
            own: Some(EndpointId::parse("pod-uid", &self.pod_uid)?),
            instance: self.pod_name.clone(),
            ports,
        })
    }
}

/// The name of the admin socket in its folder.
const ADMIN_SOCKET: &str = "admin.sock";

/// Talking to a running proxy.
#[derive(Debug, Args)]
pub struct Admin {
    /// Its admin socket.
    #[arg(
        long,
        env = "TENBIN_ADMIN_SOCKET",
        default_value = "/var/run/tenbin/state/admin.sock",
        value_name = "PATH"
    )]
    pub socket: PathBuf,
    /// Answer in JSON where people would get a table.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to ask.
    #[command(subcommand)]
    pub command: AdminCommand,
}

/// What a running proxy can be asked.
#[derive(Clone, Debug, Subcommand)]
pub enum AdminCommand {
    /// How it is, as JSON.
    Status,
    /// The configuration in use, as JSON; secrets are left out.
    Config,
    /// The endpoints with their live state.
    Clusters,
    /// Have clients close their connections; nothing is refused.
    Drain,
    /// What is logged; or log by this from now on, until the process ends.
    LogLevel {
        /// A level, or levels by module as `info,tenbin_proxy=debug`.
        filter: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenbin_model::{Target, UpstreamProtocol};

    fn tls() -> UpstreamTls {
        UpstreamTls {
            server_name: "hello.ns.svc".to_owned(),
            ca: String::new(),
        }
    }

    const PORTS: &str = "--ports=http=15080:8080,grpc=15081:9090/h2c,db=15082:5432/tcp,s=15083:8443/https";
    const SIDECAR: [&str; 14] = [
        "tenbin-proxy",
        "sidecar",
        "--namespace=ns",
        "--app=hello",
        "--pod-name=hello-1",
        "--pod-uid=u-1",
        PORTS,
        "--status-port=15020",
        "--xds-address=operator:15010",
        "--xds-ca=/ca",
        "--xds-token=/token",
        "--workers=2",
        "--log-format=json",
        "--access-log=on",
    ];

    fn sidecar(args: &[&str]) -> Sidecar {
        match Cli::try_parse_from(args).map(|cli| cli.command) {
            Ok(Some(Command::Sidecar(sidecar))) => *sidecar,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_sidecar_knows_its_app() {
        let sidecar = sidecar(&SIDECAR);
        let bootstrap = sidecar.bootstrap(|port| UpstreamTls {
            server_name: port.name.clone(),
            ..tls()
        });
        let bootstrap = bootstrap.unwrap();
        assert_eq!(bootstrap.own.unwrap().as_str(), "u-1");
        let ports: Vec<_> = bootstrap
            .ports
            .iter()
            .map(|port| {
                let app = port.app.as_ref().unwrap();
                let (protocol, tls) = (app.cluster.protocol, app.cluster.tls.as_ref());
                assert_eq!((&port.name, port.address), (&app.cluster.name, port.listener.address));
                assert_eq!(app.address.ip().to_string(), "127.0.0.1");
                (
                    (port.name.as_str(), port.address.port(), app.address.port()),
                    (protocol, tls.map(|tls| tls.server_name.as_str())),
                    matches!(port.listener.target, Target::Tcp(_)),
                )
            })
            .collect();
        let (http1, http2) = (UpstreamProtocol::Http1, UpstreamProtocol::Http2);
        assert_eq!(
            ports,
            [
                (("ns/hello/http", 15080, 8080), (http1, None), false),
                (("ns/hello/grpc", 15081, 9090), (http2, None), false),
                (("ns/hello/db", 15082, 5432), (http1, None), true),
                (("ns/hello/s", 15083, 8443), (http1, Some("s")), false),
            ]
        );
        assert_eq!(
            sidecar.admin_socket().to_str(),
            Some("/var/run/tenbin/state/admin.sock")
        );
        assert_eq!(sidecar.common.drain(), Duration::from_secs(25));
        assert_eq!(
            (sidecar.common.log_format, sidecar.common.access_log),
            (LogFormat::Json, Switch::On)
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (from, to, expected) in [
            (
                PORTS,
                "--ports=http=15080",
                r#"TENBIN_PORTS: "http=15080" is not accepted, expected name=listen:app"#,
            ),
            (PORTS, "--ports=http=15080:0", "name=listen:app"),
            (
                PORTS,
                "--ports=a=1:2,b=3:4/grpc",
                r#"TENBIN_PORTS: "b=3:4/grpc" is not accepted, expected name=listen:app with port numbers, as http=15080:8080, then /https, /h2c"#,
            ),
            ("--xds-ca=/ca", "--drain-seconds=1", "--xds-ca"),
            ("--app=hello", "--drain-seconds=1", "--app"),
            ("--workers=2", "--workers=0", "1..=256"),
        ] {
            let args: Vec<_> = SIDECAR.iter().map(|&arg| if arg == from { to } else { arg }).collect();
            let error = Cli::try_parse_from(args).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let twice = sidecar(&SIDECAR.map(|arg| {
            if arg.starts_with("--ports") {
                "--ports=a=1:2,b=1:3"
            } else {
                arg
            }
        }));
        let error = twice.bootstrap(|_| tls()).unwrap_err().to_string();
        assert!(error.contains("TENBIN_PORTS: \"b\""), "{error}");
    }

    #[test]
    fn a_file_or_a_subcommand() {
        let cli = Cli::try_parse_from(["tenbin-proxy", "--config", "x.yaml", "--workers", "3"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.standalone.config, Some(PathBuf::from("x.yaml")));
        assert_eq!(cli.standalone.common.workers, Some(3));
        assert!(Cli::try_parse_from(["tenbin-proxy"]).is_err());
        let cli = Cli::try_parse_from(["tenbin-proxy", "admin", "log-level", "debug"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Admin(_))));
    }
}
