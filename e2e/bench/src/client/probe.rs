//! The probe: requests at a steady rate whatever became of those before, each timed from when it was due. Threads that block, since a
//! runtime's timers are as coarse as what is measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use super::{ANSWER, whole};
use crate::cpu::{HOST, SMALL};
use crate::table::Samples;

/// Requests per second, of all.
const RATE: u32 = 100;
/// Clients, each with a connection of its own that it keeps.
const CLIENTS: u32 = 10;
/// So long before a request is due its client is awake: sleeping is not exact.
const AWAKE: Duration = Duration::from_micros(200);

/// What the probe saw.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Probed {
    /// Answers that came and were right.
    pub(crate) good: usize,
    /// Others.
    pub(crate) failed: usize,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

/// Asks for so long.
pub(super) fn run(address: SocketAddr, time: Duration) -> anyhow::Result<Probed> {
    let mut clients = (0..CLIENTS)
        .map(|_| open(address))
        .collect::<anyhow::Result<Vec<_>>>()?;
    // Each is served once before, so that no connection to the app is made within the time.
    clients
        .iter_mut()
        .try_for_each(exchange)
        .context("ask for the first time")?;
    let rounds = u32::try_from(time.as_millis())? * RATE / CLIENTS / 1000;
    let every = Duration::from_secs(1) * CLIENTS / RATE;
    let began = Instant::now() + every;
    let threads: Vec<_> = (0..CLIENTS)
        .zip(clients)
        .map(|(client, stream)| {
            let first = began + every * client / CLIENTS;
            thread::spawn(move || ask(address, stream, first, every, rounds))
        })
        .collect();
    let (mut times, mut failed) = (Vec::new(), 0);
    for thread in threads {
        let took = thread.join().ok().context("a client of the probe panicked")?;
        failed += took.iter().filter(|time| time.is_none()).count();
        times.extend(took.into_iter().flatten());
    }
    let times: Samples = times.into_iter().collect();
    Ok(Probed {
        good: times.count(),
        failed,
        p50_ms: times.median(),
        p99_ms: times.quantile(0.99),
        max_ms: times.max(),
    })
}

/// One client; how long each of its requests took, in milliseconds, if it was served.
fn ask(address: SocketAddr, stream: TcpStream, first: Instant, every: Duration, rounds: u32) -> Vec<Option<f64>> {
    let mut stream = Some(stream);
    (0..rounds)
        .map(|round| {
            let due = first + every * round;
            wait(due);
            let mut open = stream.take().map_or_else(|| open(address), Ok).ok()?;
            exchange(&mut open).ok()?;
            stream = Some(open);
            Some(due.elapsed().as_secs_f64() * 1000.0)
        })
        .collect()
}

fn wait(due: Instant) {
    let early = due.saturating_duration_since(Instant::now()).saturating_sub(AWAKE);
    if !early.is_zero() {
        thread::sleep(early);
    }
    while Instant::now() < due {
        std::hint::spin_loop();
    }
}

fn open(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, ANSWER).context("connect")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER))?;
    Ok(stream)
}

fn exchange(stream: &mut TcpStream) -> anyhow::Result<()> {
    stream.write_all(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes())?;
    let mut text = Vec::with_capacity(2 * SMALL);
    let mut buffer = [0; 2 * SMALL];
    while !whole(&text)? {
        let read = stream.read(&mut buffer)?;
        ensure!(read > 0, "closed in the midst of an answer");
        text.extend(buffer.iter().take(read));
    }
    Ok(())
}
