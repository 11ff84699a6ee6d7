//! A client that sends one request over a connection of its own, and tells what came back, whole or not.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::world::PATIENCE;

/// What a client got.
#[derive(Debug)]
pub(crate) struct Got {
    /// `None` where nothing came.
    pub(crate) status: Option<u16>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether all of it came.
    pub(crate) whole: bool,
    pub(crate) took: Duration,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request's text: `body` bytes are said, and sent.
pub(crate) fn request(method: &str, body: usize) -> String {
    let mut text = format!("{method} / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    if body > 0 {
        text.push_str(&format!("content-length: {body}\r\n"));
    }
    text + "\r\n" + &"x".repeat(body)
}

pub(crate) async fn get(address: SocketAddr) -> Got {
    send(address, &request("GET", 0)).await
}

/// Sends `text` and reads until the other side closes.
pub(crate) async fn send(address: SocketAddr, text: &str) -> Got {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (mut read, mut write) = stream.split();
    let mut bytes = Vec::new();
    let exchange = async {
        // Who answers early need not read the rest.
        let (_, read) = tokio::join!(write.write_all(text.as_bytes()), read.read_to_end(&mut bytes));
        let _ = read;
    };
    timeout(PATIENCE, exchange).await.expect("an end in time");
    let head_only = text.starts_with("HEAD");
    parse(&bytes, start.elapsed(), head_only)
}

/// What is told by so many bytes.
pub(crate) fn parse(bytes: &[u8], took: Duration, head_only: bool) -> Got {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(end)) = parsed.parse(bytes) else {
        return Got {
            status: None,
            headers: Vec::new(),
            body: Vec::new(),
            whole: false,
            took,
        };
    };
    let status = parsed.code;
    let headers: Vec<(String, String)> = parsed
        .headers
        .iter()
        .map(|h| (h.name.to_lowercase(), String::from_utf8_lossy(h.value).into_owned()))
        .collect();
    let find = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    let body = bytes[end..].to_vec();
    let whole = match (find("content-length"), find("transfer-encoding")) {
        (Some(length), _) => head_only || length.parse() == Ok(body.len()),
        (None, Some(_)) => body.ends_with(b"\r\n\r\n") && body.windows(3).any(|w| w == b"0\r\n"),
        (None, None) => true,
    };
    Got {
        status,
        headers,
        body,
        whole,
        took,
    }
}
