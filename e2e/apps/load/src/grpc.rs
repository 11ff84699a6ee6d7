//! A gRPC client of the demo app, over one HTTP/2 connection. It keeps no time of its own and never tries again: a deadline is only
//! said, and what becomes of it is others' business.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::channel::mpsc;
use futures::stream::{self, StreamExt};
use futures::{SinkExt, TryStreamExt};
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tonic::client::Grpc;
use tonic::codegen::Service;
use tonic::metadata::{KeyAndValueRef, MetadataKey, MetadataMap};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::client::Target;
use crate::demo::{self, Ask, Said};
use crate::plan::{Call, Called, Calls};

/// How long a call may take in any case.
const LIMIT: Duration = Duration::from_secs(60);

type Sender = SendRequest<tonic::body::Body>;

/// What a call gave: its messages, and the metadata of its head.
type Outcome = Result<(Vec<Said>, MetadataMap), Status>;

/// Makes the calls.
pub(crate) async fn calls(plan: &Calls) -> anyhow::Result<Called> {
    let target = Target::resolve(&plan.url).await?;
    let stream = TcpStream::connect(target.address).await.context("connect")?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    // How it ends is seen by the calls on it.
    let driver = tokio::spawn(async move { connection.await.is_ok() });
    let origin: http::Uri = format!("http://{}/", target.authority).parse()?;
    let mut called = Called::default();
    let mut all = stream::iter(0..plan.calls)
        .map(|_| timed(plan, sender.clone(), origin.clone()))
        .buffer_unordered(plan.at_once.clamp(1, 1000) as usize);
    while let Some((outcome, took)) = all.next().await {
        called.add(outcome, took);
    }
    driver.abort();
    Ok(called)
}

/// One call and how long it took; without an outcome where it was given up on.
async fn timed(plan: &Calls, sender: Sender, origin: http::Uri) -> (Option<Outcome>, Duration) {
    let began = Instant::now();
    let limit = plan.cancel_ms.map_or(LIMIT, Duration::from_millis);
    let outcome = tokio::time::timeout(limit, call(plan, sender, origin)).await;
    (outcome.ok(), began.elapsed())
}

async fn call(plan: &Calls, sender: Sender, origin: http::Uri) -> Outcome {
    let mut grpc = Grpc::with_origin(Client(sender), origin);
    grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
    let codec = ProstCodec::<Ask, Said>::default();
    let ask = Ask {
        text: "hello".to_owned(),
        count: plan.messages,
        ms: plan.ms,
        status: plan.status,
    };
    match plan.call {
        Call::Say => one(grpc.unary(request(plan, ask)?, path(demo::SAY), codec).await?),
        Call::Wait => one(grpc.unary(request(plan, ask)?, path(demo::WAIT), codec).await?),
        Call::Count => {
            let response = grpc.server_streaming(request(plan, ask)?, path(demo::COUNT), codec);
            all(response.await?).await
        }
        Call::Gather => {
            let pause = Duration::from_millis(plan.ms.into());
            let asks = stream::iter(0..plan.messages).then(move |_| {
                let ask = ask.clone();
                async move {
                    tokio::time::sleep(pause).await;
                    ask
                }
            });
            let request = request(plan, asks.boxed())?;
            one(grpc.client_streaming(request, path(demo::GATHER), codec).await?)
        }
        Call::Chat => chat(plan, &mut grpc, ask).await,
    }
}

/// Sends a message, waits for its answer, sends the next: both ways must be open at once.
async fn chat(plan: &Calls, grpc: &mut Grpc<Client>, ask: Ask) -> Outcome {
    let (mut asks, receiver) = mpsc::channel(1);
    let request = request(plan, receiver)?;
    let response = grpc.streaming(request, path(demo::CHAT), ProstCodec::<Ask, Said>::default());
    let response: Response<Streaming<Said>> = response.await?;
    let metadata = response.metadata().clone();
    let mut answers = response.into_inner();
    let mut said = Vec::new();
    for number in 0..plan.messages {
        let gone = |_| Status::unavailable("the call takes no more messages");
        asks.send(ask.clone()).await.map_err(gone)?;
        let answer = answers.message().await?;
        let answer = answer.ok_or_else(|| Status::data_loss(format!("ended after {number} answers")))?;
        said.push(answer);
    }
    drop(asks);
    match answers.message().await? {
        None => Ok((said, metadata)),
        Some(_) => Err(Status::data_loss("more answers than messages")),
    }
}

fn request<T>(plan: &Calls, message: T) -> Result<Request<T>, Status> {
    let mut request = Request::new(message);
    let bad = |name: &str| Status::invalid_argument(format!("metadata: {name:?} is not accepted"));
    for (name, value) in &plan.metadata {
        let key = MetadataKey::from_bytes(name.as_bytes()).map_err(|_| bad(name))?;
        request
            .metadata_mut()
            .insert(key, value.parse().map_err(|_| bad(name))?);
    }
    if let Some(ms) = plan.deadline_ms {
        let value = format!("{ms}m").parse().map_err(|_| bad("grpc-timeout"))?;
        request.metadata_mut().insert("grpc-timeout", value);
    }
    Ok(request)
}

fn path(path: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(path)
}

fn one(response: Response<Said>) -> Outcome {
    let (metadata, said, _) = response.into_parts();
    Ok((vec![said], metadata))
}

async fn all(response: Response<Streaming<Said>>) -> Outcome {
    let metadata = response.metadata().clone();
    let said = response.into_inner().try_collect().await?;
    Ok((said, metadata))
}

impl Called {
    fn add(&mut self, outcome: Option<Outcome>, took: Duration) {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.longest_ms = self.longest_ms.max(took_ms);
        let Some(outcome) = outcome else {
            self.given_up += 1;
            return;
        };
        let (code, metadata) = match outcome {
            Ok((said, metadata)) => {
                self.messages += said.len() as u64;
                if let Some(first) = said.first() {
                    *self.instances.entry(first.instance.clone()).or_default() += 1;
                }
                (tonic::Code::Ok, metadata)
            }
            Err(status) => {
                self.error.get_or_insert_with(|| status.to_string());
                (status.code(), status.metadata().clone())
            }
        };
        *self.codes.entry(code.into()).or_default() += 1;
        self.metadata = texts(&metadata);
    }
}

fn texts(metadata: &MetadataMap) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for pair in metadata.iter() {
        if let KeyAndValueRef::Ascii(name, value) = pair {
            let value = String::from_utf8_lossy(value.as_encoded_bytes()).into_owned();
            all.insert(name.as_str().to_owned(), value);
        }
    }
    all
}

/// The connection, as tonic wants it: its own channel would end calls at their deadline by itself.
#[derive(Clone)]
struct Client(Sender);

impl Service<http::Request<tonic::body::Body>> for Client {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = hyper::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<hyper::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
