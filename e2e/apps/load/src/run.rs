//! A running load: its clients, and the report that they write.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::ensure;

use crate::client::{self, Connection, Sent, Target, now_ms};
use crate::jar::Jar;
use crate::plan::{Load, Report, Request};
use crate::report::{Which, is_good};

/// A load that was started.
pub(crate) struct Running {
    load: Load,
    /// Where the clients go, one after the other.
    targets: Vec<Target>,
    /// Whether each request is another one.
    numbered: bool,
    report: Mutex<Report>,
    last_ok_ms: AtomicU64,
    taken: AtomicU64,
    stop: AtomicBool,
}

/// What a client keeps from one request to the next.
struct Client {
    place: usize,
    sent: u64,
    jar: Jar,
    /// A connection to each target.
    kept: Vec<Option<Connection>>,
}

impl Running {
    /// Starts the clients of `load`, one task each; they end by themselves or by [`Self::stop`].
    pub(crate) async fn start(load: Load) -> anyhow::Result<Arc<Self>> {
        ensure!(
            (1..=512).contains(&load.clients),
            "clients: {} is not accepted, expected 1 to 512",
            load.clients
        );
        let began_ms = now_ms();
        let running = Arc::new(Running {
            targets: targets(&load).await?,
            numbered: is_numbered(&load.request),
            report: Mutex::new(Report {
                clients: load.clients,
                began_ms,
                visits: vec![Vec::new(); load.clients],
                ..Report::default()
            }),
            load,
            last_ok_ms: AtomicU64::new(began_ms),
            taken: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        for place in 0..running.load.clients {
            let running = running.clone();
            tokio::spawn(async move { running.client(place).await });
        }
        Ok(running)
    }

    /// No client sends another request; those under way end as they would have.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// What was seen so far.
    pub(crate) fn report(&self) -> Report {
        let mut report = self.lock().clone();
        report.now_ms = now_ms();
        if report.clients > 0 {
            let gap = report.now_ms.saturating_sub(self.last_ok_ms.load(Ordering::Relaxed));
            report.longest_gap_ms = report.longest_gap_ms.max(gap);
        }
        report
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn client(&self, place: usize) {
        let mut client = Client {
            place,
            sent: 0,
            jar: Jar::default(),
            kept: self.targets.iter().map(|_| None).collect(),
        };
        while let Some(number) = self.next(&client) {
            self.lock().open += 1;
            let sent = self.send(&mut client, number).await;
            self.record(sent, &client, number);
            if self.load.pause_ms > 0 {
                tokio::time::sleep(Duration::from_millis(self.load.pause_ms)).await;
            }
        }
        self.lock().clients -= 1;
    }

    /// The number of the client's next request; `None` when it has none to send any more.
    fn next(&self, client: &Client) -> Option<u64> {
        let own = self.load.per_client.is_none_or(|most| client.sent < most);
        if self.stop.load(Ordering::Relaxed) || !own {
            return None;
        }
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        self.load.count.is_none_or(|count| number < count).then_some(number)
    }

    async fn send(&self, client: &mut Client, number: u64) -> Sent {
        // Clients begin at different places, or all would go to the same one at the same time.
        let turn = (client.place as u64 + client.sent) % self.targets.len() as u64;
        let turn = usize::try_from(turn).unwrap_or_default();
        let mut request = self.load.request.clone();
        let mut target = self.targets[turn].clone();
        if self.numbered {
            target.path = numbered(&target.path, number);
            request.headers.values_mut().for_each(|v| *v = numbered(v, number));
        }
        if let Some(cookies) = client.jar.header() {
            request.headers.insert("cookie".to_owned(), cookies);
        }
        let sent = client::send(&target, &request, &mut client.kept[turn]).await;
        if self.load.fresh_connections {
            client.kept[turn] = None;
        }
        if self.load.cookies {
            sent.answer.cookies.iter().for_each(|cookie| client.jar.keep(cookie));
        }
        client.sent += 1;
        sent
    }

    fn record(&self, sent: Sent, client: &Client, number: u64) {
        let (good, ended_ms) = (is_good(&sent.answer), sent.answer.ended_ms);
        let mut report = self.lock();
        if good {
            let before = self.last_ok_ms.swap(ended_ms, Ordering::Relaxed);
            report.longest_gap_ms = report.longest_gap_ms.max(ended_ms.saturating_sub(before));
        }
        let which = Which {
            client: client.place,
            number: self.numbered.then_some(number),
        };
        report.add(sent, &which);
    }
}

/// The request's own host, or those that take its place.
async fn targets(load: &Load) -> anyhow::Result<Vec<Target>> {
    let own = Target::resolve(&load.request.url).await;
    if load.hosts.is_empty() {
        return Ok(vec![own?]);
    }
    let path = own?.path;
    let mut all = Vec::new();
    for host in &load.hosts {
        all.push(Target {
            path: path.clone(),
            ..Target::resolve(host).await?
        });
    }
    Ok(all)
}

fn is_numbered(request: &Request) -> bool {
    let mut texts = request.headers.values().chain([&request.url]);
    texts.any(|text| text.contains("{n}") || text.contains("{ip}"))
}

/// The text with the number in it, and the address made of it: of 44.0.0.0/8, where nobody is.
fn numbered(text: &str, number: u64) -> String {
    let [.., a, b, c] = number.to_be_bytes();
    let address = Ipv4Addr::new(44, a, b, c);
    text.replace("{n}", &number.to_string())
        .replace("{ip}", &address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_addresses_are_put_in() {
        assert_eq!(numbered("/x?k={n}&l={n}", 65_537), "/x?k=65537&l=65537");
        assert_eq!(numbered("{ip}", 65_537), "44.1.0.1");
        assert_eq!(numbered("plain", 1), "plain");
        assert!(is_numbered(&Request::get("http://a/{n}")));
        assert!(!is_numbered(&Request::get("http://a/n")));
    }
}
