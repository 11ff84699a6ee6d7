//! An operator that falls silent without closing anything, as one whose node is gone: the proxy finds out by itself.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{ANY, Client, Replica, certificate, content, files, until};

/// Passes bytes on both ways, while it is not told to hold them.
struct Relay {
    address: SocketAddr,
    silent: watch::Sender<bool>,
}

impl Relay {
    async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind(ANY).await.unwrap();
        let address = listener.local_addr().unwrap();
        let silent = watch::Sender::new(false);
        let watched = silent.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = TcpStream::connect(to).await.unwrap().into_split();
                tokio::spawn(pass(near_read, far_write, watched.subscribe()));
                tokio::spawn(pass(far_read, near_write, watched.subscribe()));
            }
        });
        Relay { address, silent }
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut silent: watch::Receiver<bool>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await;
        if silent.wait_for(|silent| !silent).await.is_err() {
            return;
        }
        match read {
            Ok(n @ 1..) if to.write_all(&buffer[..n]).await.is_ok() => {}
            _ => return,
        }
    }
}

#[tokio::test]
async fn an_operator_that_falls_silent_is_found_dead_and_left() {
    let (cert, ca) = certificate();
    let files = files(&ca, "token");
    let replica = Replica::start(ANY, cert, "token").await;
    replica.publish(content(1));
    let relay = Relay::start(replica.address).await;
    let mut client = Client::start(relay.address.port(), files.path());
    client.update().await;
    replica.synced().await;

    relay.silent.send_replace(true);
    let metrics = Arc::clone(&client.metrics);
    // From here on time passes as fast as everybody waits.
    tokio::time::pause();
    until(|| metrics.connected.get() == 0).await;
    tokio::time::resume();
    assert_eq!(metrics.connects.get(), 1);

    relay.silent.send_replace(false);
    until(|| metrics.connected.get() == 1).await;
    replica.synced().await;
    assert_eq!(replica.sent(), 4, "nothing is sent again");
}
