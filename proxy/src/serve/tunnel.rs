//! An upgraded connection (WebSocket): bytes both ways until both sides are done. It is its request, open for life.

use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use super::copy::both_ways;
use super::exchange::Exchange;

/// Both ends of an upgrade that was agreed on.
pub(super) struct Tunnel {
    /// The client's end over HTTP/1; there when the response was written.
    pub(super) client: OnUpgrade,
    /// The endpoint's end.
    pub(super) endpoint: OnUpgrade,
    /// How long it may stay without a byte either way.
    pub(super) idle: Duration,
    /// The request, open until the tunnel is.
    pub(super) exchange: Exchange,
}

impl Tunnel {
    /// Copies over HTTP/1 until both sides are done, one is broken, or nothing moves.
    pub(super) async fn run(mut self) {
        match (&mut self.client).await {
            Ok(client) => self.run_over(TokioIo::new(client)).await,
            Err(error) => debug!(%error, "an upgrade was not carried out"),
        }
    }

    /// The same with the client at the end of `client`.
    pub(super) async fn run_over(self, client: impl AsyncRead + AsyncWrite + Unpin) {
        let endpoint = match self.endpoint.await {
            Ok(endpoint) => TokioIo::new(endpoint),
            Err(error) => {
                debug!(%error, "an upgrade was not carried out");
                return;
            }
        };
        match both_ways(client, endpoint, self.idle).await {
            Ok((up, down)) => {
                debug!(up, down, "a tunnel ended");
                self.exchange.carried(up, down);
            }
            Err(error) => debug!(%error, "a tunnel broke"),
        }
        drop(self.exchange);
    }
}
