//! Floods and slow peers: each ends with the connection closed by the proxy, while another client is served and the proxy's memory stays
//! within its bound. Each has a proxy of its own. Nothing here asserts a speed.

mod pour;
mod rows;

use std::time::Duration;

use tenbin_hostile::Flood;
use tokio::time::sleep;

use crate::world::World;
use pour::Reads;

pub(crate) use rows::sections;

/// So much more memory than at rest may be resident, in KiB.
const MOST_MEMORY: u64 = 64 << 10;

/// So many requests of a flood may reach the endpoint.
const MOST_REQUESTS: usize = 1100;

/// Times that are short enough to be waited for: what is slow is closed after these. Headers have more, since a
/// client of the test may stand still between connecting and its first bytes.
const LISTENER: &str = ", headerTimeout: 3s, idleTimeout: 2s";
const ROUTE: &str = ", idleTimeout: 1s";

/// A flood.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) answer: &'static str,
    pub(crate) rule: &'static str,
    what: What,
}

/// What is done to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A flood over HTTP/2; whether its client reads what it is answered.
    Flood(Flood, Reads),
    Slow(Slow),
}

/// Over what a flood comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Cleartext,
    Tls,
}

macro_rules! floods {
    ($($test:ident: $flood:ident, $reads:ident;)*) => {
        $(mod $test {
            use super::*;

            #[tokio::test]
            async fn in_cleartext() {
                expect(What::Flood(Flood::$flood, Reads::$reads), Over::Cleartext).await;
            }

            #[tokio::test]
            async fn over_tls() {
                expect(What::Flood(Flood::$flood, Reads::$reads), Over::Tls).await;
            }
        })*
    };
}

macro_rules! slow {
    ($($test:ident: $slow:ident,)*) => {
        /// A slow peer, or many of them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Slow {
            $($slow,)*
        }

        $(#[tokio::test]
        async fn $test() {
            expect(What::Slow(Slow::$slow), Over::Cleartext).await;
        })*
    };
}

floods! {
    rapid_reset: RapidReset, All;
    made_you_reset: MadeYouReset, All;
    made_you_reset_by_window: MadeYouResetByWindow, All;
    made_you_reset_by_data: MadeYouResetByData, All;
    made_you_reset_by_priority: MadeYouResetByPriority, All;
    continuation: Continuation, All;
    empty_continuation: EmptyContinuation, All;
    settings: Settings, All;
    ping: Ping, All;
    ping_unread: Ping, Nothing;
    priority: Priority, All;
    window_update: WindowUpdate, All;
    empty_data: EmptyData, All;
    unknown_frames: UnknownFrames, All;
    hpack_bomb: HpackBomb, All;
}

slow! {
    zero_window: ZeroWindow,
    slow_reader_http2: Reader2,
    slow_block: Block,
    slow_body_http2: Body2,
    slow_preface: Preface,
    slow_headers: Headers,
    slow_body: Body,
    slow_chunk: Chunk,
    slow_reader: Reader1,
    silence: Silence,
    many_connections: Connections,
    slow_handshake: Handshake,
    no_handshake: NoHandshake,
    many_handshakes: Handshakes,
}

async fn expect(what: What, over: Over) {
    let mut rows = sections().into_iter().flat_map(|section| section.rows);
    let row = rows.find(|row| row.what == what).expect("each has a row");
    if let Err(why) = judge(row, over).await {
        panic!("{}: {why}", row.name);
    }
}

async fn judge(row: Row, over: Over) -> Result<(), String> {
    let world = World::start(LISTENER, ROUTE).await;
    world.endpoint.begin(None);
    world.probe().await?;
    let quiet = world.memory();
    let mut most = quiet;
    let flood = rows::run(row.what, over, &world);
    let watch = async {
        loop {
            most = most.max(world.memory());
            if let Err(why) = world.probe().await {
                return why;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        ended = flood => ended?,
        why = watch => return Err(why),
    }
    world.probe().await?;
    most = most.max(world.memory());
    let grown = most.saturating_sub(quiet);
    if grown > MOST_MEMORY {
        return Err(format!("memory grew by {grown} KiB, from {quiet} KiB"));
    }
    let requests = world.endpoint.requests();
    if requests > MOST_REQUESTS {
        return Err(format!("{requests} requests reached the endpoint"));
    }
    Ok(())
}
