//! Floods and slow peers: each ends with the connection closed by the proxy, while another client is served and the proxy's memory stays
//! within its bound. Each has a proxy of its own. Nothing here asserts a speed.

mod pour;
mod rows;

use std::time::Duration;

use tokio::time::sleep;

use crate::world::World;

pub(crate) use rows::sections;

/// So much more memory than at rest may be resident, in KiB.
const MOST_MEMORY: u64 = 64 << 10;

/// So many requests of a flood may reach the endpoint.
const MOST_REQUESTS: usize = 1100;

/// Times that are short enough to be waited for: what is slow is closed after these.
const LISTENER: &str = ", headerTimeout: 1s, idleTimeout: 2s";
const ROUTE: &str = ", idleTimeout: 1s";

/// A flood.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) answer: &'static str,
    pub(crate) rule: &'static str,
    flood: Flood,
}

/// The floods, and a test for each.
macro_rules! floods {
    ($($test:ident: $flood:ident,)*) => {
        /// What is done to the proxy.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Flood {
            $($flood,)*
        }

        $(#[tokio::test]
        async fn $test() {
            let mut rows = sections().into_iter().flat_map(|section| section.rows);
            let row = rows.find(|row| row.flood == Flood::$flood).expect("each has a row");
            if let Err(why) = judge(row).await {
                panic!("{}: {why}", row.name);
            }
        })*
    };
}

floods! {
    rapid_reset: RapidReset,
    made_you_reset: MadeYouReset,
    continuation: Continuation,
    empty_continuation: EmptyContinuation,
    settings: Settings,
    ping: Ping,
    ping_unread: PingUnread,
    priority: Priority,
    window_update: WindowUpdate,
    empty_data: EmptyData,
    unknown_frames: UnknownFrames,
    hpack_bomb: HpackBomb,
    zero_window: ZeroWindow,
    slow_reader_http2: SlowReader2,
    slow_block: SlowBlock,
    slow_body_http2: SlowBody2,
    slow_preface: SlowPreface,
    slow_headers: SlowHeaders,
    slow_body: SlowBody,
    slow_chunk: SlowChunk,
    slow_reader: SlowReader1,
    silence: Silence,
    many_connections: Connections,
}

async fn judge(row: Row) -> Result<(), String> {
    let world = World::start(LISTENER, ROUTE).await;
    world.endpoint.begin(None);
    world.probe().await?;
    let quiet = world.memory();
    let mut most = quiet;
    let flood = rows::run(row.flood, &world);
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
