//! From what a spec says of resilience to what proxies do: the times, retries and bodies of its routes, the limits of its clusters, the
//! times of its listeners. What is not said has the default of the model.

use std::collections::BTreeSet;
use std::time::Duration;

use tenbin_crds::{BalancedAppSpec, RetryOn as SaidOn, Timeouts as SaidTimeouts};
use tenbin_model::{Bodies, Cluster, FieldError, Limits, Listener, Retry, RetryOn, Timeouts, bounds};

use super::judged::Judged;
use crate::problem::Problem;

/// What an app's routes, clusters and listeners have of it.
pub(super) struct Resilience {
    pub(super) timeouts: Timeouts,
    pub(super) retry: Retry,
    pub(super) bodies: Bodies,
    pub(super) limits: Limits,
    pub(super) connect: Duration,
    pub(super) headers: Duration,
    pub(super) keep_alive: Duration,
}

pub(super) fn resilience(spec: &BalancedAppSpec, problems: &mut Vec<Problem>) -> Resilience {
    let said = spec.resilience.clone().unwrap_or_default();
    let times = said.timeouts.unwrap_or_default();
    let mut judged = Judged {
        reason: "BadResilience",
        problems,
    };
    let mut time = |field: &str, text: Option<&String>, default: Duration| {
        let path = format!("spec.resilience.timeouts.{field}");
        judged.time(&path, text, bounds::timeout).unwrap_or(default)
    };
    let connect = time("connect", times.connect.as_ref(), Cluster::DEFAULT_CONNECT_TIMEOUT);
    let headers = time(
        "requestHeaders",
        times.request_headers.as_ref(),
        Listener::DEFAULT_HEADER_TIMEOUT,
    );
    let keep_alive = time("keepAlive", times.keep_alive.as_ref(), Listener::DEFAULT_IDLE_TIMEOUT);
    let limits = said.limits.unwrap_or_default();
    Resilience {
        timeouts: timeouts(&times, &mut judged),
        retry: retry(&said.retries.unwrap_or_default(), &mut judged),
        bodies: bodies(&limits, said.buffer_response_bytes, &mut judged),
        limits: self::limits(&limits, &mut judged),
        connect,
        headers,
        keep_alive,
    }
}

fn timeouts(said: &SaidTimeouts, judged: &mut Judged<'_>) -> Timeouts {
    let mut time = |field: &str, text: &Option<String>| {
        let path = format!("spec.resilience.timeouts.{field}");
        judged.time(&path, text.as_ref(), bounds::timeout)
    };
    let default = Timeouts::default();
    let mut timeouts = Timeouts {
        request: time("request", &said.request).unwrap_or(default.request),
        per_try: time("perTry", &said.per_try),
        idle: time("idle", &said.idle).unwrap_or(default.idle),
        tunnel_idle: time("tunnelIdle", &said.tunnel_idle).unwrap_or(default.tunnel_idle),
    };
    let fits = bounds::per_try("spec.resilience.timeouts.perTry", &timeouts);
    if judged.kept(fits).is_none() {
        timeouts.per_try = None;
    }
    timeouts
}

fn retry(said: &tenbin_crds::Retries, judged: &mut Judged<'_>) -> Retry {
    let path = |field: &str| format!("spec.resilience.retries.{field}");
    let default = Retry::default();
    let statuses: Vec<u64> = said.statuses.iter().map(|status| u64::from(*status)).collect();
    let backoff = judged.time(&path("backoff"), said.backoff.as_ref(), bounds::backoff);
    Retry {
        tries: judged
            .number(&path("tries"), said.tries, bounds::tries)
            .unwrap_or(default.tries),
        on: said.conditions.iter().copied().map(condition).collect::<BTreeSet<_>>(),
        statuses: judged
            .kept(bounds::status_codes(&path("statuses"), &statuses))
            .unwrap_or_default(),
        any_method: said.any_method.unwrap_or(default.any_method),
        body: judged
            .number(&path("bodyBytes"), said.body_bytes, bounds::retry_body)
            .unwrap_or(default.body),
        budget: judged
            .number(&path("budgetPercent"), said.budget_percent, bounds::budget)
            .unwrap_or(default.budget),
        backoff: backoff.unwrap_or(default.backoff),
    }
}

fn condition(said: SaidOn) -> RetryOn {
    match said {
        SaidOn::Closed => RetryOn::Closed,
        SaidOn::GatewayError => RetryOn::GatewayError,
        SaidOn::Timeout => RetryOn::Timeout,
    }
}

fn bodies(said: &tenbin_crds::Limits, buffer: Option<u32>, judged: &mut Judged<'_>) -> Bodies {
    let limits = "spec.resilience.limits";
    Bodies {
        request_max: judged.number(
            &format!("{limits}.requestBodyBytes"),
            said.request_body_bytes,
            bounds::body_max,
        ),
        response_max: judged.number(
            &format!("{limits}.responseBodyBytes"),
            said.response_body_bytes,
            bounds::body_max,
        ),
        response_buffer: judged.number("spec.resilience.bufferResponseBytes", buffer, bounds::buffer),
    }
}

fn limits(said: &tenbin_crds::Limits, judged: &mut Judged<'_>) -> Limits {
    let path = |field: &str| format!("spec.resilience.limits.{field}");
    let default = Limits::default();
    let limit: fn(&str, u64) -> Result<u32, FieldError> = bounds::limit;
    Limits {
        connections: judged.number(&path("connections"), said.connections, limit),
        endpoint_connections: judged.number(&path("connectionsPerReplica"), said.connections_per_replica, limit),
        requests: judged.number(&path("requests"), said.requests, limit),
        endpoint_requests: judged.number(&path("requestsPerReplica"), said.requests_per_replica, limit),
        queue: judged
            .number(&path("queueLength"), said.queue_length, bounds::queue)
            .unwrap_or(default.queue),
        queue_timeout: judged
            .time(&path("queueTimeout"), said.queue_timeout.as_ref(), bounds::timeout)
            .unwrap_or(default.queue_timeout),
    }
}
