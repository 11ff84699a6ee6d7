//! Apps that go wrong in one way each, and count what reached them. What HTTP/2 has of its own is in `frames`.

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use rustls::ServerConfig;
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use crate::by_hand::until;
pub(crate) use crate::way::{At, By, Way};

/// Takes all of a body that nobody reads.
const ROOM: usize = 1 << 20;

#[derive(Clone)]
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
    gate: Arc<Semaphore>,
}

#[derive(Default)]
struct Counts {
    seen: AtomicUsize,
    received: AtomicUsize,
    stopped: AtomicUsize,
    open: AtomicUsize,
    most: AtomicUsize,
    connections: AtomicUsize,
    live: AtomicUsize,
}

impl App {
    pub(crate) async fn new(way: Way) -> Self {
        Self::serving(move |app, stream| async move {
            if way == Way::Deaf {
                SockRef::from(&stream).set_recv_buffer_size(ROOM).unwrap();
            }
            let socket = other(&stream);
            app.serve(stream, socket, way).await;
        })
        .await
    }

    /// The same over TLS.
    pub(crate) async fn secured(way: Way, config: Arc<ServerConfig>) -> Self {
        let acceptor = TlsAcceptor::from(config);
        Self::serving(move |app, stream| {
            let acceptor = acceptor.clone();
            async move {
                let socket = other(&stream);
                if let Ok(stream) = acceptor.accept(stream).await {
                    app.serve(stream, socket, way).await;
                }
            }
        })
        .await
    }

    /// An app whose connections are served like this.
    pub(crate) async fn serving<S, F>(serve: S) -> Self
    where
        S: Fn(App, TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app = App {
            address: listener.local_addr().unwrap(),
            counts: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
        };
        let accepting = app.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let counts = Arc::clone(&accepting.counts);
                counts.connections.fetch_add(1, SeqCst);
                counts.live.fetch_add(1, SeqCst);
                let serving = serve(accepting.clone(), stream);
                tokio::spawn(async move {
                    serving.await;
                    counts.live.fetch_sub(1, SeqCst);
                });
            }
        });
        app
    }

    /// Requests that reached it.
    pub(crate) fn seen(&self) -> usize {
        self.counts.seen.load(SeqCst)
    }

    /// Bytes of bodies that it read.
    pub(crate) fn received(&self) -> usize {
        self.counts.received.load(SeqCst)
    }

    /// Requests that it does no more about, and connections.
    pub(crate) fn stopped(&self) -> usize {
        self.counts.stopped.load(SeqCst)
    }

    /// Connections that it ever had.
    pub(crate) fn connections(&self) -> usize {
        self.counts.connections.load(SeqCst)
    }

    /// Connections that it has.
    pub(crate) fn live(&self) -> usize {
        self.counts.live.load(SeqCst)
    }

    /// The most requests that it had at a time.
    pub(crate) fn most(&self) -> usize {
        self.counts.most.load(SeqCst)
    }

    /// Lets so many requests go on.
    pub(crate) fn open(&self, requests: usize) {
        self.gate.add_permits(requests);
    }

    /// Waits until the test lets a request go on.
    pub(crate) async fn opened(&self) {
        self.gate.acquire().await.unwrap().forget();
    }

    /// A request came.
    pub(crate) fn sees(&self) {
        self.counts.seen.fetch_add(1, SeqCst);
    }

    /// Some of a body came.
    pub(crate) fn receives(&self, bytes: usize) {
        self.counts.received.fetch_add(bytes, SeqCst);
    }

    /// Nothing more is done about what came last.
    pub(crate) fn stops(&self) {
        self.counts.stopped.fetch_add(1, SeqCst);
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, mut stream: S, socket: Socket, way: Way) {
        let mut first = true;
        let by = loop {
            if let Way::Mute | Way::HangsUp(_) | Way::Babbles = way {
                break self.interrupt(&mut stream, way).await;
            }
            let head = match way {
                Way::CloseAfter(millis) if !first => {
                    tokio::select! {
                        head = Head::read(&mut stream) => head,
                        () = sleep(Duration::from_millis(millis)) => None,
                    }
                }
                _ => Head::read(&mut stream).await,
            };
            let Some(head) = head else { break By::Close };
            self.sees();
            let open = self.counts.open.fetch_add(1, SeqCst) + 1;
            self.counts.most.fetch_max(open, SeqCst);
            let answered = self.answer(&mut stream, &socket, way, &head, first).await;
            self.counts.open.fetch_sub(1, SeqCst);
            if let Err(by) = answered {
                break by;
            }
            first = false;
        };
        end(stream, &socket, by).await;
    }

    /// Does something about the first bytes of a connection.
    async fn interrupt<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut S, way: Way) -> By {
        let _ = stream.read(&mut vec![0; 16 << 10]).await;
        match way {
            Way::HangsUp(by) => return by,
            Way::Babbles => drop(stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").await),
            _ => {
                self.stops();
                hold(stream).await;
            }
        }
        By::Close
    }

    /// Answers a request; or ends the connection like this.
    async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        socket: &Socket,
        way: Way,
        head: &Head,
        first: bool,
    ) -> Result<(), By> {
        match way {
            Way::Ends(At::Unread, by) => {
                if head.length > 0 && head.came == 0 {
                    let _ = stream.read(&mut [0; 1]).await;
                }
                return Err(by);
            }
            Way::Deaf => {
                let rest = head.length - head.came;
                until("all of a body lies there", || unread(socket) >= rest).await;
            }
            Way::Early => {}
            _ => self.read_body(stream, head).await?,
        }
        match way {
            Way::Ends(At::Begin, by) => return Err(by),
            Way::Ends(At::Reuse, by) if !first => return Err(by),
            Way::Deaf => {
                self.stops();
                self.opened().await;
                return Err(By::Close);
            }
            Way::Silent => return self.stop(stream).await,
            Way::Gated => self.opened().await,
            _ => {}
        }
        stream.write_all(way.text().as_bytes()).await.map_err(|_| By::Close)?;
        stream.flush().await.map_err(|_| By::Close)?;
        match way {
            Way::Ends(At::Head, by) => Err(by),
            Way::Ends(At::Body | At::End, by) => {
                self.opened().await;
                Err(by)
            }
            Way::Garbage => Err(By::Close),
            Way::SlowHead | Way::SlowBody => self.stop(stream).await,
            Way::Early => self.read_body(stream, head).await,
            _ => Ok(()),
        }
    }

    async fn stop<S: AsyncRead + Unpin>(&self, stream: &mut S) -> Result<(), By> {
        self.stops();
        hold(stream).await;
        Err(By::Close)
    }

    /// Reads a body whose length is told.
    async fn read_body<S: AsyncRead + Unpin>(&self, stream: &mut S, head: &Head) -> Result<(), By> {
        let mut came = head.came;
        self.receives(came);
        let mut buffer = vec![0; 64 << 10];
        while came < head.length {
            match stream.read(&mut buffer).await {
                Ok(n) if n > 0 => {
                    came += n;
                    self.receives(n);
                }
                _ => return Err(By::Close),
            }
        }
        Ok(())
    }
}

/// A request's head.
struct Head {
    /// How long its body is.
    length: usize,
    /// How much of that came with it.
    came: usize,
}

impl Head {
    async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Self> {
        let mut bytes = Vec::new();
        loop {
            if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                return Some(Head {
                    length: length.map_or(0, |length| length.parse().unwrap()),
                    came: bytes.len() - at - 4,
                });
            }
            if !matches!(stream.read_buf(&mut bytes).await, Ok(n) if n > 0) {
                return None;
            }
        }
    }
}

/// Another handle of a connection's socket.
pub(crate) fn other(stream: &TcpStream) -> Socket {
    SockRef::from(stream).try_clone().unwrap()
}

/// How much came that nobody read.
fn unread(socket: &Socket) -> usize {
    socket.peek(&mut vec![MaybeUninit::uninit(); ROOM]).unwrap_or(0)
}

/// Waits until the other side ends the connection.
pub(crate) async fn hold<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut buffer = vec![0; 4 << 10];
    while matches!(stream.read(&mut buffer).await, Ok(n) if n > 0) {}
}

/// Ends a connection.
pub(crate) async fn end<S: AsyncWrite + Unpin>(mut stream: S, socket: &Socket, by: By) {
    match by {
        By::Close => drop(stream.shutdown().await),
        By::Cut => {}
        By::Reset => socket.set_linger(Some(Duration::ZERO)).unwrap(),
    }
}

/// An address at which nobody listens, nor will while the socket is kept.
pub(crate) fn nobody() -> (SocketAddr, Socket) {
    let socket = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    (socket.local_addr().unwrap().as_socket().unwrap(), socket)
}
