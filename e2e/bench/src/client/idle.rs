//! Connections that are served once and then do nothing, as long as the caller wants; then each is served again, which shows that it
//! stayed open.

use std::net::SocketAddr;

use anyhow::Context;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::net::TcpStream;

use super::{answer, ask, limited};

/// Connections that are served at the same time.
const AT_ONCE: usize = 64;

/// Opens them, prints a line, waits for the end of its input, has each served again.
pub(super) async fn run(address: SocketAddr, connections: usize) -> anyhow::Result<()> {
    let streams: Vec<TcpStream> = stream::iter(0..connections)
        .map(|_| limited(open(address)))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    println!("{} open", streams.len());
    // Nothing has to go on meanwhile, so this thread may wait.
    std::io::read_to_string(std::io::stdin())?;
    let again: Vec<TcpStream> = stream::iter(streams)
        .map(|stream| limited(served(stream)))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
        .context("an idle connection is not served again")?;
    println!("{} served again", again.len());
    Ok(())
}

async fn open(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).await.context("connect")?;
    stream.set_nodelay(true)?;
    served(stream).await
}

async fn served(mut stream: TcpStream) -> anyhow::Result<TcpStream> {
    ask(&mut stream, "").await?;
    answer(&mut stream).await?;
    Ok(stream)
}
