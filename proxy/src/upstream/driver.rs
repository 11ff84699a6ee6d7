//! What drives a connection that requests share (HTTP/2): the endpoint's settings are waited for, then everything is moved on until nobody
//! wants the connection any more, its endpoint ends it, breaks the rules, only makes work, or is gone without a word.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tenbin_balance::Time;
use tenbin_http2::{Config, Connection, Error, Reason};
use tokio::time::{Sleep, sleep_until};
use tracing::debug;

use super::multiplex::{MAX_STREAMS, Multiplex};
use super::socket::Socket;
use crate::clock::Clock;
use crate::http2::{Came, Link, Shared};
use crate::limits;

/// The limits of every connection. What one stream, and all streams together, may send before we read it is 256 KiB and 1 MiB; as many
/// responses may be malformed before the connection ends as other clients allow.
const CONFIG: Config = Config {
    max_streams: MAX_STREAMS as u32,
    stream_window: 256 << 10,
    connection_window: 1 << 20,
    header_list: limits::MAX_HEAD as u32,
    headers: limits::MAX_HEADERS,
    output: limits::MAX_BUFFER,
    max_resets: 1024,
    connect_protocol: false,
};
/// A connection with open streams over which nothing came for so long is asked for a sign of life ...
const INTERVAL: Duration = Duration::from_secs(20);
/// ... and given up without one for so long.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How much is read at a time, unless much comes.
const READ: usize = 16 << 10;

/// Where a worker's connections are read to.
pub(super) struct Scratch(RefCell<Box<[u8]>>);

impl Default for Scratch {
    fn default() -> Self {
        Scratch(RefCell::new(vec![0; READ].into_boxed_slice()))
    }
}

impl fmt::Debug for Scratch {
    /// Without what was read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scratch")
    }
}

/// Why no endpoint answered in HTTP/2.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("not HTTP/2: {0}")]
    Rules(#[from] Error),
}

/// Speaks HTTP/2 over a connection that was just opened. Ready when the endpoint has said what it takes.
pub(super) async fn establish(socket: Socket, scratch: &Scratch) -> Result<Link<Socket>, Unanswered> {
    let mut link = Link::new(
        socket,
        Shared::new(Connection::client(CONFIG).with_maps(tenbin_http1::fresh), true),
    );
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(written) = link.poll_write(cx) {
                written?;
            }
            match link.next()? {
                Some(Came::Settings) => return Poll::Ready(Ok(())),
                Some(_) => continue,
                None => {}
            }
            if ready!(link.poll_read(&mut scratch.0.borrow_mut(), cx))? == 0 {
                let error = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Poll::Ready(Err(Unanswered::Io(error)));
            }
        }
    })
    .await?;
    Ok(link)
}

/// How a connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    /// Nobody wants it any more, or its endpoint takes no more requests over it and has answered all.
    #[error("nobody wants it")]
    Over,
    #[error("the endpoint closed it")]
    Closed,
    #[error(transparent)]
    Io(io::Error),
    #[error("the endpoint broke the rules: {0}")]
    Rules(Error),
    #[error("the endpoint only makes work")]
    Flood,
    #[error("the endpoint gives no sign of life")]
    Gone,
}

/// Drives a connection until it ends.
pub(super) async fn drive(link: Link<Socket>, connection: Weak<Multiplex>, scratch: Rc<Scratch>, clock: Clock) {
    let mut driver = Driver {
        link,
        connection,
        scratch,
        clock,
        heard: None,
        asked: None,
        armed: false,
    };
    let mut timer = pin!(sleep_until(clock.at(Time::default())));
    let end = poll_fn(|cx| driver.poll(timer.as_mut(), cx)).await;
    driver.end(&end).await;
}

struct Driver {
    link: Link<Socket>,
    /// Gone when nobody wants it any more.
    connection: Weak<Multiplex>,
    scratch: Rc<Scratch>,
    clock: Clock,
    /// When something came last, or a stream began where there was none: only where there are any.
    heard: Option<Time>,
    /// When it was asked for a sign of life.
    asked: Option<Time>,
    /// Whether the timer is set for the time at which either is to be looked at.
    armed: bool,
}

impl Driver {
    /// Moves everything on; ready when the connection ended.
    fn poll(&mut self, timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<End> {
        let connection = loop {
            let written = self.link.poll_write(cx);
            if let Poll::Ready(Err(error)) = written {
                return Poll::Ready(End::Io(error));
            }
            // Without anybody to wait for what is left to be written, that went as far as it goes.
            let Some(connection) = self.connection.upgrade() else {
                return Poll::Ready(End::Over);
            };
            if connection.is_idle() && connection.is_over() {
                return Poll::Ready(End::Over);
            }
            if let Err(end) = self.take(&connection) {
                return Poll::Ready(end);
            }
            match self.link.poll_read(&mut self.scratch.0.borrow_mut(), cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(End::Closed),
                Poll::Ready(Ok(_)) => self.heard = Some(self.clock.now()),
                Poll::Ready(Err(error)) => return Poll::Ready(End::Io(error)),
                // Of what came before something may have to be answered.
                Poll::Pending if written.is_ready() && self.link.has_output() => {}
                Poll::Pending => break connection,
            }
        };
        if connection.is_idle() {
            (self.heard, self.asked) = (None, None);
            return Poll::Pending;
        }
        self.poll_gone(timer, cx)
    }

    /// Hands on what was read.
    fn take(&mut self, connection: &Multiplex) -> Result<(), End> {
        loop {
            let came = self.link.next().map_err(End::Rules)?;
            if !matches!(came, None | Some(Came::Enough)) {
                continue;
            }
            let (cost, earned) = (self.link.take_cost(), self.link.take_earned());
            if connection.spend(cost, earned, || self.clock.now()) {
                return Err(End::Flood);
            }
            if came.is_none() {
                return Ok(());
            }
        }
    }

    /// Ready when the endpoint gave no sign of life for too long.
    fn poll_gone(&mut self, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<End> {
        let clock = self.clock;
        loop {
            let heard = *self.heard.get_or_insert_with(|| clock.now());
            if self.asked.is_some_and(|asked| asked <= heard) {
                self.asked = None;
            }
            let due = self.asked.map_or(heard.plus(INTERVAL), |asked| asked.plus(TIMEOUT));
            if !self.armed {
                timer.as_mut().reset(clock.at(due));
                self.armed = true;
            }
            ready!(timer.as_mut().poll(cx));
            self.armed = false;
            let now = clock.now();
            if now < due {
                continue;
            }
            if self.asked.is_some() {
                return Poll::Ready(End::Gone);
            }
            self.asked = Some(now);
            // Wakes this task, which writes it.
            self.link.shared().ping();
        }
    }

    /// Tells all who wait, and the endpoint as far as it still takes anything.
    async fn end(mut self, end: &End) {
        debug!(%end, "a connection to an endpoint ended");
        match end {
            End::Rules(_) | End::Flood => {
                if let Some(connection) = self.connection.upgrade() {
                    connection.defile();
                }
                if let End::Flood = end {
                    self.link.shared().go_away(Reason::ENHANCE_YOUR_CALM);
                }
            }
            End::Over => self.link.io().set_at_rest(true),
            End::Closed | End::Io(_) | End::Gone => return,
        }
        self.link.end();
        poll_fn(|cx| {
            let _ = self.link.poll_write(cx);
            Poll::Ready(())
        })
        .await;
    }
}
