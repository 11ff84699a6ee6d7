//! What an Envoy on the same stream makes of a route's timeouts and retries: the nearest that it has, never stricter than what our
//! proxy does. Our proxy reads none of it.

use std::time::Duration;

use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::retry_policy::retry_host_predicate::ConfigType;
use envoy_types::pb::envoy::config::route::v3::retry_policy::{RetryBackOff, RetryHostPredicate};
use envoy_types::pb::envoy::config::route::v3::{HeaderMatcher, RetryPolicy};
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};
use envoy_types::pb::google::protobuf::UInt32Value;

use super::parts;
use crate::{Retry, RetryOn, Timeouts};

/// The methods that are idempotent (RFC 9110).
const IDEMPOTENT: &str = "GET|HEAD|OPTIONS|TRACE|PUT|DELETE";
/// How often an Envoy draws anew to find an endpoint that was not tried yet.
const DRAWS: i64 = 5;

/// How long a stream of the route may stand still. An Envoy counts one time for what are two here, and the wait for the response too.
pub(super) fn to_idle(timeouts: &Timeouts) -> Duration {
    timeouts.idle.max(timeouts.tunnel_idle).max(timeouts.request)
}

/// When an Envoy sends a request again; never, where it is sent once. An Envoy's budget is its own: three retries at a time.
pub(super) fn to_policy(retry: &Retry, timeouts: &Timeouts) -> Option<RetryPolicy> {
    // Its own conditions know no method, so that POST would be sent twice.
    let conditions = !retry.on.is_empty() || !retry.statuses.is_empty();
    let bounded = conditions && !retry.any_method;
    (retry.tries > 1).then(|| RetryPolicy {
        retry_on: self::conditions(retry),
        num_retries: Some(UInt32Value { value: retry.tries - 1 }),
        per_try_timeout: timeouts.per_try.map(parts::to_duration),
        retry_host_predicate: vec![RetryHostPredicate {
            name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
            config_type: Some(ConfigType::TypedConfig(parts::pack(&PreviousHostsPredicate {}))),
        }],
        host_selection_retry_max_attempts: DRAWS,
        retriable_status_codes: retry.statuses.iter().map(|status| u32::from(*status)).collect(),
        retry_back_off: Some(RetryBackOff {
            base_interval: Some(parts::to_duration(retry.backoff)),
            max_interval: Some(parts::to_duration(retry.backoff.saturating_mul(10))),
        }),
        retriable_request_headers: bounded.then(idempotent).into_iter().collect(),
        ..RetryPolicy::default()
    })
}

fn conditions(retry: &Retry) -> String {
    let mut conditions = vec!["connect-failure", "refused-stream"];
    if retry.on.contains(&RetryOn::Closed) || retry.on.contains(&RetryOn::Timeout) {
        conditions.push("reset");
    }
    if retry.on.contains(&RetryOn::GatewayError) {
        conditions.push("gateway-error");
    }
    if !retry.statuses.is_empty() {
        conditions.push("retriable-status-codes");
    }
    conditions.join(",")
}

fn idempotent() -> HeaderMatcher {
    let regex = RegexMatcher {
        regex: IDEMPOTENT.to_owned(),
        ..RegexMatcher::default()
    };
    HeaderMatcher {
        name: ":method".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
            match_pattern: Some(MatchPattern::SafeRegex(regex)),
            ..StringMatcher::default()
        })),
        ..HeaderMatcher::default()
    }
}
