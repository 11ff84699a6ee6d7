//! An upgraded connection (WebSocket): bytes both ways until both sides are done. It is its request, open for life.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use super::copy::{Side, both_ways};
use super::exchange::Exchange;
use crate::upstream::Upgraded;

/// An upgrade that was agreed on.
pub(super) struct Tunnel {
    /// The endpoint's end.
    pub(super) endpoint: Upgraded,
    /// How long it may stay without a byte either way.
    pub(super) idle: Duration,
    /// The request, open until the tunnel is.
    pub(super) exchange: Exchange,
}

impl Tunnel {
    /// Copies between the client's end and the endpoint's until both sides are done, one is broken, or nothing moves.
    pub(super) async fn run(self, client: Side<impl AsyncRead + AsyncWrite + Unpin>) {
        let scratch = &self.exchange.connection().worker.scratch;
        let Upgraded { socket, ahead } = self.endpoint;
        let endpoint = Side { io: socket, ahead };
        match both_ways(client, endpoint, self.idle, scratch).await {
            Ok((up, down)) => {
                debug!(up, down, "a tunnel ended");
                self.exchange.carried(up, down);
            }
            Err(error) => debug!(%error, "a tunnel broke"),
        }
        drop(self.exchange);
    }
}
