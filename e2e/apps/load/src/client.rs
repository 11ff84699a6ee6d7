//! One HTTP client: opens a connection, sends one request at a time, says what became of it. It never tries again:
//! whether something was lost on the way is what the tests want to know.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use http::{HeaderMap, Response, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::body::Filler;
use crate::plan::{Answer, Cause, Request};

/// The longest part of a body that is kept, in bytes.
const KEPT: usize = 64 * 1024;

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Where a URL points to, its name resolved once.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) authority: String,
    pub(crate) path: String,
}

impl Target {
    /// Parses an `http` URL and resolves its host.
    pub(crate) async fn resolve(url: &str) -> anyhow::Result<Self> {
        let uri: http::Uri = url.parse().with_context(|| format!("url: {url:?} is no URL"))?;
        ensure!(
            uri.scheme_str() == Some("http"),
            "url: {url:?} does not begin with http://"
        );
        let authority = uri.authority().context("url: no host")?.clone();
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(80);
        let address = tokio::net::lookup_host((host.as_str(), port))
            .await
            .with_context(|| format!("{host} can't be resolved"))?
            .next()
            .with_context(|| format!("{host} has no address"))?;
        Ok(Target {
            address,
            authority: authority.to_string(),
            path: uri.path_and_query().map_or("/", |p| p.as_str()).to_owned(),
        })
    }
}

/// A connection that can take a request.
pub(crate) struct Connection {
    sender: Sender,
    driver: JoinHandle<()>,
    answered: u64,
}

/// The way into a connection, by version.
enum Sender {
    One(http1::SendRequest<Filler>),
    Two(http2::SendRequest<Filler>),
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    async fn open(address: SocketAddr, http2: bool) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        // How a connection ends is seen by the request on it.
        let (sender, driver) = if http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            let driver = tokio::spawn(async move { drop(connection.await) });
            (Sender::Two(sender), driver)
        } else {
            let (sender, connection) = http1::handshake(io).await?;
            let driver = tokio::spawn(async move { drop(connection.await) });
            (Sender::One(sender), driver)
        };
        Ok(Connection {
            sender,
            driver,
            answered: 0,
        })
    }

    /// Whether another request can be sent.
    async fn usable(&mut self) -> bool {
        match &mut self.sender {
            Sender::One(sender) => sender.ready().await.is_ok(),
            Sender::Two(sender) => sender.ready().await.is_ok(),
        }
    }

    async fn send(&mut self, request: http::Request<Filler>) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::One(sender) => sender.send_request(request).await,
            Sender::Two(sender) => sender.send_request(request).await,
        }
    }
}

/// What became of one request, and how it was sent.
pub(crate) struct Sent {
    pub(crate) answer: Answer,
    pub(crate) reused: bool,
    pub(crate) opened: bool,
}

/// Sends `request` to `target`: over the connection in `kept` where there is a usable one, else over a new one, which is left there.
pub(crate) async fn send(target: &Target, request: &Request, kept: &mut Option<Connection>) -> Sent {
    let began_ms = now_ms();
    let mut answer = Answer {
        status: None,
        headers: BTreeMap::new(),
        cookies: Vec::new(),
        trailers: BTreeMap::new(),
        body: String::new(),
        body_bytes: 0,
        error: None,
        began_ms,
        ended_ms: 0,
    };
    let mut reused = false;
    let mut opened = false;
    let limit = Duration::from_millis(request.timeout_ms.max(1));
    let exchange = async {
        let mut usable = kept.take();
        if let Some(connection) = &mut usable
            && !connection.usable().await
        {
            usable = None;
        }
        let mut connection = match usable {
            Some(connection) => connection,
            None => {
                opened = true;
                Connection::open(target.address, request.http2)
                    .await
                    .map_err(|e| (Cause::Connect, format!("{e:#}")))?
            }
        };
        reused = connection.answered > 0;
        exchange(target, request, &mut connection, &mut answer).await?;
        connection.answered += 1;
        *kept = Some(connection);
        Ok(())
    };
    let outcome = tokio::time::timeout(limit, exchange).await;
    answer.error = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error),
        Err(_) => Some((Cause::Timeout, format!("no whole answer within {limit:?}"))),
    };
    answer.ended_ms = now_ms();
    Sent { answer, reused, opened }
}

async fn exchange(
    target: &Target,
    request: &Request,
    connection: &mut Connection,
    answer: &mut Answer,
) -> Result<(), (Cause, String)> {
    let message =
        message(target, request).map_err(|e| (Cause::Connect, format!("no request can be made of this: {e}")))?;
    let response = connection.send(message).await.map_err(|e| (Cause::Closed, words(&e)))?;
    answer.status = Some(response.status().as_u16());
    answer.headers = texts(response.headers());
    let cookies = response.headers().get_all(http::header::SET_COOKIE).iter();
    answer.cookies = cookies
        .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
        .collect();
    let mut body = response.into_body();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| (Cause::Body, words(&e)))?;
        if let Some(data) = frame.data_ref() {
            answer.body_bytes += data.len() as u64;
            text.extend_from_slice(&data[..data.len().min(KEPT - text.len())]);
        }
        if let Some(trailers) = frame.trailers_ref() {
            answer.trailers = texts(trailers);
        }
    }
    answer.body = String::from_utf8_lossy(&text).into_owned();
    Ok(())
}

/// The request as its version has it: HTTP/2 has the host in its target, HTTP/1.1 in a header.
fn message(target: &Target, request: &Request) -> http::Result<http::Request<Filler>> {
    let mut builder = http::Request::builder().method(request.method.as_str());
    builder = if request.http2 {
        let uri = Uri::builder().scheme("http").authority(target.authority.as_str());
        let uri = uri.path_and_query(target.path.as_str()).build()?;
        builder.version(Version::HTTP_2).uri(uri)
    } else {
        builder.uri(&target.path).header(http::header::HOST, &target.authority)
    };
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    builder.body(Filler::new(request.body_bytes))
}

/// Headers as text, of a repeated one the last.
fn texts(headers: &HeaderMap) -> BTreeMap<String, String> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), text(value)))
        .collect()
}

/// An error with its causes.
pub(crate) fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut all = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        all.push_str(": ");
        all.push_str(&cause.to_string());
        next = cause.source();
    }
    all
}
