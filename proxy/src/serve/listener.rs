//! Sockets that accept clients: bound, one for each worker, and the loop that accepts on one of them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpListener;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::task::consume_budget;
use tracing::{debug, warn};

use super::connection;
use super::worker::WorkerContext;
use crate::state;
use crate::upstream::keepalive;

/// Connections that may wait to be accepted; the kernel's own limit (somaxconn) may be lower.
const BACKLOG: i32 = 4096;
/// Bytes that wait in the kernel for a client that takes too little, beside those on their way to it. The kernel would hold megabytes, which
/// count as the container's memory.
const UNSENT: u32 = 128 << 10;
/// How long accepting rests after it failed for want of descriptors or memory.
const REST: Duration = Duration::from_millis(50);

const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n";

/// A bound address: one socket for each worker, between which the kernel spreads the clients.
#[derive(Debug)]
pub struct Bound {
    /// Where it is bound: the port is the real one where any was asked for.
    pub address: SocketAddr,
    /// One for each worker.
    pub sockets: Vec<std::net::TcpListener>,
}

/// Binds `address` for so many workers. The unspecified IPv6 address stands for IPv4 too, and where there is no IPv6, for IPv4 alone.
///
/// # Errors
/// The address is taken, or may not be bound.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Bound> {
    let shared = workers > 1;
    let (first, address) = match socket(address, shared) {
        Err(_) if address.is_ipv6() && address.ip().is_unspecified() && !has_ipv6() => {
            let address = SocketAddr::from((IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port()));
            (socket(address, shared)?, address)
        }
        first => (first?, address),
    };
    let address = SocketAddr::from((address.ip(), first.local_addr()?.port()));
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(socket(address, shared)?);
    }
    Ok(Bound { address, sockets })
}

fn has_ipv6() -> bool {
    Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).is_ok()
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // Only where it is needed: it also lets a second process take the same address without a word.
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // Accepted sockets inherit these.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive())?;
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A bound socket, watched by the runtime that this is called on.
#[expect(
    deprecated,
    reason = "what replaces it is unsafe, for types whose descriptor may change"
)]
pub(super) fn watched(socket: std::net::TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    AsyncFd::with_interest(TcpListener::from_std(socket), Interest::READABLE)
}

/// Accepts clients of the listener number `index` for as long as the worker lives.
#[expect(clippy::disallowed_methods, reason = "the accept loop: each connection is a task")]
pub(super) async fn accept(worker: Rc<WorkerContext>, index: usize, socket: AsyncFd<TcpListener>) {
    let stats = Arc::clone(&worker.state.load().listener_at(index).stats);
    loop {
        match next(&socket).await {
            Ok((stream, client)) => match worker.lifecycle.admit() {
                Some(slot) => {
                    // Boxed: a task's future is moved from place to place as it begins and ends.
                    let connection = connection::run(Rc::clone(&worker), index, stream, client, slot);
                    tokio::task::spawn_local(Box::pin(connection));
                }
                None => {
                    state::count(&stats.refused);
                    if worker.state.load().listener_at(index).is_cleartext_http() {
                        turn_away(&stream);
                    }
                }
            },
            Err(error) if is_clients(&error) => debug!(%error, "a client was gone before it was accepted"),
            Err(error) => {
                warn!(%error, "cannot accept");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

/// The next client. Clients mostly come one by one, and to accept where nobody waits costs the kernel about as much as where somebody does (it
/// makes the new socket first), so it is asked whether another waits.
async fn next(socket: &AsyncFd<TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    loop {
        // Who is served already has a turn, however many keep coming.
        consume_budget().await;
        let mut ready = socket.readable().await?;
        let accepted = socket.get_ref().accept();
        if !has_clients(socket.get_ref()) {
            ready.clear_ready();
        }
        match accepted {
            Ok((stream, client)) => return Ok((TcpStream::from_std(stream.into())?, client)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether clients wait to be accepted; also where that can't be told.
fn has_clients(socket: &TcpListener) -> bool {
    let mut asked = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    poll(&mut asked, PollTimeout::ZERO) != Ok(0)
}

/// Tells a client that there are too many, if it can be told at once.
fn turn_away(stream: &TcpStream) {
    // Not by way of the runtime, which does not know yet that it can be written to.
    if let Err(error) = SockRef::from(stream).send(TOO_MANY) {
        debug!(%error, "a client was turned away without a word");
    }
}

/// Whether accepting failed because of what one client did.
fn is_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn who_waits_and_who_comes_later_is_accepted() {
        const PATIENCE: Duration = Duration::from_secs(30);
        let mut bound = bind((Ipv4Addr::LOCALHOST, 0).into(), 1).unwrap();
        let connect = || std::net::TcpStream::connect(bound.address).unwrap();
        let waiting = [connect(), connect(), connect()];
        let socket = watched(bound.sockets.remove(0)).unwrap();
        for client in &waiting {
            let (_, address) = timeout(PATIENCE, next(&socket)).await.unwrap().unwrap();
            assert_eq!(address, client.local_addr().unwrap());
        }
        let mut later = pin!(next(&socket));
        let nobody = timeout(Duration::from_millis(100), later.as_mut()).await;
        assert!(nobody.is_err());
        let looks = timeout(Duration::from_millis(100), socket.readable()).await;
        assert!(looks.is_err(), "it looks again and again");
        let client = connect();
        let (_, address) = timeout(PATIENCE, later).await.unwrap().unwrap();
        assert_eq!(address, client.local_addr().unwrap());
    }

    #[test]
    fn what_is_accepted_has_the_listeners_settings() {
        let bound = bind((Ipv4Addr::LOCALHOST, 0).into(), 1).unwrap();
        bound.sockets[0].set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(bound.address).unwrap();
        let (accepted, _) = bound.sockets[0].accept().unwrap();
        let accepted = SockRef::from(&accepted);
        assert_eq!(accepted.tcp_notsent_lowat().unwrap(), UNSENT);
        assert!(accepted.tcp_nodelay().unwrap());
        assert!(accepted.keepalive().unwrap());
    }
}
