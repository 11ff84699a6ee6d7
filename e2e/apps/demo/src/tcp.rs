//! A port of plain TCP: the name of the replica and a line feed, then what comes is sent back, until the client has sent all or the
//! app stops.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Serves one connection.
pub(crate) async fn echo(mut stream: TcpStream, instance: &str, mut stopping: watch::Receiver<bool>) {
    let (mut from, mut to) = stream.split();
    if to.write_all(format!("{instance}\n").as_bytes()).await.is_err() {
        return;
    }
    // Errors are the client's going away, which is its right.
    tokio::select! {
        _ = tokio::io::copy(&mut from, &mut to) => {}
        _ = stopping.wait_for(|stop| *stop) => {}
    }
    let _ = to.shutdown().await;
}
