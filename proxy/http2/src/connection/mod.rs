//! A connection: what the peer's frames mean for its streams, and what is to be sent on them. No bytes of frames and header blocks here
//! (`frame`, `hpack`), and nothing that waits: its user reads and writes.

mod blocks;
mod closed;
mod config;
mod event;
mod heads;
mod output;
mod receive;
mod send;
mod settings;
mod streams;
mod windows;

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;

use http::HeaderMap;

use crate::frame;
use crate::hpack::Decoder;
use blocks::Block;
use closed::Closed;
use output::Output;
use settings::{INITIAL_WINDOW, Peer};
use streams::{Asked, Half, Stream, Streams};

pub use config::Config;
pub use event::{Event, Protocol, Refused};

/// Bytes of the largest frame, in both directions: every peer takes it, and we take no larger ones.
const MAX_FRAME: usize = 16 << 10;

/// Bytes of the largest window.
const MAX_WINDOW: i64 = (1 << 31) - 1;

/// The highest number of a stream.
const MAX_STREAM: u32 = (1 << 31) - 1;

/// Bytes of our decoder's table: what peers may assume.
const TABLE: usize = 4096;

/// So many times the list of headers that we take may a header block refer to before it is an attack.
const BOMB: usize = 4;

/// The PING of which a server learns that the client knows of its end.
const SHUT_DOWN: [u8; 8] = *b"shutdown";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Server,
    Client,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The client's preface is to come.
    Preface,
    /// The peer's settings are to come.
    Settings,
    Open,
    /// GOAWAY was said, and nothing more is.
    Over,
}

/// How far we are with going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    /// A client was told, but may not know yet.
    Announced,
    /// No stream above this is taken.
    Told(u32),
}

impl Leaving {
    fn last(self) -> Option<u32> {
        match self {
            Leaving::Told(last) => Some(last),
            Leaving::No | Leaving::Announced => None,
        }
    }
}

/// One side of a connection. Its user reads into a buffer, gives it to [`next`](Connection::next) until there is no more event, and writes
/// what [`output`](Connection::output) holds, whatever was called.
pub struct Connection {
    config: Config,
    role: Role,
    phase: Phase,
    leaving: Leaving,
    /// The last stream of ours that the peer takes, if it said so.
    peer_left: Option<u32>,
    peer: Peer,
    streams: Streams,
    closed: Closed,
    /// The highest stream that the peer has begun.
    last_peer: u32,
    /// The next stream of ours.
    next_stream: u32,
    decoder: Decoder,
    block: Option<Block>,
    /// Events that came together with one that was handed out.
    events: VecDeque<Event>,
    output: Output,
    send_window: i64,
    /// Whether `send_data` took less than it was given for want of the connection's window.
    is_blocked: bool,
    receive_window: i64,
    /// Bytes that were released, but the peer was not told.
    released: u32,
    /// The window of streams that the peer may use.
    own_window: u32,
    /// Frames that were taken since the input had no more, or there were enough.
    taken: u32,
    /// See `take_cost`.
    cost: u32,
    /// Streams that were reset for errors of the peer; each that ends well makes up for one.
    resets: u32,
    /// Bytes of answers that may wait in the output.
    answers: usize,
    /// Where maps for fields come from.
    fresh: fn() -> HeaderMap,
}

impl Connection {
    /// A server's. The output holds its SETTINGS.
    #[must_use]
    pub fn server(config: Config) -> Connection {
        Connection::new(config, Role::Server)
    }

    /// A client's. The output holds the preface and its SETTINGS.
    #[must_use]
    pub fn client(config: Config) -> Connection {
        Connection::new(config, Role::Client)
    }

    fn new(mut config: Config, role: Role) -> Connection {
        config.stream_window = config.stream_window.min(MAX_STREAM);
        config.connection_window = config.connection_window.clamp(INITIAL_WINDOW, MAX_STREAM);
        let mut connection = Connection {
            role,
            phase: match role {
                Role::Server => Phase::Preface,
                Role::Client => Phase::Settings,
            },
            leaving: Leaving::No,
            peer_left: None,
            peer: Peer {
                max_streams: config.max_streams,
                window: INITIAL_WINDOW,
                connect_protocol: false,
            },
            streams: Streams::default(),
            closed: Closed::default(),
            last_peer: 0,
            next_stream: 1,
            decoder: Decoder::new(TABLE).with_limit(BOMB.saturating_mul(config.header_list as usize)),
            block: None,
            events: VecDeque::new(),
            output: Output::default(),
            send_window: i64::from(INITIAL_WINDOW),
            is_blocked: false,
            receive_window: i64::from(config.connection_window),
            released: 0,
            own_window: config.stream_window.max(INITIAL_WINDOW),
            taken: 0,
            cost: 0,
            resets: 0,
            answers: 0,
            fresh: HeaderMap::new,
            config,
        };
        if role == Role::Client {
            connection.output.joined.extend_from_slice(frame::PREFACE);
        }
        connection.put_settings();
        connection
    }

    /// Has the maps of heads and trailers come from `fresh`, which gives empty ones, perhaps with the memory of others that are not needed
    /// any more. They are new otherwise.
    #[must_use]
    pub fn with_maps(mut self, fresh: fn() -> HeaderMap) -> Connection {
        self.fresh = fresh;
        self
    }

    /// A stream of which nothing is known yet.
    fn fresh(&self, id: u32) -> Stream {
        Stream {
            id,
            receiving: Half::Done,
            sending: Half::Done,
            asked: Asked::Other,
            is_blocked: false,
            send_window: i64::from(self.peer.window),
            receive_window: i64::from(self.own_window),
            released: 0,
            length: None,
        }
    }

    /// Whether the output holds [`Config::output`] bytes or more: no body is taken before some are written.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.output.len() >= self.config.output
    }

    /// Whether nothing waits to be written.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.output.len() == 0
    }

    /// Bytes that wait to be written: no more than [`Config::output`] of bodies and a frame, but heads and answers beside them.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.output.len()
    }

    /// What is to be written, in order: as many pieces as `slices` has room for. Returns how many there are.
    pub fn output<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.output.slices(slices)
    }

    /// So many bytes of the output are written.
    pub fn wrote(&mut self, bytes: usize) {
        self.answers = self.answers.saturating_sub(bytes);
        self.output.wrote(bytes, self.streams.len() > 0);
    }

    /// Streams that are not over.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// Client: streams that the server takes at a time. Until its settings came, [`Config::max_streams`].
    #[must_use]
    pub fn peer_max_streams(&self) -> u32 {
        self.peer.max_streams
    }

    /// Client: whether the server takes extended CONNECT (RFC 8441).
    #[must_use]
    pub fn peer_takes_protocols(&self) -> bool {
        self.peer.connect_protocol
    }

    /// Whether the peer's settings came, and the connection has not broken since.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether no more streams are taken, none is open, and all is written: the transport can be closed.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let is_closing = self.phase == Phase::Over || self.leaving.last().is_some() || self.peer_left.is_some();
        is_closing && self.streams.len() == 0 && self.is_written()
    }

    /// What the frames since the last call cost: 16 for each HEADERS, 8 for SETTINGS, 4 for CONTINUATION, nothing for DATA that carries
    /// something (a byte, or an end) to an open stream, 1 for all others. Whoever makes much of it for little has no good in mind.
    pub fn take_cost(&mut self) -> u32 {
        std::mem::take(&mut self.cost)
    }
}

/// No heads: they may be secret.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("role", &self.role)
            .field("phase", &self.phase)
            .field("leaving", &self.leaving)
            .field("streams", &self.streams.len())
            .field("output", &self.output.len())
            .finish_non_exhaustive()
    }
}
