//! Two connections of ours, a client's and a server's, whatever they do and however their bytes are cut: all that is sent arrives, in order
//! and once, no window is overdrawn, what waits is bounded, and both end.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod wire;

use std::collections::BTreeMap;
use std::io::IoSlice;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use proptest::prelude::*;
use tenbin_http2::{Config, Connection, Event, Reason, Refused};

/// Bytes of a body at one place in it: each place has its own, so that nothing comes twice or in another order unnoticed.
fn byte(stream: u32, at: usize) -> u8 {
    ((at * 31) ^ (at >> 8) ^ stream as usize) as u8
}

/// A message to be sent.
#[derive(Clone, Copy, Debug)]
struct Plan {
    length: usize,
    has_trailers: bool,
    /// Given up after so many bytes.
    reset_at: Option<usize>,
}

/// What one side knows of a stream.
#[derive(Debug, Default)]
struct Talk {
    sent: usize,
    is_sent: bool,
    got: usize,
    has_end: bool,
    has_trailers: bool,
    has_head: bool,
    was_reset: bool,
    /// Bytes that came and are not released.
    held: u32,
}

struct Side {
    connection: Connection,
    input: BytesMut,
    talks: BTreeMap<u32, Talk>,
    plans: BTreeMap<u32, Plan>,
    config: Config,
    is_client: bool,
}

impl Side {
    fn new(connection: Connection, config: Config, is_client: bool) -> Side {
        Side {
            connection,
            input: BytesMut::new(),
            talks: BTreeMap::new(),
            plans: BTreeMap::new(),
            config,
            is_client,
        }
    }

    /// Takes events until there are none.
    fn take(&mut self) {
        while let Some(event) = self.connection.next(&mut self.input).expect("both are ours") {
            self.event(event);
        }
        let held: u32 = self.talks.values().map(|talk| talk.held).sum();
        assert!(
            held <= self.config.connection_window.max(65_535),
            "{held} bytes are held"
        );
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Request { stream, head, end } => {
                assert_eq!(head.uri().path(), format!("/{stream}"));
                let talk = self.talks.entry(stream).or_default();
                assert!(!self.is_client && !std::mem::replace(&mut talk.has_head, true));
                talk.has_end = end;
            }
            Event::Response { stream, head, end } => {
                let talk = self.talks.entry(stream).or_default();
                assert!(self.is_client && !talk.has_head && !talk.was_reset);
                talk.has_head = !head.status().is_informational();
                talk.has_end = end;
            }
            Event::Data { stream, data, end } => {
                let window = self.config.stream_window.max(65_535);
                let talk = self.talks.entry(stream).or_default();
                assert!(talk.has_head && !talk.has_end && !talk.was_reset);
                for (n, &got) in data.iter().enumerate() {
                    assert_eq!(got, byte(stream, talk.got + n), "at {} of {stream}", talk.got + n);
                }
                talk.got += data.len();
                talk.held += u32::try_from(data.len()).unwrap();
                talk.has_end = end;
                assert!(talk.held <= window, "{} bytes of {stream} are held", talk.held);
            }
            Event::Trailers { stream, trailers } => {
                let talk = self.talks.entry(stream).or_default();
                assert!(talk.has_head && !talk.has_end && !talk.was_reset);
                assert_eq!(trailers.get("t"), Some(&HeaderValue::from(stream)));
                (talk.has_end, talk.has_trailers) = (true, true);
            }
            Event::Reset { stream, by_peer, .. } => {
                assert!(by_peer, "{stream} was reset for an error");
                self.talks.entry(stream).or_default().was_reset = true;
            }
            Event::Window { .. } | Event::Settings | Event::Pong(_) | Event::Enough => {}
            event => panic!("{event:?}"),
        }
    }

    /// Sends as much of a stream's message as is taken, at most `piece` bytes.
    fn send(&mut self, stream: u32, piece: usize) {
        let Some(talk) = self.talks.get_mut(&stream) else {
            return;
        };
        let plan = self.plans[&stream];
        if talk.is_sent || talk.was_reset {
            return;
        }
        if plan.reset_at.is_some_and(|at| talk.sent >= at) {
            (talk.is_sent, talk.was_reset) = (true, true);
            return self.connection.reset(stream, Reason::CANCEL);
        }
        if !self.is_client && talk.sent == 0 {
            // The head, once; that it was sent shows by the second being refused.
            let interim = Response::builder().status(103).body(()).unwrap();
            let head = Response::builder().header("x", "y").body(()).unwrap();
            if self.connection.respond(stream, &interim, false).is_ok() {
                self.connection.respond(stream, &head, false).unwrap();
            }
        }
        let end = plan.length.min(talk.sent + piece);
        let mut data: Bytes = (talk.sent..end).map(|at| byte(stream, at)).collect();
        let is_last = end == plan.length;
        let given = data.len();
        let taken = self
            .connection
            .send_data(stream, &mut data, is_last && !plan.has_trailers)
            .unwrap();
        assert_eq!(given - taken, data.len());
        talk.sent += taken;
        if is_last && data.is_empty() {
            talk.is_sent = true;
            if plan.has_trailers {
                let trailers = HeaderMap::from_iter([("t".parse().unwrap(), HeaderValue::from(stream))]);
                self.connection.send_trailers(stream, &trailers).unwrap();
            }
            assert_eq!(
                self.connection.send_data(stream, &mut Bytes::new(), true),
                Err(Refused::Gone)
            );
        }
    }

    fn release(&mut self, stream: u32, most: u32) {
        if let Some(talk) = self.talks.get_mut(&stream) {
            let bytes = talk.held.min(most);
            talk.held -= bytes;
            self.connection.release(stream, bytes);
        }
    }

    /// Whether nothing is to be expected of a stream any more.
    fn is_over(&self, stream: u32) -> bool {
        let talk = &self.talks[&stream];
        talk.was_reset || talk.is_sent && talk.has_end
    }
}

/// At most `most` bytes of one side's output, in at most two pieces, to the other's input.
fn carry(from: &mut Side, to: &mut Side, most: usize) {
    let mut slices = [IoSlice::new(&[]); 2];
    let count = from.connection.output(&mut slices);
    let mut all: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
    all.truncate(most);
    from.connection.wrote(all.len());
    to.input.extend_from_slice(&all);
    to.take();
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Begin {
        up: Plan,
        down: Plan,
    },
    Send {
        by_client: bool,
        stream: usize,
        piece: usize,
    },
    Release {
        by_client: bool,
        stream: usize,
        bytes: u32,
    },
    Carry {
        by_client: bool,
        most: usize,
    },
    Ping {
        by_client: bool,
    },
}

fn plan() -> impl Strategy<Value = Plan> {
    let length = prop_oneof![Just(0), 1..100_usize, 1..30_000_usize];
    let resets = prop_oneof![4 => Just(None), 1 => (0..20_000_usize).prop_map(Some)];
    (length, any::<bool>(), resets).prop_map(|(length, has_trailers, reset_at)| Plan {
        length,
        has_trailers,
        reset_at,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let most = prop_oneof![1..50_usize, Just(usize::MAX)];
    let piece = prop_oneof![1..100_usize, 1..50_000_usize];
    prop_oneof![
        1 => (plan(), plan()).prop_map(|(up, down)| Step::Begin { up, down }),
        4 => (any::<bool>(), any::<usize>(), piece)
            .prop_map(|(by_client, stream, piece)| Step::Send { by_client, stream, piece }),
        2 => (any::<bool>(), any::<usize>(), 1..50_000_u32)
            .prop_map(|(by_client, stream, bytes)| Step::Release { by_client, stream, bytes }),
        6 => (any::<bool>(), most).prop_map(|(by_client, most)| Step::Carry { by_client, most }),
        1 => any::<bool>().prop_map(|by_client| Step::Ping { by_client }),
    ]
}

fn config() -> impl Strategy<Value = Config> {
    let window = || prop_oneof![64..200_u32, 64..70_000_u32, Just(1 << 20)];
    (1..6_u32, window(), window(), 1..40_000_usize).prop_map(|(max_streams, stream, connection, output)| Config {
        max_streams,
        stream_window: stream,
        connection_window: connection,
        output,
        ..Config::default()
    })
}

/// What a run was about.
struct World {
    client: Side,
    server: Side,
    streams: Vec<u32>,
}

impl World {
    fn sides(&mut self, by_client: bool) -> (&mut Side, &mut Side) {
        match by_client {
            true => (&mut self.client, &mut self.server),
            false => (&mut self.server, &mut self.client),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Begin { up, down } => self.begin(up, down),
            Step::Send {
                by_client,
                stream,
                piece,
            } => {
                if let Some(stream) = self.pick(stream) {
                    self.sides(by_client).0.send(stream, piece);
                }
            }
            Step::Release {
                by_client,
                stream,
                bytes,
            } => {
                if let Some(stream) = self.pick(stream) {
                    self.sides(by_client).0.release(stream, bytes);
                }
            }
            Step::Carry { by_client, most } => {
                let (from, to) = self.sides(by_client);
                carry(from, to, most);
            }
            Step::Ping { by_client } => self.sides(by_client).0.connection.ping(*b"12345678"),
        }
        for side in [&self.client, &self.server] {
            // A frame more than allowed, and heads, trailers, resets and windows of few streams and steps.
            let most = side.config.output + (16 << 10) + 200 * 100;
            let mut slices = vec![IoSlice::new(&[]); 1000];
            let count = side.connection.output(&mut slices);
            let waits: usize = slices[..count].iter().map(|slice| slice.len()).sum();
            assert!(waits <= most, "{waits} bytes wait");
        }
    }

    fn pick(&self, n: usize) -> Option<u32> {
        self.streams.get(n % self.streams.len().max(1)).copied()
    }

    fn begin(&mut self, up: Plan, down: Plan) {
        let id = self.streams.len() * 2 + 1;
        let head = Request::post(format!("http://a/{id}")).body(()).unwrap();
        let open = self.client.connection.open_streams();
        match self.client.connection.request(&head, &[], false) {
            Ok(stream) => {
                assert_eq!(stream as usize, id);
                self.client.talks.insert(stream, Talk::default());
                self.client.plans.insert(stream, up);
                self.server.plans.insert(stream, down);
                self.streams.push(stream);
            }
            Err(refused) => {
                assert_eq!(refused, Refused::Full);
                assert!(open >= self.client.connection.peer_max_streams() as usize);
            }
        }
    }

    /// All that is left, until nothing is.
    fn finish(&mut self) {
        for round in 0.. {
            let mut is_over = true;
            for &stream in &self.streams {
                for side in [&mut self.client, &mut self.server] {
                    side.send(stream, 4000);
                    side.release(stream, u32::MAX);
                    is_over &= side.talks.contains_key(&stream) && side.is_over(stream);
                }
            }
            carry(&mut self.client, &mut self.server, usize::MAX);
            carry(&mut self.server, &mut self.client, usize::MAX);
            if is_over && self.client.connection.is_written() && self.server.connection.is_written() {
                return;
            }
            assert!(round < 5000, "it does not come to an end");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn all_arrives(client in config(), server in config(), steps in prop::collection::vec(step(), 0..150)) {
        let mut world = World {
            // What a client may begin before it knows better must not be more than the server takes.
            client: Side::new(Connection::client(Config { max_streams: 1, ..client }), client, true),
            server: Side::new(Connection::server(server), server, false),
            streams: Vec::new(),
        };
        for step in steps {
            world.step(step);
        }
        world.finish();
        for stream in &world.streams {
            let (client, server) = (&world.client.talks[stream], &world.server.talks[stream]);
            for (from, to, plans) in [(client, server, &world.client.plans), (server, client, &world.server.plans)] {
                prop_assert!(to.got <= from.sent);
                if to.has_end {
                    prop_assert_eq!(to.got, plans[stream].length);
                    prop_assert_eq!(to.has_trailers, plans[stream].has_trailers);
                } else {
                    prop_assert!(to.was_reset);
                }
            }
        }
        prop_assert_eq!(world.client.connection.open_streams(), 0);
        prop_assert_eq!(world.server.connection.open_streams(), 0);
        world.server.connection.shut_down();
        world.client.connection.shut_down();
        for _ in 0..4 {
            let World { client, server, .. } = &mut world;
            let mut bytes = BytesMut::from(&wire::drain(&mut client.connection)[..]);
            while server.connection.next(&mut bytes).expect("both are ours").is_some() {}
            let mut bytes = BytesMut::from(&wire::drain(&mut server.connection)[..]);
            while client.connection.next(&mut bytes).expect("both are ours").is_some() {}
        }
        prop_assert!(world.client.connection.is_done() && world.server.connection.is_done());
    }

    /// No bytes whatever make a connection panic, hold without measure, or go on after its end.
    #[test]
    fn any_bytes(
        is_server in any::<bool>(),
        frames in prop::collection::vec((0..11_u8, any::<u8>(), 0..8_u32, prop::collection::vec(any::<u8>(), 0..40)), 0..40),
        step in 1..200_usize,
    ) {
        let mut connection = match is_server {
            true => Connection::server(Config::default()),
            false => Connection::client(Config::default()),
        };
        let mut input = if is_server { wire::PREFACE.to_vec() } else { Vec::new() };
        input.extend(wire::settings(&[]));
        for (kind, flags, stream, payload) in frames {
            let payload = match kind {
                // Blocks that can be read, most of the time.
                1 | 9 => wire::block(&wire::pseudo(if flags & 64 == 0 { "GET" } else { "POST" })),
                2 => payload.into_iter().cycle().take(5).collect(),
                3 | 8 => [0, 0, 0, flags].to_vec(),
                6 | 7 => vec![0; 8],
                _ => payload,
            };
            input.extend(wire::frame(kind, flags & 5, stream, &payload));
        }
        let (_, error) = wire::feed(&mut connection, &input, step);
        if error.is_some() {
            prop_assert!(wire::feed(&mut connection, &input, step).0.is_empty());
            prop_assert_eq!(connection.open_streams(), 0);
            wire::drain(&mut connection);
            prop_assert!(connection.is_done());
        }
    }
}
