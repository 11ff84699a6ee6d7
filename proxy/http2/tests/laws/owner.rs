//! A connection and who uses it, as a script says; and what holds after each step. `watch` is asked what of the wire is right.
#![allow(dead_code, reason = "each test and fuzzer uses some")]

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tenbin_http2::{Connection, Event, Protocol, Reason};

use super::audit::Audit;
use super::mirror::{Messages, Mirror};
use super::script::{Script, Use, policy};

/// Bytes of answers that may wait, and a frame.
const ANSWERS: usize = (64 << 10) + 100;

/// What came of a script.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) events: Vec<String>,
    /// What came of bodies, one after the other.
    pub(crate) bodies: Vec<u8>,
    pub(crate) output: Vec<u8>,
    pub(crate) cost: u32,
}

/// What the owner knows of a stream that is not over.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    has_said_all: bool,
    has_heard_all: bool,
    /// Whether less was taken than was given for want of a window.
    is_blocked: bool,
}

struct Watch {
    audit: Audit,
    mirror: Mirror,
    /// Bytes of the output that were looked at, in all.
    seen: usize,
}

pub(crate) struct Owner<'a> {
    script: &'a Script,
    connection: Connection,
    input: BytesMut,
    outcome: Outcome,
    /// Streams there were, and those that are not over.
    streams: Vec<u32>,
    open: BTreeMap<u32, Open>,
    /// Bytes that came and are not released.
    held: BTreeMap<u32, u32>,
    sent: Messages,
    watch: Option<Watch>,
    /// Bytes that were put to the output for what came, since all was written.
    answers: usize,
    is_over: bool,
}

impl<'a> Owner<'a> {
    pub(crate) fn new(script: &'a Script, is_watched: bool) -> Self {
        let connection = match script.is_server {
            true => Connection::server(script.config),
            false => Connection::client(script.config),
        };
        let watch = is_watched.then(|| Watch {
            audit: Audit::new(script.is_server, script.config),
            mirror: Mirror::of(script.is_server),
            seen: 0,
        });
        let mut owner = Owner {
            script,
            connection,
            input: BytesMut::new(),
            outcome: Outcome::default(),
            streams: Vec::new(),
            open: BTreeMap::new(),
            held: BTreeMap::new(),
            sent: Messages::new(),
            watch,
            answers: 0,
            is_over: false,
        };
        owner.observe(&[]);
        owner
    }

    /// Gives the connection bytes, and takes all events that come of them.
    pub(crate) fn wire(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        loop {
            let before = self.watch.as_ref().map(|_| self.input.clone());
            let waiting = self.connection.waiting();
            let outcome = self.connection.next(&mut self.input);
            if self.is_over {
                assert!(
                    matches!(outcome, Ok(None)) && self.input.is_empty(),
                    "{outcome:?} after the end"
                );
                assert_eq!(self.connection.waiting(), waiting, "an answer after the end");
                return;
            }
            self.answers += self.connection.waiting() - waiting;
            let taken = before.map(|before| before[..before.len() - self.input.len()].to_vec());
            self.observe(&taken.unwrap_or_default());
            match outcome {
                // How many of these there are depends on where pieces end.
                Ok(Some(Event::Enough)) => {}
                Ok(Some(event)) => {
                    self.outcome.events.push(text(&event));
                    self.event(event);
                }
                Ok(None) => return self.settled(),
                Err(error) => {
                    self.outcome.events.push(error.to_string());
                    return self.over();
                }
            }
        }
    }

    /// What must hold when nothing is left to be told.
    fn settled(&mut self) {
        assert_eq!(self.connection.open_streams(), self.open.len());
        let flow = self.watch.as_ref().map_or(0, |watch| watch.audit.flow);
        // Windows are told when half of them is free.
        let windows = 13 * (4 + 2 * flow / (self.script.config.stream_window / 2).max(1) as usize);
        if self.watch.is_some() {
            assert!(
                self.answers <= ANSWERS + windows,
                "{} bytes of answers wait",
                self.answers
            );
        }
        if self.script.is_server {
            assert!(self.open.len() <= self.script.config.max_streams as usize);
        }
        for (stream, held) in &self.held {
            let window = self.script.config.stream_window.max(65_535);
            assert!(*held <= window, "{held} bytes of {stream} are held");
        }
        let held: u64 = self.held.values().map(|&held| u64::from(held)).sum();
        assert!(held <= u64::from(self.script.config.connection_window.max(65_535)));
        let Some(watch) = &self.watch else { return };
        watch.audit.settled(&self.held);
        for (id, _) in self.open.iter().filter(|(_, open)| open.is_blocked) {
            assert!(!watch.audit.may_send(*id), "{id} is not told that it may go on");
        }
    }

    /// All that is new in the output, after `taken` was taken off the input.
    fn observe(&mut self, taken: &[u8]) {
        let Some(watch) = &mut self.watch else { return };
        let mut slices = [IoSlice::new(&[]); 200];
        let count = self.connection.output(&mut slices);
        let mut skipped = watch.seen - self.outcome.output.len();
        let mut new = Vec::new();
        for slice in &slices[..count] {
            let begin = skipped.min(slice.len());
            skipped -= begin;
            new.extend_from_slice(&slice[begin..]);
        }
        watch.seen += new.len();
        assert_eq!(watch.seen, self.outcome.output.len() + self.connection.waiting());
        watch.audit.heard(taken);
        watch.audit.said(&new);
        watch.mirror.heard(&new, watch.audit.heard_stream, &self.sent);
    }

    fn over(&mut self) {
        self.is_over = true;
        self.open.clear();
        assert_eq!(self.connection.open_streams(), 0);
        if let Some(watch) = &mut self.watch {
            watch.audit.over();
        }
    }

    fn event(&mut self, event: Event) {
        let does = |policy| self.script.policy & policy != 0;
        match event {
            Event::Request { stream, end, .. } | Event::TooLarge { stream, end, .. } => {
                self.begin(stream, false, end);
                if does(policy::RESPONDS) {
                    let end = does(policy::ENDS);
                    self.respond(stream, if end { 1 } else { 0 });
                }
                if does(policy::LEAVES) {
                    self.by_itself(Use::ShutDown);
                }
            }
            Event::Response { stream, end, .. } => self.heard(stream, end),
            Event::Data { stream, data, end } => {
                self.heard(stream, end);
                self.outcome.bodies.extend_from_slice(&data);
                *self.held.entry(stream).or_default() += data.len() as u32;
                if does(policy::RELEASES) {
                    self.release(stream, u32::MAX);
                }
                if does(policy::ECHOES) {
                    self.data(stream, data.len(), end);
                }
                if does(policy::RESETS) {
                    self.reset(stream);
                }
                if end && does(policy::TRAILERS) {
                    self.trailers(stream);
                }
            }
            Event::Trailers { stream, .. } => self.heard(stream, true),
            Event::Reset { stream, .. } => {
                assert!(self.open.remove(&stream).is_some(), "{stream} ends twice");
            }
            Event::Window { stream } => {
                let told = |id: &u32| stream.is_none_or(|stream| stream == *id);
                for (_, open) in self.open.iter_mut().filter(|(id, _)| told(id)) {
                    open.is_blocked = false;
                }
            }
            Event::Settings | Event::Pong(_) | Event::GoAway { .. } | Event::Enough => {}
        }
        self.observe(&[]);
        if does(policy::WRITES) {
            self.by_itself(Use::Write(usize::MAX));
        }
    }

    fn begin(&mut self, stream: u32, has_said_all: bool, has_heard_all: bool) {
        let open = Open {
            has_said_all,
            has_heard_all,
            is_blocked: false,
        };
        assert!(self.open.insert(stream, open).is_none(), "{stream} begins twice");
        self.streams.push(stream);
    }

    fn heard(&mut self, stream: u32, end: bool) {
        let open = self.open.get_mut(&stream).expect("a stream that is not over");
        assert!(!open.has_heard_all, "something after the end of {stream}");
        open.has_heard_all = end;
        self.is_ended(stream);
    }

    fn is_ended(&mut self, stream: u32) {
        self.open
            .retain(|id, open| *id != stream || !open.has_said_all || !open.has_heard_all);
    }

    /// One of the streams there were, or one of which nobody knows.
    fn pick(&self, n: u8) -> u32 {
        let n = usize::from(n);
        let at = n.checked_rem(self.streams.len() + 1).unwrap_or(n);
        self.streams.get(at).copied().unwrap_or(n as u32)
    }

    /// The shape of a head; without a large header while many bytes wait, since that takes a fuzzer's time and nothing comes of it.
    fn shape(&self, shape: u8) -> u8 {
        if self.connection.waiting() > 64 << 10 {
            shape & !16
        } else {
            shape
        }
    }

    pub(crate) fn by_itself(&mut self, what: Use) {
        match what {
            Use::Head { shape, .. } if !self.script.is_server => self.request(self.shape(shape)),
            Use::Head { stream, shape } => self.respond(self.pick(stream), self.shape(shape)),
            Use::Data { stream, length, end } => self.data(self.pick(stream), length, end),
            Use::Trailers { stream } => self.trailers(self.pick(stream)),
            Use::Reset { stream } => self.reset(self.pick(stream)),
            Use::Release { stream, bytes } => self.release(self.pick(stream), bytes),
            Use::Ping => self.connection.ping(*b"12345678"),
            Use::ShutDown => self.connection.shut_down(),
            Use::GoAway => {
                self.connection.go_away(Reason::NO_ERROR);
                self.observe(&[]);
                if !self.is_over {
                    self.over();
                }
            }
            Use::Write(most) => self.write(most),
        }
        self.observe(&[]);
    }

    fn request(&mut self, shape: u8) {
        let (method, uri) = match shape & 7 {
            0 => ("GET", "http://a/?b"),
            1 => ("CONNECT", "a:1"),
            2 => ("CONNECT", "https://a/chat"),
            3 => ("HEAD", "http://a/"),
            _ => ("POST", "http://a/x"),
        };
        let mut head = Request::builder().method(method).uri(uri).body(()).expect("a request");
        if shape & 7 == 2 {
            head.extensions_mut().insert(Protocol(Bytes::from_static(b"websocket")));
        }
        fill(head.headers_mut(), shape);
        let end = shape & 8 != 0;
        let before = self.connection.open_streams();
        match self.connection.request(&head, &[], end) {
            Ok(stream) => {
                self.begin(stream, end, false);
                let message = self.sent.entry(stream).or_default();
                message.heads.push(format!("{method} {uri} {}", lines(head.headers())));
                message.has_end = end;
            }
            Err(_) => assert_eq!(self.connection.open_streams(), before),
        }
    }

    fn respond(&mut self, stream: u32, shape: u8) {
        let status = [200, 200, 103, 404, 100, 500, 429, 200][usize::from(shape & 7)];
        let is_final = status >= 200;
        let end = shape & 1 != 0;
        let mut head = Response::builder().status(status).body(()).expect("a response");
        fill(head.headers_mut(), shape);
        if self.connection.respond(stream, &head, end).is_ok() {
            let message = self.sent.entry(stream).or_default();
            message
                .heads
                .push(format!("{} {}", head.status(), lines(head.headers())));
            message.has_end = end && is_final;
            self.said(stream, end && is_final);
        }
    }

    fn said(&mut self, stream: u32, end: bool) {
        let open = self
            .open
            .get_mut(&stream)
            .expect("nothing is taken for a stream that is over");
        assert!(!open.has_said_all, "something after the end of {stream}");
        open.has_said_all = end;
        self.is_ended(stream);
    }

    fn data(&mut self, stream: u32, length: usize, end: bool) {
        let said = self.sent.get(&stream).map_or(0, |message| message.body.len());
        let mut data = body(said, length);
        let all = data.clone();
        let (before, was_full) = (self.connection.waiting(), self.connection.is_full());
        let Ok(taken) = self.connection.send_data(stream, &mut data, end) else {
            return assert_eq!(data, all);
        };
        assert_eq!(data, all[taken..]);
        assert!(taken == 0 || !was_full, "a body is taken above the limit");
        let most = self.script.config.output.max(before) + (16 << 10) + 9 * (taken / (16 << 10) + 2);
        assert!(
            self.connection.waiting() <= most,
            "{} bytes wait",
            self.connection.waiting()
        );
        let is_end = end && taken == all.len();
        if taken > 0 || is_end {
            let message = self.sent.entry(stream).or_default();
            message.body.extend(&all[..taken]);
            message.has_end = is_end;
        }
        if let Some(open) = self.open.get_mut(&stream) {
            open.is_blocked = taken < all.len() && !self.connection.is_full();
        }
        self.said(stream, is_end);
    }

    fn trailers(&mut self, stream: u32) {
        let mut trailers = HeaderMap::new();
        fill(&mut trailers, 64);
        if self.connection.send_trailers(stream, &trailers).is_ok() {
            let message = self.sent.entry(stream).or_default();
            message.heads.push(lines(&trailers));
            message.has_end = true;
            self.said(stream, true);
        }
    }

    fn reset(&mut self, stream: u32) {
        self.connection.reset(stream, Reason::CANCEL);
        self.open.remove(&stream);
    }

    fn release(&mut self, stream: u32, most: u32) {
        let held = self.held.entry(stream).or_default();
        let bytes = most.min(*held);
        *held -= bytes;
        self.connection.release(stream, bytes);
    }

    fn write(&mut self, most: usize) {
        let mut left = most;
        while left > 0 && !self.connection.is_written() {
            let mut slices = [IoSlice::new(&[]); 4];
            let count = self.connection.output(&mut slices);
            let mut wrote = 0;
            for slice in &slices[..count] {
                let bytes = slice.len().min(left);
                self.outcome.output.extend_from_slice(&slice[..bytes]);
                (wrote, left) = (wrote + bytes, left - bytes);
            }
            assert!(wrote > 0, "nothing to write");
            self.connection.wrote(wrote);
        }
        if self.connection.is_written() {
            self.answers = 0;
            if let Some(watch) = &mut self.watch {
                watch.audit.flow = 0;
            }
        }
    }

    /// All is written, and the connection is ended if it has not.
    pub(crate) fn finish(mut self) -> Outcome {
        self.by_itself(Use::Write(usize::MAX));
        self.by_itself(Use::GoAway);
        self.by_itself(Use::Write(usize::MAX));
        assert!(self.connection.is_done());
        self.outcome.cost = self.connection.take_cost();
        self.outcome
    }
}

/// Some headers: a large one, which needs more than a frame, and a secret, where `shape` says so.
fn fill(headers: &mut HeaderMap, shape: u8) {
    static LARGE: LazyLock<HeaderValue> = LazyLock::new(|| HeaderValue::from_bytes(&[b'l'; 17_000]).expect("a value"));
    headers.insert("x", HeaderValue::from(u16::from(shape)));
    if shape & 16 != 0 {
        headers.insert("large", LARGE.clone());
    }
    if shape & 32 != 0 {
        let mut value = HeaderValue::from_static("a=b");
        value.set_sensitive(true);
        headers.insert("cookie", value);
    }
}

/// After so many bytes of a body the next ones: made once, since a fuzzer's instruments make each byte dear.
fn body(after: usize, length: usize) -> Bytes {
    const PERIOD: usize = 65_521;
    static PATTERN: LazyLock<Bytes> = LazyLock::new(|| {
        let byte = |at: usize| ((at % PERIOD * 31) ^ ((at % PERIOD) >> 8)) as u8;
        (0..PERIOD + (64 << 10)).map(byte).collect()
    });
    let begin = after % PERIOD;
    PATTERN.slice(begin..begin + length.min(64 << 10))
}

/// All of an event but the bytes of bodies.
fn text(event: &Event) -> String {
    match event {
        Event::Request { head, .. } | Event::TooLarge { head, .. } => {
            format!("{event:?}: {} {}", head.uri(), lines(head.headers()))
        }
        Event::Response { head, .. } => format!("{event:?}: {}", lines(head.headers())),
        Event::Trailers { trailers, .. } => format!("{event:?}: {}", lines(trailers)),
        event => format!("{event:?}"),
    }
}

/// Headers as text; of a long one its length.
pub(crate) fn lines(headers: &HeaderMap) -> String {
    let line = |(name, value): (&HeaderName, &HeaderValue)| match value.as_bytes() {
        long if long.len() > 100 => format!("{name}: {} bytes\n", long.len()),
        short => format!("{name}: {}\n", short.escape_ascii()),
    };
    headers.iter().map(line).collect()
}
