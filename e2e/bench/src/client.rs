//! Clients that no tool at hand is: a connection for each request, messages over WebSockets, connections that do nothing, a probe, and
//! hostile ones. Each runs as a process of its own, on the cores that its caller gave it, and tells what it saw as a line of JSON.

mod fresh;
pub(crate) mod hostile;
mod idle;
pub(crate) mod probe;
mod websocket;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::cpu::{HOST, SMALL, Said};
use crate::table::Samples;

/// How long one connection and its answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// What to be.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Client {
    /// A new connection for each request.
    New {
        /// The proxy.
        address: SocketAddr,
        /// For how long.
        #[arg(long)]
        seconds: u64,
        /// The proxy's certificate, in PEM; without it cleartext is spoken.
        #[arg(long)]
        certificate: Option<PathBuf>,
    },
    /// Messages over kept WebSockets.
    Websocket {
        /// The proxy.
        address: SocketAddr,
        /// For how long.
        #[arg(long)]
        seconds: u64,
    },
    /// Requests at a steady rate, each timed from when it was due.
    Probe {
        /// The proxy.
        address: SocketAddr,
        /// For how long.
        #[arg(long)]
        seconds: u64,
    },
    /// Clients that are slow, many, or a flood, until the input ends.
    Hostile(hostile::Hostile),
    /// Connections that are served a request and do nothing until the input ends, then are served another.
    Idle {
        /// The proxy.
        address: SocketAddr,
        /// How many.
        #[arg(long)]
        connections: usize,
    },
}

/// Does it, and prints what was seen.
pub(crate) async fn run(client: &Client) -> anyhow::Result<()> {
    let said = match client {
        Client::New {
            address,
            seconds,
            certificate,
        } => fresh::run(*address, Duration::from_secs(*seconds), certificate.as_deref()).await?,
        Client::Websocket { address, seconds } => websocket::run(*address, Duration::from_secs(*seconds)).await?,
        Client::Probe { address, seconds } => {
            let probed = probe::run(*address, Duration::from_secs(*seconds))?;
            println!("{}", serde_json::to_string(&probed)?);
            return Ok(());
        }
        Client::Hostile(asked) => return hostile::run(asked).await,
        Client::Idle { address, connections } => return idle::run(*address, *connections).await,
    };
    println!("{}", serde_json::to_string(&said)?);
    Ok(())
}

/// What was seen, from the milliseconds that each took.
fn said(times: impl IntoIterator<Item = f64>, took: Duration) -> Said {
    let times: Samples = times.into_iter().collect();
    Said {
        requests: times.count() as f64,
        seconds: took.as_secs_f64(),
        p50_ms: times.median(),
        p99_ms: times.quantile(0.99),
    }
}

async fn limited<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let done = tokio::time::timeout(ANSWER, work).await;
    done.with_context(|| format!("no answer within {ANSWER:?}"))?
}

/// Asks for a small answer; `headers` are further lines.
async fn ask(stream: &mut (impl AsyncWrite + Unpin), headers: &str) -> anyhow::Result<()> {
    let request = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await?;
    Ok(stream.flush().await?)
}

/// Reads a small answer on a connection that stays open.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<()> {
    let mut text = Vec::with_capacity(2 * SMALL);
    while !whole(&text)? {
        let read = stream.read_buf(&mut text).await?;
        ensure!(
            read > 0,
            "closed in the midst of an answer: {:?}",
            String::from_utf8_lossy(&text)
        );
    }
    Ok(())
}

/// Whether a small answer is whole; an error if it is another.
fn whole(text: &[u8]) -> anyhow::Result<bool> {
    const GOOD: &[u8] = b"HTTP/1.1 200 ";
    let said = || String::from_utf8_lossy(text).chars().take(300).collect::<String>();
    let begun = text.len().min(GOOD.len());
    ensure!(text.get(..begun) == GOOD.get(..begun), "not 200: {}", said());
    let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(false);
    };
    let body = text.len() - end - 4;
    ensure!(body <= SMALL, "{body} bytes of body instead of {SMALL}: {}", said());
    Ok(body == SMALL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 1024\r\n\r\n";
        let text = |length: usize| format!("{head}{}", "x".repeat(length)).into_bytes();
        assert!(whole(&text(SMALL)).unwrap());
        assert!(!whole(&text(SMALL - 1)).unwrap());
        assert!(!whole(&head.as_bytes()[..20]).unwrap());
        assert!(!whole(b"HTTP").unwrap());
        assert!(whole(&text(SMALL + 1)).is_err());
        assert!(whole(b"HTTP/1.1 503 Service Unavailable\r\n").is_err());
    }
}
