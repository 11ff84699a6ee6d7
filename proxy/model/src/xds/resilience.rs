//! [`Timeouts`], [`Retry`], [`Bodies`] and [`Limits`] as parts of the JSON in our metadata. A part that has its default is left out; one
//! that is written, is written whole. What an Envoy makes of them is in `retry` and `limits`; nothing here knows protobuf.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::parts;
use crate::{Bodies, FieldError, Limits, Retry, RetryOn, Route, Timeouts, bounds};

/// What a route says in our metadata.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct RouteWire {
    #[serde(skip_serializing_if = "Option::is_none")]
    timeouts: Option<TimeoutsWire>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<RetryWire>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bodies: Option<BodiesWire>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct TimeoutsWire {
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_try: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tunnel_idle: Option<String>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct RetryWire {
    #[serde(skip_serializing_if = "Option::is_none")]
    tries: Option<u64>,
    on: Vec<String>,
    statuses: Vec<u64>,
    any_method: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backoff: Option<String>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct BodiesWire {
    #[serde(skip_serializing_if = "Option::is_none")]
    request_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_buffer: Option<u64>,
}

/// What a cluster says of its limits in our metadata.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct LimitsWire {
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_connections: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_requests: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_timeout: Option<String>,
}

const CONDITIONS: &[(&str, RetryOn)] = &[
    ("closed", RetryOn::Closed),
    ("gateway_error", RetryOn::GatewayError),
    ("timeout", RetryOn::Timeout),
];

impl RouteWire {
    /// None where all has its default.
    pub(super) fn of(route: &Route) -> Option<Self> {
        let wire = RouteWire {
            timeouts: (route.timeouts != Timeouts::default()).then(|| TimeoutsWire::of(&route.timeouts)),
            retry: (route.retry != Retry::default()).then(|| RetryWire::of(&route.retry)),
            bodies: (route.bodies != Bodies::default()).then(|| BodiesWire::of(&route.bodies)),
        };
        (wire.timeouts.is_some() || wire.retry.is_some() || wire.bodies.is_some()).then_some(wire)
    }

    pub(super) fn judge(&self) -> Result<(Timeouts, Retry, Bodies), FieldError> {
        let timeouts = self.timeouts.as_ref().map(TimeoutsWire::judge).transpose();
        let retry = self.retry.as_ref().map(RetryWire::judge).transpose();
        let bodies = self.bodies.as_ref().map(BodiesWire::judge).transpose();
        Ok((
            timeouts.map_err(|e| e.within("timeouts"))?.unwrap_or_default(),
            retry.map_err(|e| e.within("retry"))?.unwrap_or_default(),
            bodies.map_err(|e| e.within("bodies"))?.unwrap_or_default(),
        ))
    }
}

impl TimeoutsWire {
    fn of(timeouts: &Timeouts) -> Self {
        TimeoutsWire {
            request: Some(parts::to_text(timeouts.request)),
            per_try: timeouts.per_try.map(parts::to_text),
            idle: Some(parts::to_text(timeouts.idle)),
            tunnel_idle: Some(parts::to_text(timeouts.tunnel_idle)),
        }
    }

    fn judge(&self) -> Result<Timeouts, FieldError> {
        let default = Timeouts::default();
        let per_try = self
            .per_try
            .as_ref()
            .map(|text| time("per_try", Some(text), default.idle));
        Ok(Timeouts {
            request: time("request", self.request.as_ref(), default.request)?,
            per_try: per_try.transpose()?,
            idle: time("idle", self.idle.as_ref(), default.idle)?,
            tunnel_idle: time("tunnel_idle", self.tunnel_idle.as_ref(), default.tunnel_idle)?,
        })
    }
}

fn time(path: &str, text: Option<&String>, default: Duration) -> Result<Duration, FieldError> {
    text.map_or(Ok(default), |text| bounds::timeout(path, parts::from_text(path, text)?))
}

impl RetryWire {
    fn of(retry: &Retry) -> Self {
        let name = |on: &RetryOn| CONDITIONS.iter().find(|(_, known)| known == on);
        RetryWire {
            tries: Some(retry.tries.into()),
            on: retry
                .on
                .iter()
                .filter_map(name)
                .map(|(name, _)| (*name).to_owned())
                .collect(),
            statuses: retry.statuses.iter().map(|status| u64::from(*status)).collect(),
            any_method: retry.any_method,
            body: Some(retry.body.into()),
            budget: Some(retry.budget.into()),
            backoff: Some(parts::to_text(retry.backoff)),
        }
    }

    fn judge(&self) -> Result<Retry, FieldError> {
        let default = Retry::default();
        let backoff = |text: &String| bounds::backoff("backoff", parts::from_text("backoff", text)?);
        Ok(Retry {
            tries: bounds::tries("tries", self.tries.unwrap_or(default.tries.into()))?,
            on: self.conditions()?,
            statuses: bounds::status_codes("statuses", &self.statuses)?,
            any_method: self.any_method,
            body: bounds::retry_body("body", self.body.unwrap_or(default.body.into()))?,
            budget: bounds::budget("budget", self.budget.unwrap_or(default.budget.into()))?,
            backoff: self.backoff.as_ref().map_or(Ok(default.backoff), backoff)?,
        })
    }

    fn conditions(&self) -> Result<BTreeSet<RetryOn>, FieldError> {
        let one = |(i, name): (usize, &String)| {
            let known = CONDITIONS.iter().find(|(known, _)| known == name);
            let accepted = "closed, gateway_error or timeout";
            known
                .map(|(_, on)| *on)
                .ok_or_else(|| FieldError::new(format!("on[{i}]"), name, accepted))
        };
        self.on.iter().enumerate().map(one).collect()
    }
}

impl BodiesWire {
    fn of(bodies: &Bodies) -> Self {
        BodiesWire {
            request_max: bodies.request_max,
            response_max: bodies.response_max,
            response_buffer: bodies.response_buffer.map(u64::from),
        }
    }

    fn judge(&self) -> Result<Bodies, FieldError> {
        let most = |path: &str, value: Option<u64>| value.map(|n| bounds::body_max(path, n)).transpose();
        let buffer = self.response_buffer.map(|n| bounds::buffer("response_buffer", n));
        Ok(Bodies {
            request_max: most("request_max", self.request_max)?,
            response_max: most("response_max", self.response_max)?,
            response_buffer: buffer.transpose()?,
        })
    }
}

impl LimitsWire {
    /// None where all has its default.
    pub(super) fn of(limits: &Limits) -> Option<Self> {
        (*limits != Limits::default()).then(|| LimitsWire {
            connections: limits.connections.map(u64::from),
            endpoint_connections: limits.endpoint_connections.map(u64::from),
            requests: limits.requests.map(u64::from),
            endpoint_requests: limits.endpoint_requests.map(u64::from),
            queue: Some(limits.queue.into()),
            queue_timeout: Some(parts::to_text(limits.queue_timeout)),
        })
    }

    pub(super) fn judge(&self) -> Result<Limits, FieldError> {
        let default = Limits::default();
        let limit = |path: &str, value: Option<u64>| value.map(|n| bounds::limit(path, n)).transpose();
        Ok(Limits {
            connections: limit("connections", self.connections)?,
            endpoint_connections: limit("endpoint_connections", self.endpoint_connections)?,
            requests: limit("requests", self.requests)?,
            endpoint_requests: limit("endpoint_requests", self.endpoint_requests)?,
            queue: bounds::queue("queue", self.queue.unwrap_or(default.queue.into()))?,
            queue_timeout: time("queue_timeout", self.queue_timeout.as_ref(), default.queue_timeout)?,
        })
    }
}
