//! Slow clients: each begins something and goes on with it a byte a second, or takes nothing, until the proxy closes; then again.

use std::time::Duration;

use tenbin_hostile::frames::{self, WINDOW_UPDATE, frame};
use tenbin_hostile::slow;
use tokio::time::sleep;

use super::crowd::{Buffer, Crowd, Duplex, drain};
use crate::floods::{LONG, SINK, STREAMS, Slow};

/// Between two bytes.
const PAUSE: Duration = Duration::from_secs(1);
/// The body that is promised, in bytes.
const BODY: u32 = 1 << 20;
/// A setting: as much as a stream may be sent before its client asks for more (RFC 9113 §6.5.2).
const INITIAL_WINDOW: u16 = 4;
const LARGEST_WINDOW: u32 = 0x7fff_ffff;

/// One client, for ever.
pub(super) async fn run(crowd: &Crowd, what: Slow) {
    let mut first = true;
    loop {
        crowd.pass().await;
        let Ok(stream) = connect(crowd, what).await else {
            crowd.refused().await;
            continue;
        };
        let (read, mut write) = tokio::io::split(stream);
        if crowd.send(&mut write, &begin(what)).await.is_ok() && std::mem::take(&mut first) {
            crowd.begins();
        }
        let writing = async {
            match what {
                Slow::Headers | Slow::Bodies => {
                    // So that not all send in the same moment.
                    sleep(PAUSE.mul_f64(fastrand::f64())).await;
                    while crowd.send(&mut write, b"x").await.is_ok() {
                        sleep(PAUSE).await;
                    }
                }
                _ => std::future::pending().await,
            }
        };
        let reading = async {
            if matches!(what, Slow::Readers | Slow::Readers2) {
                std::future::pending::<()>().await;
            }
            drain(read).await;
        };
        tokio::select! {
            () = writing => {}
            () = reading => {}
        }
        crowd.thrown_out();
    }
}

async fn connect(crowd: &Crowd, what: Slow) -> anyhow::Result<Box<dyn Duplex>> {
    match what {
        Slow::Readers | Slow::Readers2 => crowd.connect(Buffer::Small).await,
        _ => crowd.connect(Buffer::Usual).await,
    }
}

/// What a client begins with.
fn begin(what: Slow) -> Vec<u8> {
    let gets = |path: &'static str| {
        (0..STREAMS)
            .zip((1..).step_by(2))
            .flat_map(move |(_, stream)| frames::get(stream, path))
    };
    match what {
        Slow::Headers => slow::HEADERS.to_vec(),
        Slow::Bodies => slow::body(SINK, BODY),
        Slow::Readers => slow::get(LONG),
        Slow::Hellos => slow::HALF_HELLO.to_vec(),
        Slow::Windows => frames::begin(&[(INITIAL_WINDOW, 0)])
            .into_iter()
            .chain(gets("/"))
            .collect(),
        Slow::Readers2 => {
            // The connection's window has 65,535 bytes from the beginning.
            let window = frame(WINDOW_UPDATE, 0, 0, &(LARGEST_WINDOW - 65_535).to_be_bytes());
            let begin = frames::begin(&[(INITIAL_WINDOW, LARGEST_WINDOW)]);
            begin.into_iter().chain(window).chain(gets(LONG)).collect()
        }
    }
}
