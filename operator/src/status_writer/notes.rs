//! Which change of a status a user should be told as an event: pure. Since the previous status is kept in the cluster, a restart
//! of the operator tells nothing twice.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tenbin_crds::BalancedAppStatus;

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StatusNote {
    pub(super) warning: bool,
    pub(super) reason: String,
    pub(super) text: String,
}

/// Reasons of Ready that come and go with every change; any other is a problem's.
const PASSING: [&str; 7] = [
    "Applying",
    "Creating",
    "Deleting",
    "Paused",
    "ProgressDeadlineExceeded",
    "ReplicasNotReady",
    "RollingOut",
];

/// What is new in `status`, compared with the one before.
pub(super) fn notes(previous: Option<&BalancedAppStatus>, status: &BalancedAppStatus) -> Vec<StatusNote> {
    let before = |kind: &str| previous.and_then(|p| p.conditions.iter().find(|c| c.type_ == kind));
    let problem = status.conditions.iter().find(|c| c.type_ == "Ready" && is_problem(c));
    let note = |now: &Condition| {
        let told = now.type_ == "Degraded" && problem.is_some_and(|ready| ready.reason == now.reason);
        let warning = news(before(&now.type_), now).filter(|_| !told)?;
        Some(StatusNote {
            warning,
            reason: now.reason.clone(),
            text: now.message.clone(),
        })
    };
    status.conditions.iter().filter_map(note).collect()
}

fn is_problem(ready: &Condition) -> bool {
    ready.status == "False" && !PASSING.contains(&&*ready.reason)
}

/// Whether a condition is worth telling, and then whether as a warning. What several conditions say is told of one alone: what
/// keeps the spec from being carried out of Ready, what else is wrong of Degraded, what goes on of Progressing. Texts that hold
/// counts are no news when they change.
fn news(before: Option<&Condition>, now: &Condition) -> Option<bool> {
    let turned = before.is_some_and(|b| b.status != now.status);
    let new_reason = before.is_none_or(|b| b.reason != now.reason);
    let new_text = before.is_none_or(|b| b.message != now.message);
    let (news, warning) = match (&*now.type_, &*now.status) {
        ("Ready", "True") => (turned || before.is_none(), false),
        ("Ready", "False") if is_problem(now) => (new_text, true),
        ("Available", "False") => (turned, true),
        ("Progressing", _) => match &*now.reason {
            "RolledOut" => (before.is_some() && new_text, false),
            "Paused" => (new_reason, false),
            _ => (false, false),
        },
        ("Degraded", "True") => (new_reason, true),
        ("Degraded", "False") => (turned, false),
        _ => (false, false),
    };
    news.then_some(warning)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn status(conditions: &[(&str, &str, &str, &str)]) -> BalancedAppStatus {
        let condition = |(kind, status, reason, message): &(&str, &str, &str, &str)| Condition {
            type_: (*kind).to_owned(),
            status: (*status).to_owned(),
            reason: (*reason).to_owned(),
            message: (*message).to_owned(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        };
        BalancedAppStatus {
            conditions: conditions.iter().map(condition).collect(),
            ..Default::default()
        }
    }

    fn told(before: &[(&str, &str, &str, &str)], now: &[(&str, &str, &str, &str)]) -> Vec<(bool, String)> {
        let notes = notes(Some(&status(before)), &status(now));
        notes.into_iter().map(|n| (n.warning, n.reason)).collect()
    }

    #[test]
    fn the_same_status_tells_nothing() {
        let all = [
            ("Ready", "True", "AllReplicasReady", "2 of 2"),
            ("Available", "True", "MinimumReplicasAvailable", "2 of 2"),
            ("Progressing", "False", "RolledOut", "generation 1 is rolled out"),
            ("Degraded", "True", "Rejected", "no"),
        ];
        assert_eq!(told(&all, &all), []);
    }

    #[test]
    fn a_rollout_tells_its_end_alone() {
        let before = [
            ("Ready", "True", "AllReplicasReady", "2 of 2"),
            ("Progressing", "False", "RolledOut", "generation 1"),
        ];
        let under_way = [
            ("Ready", "False", "RollingOut", "1 of 2"),
            ("Progressing", "True", "RollingOut", "1 of 2"),
        ];
        let done = [
            ("Ready", "True", "AllReplicasReady", "2 of 2"),
            ("Progressing", "False", "RolledOut", "generation 2"),
        ];
        assert_eq!(told(&before, &under_way), []);
        let expected = [(false, "AllReplicasReady".to_owned()), (false, "RolledOut".to_owned())];
        assert_eq!(told(&under_way, &done), expected);
        assert_eq!(told(&before, &done), [(false, "RolledOut".to_owned())]);
    }

    #[test]
    fn another_problem_is_news_and_another_count_is_not() {
        let good = [
            ("Ready", "True", "AllReplicasReady", ""),
            ("Degraded", "False", "AsExpected", ""),
        ];
        let bad = |text: &'static str, all: &'static str| {
            [
                ("Ready", "False", "Rejected", text),
                ("Degraded", "True", "Rejected", all),
            ]
        };
        let one = bad("spec.image: no", "spec.image: no; 1 replica fails");
        let two = bad("spec.image: no", "spec.image: no; 2 replicas fail");
        let worse = bad("spec.image: never", "spec.image: never; 2 replicas fail");
        let rejected = [(true, "Rejected".to_owned())];
        assert_eq!(told(&good, &one), rejected);
        assert_eq!(told(&one, &two), []);
        assert_eq!(told(&two, &worse), rejected);
        let expected = [(false, "AllReplicasReady".to_owned()), (false, "AsExpected".to_owned())];
        assert_eq!(told(&worse, &good), expected);
        let failing = [
            ("Ready", "False", "RollingOut", ""),
            ("Degraded", "True", "ReplicasFailing", "1 replica"),
        ];
        let more = [
            ("Ready", "False", "RollingOut", ""),
            ("Degraded", "True", "ReplicasFailing", "2 replicas"),
        ];
        assert_eq!(told(&good, &failing), [(true, "ReplicasFailing".to_owned())]);
        assert_eq!(told(&failing, &more), []);
    }

    #[test]
    fn a_first_status_tells_what_is_wrong() {
        let first = status(&[
            ("Ready", "False", "NameTaken", "taken"),
            ("Available", "False", "MinimumReplicasUnavailable", "0 of 1"),
            ("Degraded", "True", "NameTaken", "taken"),
        ]);
        let reasons: Vec<String> = notes(None, &first).into_iter().map(|n| n.reason).collect();
        assert_eq!(reasons, ["NameTaken"]);
    }
}
