//! Bytes both ways between two ends until both are done, each end of sending passed on by itself, for as long as something moves.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::time::{MissedTickBehavior, interval};

/// Bytes held each way.
const BUFFER: usize = 8 * 1024;
/// How many looks without a byte in between make an idle time: it ends after at least this part of it less one look, and at most all of it.
const LOOKS: u32 = 8;

/// Copies until both sides are done; gives how many bytes went from `a` and from `b`.
///
/// # Errors
/// One side is broken, or nothing moved for `idle` ([`io::ErrorKind::TimedOut`]).
pub(super) async fn both_ways<A, B>(a: A, b: B, idle: Duration) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let moved = Cell::new(0);
    let (mut a, mut b) = (Watched { io: a, moved: &moved }, Watched { io: b, moved: &moved });
    tokio::select! {
        copied = copy_bidirectional_with_sizes(&mut a, &mut b, BUFFER, BUFFER) => copied,
        () = stands_still(&moved, idle) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Waits until nothing has moved for `idle`.
async fn stands_still(moved: &Cell<u64>, idle: Duration) {
    let mut look = interval((idle / LOOKS).max(Duration::from_millis(1)));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut seen, mut quiet) = (moved.get(), 0);
    look.tick().await;
    while quiet < LOOKS {
        look.tick().await;
        quiet = if moved.get() == seen { quiet + 1 } else { 0 };
        seen = moved.get();
    }
}

/// Counts what is read and written.
struct Watched<'a, T> {
    io: T,
    moved: &'a Cell<u64>,
}

impl<T> Watched<'_, T> {
    fn note(&self, n: usize) {
        self.moved.set(self.moved.get().wrapping_add(n as u64));
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<'_, T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        self.note(buf.filled().len() - before);
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<'_, T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        if let Poll::Ready(Ok(n)) = polled {
            self.note(n);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::{Instant, sleep};

    const IDLE: Duration = Duration::from_secs(80);

    #[tokio::test(start_paused = true)]
    async fn one_side_may_be_done_long_before_the_other() {
        let ((mut client, a), (b, mut server)) = (duplex(64), duplex(64));
        let copy = both_ways(a, b, IDLE);
        let talk = async {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut question = String::new();
            server.read_to_string(&mut question).await.unwrap();
            sleep(IDLE / 2).await;
            server.write_all(b"answer").await.unwrap();
            drop(server);
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            (question, answer)
        };
        let (copied, said) = tokio::join!(copy, talk);
        assert_eq!(copied.unwrap(), (8, 6));
        assert_eq!(said, ("question".to_owned(), "answer".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    #[expect(clippy::disallowed_methods, reason = "how long it took is what is tested")]
    async fn silence_ends_it_and_a_byte_now_and_then_does_not() {
        let ((mut client, a), (b, _server)) = (duplex(64), duplex(64));
        let begin = Instant::now();
        let talk = async {
            for _ in 0..5 {
                sleep(IDLE - IDLE / 4).await;
                client.write_all(b"x").await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = both_ways(a, b, IDLE) => ended,
            () = talk => unreachable!(),
        };
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let quiet = begin.elapsed() - 5 * (IDLE - IDLE / 4);
        assert!(
            quiet >= IDLE - IDLE / LOOKS && quiet <= IDLE + IDLE / LOOKS,
            "{quiet:?}"
        );
    }
}
