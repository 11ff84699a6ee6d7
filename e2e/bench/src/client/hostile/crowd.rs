//! What all hostile clients share: where the proxy is, how they connect, and what is counted of them.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::join_all;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use super::Told;
use super::pace::{self, Pace};
use crate::client::ANSWER;
use crate::cpu::HOST;

/// How long a client that was not taken waits before it comes again.
const REFUSED: Duration = Duration::from_millis(20);
/// Bytes of a receive buffer that is soon full.
const SMALL_BUFFER: u32 = 4 << 10;

/// A connection, whatever is under it.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin {
    /// What is under it.
    fn socket(&self) -> &TcpStream;
}

impl Duplex for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Duplex for tokio_rustls::client::TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// How much a client reads ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buffer {
    Usual,
    Small,
}

/// All clients.
pub(super) struct Crowd {
    address: SocketAddr,
    tls: Option<TlsConnector>,
    connections: usize,
    pace: Pace,
    began: Instant,
    begun: Cell<usize>,
    opened: Cell<u64>,
    thrown_out: Cell<u64>,
    sent: Cell<u64>,
}

impl Crowd {
    pub(super) fn new(address: SocketAddr, connections: usize, share: u32, tls: Option<TlsConnector>) -> Self {
        Crowd {
            address,
            tls,
            connections,
            pace: Pace::new(share),
            began: Instant::now(),
            begun: Cell::new(0),
            opened: Cell::new(0),
            thrown_out: Cell::new(0),
            sent: Cell::new(0),
        }
    }

    /// Runs one of `client` for each connection, all at the same time, each told its number.
    pub(super) async fn each<F: Future<Output = ()>>(&self, client: impl Fn(usize) -> F) {
        join_all((0..self.connections).map(client)).await;
    }

    pub(super) fn connections(&self) -> usize {
        self.connections
    }

    /// Connects, with TLS where that is spoken.
    pub(super) async fn connect(&self, buffer: Buffer) -> anyhow::Result<Box<dyn Duplex>> {
        let stream = self.tcp(buffer).await?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let handshake = tls.connect(ServerName::try_from(HOST)?, stream);
        Ok(Box::new(timeout(ANSWER, handshake).await.context("TLS handshake")??))
    }

    /// Connects, and no more.
    pub(super) async fn tcp(&self, buffer: Buffer) -> anyhow::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if buffer == Buffer::Small {
            socket.set_recv_buffer_size(SMALL_BUFFER)?;
        }
        let stream = timeout(ANSWER, socket.connect(self.address))
            .await
            .context("connect")??;
        stream.set_nodelay(true)?;
        self.opened.set(self.opened.get() + 1);
        Ok(stream)
    }

    /// Sends, at the pace of all.
    pub(super) async fn send(&self, to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
        self.pace.pass().await;
        to.write_all(bytes).await?;
        to.flush().await?;
        self.sent.set(self.sent.get() + bytes.len() as u64);
        Ok(())
    }

    /// Lets others have their turn, and waits where all take too much.
    pub(super) async fn pass(&self) {
        self.pace.pass().await;
    }

    /// One more does what it does, for the first time; says so when all do.
    pub(super) fn begins(&self) {
        self.begun.set(self.begun.get() + 1);
        if self.begun.get() == self.connections {
            println!("ready");
        }
    }

    /// One more was thrown out, or not taken.
    pub(super) fn thrown_out(&self) {
        self.thrown_out.set(self.thrown_out.get() + 1);
    }

    /// The same, and it waits before it comes again.
    pub(super) async fn refused(&self) {
        self.thrown_out();
        sleep(REFUSED).await;
    }

    /// What became of all.
    pub(super) fn told(&self, open: u64) -> Told {
        Told {
            opened: self.opened.get(),
            thrown_out: self.thrown_out.get(),
            open,
            sent: self.sent.get(),
            cpu: pace::used().as_secs_f64(),
            seconds: self.began.elapsed().as_secs_f64(),
        }
    }
}

/// Reads to the end of a connection, and forgets it.
pub(super) async fn drain(mut from: impl AsyncRead + Unpin) {
    let mut buffer = vec![0; 16 << 10];
    while matches!(from.read(&mut buffer).await, Ok(1..)) {}
}
