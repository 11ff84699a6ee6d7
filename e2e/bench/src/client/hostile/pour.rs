//! Floods over HTTP/2: frames until the proxy closes, and again.

use std::cell::Cell;

use tenbin_hostile::Flood;

use super::crowd::{Buffer, Crowd, drain};
use crate::floods::{NEVER, SINK};

/// Bytes of one write, at least.
const WRITE: usize = 4 << 10;

/// One client, for ever. Its first connection counts as begun when the first frames are out.
pub(super) async fn run(crowd: &Crowd, flood: Flood, reads: bool) {
    let begun = Cell::new(false);
    let begins = || {
        if !begun.replace(true) {
            crowd.begins();
        }
    };
    loop {
        crowd.pass().await;
        let buffer = if reads { Buffer::Usual } else { Buffer::Small };
        let Ok(stream) = crowd.connect(buffer).await else {
            crowd.refused().await;
            continue;
        };
        let (read, mut write) = tokio::io::split(stream);
        let writing = async {
            let (mut bytes, mut pieces) = (flood.first(NEVER, SINK), flood.pieces(NEVER));
            while crowd.send(&mut write, &bytes).await.is_ok() {
                begins();
                bytes.clear();
                while bytes.len() < WRITE {
                    match pieces.next() {
                        Some(piece) => bytes.extend(piece),
                        None => return,
                    }
                }
            }
        };
        let reading = async {
            if !reads {
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
