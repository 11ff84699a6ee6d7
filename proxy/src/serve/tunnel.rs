//! An upgraded connection (WebSocket): bytes both ways until both sides are done. It is its request, open for life.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional_with_sizes;
use tracing::debug;

use super::exchange::Exchange;

/// Bytes held each way.
const BUFFER: usize = 8 * 1024;

/// Both ends of an upgrade that was agreed on.
pub(super) struct Tunnel {
    /// The client's end; there when the response was written.
    pub(super) client: OnUpgrade,
    /// The endpoint's end.
    pub(super) endpoint: OnUpgrade,
    /// The request, open until the tunnel is.
    pub(super) exchange: Exchange,
}

impl Tunnel {
    /// Copies until both sides are done, or one is broken.
    pub(super) async fn run(self) {
        let (client, endpoint) = match futures::try_join!(self.client, self.endpoint) {
            Ok(ends) => ends,
            Err(error) => {
                debug!(%error, "an upgrade was not carried out");
                return;
            }
        };
        let (mut client, mut endpoint) = (TokioIo::new(client), TokioIo::new(endpoint));
        match copy_bidirectional_with_sizes(&mut client, &mut endpoint, BUFFER, BUFFER).await {
            Ok((up, down)) => {
                debug!(up, down, "a tunnel ended");
                self.exchange.carried(up, down);
            }
            Err(error) => debug!(%error, "a tunnel broke"),
        }
        drop(self.exchange);
    }
}
