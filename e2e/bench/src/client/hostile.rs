//! Clients that a proxy would be better off without: many that stay (`open`), slow ones (`slow`), floods (`pour`), what is short and comes
//! again (`again`). They begin, say that they have, go on until the input ends, and tell what became of them. They take no more than a part of their
//! core (`pace`), so that those beside them are not what is measured.

mod again;
mod crowd;
mod open;
mod pace;
mod pour;
mod slow;

use std::net::SocketAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;

use crate::client::fresh::connector;
use crate::floods::{Kind, Row};
use crowd::Crowd;

/// What became of them.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Told {
    /// Connections that were opened in all.
    pub(crate) opened: u64,
    /// Those that the proxy closed, or would not take.
    pub(crate) thrown_out: u64,
    /// Connections, or streams, that are open in the end; of what stays open alone.
    pub(crate) open: u64,
    /// Bytes that were sent, and CPU seconds that it took.
    pub(crate) sent: u64,
    pub(crate) cpu: f64,
    /// From the beginning to the end.
    pub(crate) seconds: f64,
}

impl Told {
    /// What became of these, and then of the `next` ones.
    pub(crate) fn and(self, next: Told) -> Told {
        Told {
            opened: self.opened + next.opened,
            thrown_out: self.thrown_out + next.thrown_out,
            open: next.open,
            sent: self.sent + next.sent,
            cpu: self.cpu + next.cpu,
            seconds: self.seconds + next.seconds,
        }
    }
}

/// What clients are told before they begin.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Hostile {
    /// The proxy.
    address: SocketAddr,
    /// What they do: a row of the tables.
    #[arg(long, value_parser = row)]
    row: Row,
    /// How many there are.
    #[arg(long)]
    connections: usize,
    /// How much of their core they may take, in percent.
    #[arg(long)]
    share: u32,
    /// The proxy's certificate, in PEM, where TLS is spoken.
    #[arg(long)]
    certificate: Option<std::path::PathBuf>,
}

fn row(name: &str) -> Result<Row, String> {
    Row::named(name).ok_or_else(|| format!("there is no row of the name {name:?}"))
}

impl Hostile {
    /// How TLS is spoken: HTTP/2, and that it is, by ALPN.
    fn secured(&self) -> anyhow::Result<Option<TlsConnector>> {
        let protocol: &[u8] = if self.row.is_http2() { b"h2" } else { b"http/1.1" };
        let certificate = self.certificate.as_deref();
        certificate.map(|file| connector(file, &[protocol])).transpose()
    }
}

/// Does it until the input ends, and prints what came of it.
pub(super) async fn run(asked: &Hostile) -> anyhow::Result<()> {
    let certificate = asked.certificate.as_deref();
    let crowd = Crowd::new(asked.address, asked.connections, asked.share, asked.secured()?);
    let (tells, told) = oneshot::channel();
    // A thread of no runtime, which would wait for it where clients fail before they are told to end.
    std::thread::spawn(|| tells.send(std::io::read_to_string(std::io::stdin())));
    let open = match asked.row.kind {
        Kind::Open(what) => open::run(&crowd, what, told).await?,
        other => {
            tokio::select! {
                () = endless(&crowd, other, certificate) => 0,
                input = told => input?.map(|_| 0)?,
            }
        }
    };
    println!("{}", serde_json::to_string(&crowd.told(open))?);
    Ok(())
}

async fn endless(crowd: &Crowd, kind: Kind, certificate: Option<&Path>) {
    match kind {
        Kind::Pour(flood) => crowd.each(|_| pour::run(crowd, flood, true)).await,
        Kind::PourUnread(flood) => crowd.each(|_| pour::run(crowd, flood, false)).await,
        Kind::Slow(what) => crowd.each(|_| slow::run(crowd, what)).await,
        Kind::Again(what) => match again::Act::new(what, certificate) {
            Ok(act) => crowd.each(|_| act.run(crowd)).await,
            Err(error) => eprintln!("{error:#}"),
        },
        Kind::Open(_) => {}
    }
}
