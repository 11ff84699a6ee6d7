//! What stays open and does nothing. At the end each is looked at: what the proxy closed meanwhile counts as thrown out.

use anyhow::{Context, ensure};
use futures::stream::{self, StreamExt, TryStreamExt};
use tenbin_hostile::frames::{self, END_STREAM, HEADERS, RST_STREAM};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::crowd::{Buffer, Crowd, Duplex};
use crate::client::{answer, ask, limited};
use crate::cpu::HOST;
use crate::floods::{NEVER, Open, STREAMS};

/// Connections that are opened at the same time.
const AT_ONCE: usize = 64;

type Stream = Box<dyn Duplex>;

/// Opens all, waits for the end of the input, and tells how many connections, or streams, are open still.
pub(super) async fn run(
    crowd: &Crowd,
    what: Open,
    told: oneshot::Receiver<std::io::Result<String>>,
) -> anyhow::Result<u64> {
    let all: Vec<Stream> = stream::iter(0..crowd.connections())
        .map(|_| limited(open(crowd, what)))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    told.await??;
    let mut open = 0;
    for mut stream in all {
        let left = match what {
            Open::Streams => waiting(&mut stream)?,
            _ => usize::from(is_open(stream.socket())),
        };
        if left == 0 {
            crowd.thrown_out();
        }
        open += left as u64;
    }
    Ok(open)
}

async fn open(crowd: &Crowd, what: Open) -> anyhow::Result<Stream> {
    let mut stream = crowd.connect(Buffer::Usual).await?;
    match what {
        Open::Http1 => {
            ask(&mut stream, "").await?;
            answer(&mut stream).await?;
        }
        Open::Http2 => {
            let begin = [frames::begin(&[]), frames::get(1, "/")].concat();
            write(&mut stream, &begin).await?;
            ended(&mut stream).await?;
        }
        Open::Streams => {
            let gets = (0..STREAMS)
                .zip((1..).step_by(2))
                .flat_map(|(_, number)| frames::get(number, NEVER));
            let begin: Vec<u8> = frames::begin(&[]).into_iter().chain(gets).collect();
            write(&mut stream, &begin).await?;
        }
        Open::WebSockets => {
            let ask = format!(
                "GET /ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            );
            write(&mut stream, ask.as_bytes()).await?;
            let mut text = Vec::new();
            while !text.ends_with(b"\r\n\r\n") {
                ensure!(stream.read_buf(&mut text).await? > 0, "closed before it was upgraded");
            }
            ensure!(text.starts_with(b"HTTP/1.1 101 "), "not upgraded");
        }
    }
    crowd.begins();
    Ok(stream)
}

/// Writes all: TLS keeps what the socket does not take at once, and reading does not send it.
async fn write(stream: &mut Stream, bytes: &[u8]) -> anyhow::Result<()> {
    stream.write_all(bytes).await?;
    Ok(stream.flush().await?)
}

/// Reads to the end of the first stream.
async fn ended(stream: &mut Stream) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    loop {
        while let Some(frame) = frames::next(&mut bytes) {
            if frame.stream == 1 && frame.kind <= HEADERS && frame.flags & END_STREAM != 0 {
                return Ok(());
            }
            ensure!(frame.kind != RST_STREAM, "the stream was reset");
        }
        ensure!(stream.read_buf(&mut bytes).await? > 0, "closed before the answer");
    }
}

/// Whether the other side has not closed; what it sent is forgotten.
fn is_open(socket: &TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match socket.try_read(&mut buffer) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
}

/// How many streams wait for their response still, of a connection in cleartext.
fn waiting(stream: &mut Stream) -> anyhow::Result<usize> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.socket().try_read(&mut buffer) {
            Ok(0) => return Ok(0),
            Ok(read) => bytes.extend(buffer.iter().take(read)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error).context("read"),
        }
    }
    let answered = std::iter::from_fn(|| frames::next(&mut bytes));
    let answered = answered.filter(|frame| matches!(frame.kind, HEADERS | RST_STREAM));
    Ok(STREAMS.saturating_sub(answered.count()))
}
