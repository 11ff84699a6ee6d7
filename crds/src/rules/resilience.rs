//! The rules of timeouts, retries and limits: what makes no sense together.

use kube::core::Rule;

use super::rule;

/// A time as in the Gateway API (GEP-2257).
pub(crate) const TIME: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

/// The time of a whole request; the default where none is given.
const REQUEST: &str = "(has(self.timeouts.request) ? self.timeouts.request : '60s')";

/// Texts that are no times are told where they stand, and here alone passed over.
pub(crate) fn a_try_is_no_longer_than_its_request() -> Rule {
    rule(
        format!(
            "!has(self.timeouts) || !has(self.timeouts.perTry) || duration(self.timeouts.perTry) <= duration({REQUEST}) \
             || !(self.timeouts.perTry.matches('{TIME}') && {REQUEST}.matches('{TIME}'))"
        ),
        ".timeouts.perTry",
        format!(
            "'resilience.timeouts.perTry (%s) must not be longer than resilience.timeouts.request, which is %s'\
             .format([self.timeouts.perTry, {REQUEST}])"
        ),
    )
}

pub(crate) fn on_timeout_needs_a_time() -> Rule {
    Rule::new(
        "!has(self.retries) || !has(self.retries.conditions) || !('Timeout' in self.retries.conditions) || (has(self.timeouts) && has(self.timeouts.perTry))",
    )
    .field_path(".retries.conditions")
    .message("resilience.retries.conditions Timeout needs resilience.timeouts.perTry, the time after which a try counts as lost, as perTry: 2s; or remove Timeout")
}

pub(crate) fn any_method_needs_a_condition() -> Rule {
    Rule::new(
        "!has(self.anyMethod) || !self.anyMethod || (has(self.conditions) && size(self.conditions) > 0) || (has(self.statuses) && size(self.statuses) > 0)",
    )
    .field_path(".anyMethod")
    .message("resilience.retries.anyMethod is not read without resilience.retries.conditions or statuses: name one of these, as conditions: [Closed], or remove it")
}

pub(crate) fn conditions_need_tries() -> Rule {
    Rule::new(
        "!has(self.tries) || self.tries > 1 || ((!has(self.conditions) || size(self.conditions) == 0) && (!has(self.statuses) || size(self.statuses) == 0))",
    )
    .field_path(".tries")
    .message("resilience.retries.tries 1 sends no request again, so that conditions and statuses are not read: set tries to 2 to 10, or remove them")
}

pub(crate) fn a_queue_needs_a_limit() -> Rule {
    let limits = ["connections", "connectionsPerReplica", "requests", "requestsPerReplica"];
    let any: Vec<String> = limits.iter().map(|field| format!("has(self.{field})")).collect();
    Rule::new(format!("!(has(self.queueLength) || has(self.queueTimeout)) || {}", any.join(" || "))).message(
        "resilience.limits.queueLength and queueTimeout are not read without a limit to wait for: give connections, connectionsPerReplica, \
         requests or requestsPerReplica, or remove them",
    )
}
