//! The floods, and how each is carried out.

use futures::future::join_all;
use tokio::net::TcpStream;

use super::pour::{Reads, STANDS, drip, is_over, narrow, pour, stand};
use super::{Flood, Row};
use crate::http2::frames::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    block, fields, frame, headers,
};
use crate::recorder::{ENDLESS, NEVER};
use crate::row::Section;
use crate::world::{World, eventually};

/// Frames of a flood: many more than any of them may take.
const FRAMES: usize = 100_000;
/// Frames in one write.
const BATCH: usize = 100;
/// Streams of a flood of streams.
const STREAMS: u32 = 20_000;
/// Connections of a flood of connections.
const CONNECTIONS: usize = 1000;

pub(crate) fn sections() -> Vec<Section<Row>> {
    let row = |name, answer, rule, flood| Row {
        name,
        answer,
        rule,
        flood,
    };
    let flood = "9113 §10.5";
    let closed = "closed";
    vec![
        Section {
            title: "Floods over HTTP/2",
            intro: "Each over one connection, for ever as far as the client is concerned. Another client is served meanwhile, the proxy's memory \
                    grows by less than 64 MiB, and at most 1,100 requests reach the endpoint.",
            rows: vec![
                row(
                    "streams that are reset at once",
                    closed,
                    "CVE-2023-44487 (rapid reset)",
                    Flood::RapidReset,
                ),
                row(
                    "streams that we are made to reset",
                    closed,
                    "CVE-2025-8671 (MadeYouReset)",
                    Flood::MadeYouReset,
                ),
                row(
                    "CONTINUATION with fields, without an end",
                    closed,
                    "CVE-2024-27316",
                    Flood::Continuation,
                ),
                row(
                    "empty CONTINUATION, without an end",
                    closed,
                    "CVE-2024-27316",
                    Flood::EmptyContinuation,
                ),
                row("SETTINGS", closed, "9113 §10.5 (CVE-2019-9515)", Flood::Settings),
                row("PING", closed, "9113 §10.5 (CVE-2019-9512)", Flood::Ping),
                row(
                    "PING, of a client that does not read",
                    closed,
                    "9113 §10.5 (CVE-2019-9512)",
                    Flood::PingUnread,
                ),
                row("PRIORITY", closed, "9113 §10.5 (CVE-2019-9513)", Flood::Priority),
                row("WINDOW_UPDATE, one byte each", closed, flood, Flood::WindowUpdate),
                row("empty DATA", closed, "9113 §10.5 (CVE-2019-9518)", Flood::EmptyData),
                row(
                    "frames of unknown types",
                    closed,
                    "9113 §5.5, §10.5",
                    Flood::UnknownFrames,
                ),
                row(
                    "a field of 4 KiB, 15,000 times by reference, in each stream",
                    closed,
                    "7541 §7.3 (HPACK bomb)",
                    Flood::HpackBomb,
                ),
            ],
        },
        Section {
            title: "Slow peers, and many of them",
            intro: "The same bounds. The times are the listener's `headerTimeout` and `idleTimeout` and the route's `idleTimeout`.",
            rows: vec![
                row(
                    "200 streams whose client opens no window (HTTP/2)",
                    "cut after `idleTimeout`",
                    "9113 §10.5 (CVE-2019-9517)",
                    Flood::ZeroWindow,
                ),
                row(
                    "100 streams whose client does not read (HTTP/2)",
                    "cut after `idleTimeout`",
                    "9113 §10.5 (CVE-2019-9517)",
                    Flood::SlowReader2,
                ),
                row(
                    "half a header block (HTTP/2)",
                    "closed after `idleTimeout`",
                    flood,
                    Flood::SlowBlock,
                ),
                row(
                    "a body that stands still (HTTP/2)",
                    "408 or RST_STREAM after `idleTimeout`",
                    flood,
                    Flood::SlowBody2,
                ),
                row(
                    "half of HTTP/2's preface",
                    "closed after `headerTimeout`",
                    "9113 §3.4",
                    Flood::SlowPreface,
                ),
                row(
                    "headers byte by byte",
                    "408, closed after `headerTimeout`",
                    "9110 §15.5.9 (Slowloris)",
                    Flood::SlowHeaders,
                ),
                row(
                    "a body that stands still",
                    "408, closed after `idleTimeout`",
                    "9110 §15.5.9 (R.U.D.Y.)",
                    Flood::SlowBody,
                ),
                row(
                    "a chunk that stands still",
                    "408, closed after `idleTimeout`",
                    "9110 §15.5.9 (R.U.D.Y.)",
                    Flood::SlowChunk,
                ),
                row(
                    "a client that does not read its answer",
                    "cut after `idleTimeout`",
                    "slow read",
                    Flood::SlowReader1,
                ),
                row(
                    "a client that says nothing",
                    "closed after `headerTimeout`",
                    "9112 §9.5",
                    Flood::Silence,
                ),
                row(
                    "1,000 connections with half of their headers each",
                    "each 408, closed after `headerTimeout`",
                    "9110 §15.5.9 (Slowloris)",
                    Flood::Connections,
                ),
            ],
        },
    ]
}

pub(super) async fn run(flood: Flood, world: &World) -> Result<(), String> {
    match flood {
        Flood::RapidReset | Flood::MadeYouReset | Flood::HpackBomb => streams(flood, world).await,
        Flood::ZeroWindow | Flood::SlowReader2 | Flood::SlowReader1 => unread(flood, world).await,
        Flood::SlowHeaders | Flood::SlowBody | Flood::SlowChunk | Flood::Silence | Flood::Connections => {
            slow(flood, world).await
        }
        Flood::SlowBlock | Flood::SlowBody2 | Flood::SlowPreface => slow2(flood, world).await,
        _ => repeated(flood, world).await,
    }
}

async fn connect(world: &World) -> TcpStream {
    let stream = TcpStream::connect(world.web).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// The beginning of a connection that is not idle: one of its requests is never answered.
fn busy() -> Vec<u8> {
    [frames::begin(&[]), frames::get(1, NEVER)].concat()
}

/// The same frame over and over.
async fn repeated(flood: Flood, world: &World) -> Result<(), String> {
    let mut first = busy();
    let mut reads = Reads::All;
    let open_block = frame(HEADERS, END_STREAM, 3, &block(&fields("GET", NEVER)));
    let again = match flood {
        Flood::Continuation => {
            first.extend(open_block);
            frame(CONTINUATION, 0, 3, &block(&[("x".to_owned(), vec![b'x'; 1 << 10])]))
        }
        Flood::EmptyContinuation => {
            first.extend(open_block);
            frame(CONTINUATION, 0, 3, b"")
        }
        Flood::Settings => frame(SETTINGS, 0, 0, b""),
        Flood::Ping => frame(PING, 0, 0, &[0; 8]),
        Flood::PingUnread => {
            reads = Reads::Nothing;
            frame(PING, 0, 0, &[0; 8])
        }
        Flood::Priority => frame(PRIORITY, 0, 5, &[0, 0, 0, 3, 1]),
        Flood::WindowUpdate => frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()),
        Flood::EmptyData => {
            first.extend(headers(3, 0, &block(&fields("POST", NEVER))));
            frame(DATA, 0, 3, b"")
        }
        _ => frame(0xfa, 0, 0, b"unknown"),
    };
    let batch = again.repeat(BATCH);
    let stream = match reads {
        Reads::All => connect(world).await,
        Reads::Nothing => narrow(world.web).await,
    };
    let batches = std::iter::repeat_n(batch, FRAMES / BATCH);
    pour(stream, first, batches, reads).await
}

/// One stream after the other.
async fn streams(flood: Flood, world: &World) -> Result<(), String> {
    let pieces = (0..STREAMS).map(|n| {
        let id = 2 * n + 3;
        match flood {
            Flood::RapidReset => {
                let cancel = 8_u32.to_be_bytes();
                [frames::get(id, NEVER), frame(RST_STREAM, 0, id, &cancel)].concat()
            }
            // No window grows by nothing (RFC 9113 §6.9): that is an error of the stream.
            Flood::MadeYouReset => [frames::get(id, NEVER), frame(WINDOW_UPDATE, 0, id, &[0; 4])].concat(),
            _ => frame(HEADERS, END_STREAM | END_HEADERS, id, &bomb(n == 0)),
        }
    });
    pour(connect(world).await, busy(), pieces, Reads::All).await
}

/// A header block that is a thousand times what it looks like: a reference to one large field, again and again.
fn bomb(is_first: bool) -> Vec<u8> {
    let mut bomb = block(&fields("GET", NEVER));
    if is_first {
        // A literal that is indexed: 4,000 bytes of value, the table has room for 4,096 in all.
        bomb.extend([0x40, 1, b'x', 127, 0xa1, 0x1e]);
        bomb.extend([b'x'; 4000]);
    }
    let room = 16_000 - bomb.len();
    // The newest field of the dynamic table.
    bomb.extend(std::iter::repeat_n(0xbe, room.min(15_000)));
    bomb
}

/// Answers without end for a client that takes none of them.
async fn unread(flood: Flood, world: &World) -> Result<(), String> {
    let gets = |n: u32| {
        (0..n)
            .flat_map(|n| frames::get(2 * n + 1, ENDLESS))
            .collect::<Vec<u8>>()
    };
    const INITIAL_WINDOW: u16 = 4;
    let (input, streams) = match flood {
        Flood::ZeroWindow => ([frames::begin(&[(INITIAL_WINDOW, 0)]), gets(200)].concat(), 200),
        Flood::SlowReader2 => {
            let window = frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes());
            (
                [frames::begin(&[(INITIAL_WINDOW, 0x7fff_ffff)]), window, gets(100)].concat(),
                100,
            )
        }
        _ => (format!("GET {ENDLESS} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes(), 1),
    };
    let mut stream = narrow(world.web).await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, &input).await.unwrap();
    let asked = || (world.endpoint.requests() >= streams).then_some(());
    eventually("each stream's request", STANDS, asked).await?;
    let cut = || {
        let record = world.endpoint.record();
        let mut asked = record.seen.iter().map(|seen| seen.connection);
        asked.all(|number| record.connections[number].closed).then_some(())
    };
    eventually("the end of each answer", STANDS, cut).await?;
    if matches!(flood, Flood::SlowReader1) && !is_over(&mut stream).await {
        return Err("the client's connection is not closed".to_owned());
    }
    Ok(())
}

/// Slow over HTTP/1.1.
async fn slow(flood: Flood, world: &World) -> Result<(), String> {
    let is_told = |said: &[u8]| match said.starts_with(b"HTTP/1.1 408 ") {
        true => Ok(()),
        false => Err(format!("it is told {:?}", String::from_utf8_lossy(said))),
    };
    let still = |text: &'static [u8]| async move {
        let said = stand(connect(world).await, text.to_vec()).await?;
        is_told(&said)
    };
    match flood {
        Flood::SlowHeaders => {
            let said = drip(connect(world).await, b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b'x').await?;
            is_told(&said)
        }
        Flood::SlowBody => still(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello").await,
        Flood::SlowChunk => still(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe").await,
        Flood::Silence => {
            let said = stand(connect(world).await, Vec::new()).await?;
            if said.is_empty() { Ok(()) } else { is_told(&said) }
        }
        _ => {
            let each = || still(b"GET / HTTP/1.1\r\nHost: a\r\nX: ");
            let ended = join_all((0..CONNECTIONS).map(|_| each())).await;
            ended.into_iter().collect()
        }
    }
}

/// Slow over HTTP/2: what it began stands still.
async fn slow2(flood: Flood, world: &World) -> Result<(), String> {
    let input = match flood {
        Flood::SlowBlock => [
            frames::begin(&[]),
            frame(HEADERS, END_STREAM, 1, &block(&fields("GET", "/"))),
        ]
        .concat(),
        Flood::SlowPreface => frames::PREFACE[..20].to_vec(),
        _ => {
            let head = headers(1, 0, &block(&fields("POST", "/")));
            [frames::begin(&[]), head, frame(DATA, 0, 1, b"hello")].concat()
        }
    };
    let mut said = stand(connect(world).await, input).await?;
    let mut frames = std::iter::from_fn(|| frames::next(&mut said));
    let is_told = |frame: frames::Frame| match frame.kind {
        RST_STREAM => true,
        HEADERS => frames::status(&frame.payload) == Some(408),
        _ => false,
    };
    if flood == Flood::SlowBody2 && !frames.any(is_told) {
        return Err("its stream is not told".to_owned());
    }
    Ok(())
}
