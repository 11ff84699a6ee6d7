//! Bytes both ways between two ends until both are done, each end of sending passed on by itself, for as long as something moves. What is
//! read goes out at once from where all connections of a worker read to: only what the other end does not take yet is held.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep;

use super::alarm;

/// How many looks without a byte in between make an idle time: it ends after at least this part of it less one look, and at most all of it.
const LOOKS: u32 = 8;

/// One of the two ends.
#[derive(Debug)]
pub(super) struct Side<T> {
    /// What carries its bytes.
    pub(super) io: T,
    /// What was read from it already.
    pub(super) ahead: Bytes,
}

impl<T> From<T> for Side<T> {
    fn from(io: T) -> Self {
        Side {
            io,
            ahead: Bytes::new(),
        }
    }
}

/// Copies until both sides are done; gives how many bytes went from `a` and from `b`. What it reads goes by way of `scratch`, and so much
/// of it is held each way at most.
///
/// # Errors
/// One side is broken, or nothing moved for `idle` ([`io::ErrorKind::TimedOut`]).
pub(super) async fn both_ways<A, B>(
    mut a: Side<A>,
    mut b: Side<B>,
    idle: Duration,
    scratch: &RefCell<Box<[u8]>>,
) -> io::Result<(u64, u64)>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let (mut there, mut back) = (Way::new(&mut a), Way::new(&mut b));
    let every = (idle / LOOKS).max(Duration::from_millis(1));
    let mut look = pin!(sleep(every));
    let (mut seen, mut quiet) = (0, 0);
    // It is polled once to be woken by it; after that a look costs less than a poll.
    let mut woken_by_look = false;
    poll_fn(|cx| {
        let ended = {
            let scratch = &mut **scratch.borrow_mut();
            let there = there.poll(&mut a.io, &mut b.io, scratch, cx)?;
            let back = back.poll(&mut b.io, &mut a.io, scratch, cx)?;
            there.is_ready() && back.is_ready()
        };
        if ended {
            return Poll::Ready(Ok((there.sent, back.sent)));
        }
        if !woken_by_look {
            woken_by_look = true;
            let _ = alarm::poll(look.as_mut(), cx);
        }
        while look.is_elapsed() {
            let moved = there.moved.wrapping_add(back.moved);
            quiet = if moved == seen { quiet + 1 } else { 0 };
            seen = moved;
            if quiet == LOOKS {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            look.set(sleep(every));
            let _ = alarm::poll(look.as_mut(), cx);
        }
        Poll::Pending
    })
    .await
}

/// One of the two ways.
struct Way {
    /// What was read and not taken yet.
    held: Bytes,
    /// Whether something was written that may not have gone out.
    unflushed: bool,
    stage: Stage,
    /// Bytes that were written.
    sent: u64,
    /// Changes whenever something was read or written.
    moved: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Open,
    /// All of it was read, and the end is to be passed on.
    Ending,
    Ended,
}

impl Way {
    /// The way from this side.
    fn new<T>(from: &mut Side<T>) -> Self {
        Way {
            held: std::mem::take(&mut from.ahead),
            unflushed: false,
            stage: Stage::Open,
            sent: 0,
            moved: 0,
        }
    }

    /// Copies what can be copied; ready when the end was passed on.
    fn poll<R, W>(&mut self, from: &mut R, to: &mut W, scratch: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        while !self.held.is_empty() {
            let n = ready!(Pin::new(&mut *to).poll_write(cx, &self.held))?;
            let n = self.wrote(n)?;
            self.held.advance(n);
            if self.held.is_empty() {
                // What it is a part of is larger.
                self.held = Bytes::new();
            }
        }
        while self.stage == Stage::Open {
            let mut buf = ReadBuf::new(scratch);
            match Pin::new(&mut *from).poll_read(cx, &mut buf) {
                Poll::Ready(read) => read?,
                Poll::Pending => {
                    if self.unflushed {
                        ready!(Pin::new(&mut *to).poll_flush(cx))?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
            let mut read = buf.filled();
            self.moved = self.moved.wrapping_add(read.len() as u64);
            if read.is_empty() {
                self.stage = Stage::Ending;
            }
            while !read.is_empty() {
                match Pin::new(&mut *to).poll_write(cx, read) {
                    Poll::Ready(n) => read = read.get(self.wrote(n?)?..).unwrap_or_default(),
                    Poll::Pending => {
                        self.held = Bytes::copy_from_slice(read);
                        return Poll::Pending;
                    }
                }
            }
        }
        if self.stage == Stage::Ending {
            ready!(Pin::new(to).poll_shutdown(cx))?;
            self.stage = Stage::Ended;
        }
        Poll::Ready(Ok(()))
    }

    /// So much was written.
    fn wrote(&mut self, n: usize) -> io::Result<usize> {
        if n == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.unflushed = true;
        self.sent += n as u64;
        self.moved = self.moved.wrapping_add(n as u64);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    const IDLE: Duration = Duration::from_secs(80);

    fn scratch() -> RefCell<Box<[u8]>> {
        RefCell::new(vec![0; 256].into_boxed_slice())
    }

    #[tokio::test(start_paused = true)]
    async fn one_side_may_be_done_long_before_the_other() {
        let scratch = scratch();
        let ((mut client, a), (b, mut server)) = (duplex(64), duplex(64));
        let copy = both_ways(a.into(), b.into(), IDLE, &scratch);
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
        let scratch = scratch();
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
            ended = both_ways(a.into(), b.into(), IDLE, &scratch) => ended,
            () = talk => unreachable!(),
        };
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let quiet = begin.elapsed() - 5 * (IDLE - IDLE / 4);
        assert!(
            quiet >= IDLE - IDLE / LOOKS && quiet <= IDLE + IDLE / LOOKS,
            "{quiet:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_taken_is_held_and_holds_the_rest_back() {
        let scratch = scratch();
        let ((mut client, a), (b, mut server)) = (duplex(1024), duplex(64));
        let a = Side {
            io: a,
            ahead: Bytes::from_static(b"ahead "),
        };
        let sent: Vec<u8> = (0..4000_u16).map(|n| n as u8).collect();
        let talk = async {
            // More than all the buffers between.
            let written = tokio::time::timeout(IDLE / 2, client.write_all(&sent)).await;
            assert!(written.is_err(), "it is read on while nobody takes it");
            let mut got = vec![0; 6 + 64];
            server.read_exact(&mut got).await.unwrap();
            drop(client);
            server.read_to_end(&mut got).await.unwrap();
            drop(server);
            got
        };
        let (copied, got) = tokio::join!(both_ways(a, b.into(), IDLE, &scratch), talk);
        let (there, back) = copied.unwrap();
        assert_eq!((there, back), (got.len() as u64, 0));
        assert!(there > 6 + 1024, "{there}");
        assert_eq!(got[..6], *b"ahead ");
        assert_eq!(got[6..], sent[..got.len() - 6]);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it_also_after_more_at_once_than_a_turn_takes() {
        const MUCH: usize = 128 * 1024;
        let scratch = scratch();
        let ((mut client, a), (b, _server)) = (duplex(MUCH), duplex(MUCH));
        client.write_all(&[0; MUCH]).await.unwrap();
        let ended = tokio::time::timeout(3 * IDLE, both_ways(a.into(), b.into(), IDLE, &scratch)).await;
        assert_eq!(ended.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
