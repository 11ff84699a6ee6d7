//! Both directions of a connection, read again frame by frame after RFC 9113 without a thought for speed: what one side says must be
//! what it may say after what it has heard.
#![allow(dead_code, reason = "each test and fuzzer uses some")]

use std::collections::{BTreeMap, VecDeque};

use tenbin_http2::Config;

use super::model::Model;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const MAX_STREAM: u32 = (1 << 31) - 1;
const INITIAL: i64 = 65_535;

/// What is still to come of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Half {
    Head,
    Body,
    Done,
}

#[derive(Debug)]
struct Watched {
    said: Half,
    heard_all: bool,
    is_reset: bool,
    /// Bytes of DATA that may be said.
    send: i64,
    /// Bytes of DATA that the peer may say.
    receive: i64,
}

/// A frame without its length.
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// One side, seen from outside.
#[derive(Debug)]
pub(crate) struct Audit {
    is_server: bool,
    config: Config,
    streams: BTreeMap<u32, Watched>,
    /// The highest stream that the peer has begun, and that we have.
    pub(crate) heard_stream: u32,
    said_stream: u32,
    send: i64,
    receive: i64,
    /// The window with which the peer lets streams begin.
    peer_window: i64,
    /// The window of streams that the peer may use.
    own_window: i64,
    peer_streams: u32,
    /// What is to be answered.
    settings: usize,
    pings: VecDeque<Vec<u8>>,
    has_preface: bool,
    has_said_settings: bool,
    has_heard_settings: bool,
    /// The last stream of our GOAWAY, and of the peer's.
    leaves_after: Option<u32>,
    peer_leaves_after: Option<u32>,
    /// Bytes of a header block whose end was not heard.
    block_heard: Option<usize>,
    /// The stream of a header block whose end was not said, whether it ends the message, and what there is of it.
    block_said: Option<(u32, bool, Vec<u8>)>,
    /// Bytes of DATA heard since all was written.
    pub(crate) flow: usize,
    is_over: bool,
}

impl Audit {
    pub(crate) fn new(is_server: bool, config: Config) -> Self {
        let own_window = i64::from(config.stream_window);
        Audit {
            is_server,
            config,
            streams: BTreeMap::new(),
            heard_stream: 0,
            said_stream: 0,
            send: INITIAL,
            receive: INITIAL,
            peer_window: INITIAL,
            own_window: own_window.max(INITIAL),
            peer_streams: config.max_streams,
            settings: 0,
            pings: VecDeque::new(),
            has_preface: false,
            has_said_settings: false,
            has_heard_settings: false,
            leaves_after: None,
            peer_leaves_after: None,
            block_heard: None,
            block_said: None,
            flow: 0,
            is_over: false,
        }
    }

    /// Bytes that were taken off the input: whole frames.
    pub(crate) fn heard(&mut self, mut wire: &[u8]) {
        if self.is_server && !self.has_preface && !wire.is_empty() {
            wire = wire.strip_prefix(PREFACE).expect("a preface is taken whole");
            self.has_preface = true;
        }
        for frame in frames(wire) {
            self.hear(&frame);
        }
    }

    fn hear(&mut self, frame: &Frame) {
        let length = frame.payload.len() as i64;
        let id = frame.stream;
        match frame.kind {
            0 => {
                self.flow += frame.payload.len();
                self.receive -= length;
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.receive -= length;
                    stream.heard_all |= frame.flags & 1 == 1;
                }
            }
            1 => {
                self.block_heard = (frame.flags & 4 == 0).then_some(frame.payload.len());
                if self.is_server && id % 2 == 1 && id > self.heard_stream {
                    self.heard_stream = id;
                    self.begin(id, Half::Head);
                }
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.heard_all |= frame.flags & 1 == 1;
                }
            }
            9 => {
                let before = self.block_heard.take().unwrap_or(0);
                self.block_heard = (frame.flags & 4 == 0).then_some(before + frame.payload.len());
            }
            3 => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.is_reset = true;
                }
            }
            4 if frame.flags & 1 == 1 => {
                let window = i64::from(self.config.stream_window);
                let less = self.own_window - window;
                self.own_window = window;
                self.streams.values_mut().for_each(|stream| stream.receive -= less);
            }
            4 => self.hear_settings(frame),
            6 if frame.flags & 1 == 0 => self.pings.push_back(frame.payload.clone()),
            7 => {
                let last = frame.number(0);
                let last = self.peer_leaves_after.map_or(last, |before| before.min(last));
                self.peer_leaves_after = Some(last);
                if !self.is_server {
                    self.streams
                        .range_mut(last + 1..)
                        .for_each(|(_, stream)| stream.is_reset = true);
                }
            }
            8 => {
                let more = i64::from(frame.number(0));
                match self.streams.get_mut(&id) {
                    Some(stream) => stream.send += more,
                    None if id == 0 => self.send += more,
                    None => {}
                }
            }
            _ => {}
        }
    }

    fn hear_settings(&mut self, frame: &Frame) {
        let is_first = !std::mem::replace(&mut self.has_heard_settings, true);
        self.settings += 1;
        let mut streams = is_first.then_some(u32::MAX);
        for setting in frame.payload.as_chunks::<6>().0 {
            let [a, b, c, d, e, f] = *setting;
            let value = u32::from_be_bytes([c, d, e, f]);
            match u16::from_be_bytes([a, b]) {
                3 => streams = Some(value),
                4 => {
                    let more = i64::from(value) - self.peer_window;
                    self.peer_window += more;
                    self.streams.values_mut().for_each(|stream| stream.send += more);
                }
                _ => {}
            }
        }
        self.peer_streams = streams.unwrap_or(self.peer_streams);
    }

    fn begin(&mut self, id: u32, said: Half) {
        let stream = Watched {
            said,
            heard_all: false,
            is_reset: false,
            send: self.peer_window,
            receive: self.own_window,
        };
        assert!(self.streams.insert(id, stream).is_none(), "{id} begins twice");
    }

    /// Bytes that were put to the output: whole frames.
    pub(crate) fn said(&mut self, mut wire: &[u8]) {
        if !self.is_server && !self.has_preface {
            wire = wire.strip_prefix(PREFACE).expect("a client says the preface first");
            self.has_preface = true;
        }
        for frame in frames(wire) {
            assert!(!self.is_over, "a frame of kind {} after the end", frame.kind);
            assert!(
                self.has_said_settings || (frame.kind, frame.flags) == (4, 0),
                "SETTINGS come first"
            );
            assert!(frame.payload.len() <= 16 << 10, "a frame that a peer need not take");
            assert!(
                self.block_said.is_none() || frame.kind == 9,
                "a frame within a header block"
            );
            self.say(&frame);
        }
        assert!(self.block_said.is_none(), "half of a header block");
    }

    fn say(&mut self, frame: &Frame) {
        let id = frame.stream;
        match frame.kind {
            0 => self.say_data(frame),
            1 => self.block_said = Some((id, frame.flags & 1 == 1, Vec::new())),
            3 => match self.streams.get_mut(&id) {
                Some(stream) => stream.is_reset = true,
                // Those that the peer left out are over with the next that it begins (RFC 9113 §5.1.1).
                None => assert!(
                    self.is_server && id % 2 == 1 && id <= self.heard_stream,
                    "a reset of {id}"
                ),
            },
            4 if frame.flags & 1 == 1 => {
                self.settings = self.settings.checked_sub(1).expect("settings to acknowledge");
            }
            4 => assert!(!std::mem::replace(&mut self.has_said_settings, true), "SETTINGS once"),
            6 if frame.flags & 1 == 1 => assert_eq!(Some(&frame.payload), self.pings.pop_front().as_ref(), "an answer"),
            6 => {}
            7 => {
                let last = frame.number(0);
                let before = self.leaves_after.replace(last);
                assert!(
                    before.is_none_or(|before| last <= before),
                    "GOAWAY with more than before"
                );
                assert!(last <= self.heard_stream || (last, before) == (MAX_STREAM, None));
            }
            8 => return self.say_window(frame),
            9 => {}
            kind => panic!("a frame of kind {kind}"),
        }
        if matches!(frame.kind, 1 | 9) {
            let block = self.block_said.as_mut().expect("CONTINUATION of a header block");
            assert_eq!(block.0, id);
            block.2.extend(&frame.payload);
            if frame.flags & 4 == 4
                && let Some((_, end, block)) = self.block_said.take()
            {
                self.say_block(id, end, &block);
            }
        }
    }

    fn say_data(&mut self, frame: &Frame) {
        let length = frame.payload.len() as i64;
        let stream = self
            .streams
            .get_mut(&frame.stream)
            .expect("DATA of a stream that was begun");
        assert!(
            stream.said == Half::Body && !stream.is_reset,
            "DATA of {}",
            frame.stream
        );
        assert!(
            length == 0 || length <= stream.send.min(self.send),
            "a window is overdrawn"
        );
        stream.send -= length;
        self.send -= length;
        assert!(length > 0 || frame.flags & 1 == 1, "DATA for nothing");
        if frame.flags & 1 == 1 {
            stream.said = Half::Done;
        }
    }

    fn say_block(&mut self, id: u32, end: bool, block: &[u8]) {
        let fields = Model::new(0).decode(block).expect("a header block that can be read");
        let status = fields.iter().find(|((name, _), _)| name == b":status");
        if !self.is_server && !self.streams.contains_key(&id) {
            assert!(id % 2 == 1 && id > self.said_stream, "the numbers go up");
            assert!(
                self.leaves_after.is_none() && self.peer_leaves_after.is_none(),
                "a stream after GOAWAY"
            );
            self.said_stream = id;
            assert!(self.open() < self.peer_streams as usize, "more streams than are taken");
            return self.begin(id, if end { Half::Done } else { Half::Body });
        }
        let stream = self.streams.get_mut(&id).expect("HEADERS of a stream that was begun");
        assert!(!stream.is_reset, "HEADERS after a reset");
        stream.said = match (stream.said, status) {
            (Half::Head, Some(((_, status), _))) if status.starts_with(b"1") => {
                assert!(!end);
                Half::Head
            }
            (Half::Head, Some(_)) if end => Half::Done,
            (Half::Head, Some(_)) => Half::Body,
            (Half::Body, None) => {
                assert!(end, "trailers end the message");
                Half::Done
            }
            (said, _) => panic!("HEADERS of {id} when {said:?} is to come"),
        };
    }

    fn say_window(&mut self, frame: &Frame) {
        let more = i64::from(frame.number(0));
        let most = i64::from(self.config.connection_window).max(INITIAL);
        assert!(more > 0, "WINDOW_UPDATE by nothing");
        if frame.stream == 0 {
            self.receive += more;
            assert!(self.receive <= most, "a larger window than that of the connection");
            return;
        }
        let own = self.own_window;
        let stream = self
            .streams
            .get_mut(&frame.stream)
            .expect("a window of a stream that was begun");
        assert!(!stream.is_reset, "a window after a reset");
        stream.receive += more;
        assert!(stream.receive <= own, "a larger window than that of a stream");
    }

    /// Streams that are not over.
    fn open(&self) -> usize {
        let is_open = |stream: &&Watched| !stream.is_reset && (stream.said != Half::Done || !stream.heard_all);
        self.streams.values().filter(is_open).count()
    }

    /// All that came is taken: what is owed to the peer. `held`: bytes that came on a stream and were not released.
    pub(crate) fn settled(&self, held: &BTreeMap<u32, u32>) {
        assert_eq!((self.settings, self.pings.len()), (0, 0), "all is answered");
        let most = (2 * self.config.header_list as usize).max(16 << 10);
        assert!(
            self.block_heard.is_none_or(|bytes| bytes <= most),
            "much of a header block is kept"
        );
        if held.values().all(|&held| held == 0) {
            assert!(self.receive > 0, "the peer waits for ever for the connection's window");
        }
        for (id, stream) in &self.streams {
            let is_free = held.get(id).is_none_or(|&held| held == 0);
            if is_free && !stream.heard_all && !stream.is_reset {
                assert!(stream.receive > 0, "the peer waits for ever for the window of {id}");
            }
        }
    }

    /// Whether DATA may be said on a stream.
    pub(crate) fn may_send(&self, id: u32) -> bool {
        let stream = self.streams.get(&id).filter(|stream| !stream.is_reset);
        self.send > 0 && stream.is_some_and(|stream| stream.said == Half::Body && stream.send > 0)
    }

    /// After this nothing may be said.
    pub(crate) fn over(&mut self) {
        assert!(self.leaves_after.is_some(), "an end without GOAWAY");
        self.is_over = true;
    }
}

impl Frame {
    /// Four bytes of the payload as a number of 31 bits; 0 where there are none.
    fn number(&self, at: usize) -> u32 {
        let bytes = self.payload.get(at..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes) & 0x7fff_ffff)
    }
}

fn frames(mut wire: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(&[a, b, c, kind, flags, d, e, f, g]) = wire.first_chunk() {
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let (frame, rest) = wire.split_at_checked(9 + length).expect("whole frames");
        frames.push(Frame {
            kind,
            flags,
            stream: u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff,
            payload: frame[9..].to_vec(),
        });
        wire = rest;
    }
    assert!(wire.is_empty(), "whole frames");
    frames
}
