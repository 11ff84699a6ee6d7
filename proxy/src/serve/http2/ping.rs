//! Notices peers that are gone without a word: who sends nothing for a while is pinged, and has to answer.

use std::time::Duration;

use tenbin_balance::Time;

use crate::http2::Shared;

/// After how long a silence a peer is asked whether it is still there.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);
/// How long it may take to answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(20);

/// Asks, and remembers when.
#[derive(Debug, Default)]
pub(super) struct Pinger {
    asked: Option<Time>,
}

impl Pinger {
    /// When to look after the peer again, that was last heard of at `heard`.
    pub(super) fn next_look(&self, heard: Time) -> Time {
        match self.asked {
            Some(asked) => asked.plus(TIMEOUT),
            None => heard.plus(INTERVAL),
        }
    }

    /// Looks after the peer of a connection; true if it is gone.
    pub(super) fn is_gone(&mut self, http: &Shared, now: Time, heard: Time) -> bool {
        if self.asked.is_some() && http.take_pong() {
            self.asked = None;
        }
        match self.asked {
            Some(asked) => now >= asked.plus(TIMEOUT),
            None if now >= heard.plus(INTERVAL) => {
                self.asked = Some(now);
                http.ping();
                false
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use tenbin_http2::Connection;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::sleep_until;

    use super::super::CONFIG;
    use super::*;
    use crate::clock::Clock;
    use crate::http2::{Came, Link};

    /// Answers so many pings.
    async fn client(mut io: DuplexStream, answers: usize) {
        io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await
            .unwrap();
        let mut answered = 0;
        let mut head = [0; 9];
        while io.read_exact(&mut head).await.is_ok() {
            let mut payload = vec![0; usize::from(head[2])];
            io.read_exact(&mut payload).await.unwrap();
            if head[3] == 6 && answered < answers {
                answered += 1;
                io.write_all(&[0, 0, 8, 6, 1, 0, 0, 0, 0]).await.unwrap();
                io.write_all(&payload).await.unwrap();
            }
        }
    }

    /// How long a peer is taken to be there that answers so many pings, and says nothing else.
    async fn lasts(answers: usize) -> Duration {
        let clock = Clock::start();
        let (ours, theirs) = duplex(1 << 10);
        let watch = async {
            let mut link = Link::new(ours, Shared::new(Connection::server(CONFIG), false));
            let mut pinger = Pinger::default();
            let mut timer = pin!(sleep_until(clock.at(pinger.next_look(Time::default()))));
            let mut scratch = [0; 1024];
            poll_fn(|cx| {
                loop {
                    assert!(!matches!(link.poll_write(cx), Poll::Ready(Err(_))));
                    assert!(link.next().unwrap().is_none_or(|came| matches!(came, Came::Settings)));
                    if link.poll_read(&mut scratch, cx).is_ready() || link.has_output() {
                        continue;
                    }
                    if timer.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    // Nothing is heard but the answers: by them alone it is there.
                    let now = clock.now();
                    let heard = Time::default();
                    if pinger.is_gone(link.shared(), now, heard) {
                        return Poll::Ready(());
                    }
                    timer.as_mut().reset(clock.at(pinger.next_look(heard).max(now)));
                }
            })
            .await;
        };
        tokio::select! {
            () = watch => {}
            () = client(theirs, answers) => unreachable!("it reads as long as there is anything"),
        }
        clock.now().since(Time::default())
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_answer_is_gone() {
        let silent = lasts(0).await;
        assert!(
            (INTERVAL + TIMEOUT..INTERVAL + TIMEOUT + Duration::from_secs(1)).contains(&silent),
            "{silent:?}"
        );
        let once = lasts(1).await;
        assert!(
            (INTERVAL + 2 * TIMEOUT..INTERVAL + 2 * TIMEOUT + Duration::from_secs(1)).contains(&once),
            "{once:?}"
        );
    }
}
