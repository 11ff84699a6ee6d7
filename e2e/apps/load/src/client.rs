//! One HTTP/1.1 client: opens a connection, sends one request at a time, says what became of it. It never tries again:
//! whether something was lost on the way is what the tests want to know.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use http_body_util::BodyExt;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
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
    sender: SendRequest<Filler>,
    driver: JoinHandle<()>,
    answered: u64,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move {
            // How a connection ends is seen by the request on it.
            let _ = connection.await;
        });
        Ok(Connection {
            sender,
            driver,
            answered: 0,
        })
    }

    /// Whether another request can be sent.
    async fn usable(&mut self) -> bool {
        self.sender.ready().await.is_ok()
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
                Connection::open(target.address)
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
    let mut builder = http::Request::builder()
        .method(request.method.as_str())
        .uri(&target.path)
        .header(http::header::HOST, &target.authority);
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    let message = builder
        .body(Filler::new(request.body_bytes))
        .map_err(|e| (Cause::Connect, format!("no request can be made of this: {e}")))?;
    let response = connection
        .sender
        .send_request(message)
        .await
        .map_err(|e| (Cause::Closed, words(&e)))?;
    answer.status = Some(response.status().as_u16());
    for (name, value) in response.headers() {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        if name == http::header::SET_COOKIE {
            answer.cookies.push(value.clone());
        }
        answer.headers.insert(name.as_str().to_owned(), value);
    }
    let mut body = response.into_body();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| (Cause::Body, words(&e)))?;
        if let Some(data) = frame.data_ref() {
            answer.body_bytes += data.len() as u64;
            text.extend_from_slice(&data[..data.len().min(KEPT - text.len())]);
        }
    }
    answer.body = String::from_utf8_lossy(&text).into_owned();
    Ok(())
}

/// An error with its causes.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut all = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        all.push_str(": ");
        all.push_str(&cause.to_string());
        next = cause.source();
    }
    all
}
