//! The IO of the stream to the operator: connects, keeps at it with a growing pause, and carries messages between the stream,
//! the session and whoever takes the updates. No rule of the protocol lives here.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use tenbin_model::{Update, xds};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Request, Streaming};

use super::connect::{chain, connect, read};
use super::metrics::StreamMetrics;
use super::saved::Kept;
use super::session::Session;
use crate::clock::since_1970;

/// The largest response: a full resource and room for the rest.
const MAX_RESPONSE: usize = 2 * xds::MAX_ENCODED;
/// How long the operator may take to let a stream in: it may have to wait for the pod to show up in its own watch.
const OPEN: Duration = Duration::from_secs(20);
/// Pauses between attempts: a random part of this, doubled with each failure, up to the cap.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_CAP: Duration = Duration::from_secs(5);
/// A stream that lived this long was a good one; the pauses begin anew.
const LIVED: Duration = Duration::from_secs(10);
/// Requests not yet sent, above which no further response is read.
const MAX_UNSENT: usize = 64;

/// How to reach the operator.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `host:port`; the certificate must be for this host.
    pub address: String,
    /// The file with the CA certificates to trust, in PEM; no others are trusted.
    pub ca: PathBuf,
    /// The file with the token that tells who this is; read anew for each stream.
    pub token: PathBuf,
}

/// What the stream brings.
#[derive(Debug)]
pub struct Change {
    /// To be put in use.
    pub update: Update,
    /// All that is in use then.
    pub kept: Kept,
}

/// Why a stream ended.
enum End {
    /// Nobody takes changes any more.
    Stopped,
    /// The stream could not be opened, or broke. No token in it.
    Lost(String),
    /// The operator ended the stream in peace: it stops, or wants the token anew.
    Closed,
}

/// Keeps a stream open and sends every change, in order; returns when the receiver is gone. Changes wait where they are not
/// taken, and no further response is read or answered meanwhile.
#[expect(clippy::disallowed_methods, reason = "how long a stream lived is nobody else's time")]
pub async fn run(
    config: ClientConfig,
    mut session: Session,
    changes: mpsc::Sender<Change>,
    metrics: Arc<StreamMetrics>,
) {
    let mut failures = 0;
    let mut told = None;
    loop {
        let start = Instant::now();
        let end = stream(&config, &mut session, &changes, &metrics, &mut told).await;
        metrics.connected.set(0);
        if start.elapsed() >= LIVED {
            failures = 0;
        }
        match end {
            End::Stopped => return,
            End::Closed => tracing::debug!(address = config.address, "the operator closed the stream"),
            // Once per reason: an operator that stays away fills no log.
            End::Lost(reason) if told.as_ref() == Some(&reason) => {}
            End::Lost(reason) => {
                tracing::warn!(
                    address = config.address,
                    reason,
                    "no stream to the operator, serving on"
                );
                told = Some(reason);
            }
        }
        let pause = pause(failures, fastrand::f64());
        failures += 1;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = changes.closed() => return,
        }
    }
}

/// The pause before the next attempt, `random` in 0..1 of the most it may be: many proxies that lost the same operator do not
/// come back at the same moment.
fn pause(failures: u32, random: f64) -> Duration {
    let most = PAUSE.saturating_mul(2u32.saturating_pow(failures)).min(PAUSE_CAP);
    most.mul_f64(random)
}

/// One stream, from dialling to its end.
async fn stream(
    config: &ClientConfig,
    session: &mut Session,
    changes: &mpsc::Sender<Change>,
    metrics: &StreamMetrics,
    told: &mut Option<String>,
) -> End {
    let mut unsent = VecDeque::from(session.connect());
    let (requests, outbound) = mpsc::channel(4);
    let inbound = tokio::select! {
        opened = open(config, outbound) => opened,
        () = changes.closed() => return End::Stopped,
    };
    let mut inbound = match inbound {
        Ok(inbound) => inbound,
        Err(reason) => {
            metrics.failures.inc();
            return End::Lost(reason);
        }
    };
    metrics.connects.inc();
    metrics.connected.set(1);
    metrics.snapshot.restored.set(0);
    if told.take().is_some() || metrics.connects.get() == 1 {
        tracing::info!(address = config.address, "stream to the operator is open");
    }
    loop {
        tokio::select! {
            // Sending first: an answer that waits for a free place must not wait for the next response, too.
            biased;
            () = changes.closed() => return End::Stopped,
            permit = requests.reserve(), if !unsent.is_empty() => match (permit, unsent.pop_front()) {
                (Ok(permit), Some(request)) => permit.send(request),
                _ => return End::Lost("the connection broke".to_owned()),
            },
            message = inbound.message(), if unsent.len() < MAX_UNSENT => match message {
                Ok(Some(response)) => match take(session, response, changes, metrics).await {
                    Some(requests) => unsent.extend(requests),
                    None => return End::Stopped,
                },
                Ok(None) => return End::Closed,
                Err(status) => return End::Lost(text(&status)),
            },
        }
    }
}

/// Judges a response and has its change taken; then gives the requests that answer it. None: nobody takes changes any more.
async fn take(
    session: &mut Session,
    response: DeltaDiscoveryResponse,
    changes: &mpsc::Sender<Change>,
    metrics: &StreamMetrics,
) -> Option<Vec<DeltaDiscoveryRequest>> {
    let judged = session.on_response(response);
    for rejected in &judged.rejected {
        metrics.rejected.inc();
        let kind = rejected.kind.map_or("unknown", |kind| kind.as_str());
        let (name, error) = (&rejected.name, &rejected.error);
        tracing::warn!(kind, name, %error, "a resource was refused, its last good version stays");
    }
    if let Some(update) = judged.update {
        let now = since_1970();
        let kept = session.kept(now.as_secs());
        changes.send(Change { update, kept }).await.ok()?;
        metrics.updates.inc();
        metrics.last_update.set(now.as_secs_f64());
    }
    Some(judged.requests)
}

async fn open(
    config: &ClientConfig,
    outbound: mpsc::Receiver<DeltaDiscoveryRequest>,
) -> Result<Streaming<DeltaDiscoveryResponse>, String> {
    let mut request = Request::new(ReceiverStream::new(outbound));
    request.metadata_mut().insert("authorization", bearer(config).await?);
    let channel = connect(&config.address, &config.ca).await?;
    let mut client = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(MAX_RESPONSE);
    let opened = tokio::time::timeout(OPEN, client.delta_aggregated_resources(request)).await;
    match opened {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(text(&status)),
        Err(_) => Err(format!("no answer within {OPEN:?}")),
    }
}

/// The token as gRPC metadata, marked so that nothing prints it.
async fn bearer(config: &ClientConfig) -> Result<MetadataValue<tonic::metadata::Ascii>, String> {
    let path = config.token.display();
    let content = read(&config.token).await?;
    let token = std::str::from_utf8(&content).unwrap_or_default().trim();
    let value = MetadataValue::try_from(format!("Bearer {token}"));
    match value {
        Ok(mut value) if !token.is_empty() => {
            value.set_sensitive(true);
            Ok(value)
        }
        _ => Err(format!("token file {path} holds no token, expected one line of ASCII")),
    }
}

/// A status with its causes. The operator's statuses hold no token.
fn text(status: &tonic::Status) -> String {
    let cause = std::error::Error::source(status).map(chain);
    let message = cause.unwrap_or_else(|| status.message().to_owned());
    format!("{:?}: {message}", status.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_cap_and_are_spread_over_their_whole_length() {
        assert_eq!(pause(0, 1.0), Duration::from_millis(200));
        assert_eq!(pause(3, 1.0), Duration::from_millis(1600));
        assert_eq!(pause(7, 1.0), PAUSE_CAP);
        assert_eq!(pause(u32::MAX, 1.0), PAUSE_CAP);
        assert_eq!(pause(7, 0.0), Duration::ZERO);
        assert_eq!(pause(3, 0.5), Duration::from_millis(800));
    }

    #[tokio::test]
    async fn an_empty_token_file_is_named() {
        let token = tempfile::NamedTempFile::new().unwrap();
        let config = ClientConfig {
            address: "localhost:1".to_owned(),
            ca: PathBuf::new(),
            token: token.path().to_owned(),
        };
        let error = bearer(&config).await.unwrap_err();
        assert!(error.contains("holds no token"), "{error}");
        std::fs::write(token.path(), "  abc\n").unwrap();
        let value = bearer(&config).await.unwrap();
        assert_eq!(value.to_str().unwrap(), "Bearer abc");
        assert_eq!(format!("{value:?}"), "Sensitive");
    }
}
