//! The rows of the tables: what clients do beside the probe, and what is counted for memory. How it is done is in `client::hostile`.

use tenbin_hostile::Flood;

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// They open something, which then stays as it is.
    Open(Open),
    /// What they begin goes on very slowly, or not at all.
    Slow(Slow),
    /// They pour frames of HTTP/2 until they are thrown out, and come again.
    Pour(Flood),
    /// The same without reading what they are told.
    PourUnread(Flood),
    /// They do something short over and over.
    Again(Again),
}

/// What stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    /// Connections with HTTP/1.1 that were served once.
    Http1,
    /// The same with HTTP/2.
    Http2,
    /// Streams of HTTP/2 that wait for their responses, [`STREAMS`] on each connection.
    Streams,
    /// WebSockets without a message.
    WebSockets,
}

/// What is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slow {
    /// Headers, a byte a second.
    Headers,
    /// Bodies, a byte a second.
    Bodies,
    /// Clients that read nothing of a long answer.
    Readers,
    /// Clients that send half of a ClientHello.
    Hellos,
    /// Clients of HTTP/2 whose windows are closed.
    Windows,
    /// Clients of HTTP/2 that read nothing of long answers.
    Readers2,
}

/// What is done over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// Connecting, and leaving.
    Connect,
    /// Bytes that mean nothing.
    Garbage,
    /// A ClientHello, recorded once; the client leaves when it is answered.
    Hello,
    /// A whole handshake.
    Handshake,
    /// Chunks of one byte, of a body without end.
    Chunks,
}

/// Streams on a connection with many.
pub(crate) const STREAMS: usize = 100;

/// A row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// As the command line has it.
    pub(crate) name: &'static str,
    /// As the page has it.
    pub(crate) what: &'static str,
    pub(crate) kind: Kind,
    pub(crate) tls: bool,
    /// Connections at the same time; fewer where descriptors are.
    pub(crate) connections: u64,
    /// What bounds its memory, where it is measured.
    pub(crate) bound: &'static str,
}

impl Row {
    /// Whether HTTP/2 is spoken.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(
            self.kind,
            Kind::Pour(_)
                | Kind::PourUnread(_)
                | Kind::Open(Open::Http2 | Open::Streams)
                | Kind::Slow(Slow::Windows | Slow::Readers2)
        )
    }

    /// What its memory is counted for: streams where they are what there is many of, else connections.
    pub(crate) fn each(&self) -> u64 {
        match self.kind {
            Kind::Open(Open::Streams) | Kind::Slow(Slow::Windows | Slow::Readers2) => STREAMS as u64,
            _ => 1,
        }
    }

    /// Descriptors of the proxy for each connection.
    pub(crate) fn descriptors(&self) -> u64 {
        match self.kind {
            Kind::Open(Open::WebSockets) | Kind::Slow(Slow::Bodies | Slow::Readers) => 2,
            Kind::Open(Open::Streams) | Kind::Slow(Slow::Windows | Slow::Readers2) => 1 + STREAMS as u64,
            _ => 1,
        }
    }

    /// The row of a name, of either table.
    pub(crate) fn named(name: &str) -> Option<Row> {
        let mut all = BESIDE.iter().chain(MEMORY);
        all.find(|row| row.name == name).copied()
    }
}

/// Connections of a flood.
const FEW: u64 = 8;
/// Slow connections of each kind, and streams where they are slow.
const SLOW: u64 = 1000;
const SLOW_STREAMS: u64 = SLOW / STREAMS as u64;

const fn row(name: &'static str, what: &'static str, kind: Kind, connections: u64) -> Row {
    Row {
        name,
        what,
        kind,
        tls: false,
        connections,
        bound: "",
    }
}

const fn secure(name: &'static str, what: &'static str, kind: Kind, connections: u64) -> Row {
    Row {
        tls: true,
        ..row(name, what, kind, connections)
    }
}

const fn pour(name: &'static str, what: &'static str, flood: Flood) -> Row {
    row(name, what, Kind::Pour(flood), FEW)
}

/// Beside what the probe is measured.
pub(crate) const BESIDE: &[Row] = &[
    row("idle", "idle connections", Kind::Open(Open::Http1), 10_000),
    row(
        "slow-headers",
        "headers, a byte a second",
        Kind::Slow(Slow::Headers),
        SLOW,
    ),
    row("slow-bodies", "bodies, a byte a second", Kind::Slow(Slow::Bodies), SLOW),
    row(
        "slow-readers",
        "clients that read nothing of 1 MiB",
        Kind::Slow(Slow::Readers),
        SLOW,
    ),
    row(
        "slow-hellos",
        "half a ClientHello (TLS)",
        Kind::Slow(Slow::Hellos),
        SLOW,
    ),
    row(
        "windows",
        "HTTP/2 streams without a window, 100 a connection",
        Kind::Slow(Slow::Windows),
        SLOW_STREAMS,
    ),
    row(
        "slow-readers-h2",
        "HTTP/2 streams of 1 MiB of which nothing is read, 100 a connection",
        Kind::Slow(Slow::Readers2),
        SLOW_STREAMS,
    ),
    pour("rapid-reset", "streams that are reset at once", Flood::RapidReset),
    Row {
        tls: true,
        ..pour("rapid-reset-tls", "the same over TLS", Flood::RapidReset)
    },
    pour(
        "made-you-reset",
        "streams that we are made to reset",
        Flood::MadeYouReset,
    ),
    pour(
        "made-you-reset-window",
        "the same by a window that grows too far",
        Flood::MadeYouResetByWindow,
    ),
    pour(
        "made-you-reset-data",
        "the same by DATA behind the end",
        Flood::MadeYouResetByData,
    ),
    pour(
        "made-you-reset-priority",
        "the same by a stream that depends on itself",
        Flood::MadeYouResetByPriority,
    ),
    pour("continuation", "CONTINUATION with fields", Flood::Continuation),
    pour("empty-continuation", "empty CONTINUATION", Flood::EmptyContinuation),
    pour("empty-data", "empty DATA", Flood::EmptyData),
    pour("small-data", "DATA of one byte", Flood::SmallData),
    pour("ping", "PING", Flood::Ping),
    row(
        "ping-unread",
        "PING, of clients that do not read",
        Kind::PourUnread(Flood::Ping),
        FEW,
    ),
    pour("settings", "SETTINGS", Flood::Settings),
    pour("priority", "PRIORITY", Flood::Priority),
    pour("window-update", "WINDOW_UPDATE, one byte each", Flood::WindowUpdate),
    pour("unknown", "frames of unknown types", Flood::UnknownFrames),
    pour("hpack-bomb", "HPACK bombs", Flood::HpackBomb),
    row(
        "chunks",
        "chunks of one byte (HTTP/1.1)",
        Kind::Again(Again::Chunks),
        FEW,
    ),
    row("garbage", "garbage", Kind::Again(Again::Garbage), FEW),
    secure("garbage-tls", "garbage where TLS is", Kind::Again(Again::Garbage), FEW),
    row("connect", "connecting, and leaving", Kind::Again(Again::Connect), FEW),
    secure("hello", "ClientHello, and leaving", Kind::Again(Again::Hello), FEW),
    secure(
        "handshake",
        "TLS handshakes, and leaving",
        Kind::Again(Again::Handshake),
        FEW,
    ),
];

const IDLE: &str = "≤ 20 KiB (budget); at most 128 KiB of input wait";
const IDLE2: &str = "≤ 20 KiB (budget); at most 1 MiB of input waits, for endpoints";

/// Of what the memory is measured.
pub(crate) const MEMORY: &[Row] = &[
    Row {
        bound: IDLE,
        ..row("http1", "idle HTTP/1.1 connection", Kind::Open(Open::Http1), 5000)
    },
    Row {
        bound: IDLE,
        ..secure("http1-tls", "the same over TLS", Kind::Open(Open::Http1), 5000)
    },
    Row {
        bound: IDLE2,
        ..row("http2", "idle HTTP/2 connection", Kind::Open(Open::Http2), 5000)
    },
    Row {
        bound: IDLE2,
        ..secure("http2-tls", "the same over TLS", Kind::Open(Open::Http2), 5000)
    },
    Row {
        bound: "at most 256 KiB of a request and 192 KiB of a response wait",
        ..row(
            "streams",
            "HTTP/2 stream that waits for its response, with its connection to the app",
            Kind::Open(Open::Streams),
            50,
        )
    },
    Row {
        bound: "≤ 20 KiB (budget); at most 8 KiB wait each way",
        ..row(
            "websockets",
            "idle WebSocket, with its connection to the app",
            Kind::Open(Open::WebSockets),
            5000,
        )
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_no_name_is_twice() {
        for row in BESIDE.iter().chain(MEMORY) {
            assert_eq!(Row::named(row.name).unwrap().what, row.what);
        }
    }
}
