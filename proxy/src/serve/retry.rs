//! Whether a request is sent again, after how long, and where it must not go: the rules of its route, what it cost so far, what is left.
//! Pure: time, randomness and the cluster's budget are asked for here, nothing waits.

use std::time::Duration;

use http::{Method, StatusCode};
use tenbin_balance::Rng;
use tenbin_model::{Retry, RetryOn};

use super::error::{self, Failure};

/// How a backoff grows at most.
const MAX_GROWTH: u32 = 10;

/// What a request may still do about failures.
#[derive(Debug)]
pub(super) struct Retries<'a> {
    rules: &'a Retry,
    idempotent: bool,
    /// How often it was sent, or tried to be.
    tries: u32,
    /// Whether it was sent again after its connection had closed.
    resent: bool,
}

/// What is done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// It is told.
    No,
    /// Nothing was sent: elsewhere at once, at nobody's cost.
    Unsent,
    /// All of it again, at the cost of the cluster's budget.
    Whole,
}

impl<'a> Retries<'a> {
    pub(super) fn new(rules: &'a Retry, method: &Method) -> Self {
        Retries {
            rules,
            idempotent: method.is_idempotent(),
            tries: 0,
            resent: false,
        }
    }

    /// It is being tried once more.
    pub(super) fn begin(&mut self) {
        self.tries += 1;
    }

    /// Whether it may have to be sent again whole after this try, and so must be kept. Any method may, where endpoints can say that they
    /// did not begin it.
    pub(super) fn keeps(&self, can_be_refused: bool) -> bool {
        self.rules.tries > 1 && (self.idempotent || can_be_refused || self.has_conditions())
    }

    /// Whether one whose connection closed without a word is sent again over another one, to the same endpoint, that being the once.
    pub(super) fn may_resend(&mut self) -> bool {
        let may = self.idempotent && !self.resent;
        self.resent |= may;
        may
    }

    fn has_conditions(&self) -> bool {
        (self.idempotent || self.rules.any_method) && !(self.rules.on.is_empty() && self.rules.statuses.is_empty())
    }

    fn is_on(&self, on: RetryOn) -> bool {
        self.has_conditions() && self.rules.on.contains(&on)
    }

    /// What is done about a try that brought no response.
    pub(super) fn after(&mut self, failure: Failure) -> Again {
        if self.tries >= self.rules.tries {
            return Again::No;
        }
        let whole = match failure.retry() {
            error::Retry::Never => false,
            error::Retry::Elsewhere => return Again::Unsent,
            error::Retry::Unprocessed => true,
            error::Retry::Closed => self.is_on(RetryOn::Closed) || self.may_resend(),
            error::Retry::Timeout => self.is_on(RetryOn::Timeout),
            error::Retry::Gateway => self.is_on(RetryOn::GatewayError),
        };
        if whole { Again::Whole } else { Again::No }
    }

    /// Whether a response makes it be sent again.
    pub(super) fn after_status(&self, status: StatusCode) -> bool {
        let gateway = matches!(
            status,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
        );
        let listed = self.has_conditions() && self.rules.statuses.contains(&status.as_u16());
        self.tries < self.rules.tries && (listed || (gateway && self.is_on(RetryOn::GatewayError)))
    }

    /// How long it waits before it is sent again: anything up to a bound that doubles each time ("full jitter").
    pub(super) fn backoff(&self, rng: &mut Rng) -> Duration {
        let growth = 1u32.checked_shl(self.tries.saturating_sub(1)).unwrap_or(MAX_GROWTH);
        let most = self.rules.backoff.saturating_mul(growth.min(MAX_GROWTH));
        let micros = usize::try_from(most.as_micros()).unwrap_or(usize::MAX - 1);
        Duration::from_micros(rng.below(micros + 1) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(on: &[RetryOn]) -> Retry {
        Retry {
            on: on.iter().copied().collect(),
            ..Retry::default()
        }
    }

    fn after(rules: &Retry, method: &Method, failure: Failure) -> Again {
        let mut retries = Retries::new(rules, method);
        retries.begin();
        retries.after(failure)
    }

    #[test]
    fn without_a_word_only_what_cannot_have_been_begun_and_once_what_is_idempotent() {
        let none = rules(&[]);
        for method in [Method::GET, Method::POST] {
            assert_eq!(after(&none, &method, Failure::Connect), Again::Unsent);
            assert_eq!(after(&none, &method, Failure::Refused), Again::Whole);
            assert_eq!(after(&none, &method, Failure::ResponseTimeout), Again::No);
            assert_eq!(after(&none, &method, Failure::Protocol), Again::No);
        }
        assert_eq!(after(&none, &Method::POST, Failure::Closed), Again::No);
        let mut get = Retries::new(&none, &Method::GET);
        get.begin();
        assert_eq!(get.after(Failure::Closed), Again::Whole);
        get.begin();
        assert_eq!(get.after(Failure::Closed), Again::No, "once");
        assert!(!get.after_status(StatusCode::SERVICE_UNAVAILABLE));
    }

    #[test]
    fn conditions_hold_for_idempotent_methods_unless_told_otherwise() {
        for (on, failure) in [
            (RetryOn::Closed, Failure::Closed),
            (RetryOn::Timeout, Failure::ResponseTimeout),
            (RetryOn::GatewayError, Failure::Protocol),
        ] {
            let mut rules = rules(&[on]);
            assert_eq!(after(&rules, &Method::PUT, failure), Again::Whole, "{on:?}");
            assert_eq!(after(&rules, &Method::POST, failure), Again::No, "{on:?}");
            rules.any_method = true;
            assert_eq!(after(&rules, &Method::POST, failure), Again::Whole, "{on:?}");
        }
    }

    #[test]
    fn statuses() {
        let mut listed = rules(&[]);
        listed.statuses = [429].into();
        let mut get = Retries::new(&listed, &Method::GET);
        get.begin();
        assert!(get.after_status(StatusCode::TOO_MANY_REQUESTS));
        assert!(!get.after_status(StatusCode::BAD_GATEWAY));
        get.begin();
        get.begin();
        assert!(!get.after_status(StatusCode::TOO_MANY_REQUESTS), "its tries are over");
        assert_eq!(get.after(Failure::Connect), Again::No);
        let gateway = rules(&[RetryOn::GatewayError]);
        let mut post = Retries::new(&gateway, &Method::POST);
        post.begin();
        assert!(!post.after_status(StatusCode::BAD_GATEWAY));
    }

    #[test]
    fn waits_grow_to_ten_times_and_are_drawn() {
        let rules = Retry {
            tries: 10,
            backoff: Duration::from_millis(100),
            ..Retry::default()
        };
        let mut rng = Rng::new(1);
        let mut retries = Retries::new(&rules, &Method::GET);
        for most in [100, 200, 400, 800, 1000, 1000, 1000] {
            retries.begin();
            let waits: Vec<u128> = (0..100).map(|_| retries.backoff(&mut rng).as_millis()).collect();
            let longest = *waits.iter().max().unwrap();
            assert!(longest <= most && longest > most / 2, "{longest} of {most}");
            assert!(*waits.iter().min().unwrap() < most / 4);
        }
    }
}
