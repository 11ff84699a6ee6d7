//! A client that speaks HTTP/1.1 by hand, byte by byte where a test wants that.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::PATIENCE;

pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// A response, whole.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn closes(&self) -> bool {
        self.header("connection") == Some("close")
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.unwrap()
    }

    pub(crate) async fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Client {
            stream,
            unread: Vec::new(),
        })
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        timeout(PATIENCE, self.stream.write_all(bytes.as_ref()))
            .await
            .unwrap()
            .unwrap();
    }

    pub(crate) async fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")).await;
        self.response().await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &str) -> Response {
        let length = body.len();
        self.send(format!(
            "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
        .await;
        self.response().await
    }

    /// Reads a response to its end.
    pub(crate) async fn response(&mut self) -> Response {
        self.try_response().await.expect("a whole response")
    }

    /// Reads a response to its end; `None` if the connection ends before that.
    pub(crate) async fn try_response(&mut self) -> Option<Response> {
        let mut response = self.head().await?;
        let chunked = response.header("transfer-encoding") == Some("chunked");
        let length = response
            .header("content-length")
            .map(|length| length.parse::<usize>().unwrap());
        match (chunked, length) {
            (true, _) => loop {
                let chunk = self.chunk().await?;
                if chunk.is_empty() {
                    break;
                }
                response.body.extend(chunk);
            },
            (false, Some(length)) => response.body = self.exactly(length).await?,
            (false, None) if matches!(response.status, 101 | 204 | 304) => {}
            (false, None) => response.body = self.rest().await,
        }
        Some(response)
    }

    /// Reads the head of a response, skipping 1xx ones but 101.
    pub(crate) async fn head(&mut self) -> Option<Response> {
        loop {
            let end = self.until(b"\r\n\r\n").await?;
            let head: Vec<u8> = self.unread.drain(..end).collect();
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut parsed = httparse::Response::new(&mut headers);
            assert!(parsed.parse(&head).unwrap().is_complete());
            let status = parsed.code.unwrap();
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let headers = parsed.headers.iter().map(|header| {
                let value = String::from_utf8_lossy(header.value).into_owned();
                (header.name.to_ascii_lowercase(), value)
            });
            return Some(Response {
                status,
                headers: headers.collect(),
                body: Vec::new(),
            });
        }
    }

    /// Reads the rest of a head, and a body of two bytes.
    pub(crate) async fn until_body(&mut self) {
        let end = self.until(b"\r\n\r\n").await.unwrap();
        self.exactly(end + 2).await.unwrap();
    }

    /// Reads one chunk of a chunked body; the last is empty.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let end = self.until(b"\r\n").await?;
        let line: Vec<u8> = self.unread.drain(..end).collect();
        let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
        let mut chunk = self.exactly(size + 2).await?;
        chunk.truncate(size);
        Some(chunk)
    }

    /// Reads so many bytes; `None` if there are fewer.
    pub(crate) async fn exactly(&mut self, n: usize) -> Option<Vec<u8>> {
        while self.unread.len() < n {
            self.more().await?;
        }
        let after = self.unread.split_off(n);
        Some(std::mem::replace(&mut self.unread, after))
    }

    /// Reads until the other side closes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await.is_some() {}
        std::mem::take(&mut self.unread)
    }

    async fn until(&mut self, pattern: &[u8]) -> Option<usize> {
        loop {
            if let Some(at) = self.unread.windows(pattern.len()).position(|w| w == pattern) {
                return Some(at + pattern.len());
            }
            self.more().await?;
        }
    }

    /// Reads some more; `None` at the end or when the connection broke.
    async fn more(&mut self) -> Option<()> {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.unread))
            .await
            .expect("an answer in time");
        matches!(read, Ok(n) if n > 0).then_some(())
    }
}
