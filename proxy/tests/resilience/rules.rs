//! Endpoints that break the rules of HTTP/2 (RFC 9113), or stretch them, frame by frame: what their clients get, and what they are told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use h2::Reason;
use tenbin_model::UpstreamProtocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::by_hand::{advance, by_hand, until};
use crate::call::{Ask, Call, Over};
use crate::client::{Got, get, request, send};
use crate::world::{Settings, World, eventually};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The preface of a client (§3.4).
const PREFACE: usize = 24;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header as it is (RFC 7541 §6.2.2), its name new.
fn header(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        bytes.push(u8::try_from(text.len()).unwrap());
        bytes.extend(text.bytes());
    }
    bytes
}

/// The head of a response.
fn head(status: u16, flags: u8, stream: u32, more: &[u8]) -> Vec<u8> {
    let mut block = header(":status", &status.to_string());
    block.extend(more);
    frame(HEADERS, END_HEADERS | flags, stream, &block)
}

/// What an endpoint was told.
#[derive(Debug, Default)]
struct Told {
    connections: usize,
    requests: usize,
    pings: usize,
    /// The reasons of resets.
    resets: Vec<u32>,
    /// The reason why a connection ended.
    ends: Vec<u32>,
    /// Connections that are over.
    over: usize,
}

/// What is written after a request on this stream.
type Answer = fn(u32) -> Vec<u8>;
/// What is written after the preface.
type Opening = fn() -> Vec<u8>;

/// An endpoint that answers each request with bytes of its own choice.
#[derive(Clone)]
struct Endpoint {
    address: SocketAddr,
    told: Arc<Mutex<Told>>,
}

/// What is written: after the preface, and after a request; and whether the connection is closed then.
#[derive(Clone, Copy)]
struct Script {
    opening: Opening,
    answer: Answer,
    closes: bool,
}

impl Endpoint {
    async fn new(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint {
            address: listener.local_addr().unwrap(),
            told: Arc::default(),
        };
        let accepting = endpoint.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let endpoint = accepting.clone();
                endpoint.told().connections += 1;
                tokio::spawn(async move {
                    let _ = endpoint.serve(stream, script).await;
                    endpoint.told().over += 1;
                });
            }
        });
        endpoint
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap()
    }

    async fn serve(&self, stream: TcpStream, script: Script) -> std::io::Result<()> {
        let (mut read, mut write) = stream.into_split();
        read.read_exact(&mut [0; PREFACE]).await?;
        write.write_all(&(script.opening)()).await?;
        loop {
            let mut bytes = [0; 9];
            read.read_exact(&mut bytes).await?;
            let [a, b, c, kind, flags, stream @ ..] = bytes;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            read.read_exact(&mut payload).await?;
            let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
            match kind {
                SETTINGS if flags == 0 && !(script.opening)().is_empty() => {
                    write.write_all(&frame(SETTINGS, 1, 0, &[])).await?;
                }
                PING => self.told().pings += 1,
                RST_STREAM => self.told().resets.push(number(0)),
                GOAWAY => self.told().ends.push(number(4)),
                HEADERS => {
                    self.told().requests += 1;
                    let answer = (script.answer)(u32::from_be_bytes(stream));
                    if script.closes {
                        write.write_all(&answer).await?;
                        return Ok(());
                    }
                    // Beside what it reads: what it is told may come before it is through.
                    let mut sending = write;
                    let sent = tokio::spawn(async move { sending.write_all(&answer).await.map(|()| sending) });
                    let mut rest = Vec::new();
                    let Ok(Ok(writes)) = sent.await else {
                        let _ = read.read_to_end(&mut rest).await;
                        self.tells(&rest);
                        return Ok(());
                    };
                    write = writes;
                }
                _ => {}
            }
        }
    }

    /// What stands in all that was left to be read.
    fn tells(&self, mut bytes: &[u8]) {
        while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
            let Some((payload, rest)) = rest.split_at_checked(u32::from_be_bytes([0, *a, *b, *c]) as usize) else {
                return;
            };
            let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
            match *kind {
                RST_STREAM => self.told().resets.push(number(0)),
                GOAWAY => self.told().ends.push(number(4)),
                _ => {}
            }
            bytes = rest;
        }
    }

    fn world(&self) -> World {
        World::of(&[self.address], http2)
    }
}

fn http2(settings: &mut Settings) {
    settings.cluster.protocol = UpstreamProtocol::Http2;
    settings.cluster.connect_timeout = Duration::from_secs(2);
}

fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[])
}

fn well(stream: u32) -> Vec<u8> {
    [head(200, 0, stream, &[]), frame(DATA, END_STREAM, stream, b"ok")].concat()
}

async fn answering(answer: Answer) -> (Endpoint, World) {
    let endpoint = Endpoint::new(Script {
        opening: settings,
        answer,
        closes: false,
    })
    .await;
    let world = endpoint.world();
    (endpoint, world)
}

fn summary(got: &Got) -> (Option<u16>, bool) {
    (got.status, got.whole)
}

#[tokio::test]
async fn who_only_makes_work_is_left() {
    let floods: [(&str, Answer); 5] = [
        ("PING", |_| frame(PING, 0, 0, &[0; 8]).repeat(20_000)),
        ("SETTINGS", |_| frame(SETTINGS, 0, 0, &[]).repeat(20_000)),
        ("WINDOW_UPDATE", |_| {
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(20_000)
        }),
        ("unknown", |_| frame(0x20, 0, 0, b"?").repeat(20_000)),
        ("CONTINUATION", |stream| {
            let begin = frame(HEADERS, 0, stream, &header(":status", "200"));
            [begin, frame(CONTINUATION, 0, stream, &[]).repeat(20_000)].concat()
        }),
    ];
    for (name, flood) in floods {
        let (endpoint, world) = answering(flood).await;
        let got = send(world.address, &request("POST", 0)).await;
        assert_eq!((got.status, world.codes()), (Some(502), vec!["UPE"]), "{name}");
        assert!(world.is_blamed(endpoint.address), "{name}");
        eventually(name, || endpoint.told().over == 1).await;
        assert_eq!(endpoint.told().requests, 1, "{name}");
    }
}

#[tokio::test]
async fn empty_pieces_of_a_body_without_end_are_too_many_and_small_ones_are_not() {
    let (endpoint, world) = answering(|stream| {
        let empty = frame(DATA, 0, stream, &[]).repeat(20_000);
        [head(200, 0, stream, &[]), empty].concat()
    })
    .await;
    assert_eq!(summary(&get(world.address).await), (Some(200), false));
    eventually("it is left", || endpoint.told().over == 1).await;
    let (endpoint, world) = answering(|stream| {
        let small = frame(DATA, 0, stream, b"x").repeat(20_000);
        [head(200, 0, stream, &[]), small, frame(DATA, END_STREAM, stream, b"")].concat()
    })
    .await;
    for _ in 0..3 {
        let got = get(world.address).await;
        assert_eq!(summary(&got), (Some(200), true));
        assert_eq!(got.text().matches('x').count(), 20_000);
    }
    assert_eq!(endpoint.told().connections, 1);
}

#[tokio::test]
async fn a_malformed_response_ends_its_request_alone() {
    const LARGE: usize = 70 << 10;
    let rows: [(&str, Answer, u16); 7] = [
        (
            "a head that is too large",
            |stream| {
                let block = header("x-large", &"y".repeat(100)).repeat(LARGE / 100);
                let mut frames = frame(HEADERS, 0, stream, &header(":status", "200"));
                for part in block.chunks(16 << 10) {
                    frames.extend(frame(CONTINUATION, 0, stream, part));
                }
                [frames, frame(CONTINUATION, END_HEADERS, stream, &[])].concat()
            },
            502,
        ),
        (
            "no status",
            |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &header("x-a", "b")),
            502,
        ),
        (
            "upper case",
            |stream| head(200, END_STREAM, stream, &header("X-A", "b")),
            502,
        ),
        (
            "a header of HTTP/1.1",
            |stream| head(200, END_STREAM, stream, &header("connection", "close")),
            502,
        ),
        ("a switch of protocols", |stream| head(101, 0, stream, &[]), 502),
        (
            "less than its length",
            |stream| {
                let length = head(200, 0, stream, &header("content-length", "5"));
                [length, frame(DATA, END_STREAM, stream, b"few")].concat()
            },
            200,
        ),
        (
            "a status in trailers",
            |stream| {
                let body = [head(200, 0, stream, &[]), frame(DATA, 0, stream, b"body")].concat();
                [body, head(200, END_STREAM, stream, &[])].concat()
            },
            200,
        ),
    ];
    for (name, answer, status) in rows {
        let (endpoint, world) = answering(answer).await;
        for n in 1..=3 {
            let got = send(world.address, &request("POST", 0)).await;
            assert_eq!(got.status, Some(status), "{name}");
            assert!(!got.whole || status == 502, "{name}");
            eventually(name, || endpoint.told().resets.len() == n).await;
        }
        let code = if status == 502 { "UPE" } else { "UR" };
        assert_eq!(world.codes(), [code], "{name}");
        assert_eq!(endpoint.told().connections, 1, "{name}");
    }
}

#[tokio::test]
async fn more_than_the_windows_allow_is_not_taken() {
    let (endpoint, world) = answering(|stream| {
        let data = frame(DATA, 0, stream, &vec![b'x'; 16 << 10]);
        [head(200, 0, stream, &[]), data.repeat(4 << 10)].concat()
    })
    .await;
    // It reads nothing, so that nothing more is asked for.
    let mut client = TcpStream::connect(world.address).await.unwrap();
    client.write_all(request("GET", 0).as_bytes()).await.unwrap();
    let flow = u32::from(Reason::FLOW_CONTROL_ERROR);
    eventually("it is told", || {
        let told = endpoint.told();
        told.resets.contains(&flow) || told.ends.contains(&flow) || told.over == 1
    })
    .await;
    drop(client);
    eventually("it is counted", || world.codes() == ["UR"] || world.codes() == ["DC"]).await;
}

#[tokio::test]
async fn a_body_that_breaks_off_is_told() {
    let (_, world) = answering(|stream| {
        let reset = frame(RST_STREAM, 0, stream, &2_u32.to_be_bytes());
        [head(200, 0, stream, &[]), reset].concat()
    })
    .await;
    assert_eq!(summary(&get(world.address).await), (Some(200), false));
    assert_eq!(world.codes(), ["UR"]);
    let endpoint = Endpoint::new(Script {
        opening: settings,
        answer: |stream| [head(200, 0, stream, &[]), frame(DATA, 0, stream, b"half")].concat(),
        closes: true,
    })
    .await;
    let world = endpoint.world();
    assert_eq!(summary(&get(world.address).await), (Some(200), false));
    assert_eq!(world.codes(), ["UR"]);
}

#[tokio::test]
async fn an_endpoint_that_leaves_in_the_middle_ends_what_it_began() {
    let (endpoint, world) = answering(|stream| {
        let leaves = [stream.to_be_bytes(), [0; 4]].concat();
        [
            head(200, 0, stream, &[]),
            frame(DATA, 0, stream, b"ha"),
            frame(GOAWAY, 0, 0, &leaves),
            frame(DATA, END_STREAM, stream, b"lf"),
        ]
        .concat()
    })
    .await;
    for n in 1..=3 {
        let got = get(world.address).await;
        assert_eq!(summary(&got), (Some(200), true));
        assert!(got.text().contains("ha") && got.text().contains("lf"), "{got:?}");
        eventually("it is closed", || endpoint.told().over == n).await;
        assert_eq!(endpoint.told().connections, n);
    }
    assert!(world.codes().is_empty());
}

#[tokio::test]
async fn informational_responses_are_told_up_to_a_bound() {
    fn answer(stream: u32, count: usize) -> Vec<u8> {
        let hint = head(103, 0, stream, &header("link", "</a>"));
        [hint.repeat(count), well(stream)].concat()
    }
    let rows: [(Answer, &str); 2] = [
        (|stream| answer(stream, 16), "200"),
        (|stream| answer(stream, 17), "502"),
    ];
    for (answer, status) in rows {
        let (_, world) = answering(answer).await;
        let mut client = TcpStream::connect(world.address).await.unwrap();
        client.write_all(request("GET", 0).as_bytes()).await.unwrap();
        let mut got = String::new();
        client.read_to_string(&mut got).await.unwrap();
        assert_eq!(got.matches("HTTP/1.1 103").count(), 16, "{got}");
        assert_eq!(got.matches("link: </a>").count(), 16, "{got}");
        assert!(got.contains(&format!("\r\n\r\nHTTP/1.1 {status}")), "{got}");
    }
}

#[tokio::test]
async fn a_connection_is_one_when_its_endpoint_has_said_what_it_takes() {
    let none: Opening = Vec::new;
    let rows: [(&str, Opening, &str); 4] = [
        ("silence", none, "UFT"),
        (
            "HTTP/1.1",
            || b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_vec(),
            "UF",
        ),
        ("no settings", || frame(PING, 0, 0, &[0; 8]), "UF"),
        ("no stream", || frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 0]), "UR"),
    ];
    for (name, opening, code) in rows {
        let endpoint = Endpoint::new(Script {
            opening,
            answer: well,
            closes: false,
        })
        .await;
        let world = endpoint.world();
        let got = send(world.address, &request("POST", 10)).await;
        assert_eq!((got.status, world.codes()), (Some(503), vec![code]), "{name}");
        assert_eq!(endpoint.told().requests, 0, "{name}");
        assert_eq!(world.is_blamed(endpoint.address), code != "UR", "{name}");
        let (works, _) = answering(well).await;
        let both = World::of(&[endpoint.address, works.address], |s| {
            http2(s);
            s.reserve = 1;
        });
        let got = send(both.address, &request("POST", 10)).await;
        assert_eq!(got.status, Some(200), "{name}: nothing was sent");
    }
}

#[test]
fn one_that_gives_no_sign_of_life_is_left() {
    by_hand(Box::pin(async {
        let endpoint = Endpoint::new(Script {
            opening: settings,
            answer: |_| Vec::new(),
            closes: false,
        })
        .await;
        let world = World::here(&[endpoint.address], http2);
        let ask = Ask {
            method: "POST",
            body: 0,
            sent: 0,
        };
        let call = Call::begin(Over::Http1, world.address, ask);
        until("it has the request", || endpoint.told().requests == 1).await;
        assert_eq!(endpoint.told().pings, 0);
        advance(Duration::from_secs(21)).await;
        until("it is asked", || endpoint.told().pings == 1).await;
        assert!(!call.is_over());
        advance(Duration::from_secs(11)).await;
        until("the client knows", || call.is_over()).await;
        assert_eq!((call.got().0, world.codes()), (Some(502), vec!["UC"]));
        until("it is left", || endpoint.told().over == 1).await;
    }));
}
