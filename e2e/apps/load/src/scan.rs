//! Which ports of an address accept a TCP connection: of a pod, all that listen on the pod's address.

use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use tokio::net::TcpStream;

use crate::plan::Scanned;

/// Connections under way at once.
const WIDTH: usize = 256;

enum Port {
    Open(u16),
    Refused,
    Silent,
}

/// Tries every port from 1 to 65535 once.
pub(crate) async fn scan(address: IpAddr) -> Scanned {
    let mut tries = stream::iter(1..=u16::MAX)
        .map(|port| async move {
            let connect = TcpStream::connect((address, port));
            match tokio::time::timeout(Duration::from_secs(1), connect).await {
                Ok(Ok(_)) => Port::Open(port),
                Ok(Err(_)) => Port::Refused,
                Err(_) => Port::Silent,
            }
        })
        .buffer_unordered(WIDTH);
    let mut scanned = Scanned {
        open: Vec::new(),
        silent: 0,
    };
    while let Some(port) = tries.next().await {
        match port {
            Port::Open(port) => scanned.open.push(port),
            Port::Refused => {}
            Port::Silent => scanned.silent += 1,
        }
    }
    scanned.open.sort_unstable();
    scanned
}
