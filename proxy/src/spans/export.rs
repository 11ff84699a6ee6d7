//! Sending spans: gathered for a moment, put together by collector and service, sent once. A collector that does not take them loses them:
//! nothing is sent twice, and nothing waits but the queue. Runs on the control thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tonic::transport::{Channel, Endpoint};
use tracing::{info, warn};

use super::{Counts, otlp};
use crate::clock::{Clock, since_1970};
use crate::record::Record;

/// The most requests whose spans are sent at once.
const BATCH: usize = 256;
/// How long spans are gathered before they are sent.
const GATHER: Duration = Duration::from_secs(1);
/// How long a collector may take to be connected to, and to answer.
const CONNECT: Duration = Duration::from_secs(2);
/// See [`CONNECT`].
const ANSWER: Duration = Duration::from_secs(5);

/// The control thread's end.
#[derive(Debug)]
pub struct Exporter {
    waiting: mpsc::Receiver<Box<Record>>,
    counts: Arc<Counts>,
    /// Those that the last batch was for.
    collectors: BTreeMap<String, Collector>,
}

#[derive(Debug)]
struct Collector {
    client: TraceServiceClient<Channel>,
    /// Whether it took what it was sent last: only a change is logged.
    takes: bool,
}

/// Spans of one collector, by service.
type Batches = BTreeMap<String, BTreeMap<String, Vec<Span>>>;

impl Exporter {
    pub(super) fn new(waiting: mpsc::Receiver<Box<Record>>, counts: Arc<Counts>) -> Self {
        Exporter {
            waiting,
            counts,
            collectors: BTreeMap::new(),
        }
    }

    /// Sends what comes until nobody is left to send anything. `instance` names this proxy.
    pub async fn run(mut self, clock: Clock, instance: String) {
        let mut records = Vec::new();
        while self.gather(&mut records).await {
            let pending = records.len() as u64;
            let epoch = since_1970().saturating_sub(clock.now().since(tenbin_balance::Time::default()));
            let mut batches = Batches::new();
            for record in records.drain(..) {
                if let Some(tracing) = &record.listener.tracing {
                    let services = batches.entry(tracing.collector.clone()).or_default();
                    let spans = services.entry(tracing.service.clone()).or_default();
                    spans.extend(otlp::spans(&record, epoch));
                }
            }
            // Connections to collectors that nobody names any more end with this.
            self.collectors.retain(|name, _| batches.contains_key(name));
            for (collector, services) in batches {
                self.send(&collector, services, &instance).await;
            }
            self.counts.pending.fetch_sub(pending, Relaxed);
        }
    }

    /// Waits for spans, and a moment for more; false when no more will come.
    #[expect(clippy::vec_box, reason = "as they come from the queue")]
    async fn gather(&mut self, records: &mut Vec<Box<Record>>) -> bool {
        if self.waiting.recv_many(records, BATCH).await == 0 {
            return false;
        }
        let mut enough = std::pin::pin!(sleep(GATHER));
        while records.len() < BATCH {
            tokio::select! {
                more = self.waiting.recv_many(records, BATCH - records.len()) => if more == 0 { break },
                () = &mut enough => break,
                () = self.counts.flush.notified() => break,
            }
        }
        true
    }

    async fn send(&mut self, name: &str, services: BTreeMap<String, Vec<Span>>, instance: &str) {
        let all: u64 = services.values().map(|spans| spans.len() as u64).sum();
        let resource_spans = services
            .into_iter()
            .map(|(service, spans)| otlp::of_service(&service, instance, spans))
            .collect();
        let request = ExportTraceServiceRequest { resource_spans };
        let Some(collector) = self.collector(name) else {
            self.counts.refused.fetch_add(all, Relaxed);
            return;
        };
        let answer = collector.client.export(request).await;
        match &answer {
            Ok(_) if !collector.takes => info!(collector = name, "spans are taken again"),
            Err(status) if collector.takes => {
                warn!(collector = name, code = %status.code(), error = status.message(), "spans are not taken, and dropped");
            }
            _ => {}
        }
        collector.takes = answer.is_ok();
        let rejected = match answer {
            Ok(answer) => {
                let partial = answer.into_inner().partial_success;
                partial.map_or(0, |partial| u64::try_from(partial.rejected_spans).unwrap_or(0).min(all))
            }
            Err(_) => all,
        };
        self.counts.refused.fetch_add(rejected, Relaxed);
        self.counts.exported.fetch_add(all - rejected, Relaxed);
    }

    /// The collector of that name; `None` where the name is no address.
    fn collector(&mut self, name: &str) -> Option<&mut Collector> {
        if !self.collectors.contains_key(name) {
            let endpoint = match Endpoint::from_shared(name.to_owned()) {
                Ok(endpoint) => endpoint.connect_timeout(CONNECT).timeout(ANSWER),
                Err(error) => {
                    warn!(collector = name, %error, "spans go nowhere: an address as http://collector:4317 is expected");
                    return None;
                }
            };
            let collector = Collector {
                client: TraceServiceClient::new(endpoint.connect_lazy()),
                takes: true,
            };
            self.collectors.insert(name.to_owned(), collector);
        }
        self.collectors.get_mut(name)
    }
}
