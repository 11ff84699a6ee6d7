//! How answers become a report: sums, and who answered whom. Nothing is sent from here.

use crate::client::Sent;
use crate::plan::{Answer, Cause, Failure, Report, Visit};

/// The header in which the demo app tells which replica answers.
const INSTANCE: &str = "x-tenbin-instance";
/// From when on an answer is slow, in milliseconds.
const SLOW_MS: u64 = 250;
/// How many failures a report holds.
const FAILURES: usize = 200;
/// How many answers a report lists in order.
const ORDER: usize = 2_000;
/// How many visits of a client a report lists.
const VISITS: usize = 100;
/// Up to which number a report lists who answered which request.
const NUMBERS: u64 = 20_000;

/// Which request it was.
pub(crate) struct Which {
    /// The client's place among the clients.
    pub(crate) client: usize,
    /// The request's number, where it is part of the request.
    pub(crate) number: Option<u64>,
}

impl Report {
    /// Adds a request that has ended.
    pub(crate) fn add(&mut self, sent: Sent, which: &Which) {
        let Sent { answer, reused, opened } = sent;
        self.open -= 1;
        self.ended += 1;
        self.connections += u64::from(opened);
        if is_good(&answer) {
            self.ok += 1;
            let took = answer.ended_ms.saturating_sub(answer.began_ms);
            self.slow += u64::from(took > SLOW_MS);
            self.longest_ms = self.longest_ms.max(took);
            if let Some(name) = answer.headers.get(INSTANCE).cloned() {
                self.answered(&name, &answer, which);
            }
        } else {
            self.failed(answer, reused);
        }
    }

    fn answered(&mut self, name: &str, answer: &Answer, which: &Which) {
        let instance = self.instances.entry(name.to_owned()).or_default();
        instance.ok += 1;
        instance.last_ms = answer.ended_ms;
        if instance.ok == 1 {
            instance.first_ms = answer.ended_ms;
        }
        if self.order.len() < ORDER {
            self.order.push(name.to_owned());
        }
        if let Some(number) = which.number.filter(|number| *number < NUMBERS) {
            self.numbers.entry(name.to_owned()).or_default().push(number);
        }
        let visits = &mut self.visits[which.client];
        if let Some(last) = visits.last_mut().filter(|last| last.instance == name) {
            last.ok += 1;
            last.last_ms = answer.ended_ms;
        } else if visits.len() < VISITS {
            visits.push(Visit {
                instance: name.to_owned(),
                ok: 1,
                first_ms: answer.began_ms,
                last_ms: answer.ended_ms,
            });
        }
    }

    fn failed(&mut self, answer: Answer, reused: bool) {
        self.failed += 1;
        self.last_failure_began_ms = self.last_failure_began_ms.max(answer.began_ms);
        if self.failures.len() < FAILURES {
            let (cause, reason) = answer
                .error
                .unwrap_or_else(|| (Cause::Status, answer.body.chars().take(200).collect()));
            self.failures.push(Failure {
                began_ms: answer.began_ms,
                ended_ms: answer.ended_ms,
                cause,
                status: answer.status,
                reason,
                reused,
            });
        }
    }
}

/// Whether it came whole, with a status of 200 to 299.
pub(crate) fn is_good(answer: &Answer) -> bool {
    answer.error.is_none() && answer.status.is_some_and(|s| (200..300).contains(&s))
}
