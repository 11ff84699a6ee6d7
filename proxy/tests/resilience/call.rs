//! A request that is under way, of a client that speaks either version of HTTP: what came of it can be looked at before it is over.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::Request;
use socket2::Socket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_local};

use crate::app::{By, other};
use crate::client::{parse, request};

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Http1,
    Http2,
}

/// A request: so many bytes of body are said, and so many of them are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) method: &'static str,
    pub(crate) body: usize,
    pub(crate) sent: usize,
}

pub(crate) struct Call {
    came: Rc<RefCell<Came>>,
    task: JoinHandle<()>,
    left: Cell<bool>,
}

/// What came so far.
#[derive(Debug, Default)]
struct Came {
    /// All of it, as it is over HTTP/1.1; the body alone over HTTP/2.
    bytes: Vec<u8>,
    status: Option<u16>,
    whole: bool,
    /// The client's, while the request is under way.
    socket: Option<Socket>,
}

impl Call {
    /// Sends a request over a connection of its own.
    pub(crate) fn begin(over: Over, address: SocketAddr, ask: Ask) -> Self {
        let came = Rc::<RefCell<Came>>::default();
        let task = match over {
            Over::Http1 => spawn_local(http1(address, ask, Rc::clone(&came))),
            Over::Http2 => spawn_local(http2(address, ask, Rc::clone(&came))),
        };
        let left = Cell::new(false);
        Call { came, task, left }
    }

    /// Whether nothing more comes.
    pub(crate) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// The status, and whether all of it came.
    pub(crate) fn got(&self) -> (Option<u16>, bool) {
        let came = self.came.borrow();
        (came.status, came.whole)
    }

    /// Whether this came.
    pub(crate) fn has(&self, part: &[u8]) -> bool {
        self.came.borrow().bytes.windows(part.len()).any(|bytes| bytes == part)
    }

    /// The client goes, and ends its connection like this.
    pub(crate) fn leave(&self, by: By) {
        let socket = self.came.borrow_mut().socket.take();
        if let (By::Reset, Some(socket)) = (by, socket) {
            socket.set_linger(Some(Duration::ZERO)).unwrap();
        }
        self.left.set(true);
        self.task.abort();
    }

    /// Whether it went.
    pub(crate) fn has_left(&self) -> bool {
        self.left.get()
    }
}

async fn http1(address: SocketAddr, ask: Ask, came: Rc<RefCell<Came>>) {
    let text = request(ask.method, ask.body);
    let sent = &text.as_bytes()[..text.len() - (ask.body - ask.sent)];
    let mut stream = TcpStream::connect(address).await.unwrap();
    came.borrow_mut().socket = Some(other(&stream));
    let (mut read, mut write) = stream.split();
    let receive = async {
        let mut buffer = vec![0; 4 << 10];
        while let Ok(n) = read.read(&mut buffer).await
            && n > 0
        {
            let mut came = came.borrow_mut();
            came.bytes.extend_from_slice(&buffer[..n]);
            let got = parse(&came.bytes, Duration::ZERO, false);
            (came.status, came.whole) = (got.status, got.whole);
        }
    };
    // Who answers early need not read the rest.
    let _ = tokio::join!(write.write_all(sent), receive);
    came.borrow_mut().socket = None;
}

async fn http2(address: SocketAddr, ask: Ask, came: Rc<RefCell<Came>>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    drop(spawn_local(connection));
    let mut request = Request::builder().method(ask.method).uri("http://test/");
    if ask.body > 0 {
        request = request.header("content-length", ask.body);
    }
    let mut client = client.ready().await.unwrap();
    let (response, stream) = client.send_request(request.body(()).unwrap(), ask.body == 0).unwrap();
    drop(client);
    let receive = async {
        let Ok(response) = response.await else { return };
        came.borrow_mut().status = Some(response.status().as_u16());
        let whole = receive(response.into_body(), &came).await.is_ok();
        came.borrow_mut().whole = whole;
    };
    tokio::select! {
        () = receive => {}
        () = upload(stream, ask) => {}
    }
}

async fn receive(mut body: RecvStream, came: &RefCell<Came>) -> Result<(), h2::Error> {
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        came.borrow_mut().bytes.extend_from_slice(&data);
    }
    body.trailers().await.map(drop)
}

/// Sends as much of a body as is to be sent, and waits for ever: what comes of it is told by the response.
async fn upload(mut stream: SendStream<Bytes>, ask: Ask) {
    let mut left = ask.sent;
    while left > 0 {
        stream.reserve_capacity(left);
        let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else {
            break;
        };
        let data = Bytes::from(vec![b'x'; room.min(left)]);
        left -= data.len();
        if stream.send_data(data, left == 0 && ask.sent == ask.body).is_err() {
            break;
        }
    }
    pending::<()>().await;
}
