//! A route in the file: where requests go, how long they may take, when they are sent again, how large they may be.

use std::collections::BTreeSet;

use serde::Deserialize;
use tenbin_model::{Bodies, FieldError, Retry, RetryOn, Route, Timeouts, bounds};

use super::{Clusters, duration, known, number, time, unread};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RouteItem {
    host: Option<String>,
    prefix: Option<String>,
    cluster: String,
    request_timeout: Option<String>,
    try_timeout: Option<String>,
    idle_timeout: Option<String>,
    tunnel_idle_timeout: Option<String>,
    #[serde(default)]
    retries: RetriesItem,
    request_body_bytes: Option<u64>,
    response_body_bytes: Option<u64>,
    buffer_response_bytes: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RetriesItem {
    tries: Option<u64>,
    #[serde(default)]
    conditions: Vec<String>,
    #[serde(default)]
    statuses: Vec<u64>,
    #[serde(default)]
    any_method: bool,
    body_bytes: Option<u64>,
    budget_percent: Option<u64>,
    backoff: Option<String>,
}

impl RouteItem {
    /// The domain and its route.
    pub(super) fn judge(&self, clusters: &Clusters) -> Result<(String, Route), FieldError> {
        let cluster = known("cluster", &self.cluster, clusters)?.name.clone();
        let host = bounds::domain("host", self.host.as_deref().unwrap_or("*"))?;
        let timeouts = self.timeouts()?;
        let retry = self.retries.judge().map_err(|e| e.within("retries"))?;
        if retry.on.contains(&RetryOn::Timeout) && timeouts.per_try.is_none() {
            let accepted = "Timeout only with a tryTimeout, after which a try counts as lost";
            return Err(FieldError::new("retries.conditions", "Timeout", accepted));
        }
        let route = Route {
            prefix: bounds::prefix("prefix", self.prefix.as_deref().unwrap_or("/"))?,
            cluster,
            timeouts,
            retry,
            bodies: Bodies {
                request_max: number("requestBodyBytes", self.request_body_bytes, bounds::body_max)?,
                response_max: number("responseBodyBytes", self.response_body_bytes, bounds::body_max)?,
                response_buffer: number("bufferResponseBytes", self.buffer_response_bytes, bounds::buffer)?,
            },
            hash_on: None,
        };
        Ok((host, route))
    }

    fn timeouts(&self) -> Result<Timeouts, FieldError> {
        let default = Timeouts::default();
        let per_try = |text: &String| duration("tryTimeout", text, bounds::timeout);
        let tunnel = self.tunnel_idle_timeout.as_deref();
        let timeouts = Timeouts {
            request: time("requestTimeout", self.request_timeout.as_deref(), default.request)?,
            per_try: self.try_timeout.as_ref().map(per_try).transpose()?,
            idle: time("idleTimeout", self.idle_timeout.as_deref(), default.idle)?,
            tunnel_idle: time("tunnelIdleTimeout", tunnel, default.tunnel_idle)?,
        };
        bounds::per_try("tryTimeout", &timeouts)?;
        Ok(timeouts)
    }
}

impl RetriesItem {
    fn judge(&self) -> Result<Retry, FieldError> {
        let default = Retry::default();
        let backoff = |text: &String| duration("backoff", text, bounds::backoff);
        let retry = Retry {
            tries: number("tries", self.tries, bounds::tries)?.unwrap_or(default.tries),
            on: self.conditions()?,
            statuses: bounds::status_codes("statuses", &self.statuses)?,
            any_method: self.any_method,
            body: number("bodyBytes", self.body_bytes, bounds::retry_body)?.unwrap_or(default.body),
            budget: number("budgetPercent", self.budget_percent, bounds::budget)?.unwrap_or(default.budget),
            backoff: self.backoff.as_ref().map_or(Ok(default.backoff), backoff)?,
        };
        let conditions = !(retry.on.is_empty() && retry.statuses.is_empty());
        unread("anyMethod", retry.any_method && !conditions, "conditions or statuses")?;
        if retry.tries == 1 && conditions {
            let accepted = "2 to 10, or neither conditions nor statuses";
            return Err(FieldError::new("tries", retry.tries, accepted));
        }
        Ok(retry)
    }

    fn conditions(&self) -> Result<BTreeSet<RetryOn>, FieldError> {
        let one = |(i, name): (usize, &String)| match name.as_str() {
            "Closed" => Ok(RetryOn::Closed),
            "GatewayError" => Ok(RetryOn::GatewayError),
            "Timeout" => Ok(RetryOn::Timeout),
            other => {
                let path = format!("conditions[{i}]");
                Err(FieldError::new(path, other, "Closed, GatewayError or Timeout"))
            }
        };
        self.conditions.iter().enumerate().map(one).collect()
    }
}
