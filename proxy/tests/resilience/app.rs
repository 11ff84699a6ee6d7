//! Apps that go wrong in one way each, and count what reached them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// How an app answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// 200, when all of the request came.
    Well,
    /// The same, when the test lets it.
    Gated,
    /// With this status.
    Status(u16),
    /// It closes the connection when the head came.
    Close,
    /// It answers the first request of a connection, and closes when the second comes.
    CloseAtReuse,
    /// It answers, and closes connections that are idle for so many milliseconds.
    CloseAfter(u64),
    /// It closes in the middle of its head.
    CloseInHead,
    /// It closes in the middle of its body.
    CloseInBody,
    /// It takes the request and says nothing.
    Silent,
    /// It begins its head and stops.
    SlowHead,
    /// It begins its body and stops.
    SlowBody,
    /// It answers without reading the request's body.
    Early,
    /// It neither reads the request's body nor answers.
    Deaf,
    /// It answers what is not HTTP.
    Garbage,
    /// It answers with a body of so many bytes, with or without telling how many.
    Large(usize, bool),
}

#[derive(Clone)]
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    seen: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
    most: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

impl App {
    pub(crate) async fn new(way: Way) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app = App {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            connections: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
            most: Arc::default(),
            open: Arc::default(),
        };
        let serving = app.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                serving.connections.fetch_add(1, SeqCst);
                let app = serving.clone();
                tokio::spawn(async move { app.serve(stream, way).await });
            }
        });
        app
    }

    /// Requests that reached it.
    pub(crate) fn seen(&self) -> usize {
        self.seen.load(SeqCst)
    }

    /// Connections that it ever had.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// The most requests that it had at a time.
    pub(crate) fn most(&self) -> usize {
        self.most.load(SeqCst)
    }

    /// Lets so many requests go on.
    pub(crate) fn open(&self, requests: usize) {
        self.gate.add_permits(requests);
    }

    async fn serve(&self, mut stream: TcpStream, way: Way) {
        let mut first = true;
        loop {
            let head = match way {
                Way::CloseAfter(millis) if !first => {
                    tokio::select! {
                        head = read_head(&mut stream) => head,
                        () = sleep(Duration::from_millis(millis)) => None,
                    }
                }
                _ => read_head(&mut stream).await,
            };
            let Some((head, rest)) = head else { return };
            self.seen.fetch_add(1, SeqCst);
            let open = self.open.fetch_add(1, SeqCst) + 1;
            self.most.fetch_max(open, SeqCst);
            let goes_on = self.answer(&mut stream, way, &head, rest, first).await;
            self.open.fetch_sub(1, SeqCst);
            if goes_on.is_none() {
                return;
            }
            first = false;
        }
    }

    async fn answer(&self, stream: &mut TcpStream, way: Way, head: &str, rest: usize, first: bool) -> Option<()> {
        match way {
            Way::Close => return None,
            Way::CloseAtReuse if !first => return None,
            Way::Deaf => std::future::pending().await,
            Way::Early => {}
            _ => read_body(stream, head, rest).await?,
        }
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let text = match way {
            Way::Gated => {
                self.gate.acquire().await.unwrap().forget();
                ok.to_owned()
            }
            Way::Status(status) => format!("HTTP/1.1 {status} X\r\ncontent-length: 3\r\nx-own: 1\r\n\r\nown"),
            Way::CloseInHead => "HTTP/1.1 200 OK\r\ncontent-le".to_owned(),
            Way::CloseInBody => "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_owned(),
            Way::Silent => std::future::pending().await,
            Way::SlowHead => "HTTP/1.1 200 OK\r\ncontent-le".to_owned(),
            Way::SlowBody => "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_owned(),
            Way::Garbage => "SSH-2.0-OpenSSH_9.9\r\n\r\n".to_owned(),
            Way::Large(size, true) => format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n{}", "x".repeat(size)),
            Way::Large(size, false) => format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{size:x}\r\n{}\r\n0\r\n\r\n",
                "x".repeat(size)
            ),
            _ => ok.to_owned(),
        };
        stream.write_all(text.as_bytes()).await.ok()?;
        match way {
            Way::CloseInHead | Way::CloseInBody | Way::Garbage => None,
            Way::SlowHead | Way::SlowBody => std::future::pending().await,
            Way::Early => read_body(stream, head, rest).await,
            _ => Some(()),
        }
    }
}

/// A request's head, and how much of its body came with it.
async fn read_head(stream: &mut TcpStream) -> Option<(String, usize)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
            return Some((head, bytes.len() - at - 4));
        }
        if !matches!(stream.read_buf(&mut bytes).await, Ok(n) if n > 0) {
            return None;
        }
    }
}

/// Reads a body whose length is told.
async fn read_body(stream: &mut TcpStream, head: &str, mut came: usize) -> Option<()> {
    let line = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length = line.map_or(0, |length| length.parse().unwrap());
    let mut buffer = vec![0; 64 << 10];
    while came < length {
        match stream.read(&mut buffer).await {
            Ok(n) if n > 0 => came += n,
            _ => return None,
        }
    }
    Some(())
}

/// An address at which nobody listens, nor will while the socket is kept.
pub(crate) fn nobody() -> (SocketAddr, socket2::Socket) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    (socket.local_addr().unwrap().as_socket().unwrap(), socket)
}
