//! One request from its headers to the end of its response: what is known about it, and that it is counted exactly once, however it
//! ends. Deciding anything about it happens elsewhere.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use http::{HeaderMap, Request, StatusCode};
use tenbin_balance::Time;
use tenbin_model::AccessLogFormat;

use super::connection::{Busy, Connection};
use super::error::Failure;
use super::informer::Informer;
use super::upload::Upload;
use crate::affinity::Outcome;
use crate::record::Record;
use crate::spans::{Context, span_id};
use crate::state::{Admission, Listener, Picked, PortStats};
use crate::upstream::Lease;

/// An open request. Dropped before [`Exchange::complete`], it counts as broken off by the client.
pub(super) struct Exchange {
    connection: Rc<Connection>,
    informer: Informer,
    stats: Arc<PortStats>,
    started: Time,
    status: Option<StatusCode>,
    failure: Option<Failure>,
    tries: u32,
    picked: Option<Picked>,
    /// Its place in its cluster, where that has a limit.
    admission: Option<Admission>,
    /// What became of its affinity; `None` where there is none for it.
    affinity: Option<Outcome>,
    /// Whether it is counted as an upgraded connection.
    tunnel: bool,
    completed: bool,
    _busy: Busy,
    /// The body that is sent, where there is one.
    upload: Option<Rc<Upload>>,
    /// Bytes sent to the client, and those of them that its listener does not count yet.
    sent: u64,
    uncounted: u64,
    /// When it was sent to the last endpoint, and when the head of a response came from there.
    tried_at: Time,
    head_at: Option<Time>,
    /// What the access log and spans tell of the request, where they do.
    record: Option<Box<Record>>,
}

/// After how many bytes a response is counted while it goes on: a stream shows before it ends, and small responses count once.
const COUNT_EVERY: u64 = 1 << 20;

impl Exchange {
    /// Opens it.
    pub(super) fn begin<B>(
        connection: Rc<Connection>,
        listener: &Arc<Listener>,
        request: &Request<B>,
        informer: Informer,
    ) -> Self {
        listener.stats.in_flight.fetch_add(1, Relaxed);
        let started = connection.worker.clock.now();
        let record = watch(&connection, listener, request, started);
        Exchange {
            stats: Arc::clone(&listener.stats),
            started,
            _busy: connection.busy(),
            connection,
            informer,
            status: None,
            failure: None,
            tries: 0,
            picked: None,
            admission: None,
            affinity: None,
            tunnel: false,
            completed: false,
            upload: None,
            sent: 0,
            uncounted: 0,
            tried_at: started,
            head_at: None,
            record,
        }
    }

    /// Whose connection it came over.
    pub(super) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// What tells its client of what comes before the response.
    pub(super) fn informer(&self) -> &Informer {
        &self.informer
    }

    /// This became of its affinity so far.
    pub(super) fn bind(&mut self, affinity: Outcome) {
        self.affinity = Some(affinity);
    }

    /// It has a body.
    pub(super) fn uploads(&mut self, upload: Rc<Upload>) {
        self.upload = Some(upload);
    }

    /// When it began.
    pub(super) fn started(&self) -> Time {
        self.started
    }

    /// It is sent to an endpoint `now`, which learns of its trace by `headers`; the one before, if any, is free of it.
    pub(super) fn try_on(&mut self, picked: Picked, headers: Option<&mut HeaderMap>, now: Time) -> &Picked {
        if self.tries > 0 {
            self.stats.retries.fetch_add(1, Relaxed);
        }
        self.tries += 1;
        self.tried_at = now;
        self.head_at = None;
        if let Some(record) = &mut self.record {
            let span = span_id(&mut self.connection.worker.rng.borrow_mut());
            let endpoint = &picked.endpoint;
            record.try_on(&endpoint.instance, endpoint.address, span, self.tried_at);
            if let (Some(trace), Some(headers)) = (&record.trace, headers) {
                trace.inject(headers, span);
            }
        }
        self.stats.picks[picked.reason as usize].fetch_add(1, Relaxed);
        if let Some(affinity) = &mut self.affinity {
            *affinity = picked.affinity;
        }
        self.picked.insert(picked)
    }

    /// It counts against a limit of its cluster while it is open.
    pub(super) fn admit(&mut self, admission: Option<Admission>) {
        self.admission = admission;
    }

    /// It leaves the endpoint that it was sent to last, and may come back to its answer.
    pub(super) fn leave(&mut self) -> Option<Picked> {
        self.picked.take()
    }

    /// It comes back to the answer of an endpoint that it had left.
    pub(super) fn come_back(&mut self, picked: Picked) {
        if let Some(affinity) = &mut self.affinity {
            *affinity = picked.affinity;
        }
        self.picked = Some(picked);
    }

    /// The endpoint is done with it, though the client is not.
    pub(super) fn release(&mut self, lease: Lease) {
        self.give_back(lease, self.connection.worker.clock.now());
        self.admission = None;
        let picked = self.picked.take();
        if let (Some(record), Some(picked)) = (&mut self.record, picked) {
            (record.reason, record.candidates) = (Some(picked.reason), picked.candidates);
        }
    }

    /// This came `now` of the last try: the status of a response, or why there is none.
    pub(super) fn tried(&mut self, result: Result<StatusCode, Failure>, now: Time) {
        self.head_at = result.is_ok().then_some(now);
        if let Some(record) = &mut self.record {
            record.try_result(result);
            if result.is_err() {
                record.try_over(now);
            }
        }
    }

    /// So many bytes of the response went to the client.
    pub(super) fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
        self.uncounted += bytes;
        if self.uncounted >= COUNT_EVERY {
            self.stats.sent.fetch_add(self.uncounted, Relaxed);
            self.uncounted = 0;
        }
    }

    /// So many bytes passed it as a tunnel, each way.
    pub(super) fn carried(&self, received: u64, sent: u64) {
        self.stats.received.fetch_add(received, Relaxed);
        self.stats.sent.fetch_add(sent, Relaxed);
    }

    /// The endpoint that it was sent to last.
    pub(super) fn picked(&self) -> Option<&Picked> {
        self.picked.as_ref()
    }

    /// The endpoint did what was asked, or failed at it, `now`: the balancer learns of it. `sent` is when it had the whole of the request,
    /// where that has a body.
    pub(super) fn judge(&self, outcome: tenbin_balance::Outcome, sent: Option<Time>, now: Time) {
        if let Some(picked) = &self.picked {
            picked.open.answered(outcome, sent, now);
        }
    }

    /// It goes on as an upgraded connection for as long as it lives.
    pub(super) fn hold(&mut self) {
        self.tunnel = true;
        if let Some(picked) = &self.picked {
            picked.open.held();
        }
        self.stats.tunnels.fetch_add(1, Relaxed);
    }

    /// The client is told this.
    pub(super) fn answer(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// It went wrong; the first thing that does is what counts.
    pub(super) fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    /// The endpoint's response was read to its end `now`: the connection that it came over is free for another request.
    pub(super) fn give_back(&self, lease: Lease, now: Time) {
        let worker = &self.connection.worker;
        if let Some(picked) = &self.picked {
            picked.open.ended(now);
        }
        worker.pool.put(lease, worker.clock, now);
    }

    /// The response ended as it should, `now`; a tunnel completes when it opens, and then only stays open.
    pub(super) fn complete(&mut self, now: Time) {
        if !self.completed {
            self.completed = true;
            self.record(now);
        }
    }

    /// Counts it, and tells the access log.
    fn record(&mut self, now: Time) {
        if !self.completed {
            self.fail(Failure::ClientGone);
        }
        let class = self.status.map_or(0, |status| usize::from(status.as_u16() / 100));
        let class = self.stats.requests.get(class).unwrap_or(&self.stats.requests[0]);
        class.fetch_add(1, Relaxed);
        if let Some(affinity) = self.affinity {
            self.stats.affinity[affinity as usize].fetch_add(1, Relaxed);
        }
        if let Some(failure) = self.failure {
            self.stats.failures[failure as usize].fetch_add(1, Relaxed);
        }
        let duration = now.since(self.started);
        if self.status != Some(StatusCode::SWITCHING_PROTOCOLS) {
            self.stats.duration.observe(duration);
        }
        let first_byte = self.head_at.map(|at| at.since(self.tried_at));
        if let Some(first_byte) = first_byte {
            self.stats.first_byte.observe(first_byte);
        }
        let received = self.upload.as_ref().map_or(0, |upload| upload.bytes());
        self.carried(received, self.uncounted);
        if let Some(mut record) = self.record.take() {
            record.duration = duration;
            record.first_byte = first_byte;
            (record.received, record.sent) = (received, self.sent);
            (record.status, record.failure) = (self.status, self.failure);
            if let Some(picked) = &self.picked {
                (record.reason, record.candidates) = (Some(picked.reason), picked.candidates);
            }
            record.affinity = self.affinity.unwrap_or(Outcome::None);
            self.tell(record);
        }
    }

    /// Tells those who want to know.
    fn tell(&self, record: Box<Record>) {
        let worker = &self.connection.worker;
        let logged = record.format != AccessLogFormat::Off && (record.chosen || record.failed());
        if record.trace.as_ref().is_some_and(Context::is_sampled) {
            let spans = if logged {
                record.clone()
            } else {
                return worker.spans.send(record);
            };
            worker.spans.send(spans);
        }
        if logged {
            worker.access_log.write(record);
        }
    }
}

/// What is gathered of a request from its begin, where the listener's access log or traces want to know.
fn watch<B>(connection: &Connection, listener: &Listener, request: &Request<B>, now: Time) -> Option<Box<Record>> {
    let (worker, settings) = (&connection.worker, &listener.settings);
    let wanted = worker
        .access_log
        .wants(&settings.access_log, &mut worker.rng.borrow_mut());
    let trace = settings.tracing.as_ref();
    let trace = trace.and_then(|to| Context::begin(to, request.headers(), &mut worker.rng.borrow_mut()));
    if wanted.is_none() && trace.is_none() {
        return None;
    }
    let source = listener.trusted.client(connection.client.ip(), request.headers());
    let mut record = Box::new(Record::begin(settings, request, connection.client, source, now));
    if let Some(wanted) = wanted {
        (record.format, record.chosen) = (wanted.format, wanted.chosen);
    }
    record.tls.clone_from(&connection.tls);
    record.trace = trace;
    Some(record)
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.completed {
            self.record(self.connection.worker.clock.now());
        }
        self.stats.in_flight.fetch_sub(1, Relaxed);
        if self.tunnel {
            self.stats.tunnels.fetch_sub(1, Relaxed);
        }
    }
}
