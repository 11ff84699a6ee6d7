//! Our server with the h2 crate's client, and the other way round: bodies are echoed, with trailers, in small windows, many streams at a
//! time, some of them reset.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io::IoSlice;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use tenbin_http2::{Config, Connection, Event, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a test may take.
const PATIENCE: Duration = Duration::from_secs(60);

const STREAMS: usize = 40;

/// The lengths of bodies: around frames and windows.
fn length(n: usize) -> usize {
    [0, 1, 100, 16_383, 16_384, 16_385, 65_535, 65_536, 150_000][n % 9]
}

fn body(n: usize) -> Bytes {
    (0..length(n)).map(|at| ((at * 7) ^ (at >> 9) ^ n) as u8).collect()
}

fn trailers(n: usize) -> HeaderMap {
    HeaderMap::from_iter([("t".parse().unwrap(), HeaderValue::from(n))])
}

/// Configurations that make the most of flow control, and the usual one.
fn configs() -> [Config; 3] {
    let config = Config {
        max_streams: 7,
        stream_window: 1000,
        connection_window: 0,
        output: 500,
        ..Config::default()
    };
    let wide = Config {
        stream_window: 1 << 20,
        output: 1 << 20,
        ..Config::default()
    };
    [config, wide, Config::default()]
}

/// Reads and writes for a connection until it is done or its peer is gone; `act` gets each event, and `None` when more may be sent.
async fn drive(mut io: DuplexStream, mut connection: Connection, mut act: impl FnMut(&mut Connection, Option<Event>)) {
    let mut input = BytesMut::new();
    let (mut read, mut write) = tokio::io::split(&mut io);
    loop {
        while let Some(event) = connection.next(&mut input).expect("the peer makes no errors") {
            act(&mut connection, Some(event));
        }
        act(&mut connection, None);
        if connection.is_done() {
            return;
        }
        let mut slices = [IoSlice::new(&[]); 8];
        let count = connection.output(&mut slices);
        let written = tokio::select! {
            written = write.write_vectored(&slices[..count]), if count > 0 => written.unwrap(),
            got = read.read_buf(&mut input) => match got {
                Ok(1..) => 0,
                _ => return,
            },
        };
        connection.wrote(written);
    }
}

/// Something to send on a stream.
#[derive(Default)]
struct Sending {
    data: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    is_ending: bool,
}

impl Sending {
    /// Sends what is taken; whether that is all.
    fn send(&mut self, connection: &mut Connection, stream: u32) -> bool {
        let is_all = self.is_ending && self.trailers.is_none();
        let mut left = self.data.len();
        while let Some(data) = self.data.front_mut() {
            let is_last = is_all && left == 1;
            left -= 1;
            connection.send_data(stream, data, is_last).unwrap();
            if !data.is_empty() {
                return false;
            }
            self.data.pop_front();
            if is_last {
                return true;
            }
        }
        if !self.is_ending {
            return false;
        }
        match self.trailers.take() {
            Some(trailers) => connection.send_trailers(stream, &trailers).unwrap(),
            None => assert_eq!(connection.send_data(stream, &mut Bytes::new(), true), Ok(0)),
        }
        true
    }
}

/// A server of ours: it echoes what it gets as it gets it.
async fn echo(io: DuplexStream, config: Config) {
    let mut streams: BTreeMap<u32, Sending> = BTreeMap::new();
    drive(io, Connection::server(config), |connection, event| match event {
        Some(Event::Request { stream, head, end }) => {
            if head.uri().path() == "/reset" {
                return connection.reset(stream, Reason::REFUSED_STREAM);
            }
            assert_eq!(
                (head.uri().scheme_str(), head.uri().host()),
                (Some("http"), Some("a.example"))
            );
            let mut response = Response::new(());
            *response.headers_mut() = head.headers().clone();
            connection.respond(stream, &response, false).unwrap();
            streams.entry(stream).or_default().is_ending = end;
        }
        Some(Event::Data { stream, data, end }) => {
            connection.release(stream, u32::try_from(data.len()).unwrap());
            if let Some(sending) = streams.get_mut(&stream) {
                sending.data.push_back(data);
                sending.is_ending = end;
            }
        }
        Some(Event::Trailers { stream, trailers }) => {
            let sending = streams.get_mut(&stream).unwrap();
            (sending.is_ending, sending.trailers) = (true, Some(trailers));
        }
        Some(Event::Reset { stream, by_peer, .. }) => {
            assert!(by_peer);
            streams.remove(&stream);
        }
        Some(Event::Window { .. } | Event::Settings | Event::GoAway { .. } | Event::Enough) => {}
        Some(event) => panic!("{event:?}"),
        None => streams.retain(|&stream, sending| !sending.send(connection, stream)),
    })
    .await;
}

/// Sends a body with the h2 crate, as its windows allow.
async fn send(
    stream: &mut h2::SendStream<Bytes>,
    mut data: Bytes,
    trailers: Option<HeaderMap>,
) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = match poll_fn(|context| stream.poll_capacity(context)).await {
            Some(room) => room?,
            None => return Ok(()),
        };
        stream.send_data(data.split_to(room.min(data.len())), false)?;
    }
    match trailers {
        Some(trailers) => stream.send_trailers(trailers),
        None => stream.send_data(Bytes::new(), true),
    }
}

async fn receive(mut stream: RecvStream) -> Result<(BytesMut, Option<HeaderMap>), h2::Error> {
    let mut all = BytesMut::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    Ok((all, stream.trailers().await?))
}

fn request(n: usize) -> Request<()> {
    let (method, path) = match n % 10 {
        8 => (Method::POST, "reset"),
        _ => (Method::PUT, "echo?x"),
    };
    let head = Request::builder()
        .method(method)
        .uri(format!("http://a.example/{path}"));
    // Some have more than goes in one frame.
    let large = if n % 10 == 5 { 20_000 } else { 10 };
    let head = head
        .header("x", "x".repeat(large))
        .header("n", n)
        .header("authorization", "secret");
    head.body(()).unwrap()
}

async fn ask(client: h2::client::SendRequest<Bytes>, n: usize) {
    let mut client = client.ready().await.unwrap();
    let (response, mut stream) = client.send_request(request(n), false).unwrap();
    if n % 10 == 9 {
        stream.send_data(Bytes::from_static(b"x"), false).unwrap();
        stream.send_reset(h2::Reason::CANCEL);
        return;
    }
    let with_trailers = (n % 2 == 1).then(|| trailers(n));
    let both = async { tokio::join!(send(&mut stream, body(n), with_trailers.clone()), response) };
    let (sent, response) = both.await;
    if n % 10 == 8 {
        let error = response.map(|_| ()).unwrap_err();
        assert_eq!(error.reason(), Some(h2::Reason::REFUSED_STREAM));
        return;
    }
    // The echo comes while we send only because all of it fits our windows: they are as large as can be.
    sent.unwrap();
    let response = response.unwrap();
    assert_eq!(response.headers(), request(n).headers());
    let (echoed, with) = receive(response.into_body()).await.unwrap();
    assert_eq!((echoed.freeze(), with), (body(n), with_trailers), "{n}");
}

#[tokio::test]
async fn a_client_of_h2() {
    for config in configs() {
        let config = Config {
            header_list: 64 << 10,
            ..config
        };
        for pipe in [100, 1 << 20] {
            let (ours, theirs) = duplex(pipe);
            let mut tasks = JoinSet::new();
            let server = tasks.spawn(echo(ours, config));
            let mut builder = h2::client::Builder::new();
            builder
                .initial_window_size(1 << 20)
                .initial_connection_window_size(1 << 30)
                .initial_max_send_streams(3);
            let (client, connection) = builder.handshake::<_, Bytes>(theirs).await.unwrap();
            tasks.spawn(async move { connection.await.unwrap() });
            for n in 0..STREAMS {
                tasks.spawn(ask(client.clone(), n));
            }
            drop(client);
            let all = async {
                while let Some(done) = tasks.join_next().await {
                    done.unwrap();
                }
            };
            timeout(PATIENCE, all).await.expect("an end");
            let _ = server;
        }
    }
}

/// A server of h2's that echoes.
async fn serve_with_h2(io: DuplexStream, window: u32) {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(window)
        .max_concurrent_streams(5)
        .max_header_list_size(64 << 10);
    let mut connection = builder.handshake::<_, Bytes>(io).await.unwrap();
    let mut tasks = JoinSet::new();
    while let Some(accepted) = connection.accept().await {
        let Ok((request, mut respond)) = accepted else { break };
        tasks.spawn(async move {
            if request.uri().path() == "/reset" {
                return respond.send_reset(h2::Reason::REFUSED_STREAM);
            }
            let mut response = Response::new(());
            *response.headers_mut() = request.headers().clone();
            let Ok((data, with)) = receive(request.into_body()).await else {
                return;
            };
            let Ok(mut stream) = respond.send_response(response, false) else {
                return;
            };
            // A client that gave up is none of its errors.
            let _ = send(&mut stream, data.freeze(), with).await;
        });
    }
    tasks.abort_all();
}

/// What our client got on a stream.
#[derive(Default)]
struct Got {
    n: usize,
    headers: HeaderMap,
    data: BytesMut,
    trailers: Option<HeaderMap>,
}

/// Our client: begins streams as many as the server takes; how many were echoed, and how many reset.
async fn ask_all(io: DuplexStream, config: Config) -> (usize, usize) {
    let mut next = 0;
    let mut sending: BTreeMap<u32, Sending> = BTreeMap::new();
    let mut got: BTreeMap<u32, Got> = BTreeMap::new();
    let (mut echoed, mut reset) = (0, 0);
    let check = |got: Got| {
        assert_eq!(got.headers, *request(got.n).headers());
        assert_eq!(got.data, body(got.n));
        assert_eq!(got.trailers, (got.n % 2 == 1).then(|| trailers(got.n)));
    };
    drive(io, Connection::client(config), |connection, event| {
        let mut is_over = None;
        match event {
            Some(Event::Response { stream, head, end }) => {
                got.get_mut(&stream).unwrap().headers = head.headers().clone();
                is_over = end.then_some(stream);
            }
            Some(Event::Data { stream, data, end }) => {
                connection.release(stream, u32::try_from(data.len()).unwrap());
                // What was on its way when we gave up is not handed out.
                got.get_mut(&stream).unwrap().data.extend_from_slice(&data);
                is_over = end.then_some(stream);
            }
            Some(Event::Trailers { stream, trailers }) => {
                got.get_mut(&stream).unwrap().trailers = Some(trailers);
                is_over = Some(stream);
            }
            Some(Event::Reset {
                stream,
                reason,
                by_peer,
            }) => {
                assert_eq!((reason, by_peer), (Reason::REFUSED_STREAM, true));
                assert_eq!(got.remove(&stream).unwrap().n % 10, 8);
                sending.remove(&stream);
                reset += 1;
            }
            Some(Event::Settings | Event::Window { .. } | Event::Enough) => {}
            Some(event) => panic!("{event:?}"),
            None => {
                while next < STREAMS && connection.is_established() {
                    let Ok(stream) = connection.request(&request(next), &[], false) else {
                        break;
                    };
                    if next % 10 == 9 {
                        connection
                            .send_data(stream, &mut Bytes::from_static(b"x"), false)
                            .unwrap();
                        connection.reset(stream, Reason::CANCEL);
                    } else {
                        let with = (next % 2 == 1).then(|| trailers(next));
                        let all = Sending {
                            data: [body(next)].into_iter().filter(|data| !data.is_empty()).collect(),
                            trailers: with,
                            is_ending: true,
                        };
                        sending.insert(stream, all);
                        got.insert(
                            stream,
                            Got {
                                n: next,
                                ..Got::default()
                            },
                        );
                    }
                    next += 1;
                }
                sending.retain(|&stream, sending| !sending.send(connection, stream));
                if next == STREAMS && got.is_empty() {
                    connection.shut_down();
                }
            }
        }
        if let Some(stream) = is_over {
            check(got.remove(&stream).unwrap());
            echoed += 1;
        }
    })
    .await;
    (echoed, reset)
}

#[tokio::test]
async fn a_server_of_h2() {
    for config in configs() {
        let config = Config {
            header_list: 64 << 10,
            ..config
        };
        for (pipe, window) in [(100, 200_000), (1 << 20, 1000)] {
            let (ours, theirs) = duplex(pipe);
            let mut tasks = JoinSet::new();
            tasks.spawn(serve_with_h2(theirs, window));
            let asked = timeout(PATIENCE, ask_all(ours, config)).await.expect("an end");
            assert_eq!(asked, (STREAMS - 8, 4));
            tasks.abort_all();
        }
    }
}
