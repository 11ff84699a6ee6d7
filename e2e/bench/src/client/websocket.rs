//! Messages and their echoes over kept WebSockets.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::{limited, said};
use crate::cpu::{HOST, Said};

/// Sockets; each has one message in flight.
const SOCKETS: usize = 64;
/// A message, in bytes.
const MESSAGE: usize = 100;

/// Sends, waits for the echo, and again, on each.
pub(super) async fn run(address: SocketAddr, time: Duration) -> anyhow::Result<Said> {
    let sockets = try_join_all((0..SOCKETS).map(|_| limited(open(address)))).await?;
    let began = Instant::now();
    let each = sockets.into_iter().map(|mut socket| async move {
        let mut times = Vec::new();
        while began.elapsed() < time {
            let sent = Instant::now();
            limited(echo(&mut socket)).await?;
            times.push(sent.elapsed().as_secs_f64() * 1000.0);
        }
        anyhow::Ok((times, socket))
    });
    let all = try_join_all(each).await?;
    let took = began.elapsed();
    let (times, sockets): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    for mut socket in sockets {
        socket.close(None).await.context("close a socket")?;
    }
    Ok(said(times.into_iter().flatten(), took))
}

async fn open(address: SocketAddr) -> anyhow::Result<WebSocketStream<TcpStream>> {
    let stream = TcpStream::connect(address).await.context("connect")?;
    stream.set_nodelay(true)?;
    let url = format!("ws://{HOST}/ws");
    let (socket, _) = tokio_tungstenite::client_async(url, stream).await.context("upgrade")?;
    Ok(socket)
}

async fn echo(socket: &mut WebSocketStream<TcpStream>) -> anyhow::Result<()> {
    let message = Message::binary(vec![b'x'; MESSAGE]);
    socket.send(message.clone()).await.context("send a message")?;
    let back = socket.next().await.context("closed")?.context("read a message")?;
    ensure!(back == message, "another message came back");
    Ok(())
}
