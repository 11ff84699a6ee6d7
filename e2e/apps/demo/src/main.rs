//! The demo app: something to balance. One process is one replica; it says who it is, and does on request what apps do
//! when they are at their worst. Command line, listening and stopping are here; what is answered is in `answers`.

mod answers;
mod body;
mod grpc;
mod listen;
mod raw;
mod tcp;
mod waits;
mod websocket;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Parser, Subcommand};
use futures::future::join_all;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use answers::App;
use listen::{Port, Speaks};

/// A small app to balance. POST /kill ends it; GET / tells which replica answers.
#[derive(Parser)]
#[command(name = "tenbin-demo", version)]
struct Flags {
    /// The port to listen on, at all addresses; 0 takes a free one and tells it.
    #[arg(long, env = "TENBIN_PORT", default_value_t = 8080)]
    port: u16,
    #[command(flatten)]
    more: More,
    /// The name of this replica; the host's name unless given.
    #[arg(long, env = "TENBIN_INSTANCE")]
    instance: Option<String>,
    /// The name of the app.
    #[arg(long, env = "TENBIN_APP", default_value = "demo")]
    app: String,
    /// How many pieces of work (/work) it can do at once.
    #[arg(long, env = "DEMO_SLOTS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    slots: u32,
    /// Write a line for every request.
    #[arg(long)]
    log: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Other ports than the first, at all addresses; 0 takes a free one and tells it.
#[derive(clap::Args)]
struct More {
    /// Ports that speak what the first one does: HTTP/1.1, and HTTP/2 by prior knowledge.
    #[arg(long, env = "DEMO_HTTP_PORTS", value_delimiter = ',')]
    http_ports: Vec<u16>,
    /// Ports that speak it over TLS, HTTP/2 by ALPN.
    #[arg(long, env = "DEMO_TLS_PORTS", value_delimiter = ',', requires_all = ["tls_certificate", "tls_key"])]
    tls_ports: Vec<u16>,
    /// The certificate of these and those that signed it, as PEM text.
    #[arg(
        long,
        env = "DEMO_TLS_CERTIFICATE",
        hide_env_values = true,
        allow_hyphen_values = true
    )]
    tls_certificate: Option<String>,
    /// Its private key, as PEM text.
    #[arg(long, env = "DEMO_TLS_KEY", hide_env_values = true, allow_hyphen_values = true)]
    tls_key: Option<String>,
    /// A port of plain TCP: names the replica, then sends back what comes.
    #[arg(long, env = "DEMO_TCP_PORT")]
    tcp_port: Option<u16>,
    /// A port where HTTP/1.1 is spoken by hand: /early (103 first), /refuse (417), /half, /cut, /silent, /close, /garbage.
    #[arg(long, env = "DEMO_RAW_PORT")]
    raw_port: Option<u16>,
}

impl More {
    /// What is spoken where.
    fn ports(&self) -> anyhow::Result<Vec<(u16, Speaks)>> {
        let mut ports: Vec<_> = self.http_ports.iter().map(|port| (*port, Speaks::Http)).collect();
        if let (Some(certificate), Some(key)) = (&self.tls_certificate, &self.tls_key) {
            let acceptor = listen::tls(certificate, key)?;
            ports.extend(self.tls_ports.iter().map(|port| (*port, Speaks::Tls(acceptor.clone()))));
        }
        ports.extend(self.tcp_port.map(|port| (port, Speaks::Tcp)));
        ports.extend(self.raw_port.map(|port| (port, Speaks::Raw)));
        Ok(ports)
    }
}

/// What to be instead of an app.
#[derive(Subcommand)]
enum Command {
    /// A load driver: sends requests as its JSON API says, and tells what became of each.
    Load {
        /// The port of the JSON API, at all addresses.
        #[arg(long, default_value_t = tenbin_load::PORT)]
        port: u16,
    },
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime
        .context("start the runtime")
        .and_then(|runtime| match flags.command {
            Some(Command::Load { port }) => runtime
                .block_on(tenbin_load::serve(([0, 0, 0, 0], port).into()))
                .with_context(|| format!("listen on port {port}")),
            None => runtime.block_on(run(flags)),
        }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tenbin-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: Flags) -> anyhow::Result<()> {
    let instance = flags.instance.filter(|name| !name.is_empty()).unwrap_or_else(host_name);
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let first = Port::open(flags.port, Speaks::Http).await?;
    println!("{instance} of {} listens on {}", flags.app, first.address()?);
    let mut ports = vec![first];
    for (number, speaks) in flags.more.ports()? {
        let port = Port::open(number, speaks).await?;
        println!("{instance} speaks {} on {}", port.speaks(), port.address()?);
        ports.push(port);
    }

    let (stop, stopping) = watch::channel(false);
    let app = Arc::new(App::new(instance.clone(), flags.app, flags.log, flags.slots, stopping));
    tokio::select! {
        _ = join_all(ports.iter().map(|port| port.serve(&app))) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    drop(ports);
    println!("{instance} stops: takes no more connections, finishes what is in flight");
    // Every connection holds a receiver, so this waits for the last of them; who sent the signal has the patience to set.
    drop(app);
    stop.send_replace(true);
    stop.closed().await;
    println!("{instance} has stopped");
    Ok(())
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() {
        "unknown".to_owned()
    } else {
        name.trim().to_owned()
    }
}
