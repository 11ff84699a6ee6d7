//! The floods, and how each is carried out.

use futures::future::join_all;
use tenbin_hostile::frames::{
    self, DATA, END_STREAM, HEADERS, RST_STREAM, WINDOW_UPDATE, block, fields, frame, headers,
};
use tenbin_hostile::{Flood, slow};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::pour::{Reads, STANDS, drip, is_over, narrow, pour, secured, stand};
use super::{Over, Row, Slow, What};
use crate::recorder::{ENDLESS, NEVER};
use crate::row::Section;
use crate::world::{World, eventually};

/// Pieces of a flood, of which each is a stream or a hundred frames: many more than any of them may take.
const PIECES: usize = 20_000;
/// Connections of a flood of connections.
const CONNECTIONS: usize = 1000;

pub(crate) fn sections() -> Vec<Section<Row>> {
    let row = |name, answer, rule, what| Row {
        name,
        answer,
        rule,
        what,
    };
    let poured = |flood| What::Flood(flood, Reads::All);
    let flood = "9113 §10.5";
    let closed = "closed";
    vec![
        Section {
            title: "Floods over HTTP/2",
            intro: "Each over one connection, in cleartext and over TLS, for ever as far as the client is concerned. Another client is served meanwhile, the proxy's memory \
                    grows by less than 64 MiB, and at most 1,100 requests reach the endpoint.",
            rows: vec![
                row(
                    "streams that are reset at once",
                    closed,
                    "CVE-2023-44487 (rapid reset)",
                    poured(Flood::RapidReset),
                ),
                row(
                    "streams that we are made to reset",
                    closed,
                    "CVE-2025-8671 (MadeYouReset)",
                    poured(Flood::MadeYouReset),
                ),
                row(
                    "the same by a window that grows too far",
                    closed,
                    "CVE-2025-8671, 9113 §6.9.1",
                    poured(Flood::MadeYouResetByWindow),
                ),
                row(
                    "the same by DATA behind the end of the request",
                    closed,
                    "CVE-2025-8671, 9113 §5.1",
                    poured(Flood::MadeYouResetByData),
                ),
                row(
                    "the same by a stream that depends on itself",
                    closed,
                    "CVE-2025-8671, 9113 §5.3.1",
                    poured(Flood::MadeYouResetByPriority),
                ),
                row(
                    "CONTINUATION with fields, without an end",
                    closed,
                    "CVE-2024-27316",
                    poured(Flood::Continuation),
                ),
                row(
                    "empty CONTINUATION, without an end",
                    closed,
                    "CVE-2024-27316",
                    poured(Flood::EmptyContinuation),
                ),
                row(
                    "SETTINGS",
                    closed,
                    "9113 §10.5 (CVE-2019-9515)",
                    poured(Flood::Settings),
                ),
                row("PING", closed, "9113 §10.5 (CVE-2019-9512)", poured(Flood::Ping)),
                row(
                    "PING, of a client that does not read",
                    closed,
                    "9113 §10.5 (CVE-2019-9512)",
                    What::Flood(Flood::Ping, Reads::Nothing),
                ),
                row(
                    "PRIORITY",
                    closed,
                    "9113 §10.5 (CVE-2019-9513)",
                    poured(Flood::Priority),
                ),
                row(
                    "WINDOW_UPDATE, one byte each",
                    closed,
                    flood,
                    poured(Flood::WindowUpdate),
                ),
                row(
                    "empty DATA",
                    closed,
                    "9113 §10.5 (CVE-2019-9518)",
                    poured(Flood::EmptyData),
                ),
                row(
                    "frames of unknown types",
                    closed,
                    "9113 §5.5, §10.5",
                    poured(Flood::UnknownFrames),
                ),
                row(
                    "a field of 4 KiB, 15,000 times by reference, in each stream",
                    closed,
                    "7541 §7.3 (HPACK bomb)",
                    poured(Flood::HpackBomb),
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
                    What::Slow(Slow::ZeroWindow),
                ),
                row(
                    "100 streams whose client does not read (HTTP/2)",
                    "cut after `idleTimeout`",
                    "9113 §10.5 (CVE-2019-9517)",
                    What::Slow(Slow::Reader2),
                ),
                row(
                    "half a header block (HTTP/2)",
                    "closed after `idleTimeout`",
                    flood,
                    What::Slow(Slow::Block),
                ),
                row(
                    "a body that stands still (HTTP/2)",
                    "408 or RST_STREAM after `idleTimeout`",
                    flood,
                    What::Slow(Slow::Body2),
                ),
                row(
                    "half of HTTP/2's preface",
                    "closed after `headerTimeout`",
                    "9113 §3.4",
                    What::Slow(Slow::Preface),
                ),
                row(
                    "headers byte by byte",
                    "408, closed after `headerTimeout`",
                    "9110 §15.5.9 (Slowloris)",
                    What::Slow(Slow::Headers),
                ),
                row(
                    "a body that stands still",
                    "408, closed after `idleTimeout`",
                    "9110 §15.5.9 (R.U.D.Y.)",
                    What::Slow(Slow::Body),
                ),
                row(
                    "a chunk that stands still",
                    "408, closed after `idleTimeout`",
                    "9110 §15.5.9 (R.U.D.Y.)",
                    What::Slow(Slow::Chunk),
                ),
                row(
                    "a client that does not read its answer",
                    "cut after `idleTimeout`",
                    "slow read",
                    What::Slow(Slow::Reader1),
                ),
                row(
                    "a client that says nothing",
                    "closed after `headerTimeout`",
                    "9112 §9.5",
                    What::Slow(Slow::Silence),
                ),
                row(
                    "1,000 connections with half of their headers each",
                    "each 408, closed after `headerTimeout`",
                    "9110 §15.5.9 (Slowloris)",
                    What::Slow(Slow::Connections),
                ),
                row(
                    "half of a ClientHello, over TLS",
                    "closed after `headerTimeout`",
                    "8446 §4.1.2",
                    What::Slow(Slow::Handshake),
                ),
                row(
                    "what is no ClientHello, over TLS",
                    closed,
                    "8446 §5.1",
                    What::Slow(Slow::NoHandshake),
                ),
                row(
                    "1,000 connections with half of a ClientHello each, over TLS",
                    "each closed after `headerTimeout`",
                    "8446 §4.1.2",
                    What::Slow(Slow::Handshakes),
                ),
            ],
        },
    ]
}

pub(super) async fn run(what: What, over: Over, world: &World) -> Result<(), String> {
    match what {
        What::Flood(flood, reads) => poured(flood, reads, over, world).await,
        What::Slow(what) => match what {
            Slow::ZeroWindow | Slow::Reader2 | Slow::Reader1 => unread(what, world).await,
            Slow::Block | Slow::Body2 | Slow::Preface => slow2(what, world).await,
            Slow::Handshake | Slow::NoHandshake | Slow::Handshakes => handshakes(what, world).await,
            _ => slow1(what, world).await,
        },
    }
}

async fn connect(world: &World) -> TcpStream {
    let stream = TcpStream::connect(world.web).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Over a connection that is not idle: one of its requests is never answered.
async fn poured(flood: Flood, reads: Reads, over: Over, world: &World) -> Result<(), String> {
    let address = match over {
        Over::Cleartext => world.web,
        Over::Tls => world.secure,
    };
    let stream = match reads {
        Reads::All => TcpStream::connect(address).await.unwrap(),
        Reads::Nothing => narrow(address).await,
    };
    stream.set_nodelay(true).unwrap();
    let (first, pieces) = (flood.first(NEVER, NEVER), flood.pieces(NEVER).take(PIECES));
    match over {
        Over::Cleartext => pour(stream, first, pieces, reads).await,
        Over::Tls => pour(secured(stream, world.certificate.clone()).await, first, pieces, reads).await,
    }
}

/// Answers without end for a client that takes none of them.
async fn unread(what: Slow, world: &World) -> Result<(), String> {
    let gets = |n: u32| {
        (0..n)
            .flat_map(|n| frames::get(2 * n + 1, ENDLESS))
            .collect::<Vec<u8>>()
    };
    const INITIAL_WINDOW: u16 = 4;
    let (input, streams) = match what {
        Slow::ZeroWindow => ([frames::begin(&[(INITIAL_WINDOW, 0)]), gets(200)].concat(), 200),
        Slow::Reader2 => {
            let window = frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes());
            (
                [frames::begin(&[(INITIAL_WINDOW, 0x7fff_ffff)]), window, gets(100)].concat(),
                100,
            )
        }
        _ => (slow::get(ENDLESS), 1),
    };
    let mut stream = narrow(world.web).await;
    stream.write_all(&input).await.unwrap();
    let asked = || (world.endpoint.requests() >= streams).then_some(());
    eventually("each stream's request", STANDS, asked).await?;
    let cut = || {
        let record = world.endpoint.record();
        let mut asked = record.seen.iter().map(|seen| seen.connection);
        asked.all(|number| record.connections[number].closed).then_some(())
    };
    eventually("the end of each answer", STANDS, cut).await?;
    if what == Slow::Reader1 && !is_over(&mut stream).await {
        return Err("the client's connection is not closed".to_owned());
    }
    Ok(())
}

/// Slow over HTTP/1.1.
async fn slow1(what: Slow, world: &World) -> Result<(), String> {
    let is_told = |said: &[u8]| match said.starts_with(b"HTTP/1.1 408 ") {
        true => Ok(()),
        false => Err(format!("it is told {:?}", String::from_utf8_lossy(said))),
    };
    let still = |input: Vec<u8>| async move {
        let said = stand(connect(world).await, input).await?;
        is_told(&said)
    };
    match what {
        Slow::Headers => {
            let said = drip(connect(world).await, slow::HEADERS, b'x').await?;
            is_told(&said)
        }
        Slow::Body => still([slow::body("/", 10), b"hello".to_vec()].concat()).await,
        Slow::Chunk => still([slow::chunked("/"), b"5\r\nhe".to_vec()].concat()).await,
        Slow::Silence => {
            let said = stand(connect(world).await, Vec::new()).await?;
            if said.is_empty() { Ok(()) } else { is_told(&said) }
        }
        _ => {
            // Each sends what it has before the next one connects: the time for it begins when it connects.
            let mut streams = Vec::new();
            for _ in 0..CONNECTIONS {
                let mut stream = connect(world).await;
                let sent = stream.write_all(slow::HEADERS).await;
                sent.map_err(|error| error.to_string())?;
                streams.push(stream);
            }
            let told = |stream| async move { is_told(&stand(stream, Vec::new()).await?) };
            let ended = join_all(streams.into_iter().map(told)).await;
            ended.into_iter().collect()
        }
    }
}

/// Handshakes that do not go on. Nobody is answered in HTTP.
async fn handshakes(what: Slow, world: &World) -> Result<(), String> {
    let (input, connections) = match what {
        Slow::Handshake => (slow::HALF_HELLO.to_vec(), 1),
        Slow::NoHandshake => (slow::get("/"), 1),
        _ => (slow::HALF_HELLO.to_vec(), CONNECTIONS),
    };
    let each = || async {
        let stream = TcpStream::connect(world.secure).await.unwrap();
        match stand(stream, input.clone()).await?.starts_with(b"HTTP") {
            true => Err("it is answered in cleartext".to_owned()),
            false => Ok(()),
        }
    };
    let ended = join_all((0..connections).map(|_| each())).await;
    ended.into_iter().collect()
}

/// Slow over HTTP/2: what it began stands still.
async fn slow2(what: Slow, world: &World) -> Result<(), String> {
    let input = match what {
        Slow::Block => [
            frames::begin(&[]),
            frame(HEADERS, END_STREAM, 1, &block(&fields("GET", "/"))),
        ]
        .concat(),
        Slow::Preface => slow::HALF_PREFACE.to_vec(),
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
    if what == Slow::Body2 && !frames.any(is_told) {
        return Err("its stream is not told".to_owned());
    }
    Ok(())
}
