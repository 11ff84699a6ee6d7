//! A reader of server-sent events that tells what is missing between them.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::client::{Target, words};
use crate::plan::{Heard, Listen};

/// The longest line that is kept until it ends, in bytes.
const LINE_MAX: usize = 64 * 1024;

/// Listens for as long as it is told to.
pub(crate) async fn listen(plan: &Listen) -> Heard {
    let mut heard = Heard::default();
    let limit = Duration::from_millis(plan.ms);
    // That time is up is what is wanted.
    if let Ok(Err(e)) = tokio::time::timeout(limit, read(plan, &mut heard)).await {
        heard.broken = Some(format!("{e:#}"));
    }
    heard
}

async fn read(plan: &Listen, heard: &mut Heard) -> anyhow::Result<()> {
    let target = Target::resolve(&plan.url).await?;
    let stream = TcpStream::connect(target.address).await.context("connect")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(async move { connection.await.is_ok() });
    let request = http::Request::get(&target.path)
        .header(http::header::HOST, &target.authority)
        .header(http::header::ACCEPT, "text/event-stream")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await.context("no answer")?;
    heard.status = Some(response.status().as_u16());
    let instance = response.headers().get("x-tenbin-instance");
    heard.instance = instance.and_then(|name| name.to_str().ok()).map(str::to_owned);
    let outcome = lines(response.into_body(), heard).await;
    driver.abort();
    outcome
}

async fn lines(mut body: Incoming, heard: &mut Heard) -> anyhow::Result<()> {
    let (mut text, mut ids) = (Vec::new(), Ids::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| anyhow::anyhow!("{}", words(&e)))?;
        text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let id = line.strip_prefix(b"id: ").map(String::from_utf8_lossy);
            if let Some(id) = id.and_then(|id| id.trim().parse().ok()) {
                ids.add(id, heard);
            }
        }
        if text.len() > LINE_MAX {
            bail!("a line has more than {LINE_MAX} bytes");
        }
    }
    bail!("the stream ended")
}

/// The ids that came, and when the last one did.
struct Ids {
    next: Option<u64>,
    last: Instant,
}

impl Ids {
    fn new() -> Self {
        Ids {
            next: None,
            last: Instant::now(),
        }
    }

    fn add(&mut self, id: u64, heard: &mut Heard) {
        let gap = u64::try_from(self.last.elapsed().as_millis()).unwrap_or(u64::MAX);
        heard.longest_gap_ms = heard.longest_gap_ms.max(gap);
        heard.missed += self.next.map_or(0, |next| id.abs_diff(next));
        heard.events += 1;
        self.next = Some(id + 1);
        self.last = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_or_comes_twice_is_missed() {
        let missed = |all: &[u64]| {
            let (mut heard, mut ids) = (Heard::default(), Ids::new());
            all.iter().for_each(|id| ids.add(*id, &mut heard));
            (heard.events, heard.missed)
        };
        assert_eq!(missed(&[7, 8, 9]), (3, 0));
        assert_eq!(missed(&[7, 10]), (2, 2));
        assert_eq!(missed(&[7, 7, 8]), (3, 1));
    }
}
