//! An endpoint that records every byte that reaches it, and takes requests apart as strictly as can be. It answers each with its first
//! line, unless a script says otherwise.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::message::{Cut, Ends, Message};

/// The first words of targets that are not rows: their requests are never recorded.
pub(crate) const PROBE: &str = "GET /probe/";

/// A request that is never answered: its body is read all the same.
pub(crate) const NEVER: &str = "/never";

/// A request that is answered by a body without end.
pub(crate) const ENDLESS: &str = "/endless";

/// How a request is answered instead of well.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    /// By these bytes. Nothing comes after them, and the connection stays open.
    Bytes(Vec<u8>),
    /// By these bytes, and the end of the connection.
    Last(Vec<u8>),
    /// By the first bytes, and the second ones over and over.
    Endless(Vec<u8>, Vec<u8>),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Which address it came to: the name of its cluster.
    pub(crate) at: &'static str,
    /// The connection it came over, by number.
    pub(crate) connection: usize,
    pub(crate) request: Message,
}

/// What came over a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connection {
    /// What was not (yet) a whole request.
    pub(crate) rest: Vec<u8>,
    /// What is wrong with that.
    pub(crate) bad: Option<String>,
    pub(crate) closed: bool,
    /// Bytes that were sent back.
    pub(crate) sent: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) seen: Vec<Seen>,
    pub(crate) connections: Vec<Connection>,
    script: Option<Script>,
}

/// The endpoint, at two addresses.
#[derive(Clone)]
pub(crate) struct Recorder {
    record: Arc<Mutex<Record>>,
    pub(crate) app: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Recorder {
    pub(crate) async fn start() -> Self {
        let record = Arc::<Mutex<Record>>::default();
        let [app, admin] = ["app", "admin"].map(|at| listen(at, Arc::clone(&record)));
        Recorder {
            app: app.await,
            admin: admin.await,
            record,
        }
    }

    /// What was recorded.
    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap()
    }

    /// Forgets what came, and answers the next one that is no probe by `script`.
    pub(crate) fn begin(&self, script: Option<Script>) {
        let mut record = self.record();
        record.seen.clear();
        for connection in record.connections.iter_mut().filter(|connection| connection.closed) {
            connection.rest.clear();
        }
        record.script = script;
    }

    /// Requests since it began.
    pub(crate) fn requests(&self) -> usize {
        self.record().seen.len()
    }
}

async fn listen(at: &'static str, record: Arc<Mutex<Record>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let number = {
                let mut record = record.lock().unwrap();
                record.connections.push(Connection::default());
                record.connections.len() - 1
            };
            let endpoint = Endpoint {
                at,
                number,
                record: Arc::clone(&record),
            };
            tokio::spawn(async move {
                let _ = endpoint.serve(stream).await;
                endpoint.connection(|connection| connection.closed = true);
            });
        }
    });
    address
}

/// One of its connections.
struct Endpoint {
    at: &'static str,
    number: usize,
    record: Arc<Mutex<Record>>,
}

impl Endpoint {
    fn connection<T>(&self, change: impl FnOnce(&mut Connection) -> T) -> T {
        change(&mut self.record.lock().unwrap().connections[self.number])
    }

    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        let mut continued = false;
        loop {
            while let Some(request) = self.next() {
                continued = false;
                self.answer(&mut stream, &request).await?;
            }
            if !continued && self.connection(|connection| waits(&connection.rest)) {
                continued = true;
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            match stream.read(&mut buffer).await? {
                0 => return Ok(()),
                n => self.connection(|connection| connection.rest.extend(&buffer[..n])),
            }
        }
    }

    /// The next request, if it is whole.
    fn next(&self) -> Option<Message> {
        let (request, _) = self.connection(|connection| match Message::read(&connection.rest, Ends::AtOnce) {
            Ok((request, length)) => {
                connection.rest.drain(..length);
                Some((request, length))
            }
            Err(Cut::More) => None,
            Err(Cut::Bad(why)) => {
                connection.bad.get_or_insert(why);
                None
            }
        })?;
        if !request.line.starts_with(PROBE) {
            let seen = Seen {
                at: self.at,
                connection: self.number,
                request: request.clone(),
            };
            self.record.lock().unwrap().seen.push(seen);
        }
        Some(request)
    }

    async fn answer(&self, stream: &mut TcpStream, request: &Message) -> std::io::Result<()> {
        let is_probe = request.line.starts_with(PROBE);
        let script = (!is_probe).then(|| self.record.lock().unwrap().script.take()).flatten();
        let target = request.line.split(' ').nth(1).unwrap_or_default();
        match script {
            Some(Script::Bytes(bytes)) => stream.write_all(&bytes).await,
            Some(Script::Last(bytes)) => {
                stream.write_all(&bytes).await?;
                stream.shutdown().await
            }
            Some(Script::Endless(first, again)) => self.endless(stream, &first, &again).await,
            None if target == NEVER => Ok(()),
            None if target == ENDLESS => {
                let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n";
                self.endless(stream, head, &[b'x'; 16 << 10]).await
            }
            None => {
                let body = &request.line;
                let shown = if body.starts_with("HEAD ") { "" } else { body };
                let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{shown}", body.len());
                stream.write_all(text.as_bytes()).await
            }
        }
    }

    async fn endless(&self, stream: &mut TcpStream, first: &[u8], again: &[u8]) -> std::io::Result<()> {
        stream.write_all(first).await?;
        loop {
            stream.write_all(again).await?;
            // Whoever takes it all must not keep others from their turn.
            tokio::task::yield_now().await;
            self.connection(|connection| connection.sent += again.len() as u64);
        }
    }
}

/// Whether these are the headers of a request whose client waits to be told to go on.
fn waits(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\r\n\r\n")
        && String::from_utf8_lossy(bytes)
            .to_ascii_lowercase()
            .contains("\r\nexpect: 100-continue\r\n")
}
