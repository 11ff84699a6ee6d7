//! Spans, told to a collector that speaks real OTLP.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tenbin_model::{EndpointState, OnDead, OnDrain, Policy, Tracing};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::backend::nobody;
use crate::client::Client;
use crate::harness::{PATIENCE, Proxy, eventually};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";

/// A collector, and what it was told: services with their spans.
struct Collector {
    address: SocketAddr,
    told: mpsc::UnboundedReceiver<(String, Span)>,
}

struct Sink(mpsc::UnboundedSender<(String, Span)>);

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let service = text(&resource.resource.unwrap().attributes, "service.name");
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let _ = self.0.send((service.clone(), span));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sink, told) = mpsc::unbounded_channel();
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Sink(sink)));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Collector { address, told }
    }

    async fn next(&mut self) -> Span {
        let (service, span) = timeout(PATIENCE, self.told.recv()).await.unwrap().unwrap();
        assert_eq!(service, "hello");
        span
    }
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    match attribute(attributes, key) {
        Some(Value::StringValue(text)) => text.clone(),
        other => panic!("{key} is {other:?} in {attributes:?}"),
    }
}

fn number(span: &Span, key: &str) -> Option<i64> {
    match attribute(&span.attributes, key) {
        Some(Value::IntValue(number)) => Some(*number),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Has the spans of so many of a million requests told to `collector`.
async fn trace(app: &App, proxy: &Proxy, collector: Option<SocketAddr>, sampled: u32) {
    let tracing = collector.map(|address| Tracing {
        collector: format!("http://{address}"),
        sampled,
        service: "hello".to_owned(),
    });
    app.operator.says(|listener| listener.tracing.clone_from(&tracing));
    eventually("spans go where they should", async || {
        let shown = proxy.admin("config").await["listeners"][0]["tracing"].clone();
        let is = match &tracing {
            Some(tracing) => shown["collector"] == tracing.collector && shown["sampledOfMillion"] == sampled,
            None => shown.is_null(),
        };
        is.then_some(())
    })
    .await;
}

/// The `traceparent` that the app got.
async fn told(client: &mut Client, header: &str) -> Option<String> {
    client
        .send(format!("GET /headers?secret HTTP/1.1\r\nhost: test:8\r\n{header}\r\n"))
        .await;
    let answer = client.response().await.text();
    let line = answer
        .lines()
        .find_map(|line| line.trim().strip_prefix("\"traceparent\": \""));
    line.map(|line| line.trim_end_matches("\",").to_owned())
}

#[tokio::test]
async fn each_request_and_each_try_has_a_span() {
    let mut collector = Collector::start().await;
    let app = App::of(1, OnDrain::Keep, OnDead::Rebalance).await;
    app.operator.balance(Policy::RoundRobin, None);
    let proxy = app.proxy(&[]).await;
    let mut client = Client::connect(proxy.address()).await;
    let own = format!("traceparent: {PARENT}-01\r\n");
    assert_eq!(told(&mut client, "").await, None, "nobody traces");
    assert_eq!(told(&mut client, &own).await.unwrap(), format!("{PARENT}-01"));

    trace(&app, &proxy, Some(collector.address), 1_000_000).await;
    let (gone, _nobody) = nobody();
    let mut endpoints = app.all(EndpointState::Ready);
    endpoints.push(("pod-1", gone, EndpointState::Ready));
    app.operator.endpoints(&endpoints);
    proxy.await_endpoints(&endpoints).await;

    // In turn: one of the two requests meets the endpoint that is gone first, or both if the second is late enough to be its trial.
    let mut answers = Vec::new();
    for _ in 0..2 {
        answers.push(told(&mut client, "").await.unwrap());
    }
    let failures = proxy.endpoint(gone).await["connectFailures"].as_u64().unwrap() as usize;
    assert!(failures >= 1);
    let mut spans = Vec::new();
    for _ in 0..4 + failures {
        spans.push(collector.next().await);
    }
    for answer in &answers {
        let parts: Vec<_> = answer.split('-').collect();
        let of_trace: Vec<_> = spans.iter().filter(|span| hex(&span.trace_id) == parts[1]).collect();
        let server = of_trace.iter().find(|span| span.kind == 2).unwrap();
        let tries: Vec<_> = of_trace.iter().filter(|span| span.kind == 3).collect();
        assert!(server.parent_span_id.is_empty());
        assert!(tries.iter().all(|one| one.parent_span_id == server.span_id));
        let last = tries.last().unwrap();
        assert_eq!(
            (hex(&last.span_id).as_str(), parts[3]),
            (parts[2], "01"),
            "the app is the last try's"
        );
        assert_eq!(number(last, "http.response.status_code"), Some(200));
        assert_eq!(text(&last.attributes, "tenbin.endpoint"), "pod-0");
        assert!(server.start_time_unix_nano <= last.start_time_unix_nano);
        assert!(last.end_time_unix_nano <= server.end_time_unix_nano);
        assert_eq!((server.name.as_str(), number(server, "server.port")), ("GET", Some(8)));
        assert_eq!(text(&server.attributes, "url.path"), "/headers");
        assert!(server.status.is_none());
        if let [failed, _] = tries[..] {
            assert_eq!(text(&failed.attributes, "error.type"), "UF");
            assert_eq!(failed.status.as_ref().map(|status| status.code), Some(2));
            assert_eq!(number(failed, "server.port"), Some(gone.port().into()));
            assert_eq!(number(last, "http.request.resend_count"), Some(1));
        }
    }
    assert!(
        spans.iter().all(|span| !format!("{span:?}").contains("secret")),
        "queries stay here"
    );
    assert_eq!(spans.iter().filter(|span| span.kind == 3).count(), 2 + failures);
    eventually("they are counted", async || {
        (proxy.metric("tenbin_spans_exported_total").await == spans.len() as f64).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_callers_decision_counts_and_a_change_takes_effect_at_once() {
    let mut collector = Collector::start().await;
    let app = App::of(1, OnDrain::Keep, OnDead::Rebalance).await;
    let proxy = app.proxy(&[]).await;
    let mut client = Client::connect(proxy.address()).await;
    trace(&app, &proxy, Some(collector.address), 0).await;

    let unsampled = format!("traceparent: {PARENT}-00\r\n");
    assert_eq!(told(&mut client, &unsampled).await.unwrap(), format!("{PARENT}-00"));
    assert!(
        told(&mut client, "").await.unwrap().ends_with("-00"),
        "one trace, one decision"
    );
    let sampled = format!("traceparent: {PARENT}-01\r\ntracestate: a=1\r\n");
    let answer = told(&mut client, &sampled).await.unwrap();
    assert!(answer.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && answer.ends_with("-01"));
    let (server, one) = (collector.next().await, collector.next().await);
    assert_eq!(hex(&server.parent_span_id), "b7ad6b7169203331");
    assert_eq!((server.trace_state.as_str(), one.trace_state.as_str()), ("a=1", "a=1"));
    assert!(answer.contains(&hex(&one.span_id)));

    // Nobody waits for a collector that is not there.
    let (gone, _nobody) = nobody();
    trace(&app, &proxy, Some(gone), 1_000_000).await;
    for _ in 0..3 {
        assert!(told(&mut client, "").await.unwrap().ends_with("-01"));
    }
    proxy
        .await_metric("tenbin_spans_dropped_total{reason=\"collector\"}", 6.0)
        .await;
    trace(&app, &proxy, Some(collector.address), 1_000_000).await;
    told(&mut client, "").await;
    collector.next().await;
    trace(&app, &proxy, None, 0).await;
    assert_eq!(told(&mut client, "").await, None);
}
