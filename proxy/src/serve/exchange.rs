//! One request from its headers to the end of its response: what is known about it, and that it is counted exactly once, however it
//! ends. Deciding anything about it happens elsewhere.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use http::{HeaderValue, Method, Request, StatusCode, Uri};
use tenbin_balance::Time;

use super::connection::{Busy, Connection};
use super::error::Failure;
use super::headers;
use super::request_id::REQUEST_ID;
use crate::access_log::Record;
use crate::affinity::Outcome;
use crate::state::{Admission, Listener, Picked, PortStats};
use crate::upstream::Lease;

/// An open request. Dropped before [`Exchange::complete`], it counts as broken off by the client.
pub(super) struct Exchange {
    connection: Rc<Connection>,
    stats: Arc<PortStats>,
    started: Time,
    status: Option<StatusCode>,
    failure: Option<Failure>,
    tries: u32,
    picked: Option<Picked>,
    /// What is left of that where the endpoint is done with it before the client.
    done: Option<Done>,
    /// Its place in its cluster, where that has a limit.
    admission: Option<Admission>,
    /// What became of its affinity; `None` where there is none for it.
    affinity: Option<Outcome>,
    /// Whether it is counted as an upgraded connection.
    tunnel: bool,
    completed: bool,
    _busy: Busy,
    /// What the access log says about the request, where there is one.
    logged: Option<Box<Logged>>,
}

/// Where a request was that is not there any more.
struct Done {
    instance: Arc<str>,
    reason: tenbin_balance::Reason,
    candidates: u32,
}

struct Logged {
    listener: Arc<Listener>,
    source: IpAddr,
    method: Method,
    host: String,
    uri: Uri,
    request_id: Option<HeaderValue>,
}

impl Exchange {
    /// Opens it.
    pub(super) fn begin<B>(connection: Rc<Connection>, listener: &Arc<Listener>, request: &Request<B>) -> Self {
        listener.stats.in_flight.fetch_add(1, Relaxed);
        let logged = connection.worker.access_log.is_some().then(|| {
            Box::new(Logged {
                listener: Arc::clone(listener),
                source: listener.trusted.client(connection.client.ip(), request.headers()),
                method: request.method().clone(),
                host: headers::host(request).to_owned(),
                uri: request.uri().clone(),
                request_id: request.headers().get(REQUEST_ID).cloned(),
            })
        });
        Exchange {
            stats: Arc::clone(&listener.stats),
            started: connection.worker.clock.now(),
            _busy: connection.busy(),
            connection,
            status: None,
            failure: None,
            tries: 0,
            picked: None,
            done: None,
            admission: None,
            affinity: None,
            tunnel: false,
            completed: false,
            logged,
        }
    }

    /// Whose connection it came over.
    pub(super) fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }

    /// This became of its affinity so far.
    pub(super) fn bind(&mut self, affinity: Outcome) {
        self.affinity = Some(affinity);
    }

    /// It is sent to an endpoint; the one before, if any, is free of it.
    pub(super) fn try_on(&mut self, picked: Picked) -> &Picked {
        if self.tries > 0 {
            self.stats.retries.fetch_add(1, Relaxed);
        }
        self.tries += 1;
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
        self.give_back(lease);
        self.admission = None;
        self.done = self.picked.take().map(|picked| Done {
            instance: Arc::clone(&picked.endpoint.instance),
            reason: picked.reason,
            candidates: picked.candidates,
        });
    }

    /// The endpoint that it was sent to last.
    pub(super) fn picked(&self) -> Option<&Picked> {
        self.picked.as_ref()
    }

    /// The endpoint did what was asked, or failed at it: the balancer learns of it. `sent` is when it had the whole of the request, where
    /// that has a body.
    pub(super) fn judge(&self, outcome: tenbin_balance::Outcome, sent: Option<Time>) {
        if let Some(picked) = &self.picked {
            picked.open.answered(outcome, sent, self.connection.worker.clock.now());
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

    /// The endpoint's response was read to its end: the connection that it came over is free for another request.
    pub(super) fn give_back(&self, lease: Lease) {
        let worker = &self.connection.worker;
        let now = worker.clock.now();
        if let Some(picked) = &self.picked {
            picked.open.ended(now);
        }
        worker.pool.put(lease, now);
    }

    /// The response ended as it should; a tunnel completes when it opens, and then only stays open.
    pub(super) fn complete(&mut self) {
        if !self.completed {
            self.completed = true;
            self.record();
        }
    }

    /// Counts it, and tells the access log.
    fn record(&mut self) {
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
        let duration = self.connection.worker.clock.now().since(self.started);
        if self.status != Some(StatusCode::SWITCHING_PROTOCOLS) {
            self.stats.duration.observe(duration);
        }
        let done = self.done.take().or_else(|| {
            let picked = self.picked.as_ref().filter(|_| self.logged.is_some())?;
            Some(Done {
                instance: Arc::clone(&picked.endpoint.instance),
                reason: picked.reason,
                candidates: picked.candidates,
            })
        });
        if let (Some(log), Some(logged)) = (&self.connection.worker.access_log, self.logged.take()) {
            log.write(Record {
                listener: logged.listener.name.clone(),
                client: self.connection.client,
                source: logged.source,
                method: logged.method,
                host: logged.host,
                uri: logged.uri,
                request_id: logged.request_id,
                status: self.status,
                code: self.failure.map(Failure::code),
                duration,
                tries: self.tries,
                reason: done.as_ref().map(|done| done.reason),
                candidates: done.as_ref().map_or(0, |done| done.candidates),
                endpoint: done.map(|done| done.instance),
                affinity: self.affinity.unwrap_or(Outcome::None),
            });
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.completed {
            self.record();
        }
        self.stats.in_flight.fetch_sub(1, Relaxed);
        if self.tunnel {
            self.stats.tunnels.fetch_sub(1, Relaxed);
        }
    }
}
