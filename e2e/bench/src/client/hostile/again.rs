//! What is short and comes again: each time over a connection of its own, but for the body without end.

use std::path::Path;

use anyhow::Context;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use tenbin_hostile::slow;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::crowd::{Buffer, Crowd, drain};
use crate::client::ANSWER;
use crate::client::fresh::connector;
use crate::cpu::HOST;
use crate::floods::{Again, SINK};

/// Bytes that mean nothing.
const GARBAGE: usize = 4 << 10;
/// A chunk of one byte, and so many in one write.
const CHUNK: &[u8] = b"1\r\nx\r\n";
const CHUNKS: usize = 500;

/// What is done, and the bytes of it.
pub(super) struct Act {
    what: Again,
    bytes: Vec<u8>,
}

impl Act {
    pub(super) fn new(what: Again, certificate: Option<&Path>) -> anyhow::Result<Self> {
        let bytes = match what {
            Again::Connect | Again::Handshake => Vec::new(),
            // No letter that HTTP or TLS begins with.
            Again::Garbage => std::iter::repeat_with(|| fastrand::u8(0x80..)).take(GARBAGE).collect(),
            Again::Hello => hello(certificate.context("a ClientHello needs a certificate")?)?,
            Again::Chunks => CHUNK.repeat(CHUNKS),
        };
        Ok(Act { what, bytes })
    }

    /// One client, for ever.
    pub(super) async fn run(&self, crowd: &Crowd) {
        crowd.begins();
        loop {
            crowd.pass().await;
            if self.once(crowd).await.is_err() {
                crowd.refused().await;
            }
        }
    }

    async fn once(&self, crowd: &Crowd) -> anyhow::Result<()> {
        match self.what {
            Again::Connect => drop(crowd.tcp(Buffer::Usual).await?),
            Again::Handshake => drop(crowd.connect(Buffer::Usual).await?),
            Again::Garbage => {
                let (read, mut write) = tokio::io::split(crowd.tcp(Buffer::Usual).await?);
                // It may be thrown out before it has sent all.
                let _ = crowd.send(&mut write, &self.bytes).await;
                timeout(ANSWER, drain(read)).await.context("not thrown out")?;
                crowd.thrown_out();
            }
            Again::Hello => {
                let mut stream = crowd.tcp(Buffer::Usual).await?;
                crowd.send(&mut stream, &self.bytes).await?;
                let mut answer = [0; 64];
                timeout(ANSWER, stream.read(&mut answer)).await.context("no answer")??;
            }
            Again::Chunks => self.chunks(crowd).await?,
        }
        Ok(())
    }

    /// A body without end.
    async fn chunks(&self, crowd: &Crowd) -> anyhow::Result<()> {
        let (read, mut write) = tokio::io::split(crowd.connect(Buffer::Usual).await?);
        crowd.send(&mut write, &slow::chunked(SINK)).await?;
        let writing = async { while crowd.send(&mut write, &self.bytes).await.is_ok() {} };
        tokio::select! {
            () = writing => {}
            () = drain(read) => {}
        }
        crowd.thrown_out();
        Ok(())
    }
}

/// A ClientHello, recorded.
fn hello(certificate: &Path) -> anyhow::Result<Vec<u8>> {
    let connector = connector(certificate, &[b"h2"])?;
    let mut client = ClientConnection::new(connector.config().clone(), ServerName::try_from(HOST)?)?;
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes)?;
    Ok(bytes)
}
