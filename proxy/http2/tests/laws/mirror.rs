//! The other side: a second connection that reads all that the first one says, finds nothing wrong with it, and gets what was sent.
#![allow(dead_code, reason = "each test and fuzzer uses some")]

use std::collections::BTreeMap;

use bytes::BytesMut;
use tenbin_http2::{Config, Connection, Event};

use super::build;
use super::owner::lines;

/// Streams beyond are not followed: a peer may begin with any number, the other side has to begin all below.
const STREAMS: u32 = 2000;

/// What was sent on a stream, or got.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Message {
    /// Heads, interim ones too, and trailers.
    pub(crate) heads: Vec<String>,
    pub(crate) body: Vec<u8>,
    pub(crate) has_end: bool,
}

pub(crate) type Messages = BTreeMap<u32, Message>;

pub(crate) struct Mirror {
    connection: Connection,
    /// The next stream of a client.
    next: u32,
    got: Messages,
    /// Whether all can be followed.
    is_whole: bool,
}

impl Mirror {
    /// The other side of a server, or of a client.
    pub(crate) fn of(is_server: bool) -> Self {
        let config = Config {
            max_streams: u32::MAX,
            stream_window: u32::MAX,
            connection_window: u32::MAX,
            header_list: 1 << 20,
            headers: 1000,
            connect_protocol: true,
            ..Config::default()
        };
        let connection = match is_server {
            true => Connection::client(config),
            false => Connection::server(config),
        };
        Mirror {
            connection,
            next: 1,
            got: Messages::new(),
            is_whole: true,
        }
    }

    /// Begins the streams that a server has heard of. Their limit is the first side's to judge.
    fn begin(&mut self, last: u32) {
        let more = build::frame(4, 0, 0, &[0, 3, 0x7f, 0xff, 0xff, 0xff]);
        self.take(&mut BytesMut::from(&more[..]));
        while self.next <= last {
            let head = http::Request::post("http://a/").body(()).expect("a request");
            // After a GOAWAY nothing can be begun any more, though it may have been.
            let Ok(id) = self.connection.request(&head, &[], false) else {
                self.is_whole = false;
                return;
            };
            self.next = id + 2;
        }
    }

    /// `last`: the highest stream that the peer of a server has begun. `sent`: what was said on streams, in all.
    pub(crate) fn heard(&mut self, wire: &[u8], last: u32, sent: &Messages) {
        self.is_whole &= last <= STREAMS;
        if !self.is_whole || wire.is_empty() {
            return;
        }
        if self.next <= last && self.connection.is_established() {
            self.begin(last);
        }
        if self.is_whole {
            self.take(&mut BytesMut::from(wire));
            assert_eq!(self.got, *sent, "what is said is what is heard");
        }
    }

    fn take(&mut self, input: &mut BytesMut) {
        while let Some(event) = self.connection.next(input).expect("the other side finds nothing wrong") {
            self.event(event);
            self.connection.wrote(self.connection.waiting());
        }
        self.connection.wrote(self.connection.waiting());
        assert!(input.is_empty(), "whole frames");
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Request { stream, head, end } => {
                let uri = head.uri().to_string();
                let text = format!("{} {uri} {}", head.method(), lines(head.headers()));
                self.head(stream, text, end);
            }
            Event::Response { stream, head, end } => {
                self.head(stream, format!("{} {}", head.status(), lines(head.headers())), end);
            }
            Event::Trailers { stream, trailers } => self.head(stream, lines(&trailers), true),
            Event::Data { stream, data, end } => {
                self.connection.release(stream, data.len() as u32);
                let message = self.got.entry(stream).or_default();
                message.body.extend(&data);
                message.has_end |= end;
            }
            Event::Reset { by_peer, reason, .. } => assert!(by_peer, "the other side resets: {reason}"),
            Event::Settings | Event::Pong(_) | Event::GoAway { .. } | Event::Enough => {}
            event => panic!("{event:?}"),
        }
    }

    fn head(&mut self, stream: u32, text: String, end: bool) {
        let message = self.got.entry(stream).or_default();
        message.heads.push(text);
        message.has_end |= end;
    }
}
