//! Apps that speak HTTP/2 frame by frame (RFC 9113), so that they can go wrong between any two; one request at a time.

use h2::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{App, At, By, Way, end, hold, other};

/// A setting (§6.5.2): nothing of a body comes without being asked for.
const NO_WINDOW: [u8; 6] = [0, 4, 0, 0, 0, 0];
/// The preface of a client (§3.4).
const PREFACE: usize = 24;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// How an app answers over HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way2 {
    /// As over HTTP/1.1.
    As(Way),
    /// It resets the stream there.
    Resets(At, Reason),
    /// It says that it takes no more over the connection.
    GoesAway(When),
}

/// When an app says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// After a request was answered.
    Idle,
    /// When it has a request, which it does not count as one that it took.
    Before,
    /// The same, of the second request; it answers the first.
    Reuse,
    /// When it has a request, the last that it takes; it answers.
    Answering,
    /// The same, but it closes without an answer.
    Leaving,
}

impl Way2 {
    /// An app that answers like this.
    pub(crate) async fn app(self) -> App {
        App::serving(move |app, stream| async move {
            let socket = other(&stream);
            let mut frames = Frames { app, stream };
            let by = match frames.open(self).await {
                Some(()) => frames.serve(self).await,
                None => By::Close,
            };
            end(frames.stream, &socket, by).await;
        })
        .await
    }
}

/// A connection.
struct Frames {
    app: App,
    stream: TcpStream,
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// A request that came.
struct Request {
    stream: u32,
    /// Whether all of it did.
    whole: bool,
}

impl Frames {
    async fn open(&mut self, way: Way2) -> Option<()> {
        self.stream.read_exact(&mut [0; PREFACE]).await.ok()?;
        if way == Way2::As(Way::Garbage) {
            self.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
                .await
                .ok()?;
            hold(&mut self.stream).await;
            return None;
        }
        let settings: &[u8] = if way == Way2::As(Way::Deaf) { &NO_WINDOW } else { &[] };
        self.send(SETTINGS, 0, 0, settings).await.ok()
    }

    async fn serve(&mut self, way: Way2) -> By {
        let mut first = true;
        loop {
            let Some(mut request) = self.request().await else {
                return By::Close;
            };
            if let Err(by) = self.answer(way, &mut request, first).await {
                return by;
            }
            first = false;
        }
    }

    /// Answers a request; or ends the connection like this.
    async fn answer(&mut self, way: Way2, request: &mut Request, first: bool) -> Result<(), By> {
        match way {
            Way2::As(Way::Early) => {}
            Way2::As(Way::Deaf) => {}
            Way2::Resets(At::Unread, _) | Way2::As(Way::Ends(At::Unread, _)) => self.begin_body(request).await?,
            _ => self.body(request).await?,
        }
        let stream = request.stream;
        match way {
            Way2::As(Way::Ends(At::Begin | At::Unread, by)) => return Err(by),
            Way2::As(Way::Ends(At::Reuse, by)) if !first => return Err(by),
            Way2::As(Way::Silent) => return self.stop().await,
            Way2::As(Way::Deaf) => return self.stop().await,
            Way2::As(Way::Gated) => self.app.opened().await,
            Way2::Resets(At::Begin | At::Unread, reason) => return self.reset(stream, reason).await,
            Way2::GoesAway(When::Before) => return self.refuse(stream).await,
            Way2::GoesAway(When::Reuse) if !first => return self.refuse(stream).await,
            Way2::GoesAway(When::Answering) => self.go_away(stream).await?,
            Way2::GoesAway(When::Leaving) => {
                self.go_away(stream).await?;
                return Err(By::Close);
            }
            _ => {}
        }
        self.respond(way, request).await
    }

    /// Sends a response, or a part of one.
    async fn respond(&mut self, way: Way2, request: &Request) -> Result<(), By> {
        let stream = request.stream;
        match way {
            Way2::As(Way::Ends(At::Head, by)) => {
                self.send(HEADERS, 0, stream, &status(200)).await?;
                return Err(by);
            }
            Way2::As(Way::SlowHead) => {
                self.send(HEADERS, 0, stream, &status(200)).await?;
                return self.stop().await;
            }
            Way2::Resets(At::Head, reason) => {
                self.send(HEADERS, 0, stream, &status(200)).await?;
                return self.reset(stream, reason).await;
            }
            _ => {}
        }
        let (code, body, flags): (_, &[u8], _) = match way {
            Way2::As(Way::Status(code)) => (code, b"own", END_STREAM),
            Way2::As(Way::Ends(At::Body, _) | Way::SlowBody) | Way2::Resets(At::Body, _) => (200, b"half", 0),
            _ => (200, b"ok", END_STREAM),
        };
        self.send(HEADERS, END_HEADERS, stream, &status(code)).await?;
        self.send(DATA, flags, stream, body).await?;
        match way {
            Way2::As(Way::Ends(At::Body, by)) => {
                self.app.opened().await;
                Err(by)
            }
            Way2::As(Way::SlowBody) => self.stop().await,
            Way2::As(Way::Early) if !request.whole => self.reset(stream, Reason::NO_ERROR).await,
            Way2::Resets(At::Body, reason) => {
                self.app.opened().await;
                self.reset(stream, reason).await
            }
            Way2::GoesAway(When::Idle) => {
                self.go_away(stream).await?;
                self.stop().await
            }
            _ => Ok(()),
        }
    }

    /// The next request's head. Whatever comes of others is nobody's.
    async fn request(&mut self) -> Option<Request> {
        loop {
            let frame = self.next().await?;
            if frame.kind == HEADERS {
                return Some(Request {
                    stream: frame.stream,
                    whole: frame.flags & END_STREAM != 0,
                });
            }
        }
    }

    /// Reads a request to its end.
    async fn body(&mut self, request: &mut Request) -> Result<(), By> {
        while !request.whole {
            self.begin_body(request).await?;
        }
        Ok(())
    }

    /// Reads some of a request's body, if there is more of it, and asks for as much again.
    async fn begin_body(&mut self, request: &mut Request) -> Result<(), By> {
        while !request.whole {
            let frame = self.next().await.ok_or(By::Close)?;
            if frame.stream != request.stream {
                continue;
            }
            if frame.kind == RST_STREAM {
                return Err(By::Close);
            }
            if frame.kind == DATA {
                request.whole = frame.flags & END_STREAM != 0;
                let length = u32::try_from(frame.payload.len()).unwrap();
                if length > 0 {
                    for stream in [0, request.stream] {
                        self.send(WINDOW_UPDATE, 0, stream, &length.to_be_bytes()).await?;
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The next frame. What is for the connection alone is answered.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let [a, b, c, kind, flags, rest @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            match kind {
                SETTINGS if flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]).await.ok()?,
                PING if flags & ACK == 0 => self.send(PING, ACK, 0, &payload).await.ok()?,
                HEADERS => self.app.sees(),
                DATA => self.app.receives(payload.len()),
                _ => {}
            }
            if let DATA | HEADERS | RST_STREAM = kind {
                return Some(Frame {
                    kind,
                    flags,
                    stream: u32::from_be_bytes(rest),
                    payload,
                });
            }
        }
    }

    /// Does nothing more until the other side ends the connection.
    async fn stop(&mut self) -> Result<(), By> {
        self.app.stops();
        while self.next().await.is_some() {}
        Err(By::Close)
    }

    async fn reset(&mut self, stream: u32, reason: Reason) -> Result<(), By> {
        self.send(RST_STREAM, 0, stream, &u32::from(reason).to_be_bytes()).await
    }

    /// Takes no more over the connection, this one no more than others.
    async fn refuse(&mut self, stream: u32) -> Result<(), By> {
        self.go_away(stream.saturating_sub(2)).await?;
        self.stop().await
    }

    async fn go_away(&mut self, last: u32) -> Result<(), By> {
        let payload = [last.to_be_bytes(), u32::from(Reason::NO_ERROR).to_be_bytes()].concat();
        self.send(GOAWAY, 0, 0, &payload).await
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<(), By> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        self.write(&bytes).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), By> {
        self.stream.write_all(bytes).await.map_err(|_| By::Close)
    }
}

/// A status as a list of headers (RFC 7541 §6.2.2): by the name of entry 8, and its value as it is.
fn status(status: u16) -> Vec<u8> {
    let mut bytes = vec![8, 3];
    bytes.extend(status.to_string().bytes());
    bytes
}
