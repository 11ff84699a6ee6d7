//! An upgraded connection (WebSocket): bytes both ways until both sides are done. It is its request, open for life.

use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tracing::debug;

use super::copy::both_ways;
use super::exchange::Exchange;
use crate::upstream::Upgraded;

/// Both ends of an upgrade that was agreed on.
pub(super) struct Tunnel {
    /// The client's end; there when the response was written.
    pub(super) client: OnUpgrade,
    /// The endpoint's end.
    pub(super) endpoint: Upgraded,
    /// How long it may stay without a byte either way.
    pub(super) idle: Duration,
    /// The request, open until the tunnel is.
    pub(super) exchange: Exchange,
}

impl Tunnel {
    /// Copies until both sides are done, one is broken, or nothing moves.
    pub(super) async fn run(self) {
        let client = match self.client.await {
            Ok(client) => client,
            Err(error) => {
                debug!(%error, "an upgrade was not carried out");
                return;
            }
        };
        match both_ways(TokioIo::new(client), self.endpoint, self.idle).await {
            Ok((up, down)) => {
                debug!(up, down, "a tunnel ended");
                self.exchange.carried(up, down);
            }
            Err(error) => debug!(%error, "a tunnel broke"),
        }
        drop(self.exchange);
    }
}
