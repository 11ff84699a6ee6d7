//! The five conditions, each with its reason and its words. Counting and comparing belong to the facts.

use super::facts::{Facts, Rollout};

/// Texts of one list in a message; what is more is counted.
const LISTED: usize = 8;
/// The longest message, in bytes.
const MESSAGE: usize = 4096;

/// What a condition says.
pub(super) struct Verdict {
    pub(super) status: Truth,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// The three values of a condition.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Truth {
    True,
    False,
    Unknown,
}

impl Truth {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Truth::True => "True",
            Truth::False => "False",
            Truth::Unknown => "Unknown",
        }
    }
}

impl Verdict {
    fn new(status: Truth, reason: &'static str, mut message: String) -> Self {
        if message.len() > MESSAGE {
            message.truncate(message.floor_char_boundary(MESSAGE - '…'.len_utf8()));
            message.push('…');
        }
        Verdict {
            status,
            reason,
            message,
        }
    }
}

/// Every condition, always in this order.
pub(super) fn all(facts: &Facts<'_>) -> [(&'static str, Verdict); 5] {
    [
        ("Ready", ready(facts)),
        ("Available", available(facts)),
        ("Progressing", progressing(facts)),
        ("Degraded", degraded(facts)),
        ("ConfigSynced", config_synced(facts)),
    ]
}

/// Whether the current spec is what runs, in full. Proxies without a stream still serve, so that it does not depend on them.
fn ready(facts: &Facts<'_>) -> Verdict {
    if facts.deleting {
        return Verdict::new(Truth::False, "Deleting", "the app is being deleted".to_owned());
    }
    if let Some(problem) = facts.fatal() {
        return Verdict::new(
            Truth::False,
            problem.reason,
            problem_texts(facts, |p| p.fatal) + &kept(facts),
        );
    }
    if !facts.current {
        return not_carried_out(facts);
    }
    match facts.rollout {
        Rollout::Missing => Verdict::new(
            Truth::False,
            "Creating",
            "waiting for the Deployment to be created".to_owned(),
        ),
        Rollout::Stuck => Verdict::new(Truth::False, "ProgressDeadlineExceeded", rollout_text(facts)),
        Rollout::UnderWay => Verdict::new(Truth::False, "RollingOut", rollout_text(facts)),
        Rollout::Done if facts.ready < facts.wanted => {
            Verdict::new(Truth::False, "ReplicasNotReady", ready_text(facts) + &why(facts))
        }
        Rollout::Done => Verdict::new(Truth::True, "AllReplicasReady", ready_text(facts)),
    }
}

/// Whether enough replicas serve, of whichever spec.
fn available(facts: &Facts<'_>) -> Verdict {
    if facts.ready >= facts.needed {
        return Verdict::new(Truth::True, "MinimumReplicasAvailable", ready_text(facts));
    }
    let text = format!("{}; at least {} must be{}", ready_text(facts), facts.needed, why(facts));
    Verdict::new(Truth::False, "MinimumReplicasUnavailable", text)
}

/// Whether a change is under way.
fn progressing(facts: &Facts<'_>) -> Verdict {
    if facts.deleting {
        return Verdict::new(Truth::True, "Deleting", "the app is being deleted".to_owned());
    }
    if let Some(problem) = facts.fatal() {
        let text = format!("generation {} is not carried out; see Degraded", facts.generation);
        return Verdict::new(Truth::False, problem.reason, text);
    }
    if !facts.current {
        let verdict = not_carried_out(facts);
        let status = if facts.paused { Truth::False } else { Truth::True };
        return Verdict { status, ..verdict };
    }
    match facts.rollout {
        Rollout::Missing => Verdict::new(
            Truth::True,
            "Creating",
            "waiting for the Deployment to be created".to_owned(),
        ),
        Rollout::Stuck => Verdict::new(Truth::False, "ProgressDeadlineExceeded", rollout_text(facts)),
        Rollout::UnderWay => Verdict::new(Truth::True, "RollingOut", rollout_text(facts)),
        Rollout::Done => Verdict::new(
            Truth::False,
            "RolledOut",
            format!("generation {} is rolled out", facts.generation),
        ),
    }
}

/// Whether something is wrong, and what.
fn degraded(facts: &Facts<'_>) -> Verdict {
    let mut found: Vec<(&'static str, String)> = Vec::new();
    if let Some(first) = facts.problems.first() {
        let kept = if first.fatal { kept(facts) } else { String::new() };
        found.push((first.reason, problem_texts(facts, |_| true) + &kept));
    }
    if let Some(message) = &facts.replica_failure {
        found.push(("ReplicaFailure", format!("a replica can't be created: {message}")));
    }
    if !facts.troubles.is_empty() {
        found.push(("ReplicasFailing", trouble_text(facts)));
    }
    if facts.rollout == Rollout::Stuck {
        found.push(("ProgressDeadlineExceeded", counts_text(facts)));
    }
    if !facts.sync.rejected.is_empty() {
        found.push(("ConfigRejected", rejected_text(facts)));
    }
    match found.first() {
        None => Verdict::new(Truth::False, "AsExpected", "nothing is known to be wrong".to_owned()),
        Some((reason, _)) => {
            let texts: Vec<String> = found.iter().map(|(_, text)| text.clone()).collect();
            Verdict::new(Truth::True, reason, texts.join("; "))
        }
    }
}

/// Whether all proxies have the newest configuration.
fn config_synced(facts: &Facts<'_>) -> Verdict {
    let (connected, synced) = (facts.sync.connected, facts.sync.synced);
    let ready = u32::try_from(facts.ready).unwrap_or_default();
    if !facts.sync.rejected.is_empty() {
        return Verdict::new(Truth::False, "ConfigRejected", rejected_text(facts));
    }
    if connected == 0 && facts.wanted == 0 && facts.replicas == 0 {
        return Verdict::new(Truth::True, "NoReplicas", "there is no proxy to configure".to_owned());
    }
    if connected == 0 {
        let text = "no proxy is connected: each serves by the last configuration it got, a new one its own app alone";
        return Verdict::new(Truth::Unknown, "NoProxies", text.to_owned());
    }
    let synced_text = format!("{synced} of {connected} connected proxies have the newest configuration");
    if synced < connected {
        return Verdict::new(Truth::False, "Syncing", synced_text);
    }
    if connected < ready {
        let text = format!("{connected} of {ready} proxies of ready replicas are connected");
        return Verdict::new(Truth::False, "ProxiesMissing", text);
    }
    Verdict::new(Truth::True, "Synced", synced_text)
}

/// The current spec is good, and not what runs: why.
fn not_carried_out(facts: &Facts<'_>) -> Verdict {
    if facts.paused {
        let text = match facts.accepted {
            Some(accepted) => format!("spec.paused is true: the changes since generation {accepted} wait"),
            None => "spec.paused is true: nothing is created".to_owned(),
        };
        return Verdict::new(Truth::False, "Paused", text);
    }
    let text = format!("generation {} is being applied", facts.generation);
    Verdict::new(Truth::False, "Applying", text)
}

/// What runs in place of a spec that can't be carried out.
fn kept(facts: &Facts<'_>) -> String {
    match facts.accepted {
        Some(accepted) => format!("; generation {accepted} stays as it is"),
        None => "; nothing runs until it is put right".to_owned(),
    }
}

fn ready_text(facts: &Facts<'_>) -> String {
    let (ready, running) = (facts.ready, facts.running);
    match running {
        _ if ready > running => format!("{ready} replicas are ready, {running} wanted"),
        1 => format!("{ready} of 1 replica is ready"),
        _ => format!("{ready} of {running} replicas are ready"),
    }
}

fn counts_text(facts: &Facts<'_>) -> String {
    let Facts {
        updated,
        running,
        replicas,
        ..
    } = *facts;
    let old = replicas.saturating_sub(updated);
    let mut text = format!("{updated} of {running} replicas updated, {}", ready_text(facts));
    if old > 0 {
        text += &format!(", {old} of before still to go");
    }
    text
}

fn rollout_text(facts: &Facts<'_>) -> String {
    counts_text(facts) + &why(facts)
}

/// What keeps replicas from getting ready, where something does.
fn why(facts: &Facts<'_>) -> String {
    if facts.troubles.is_empty() {
        String::new()
    } else {
        format!("; {}", trouble_text(facts))
    }
}

fn trouble_text(facts: &Facts<'_>) -> String {
    let texts = facts.troubles.iter().map(|(text, n)| match n {
        1 => (*text).to_owned(),
        n => format!("{text} ({n} replicas)"),
    });
    listed(texts)
}

fn problem_texts(facts: &Facts<'_>, which: impl Fn(&crate::problem::Problem) -> bool) -> String {
    listed(facts.problems.iter().filter(|p| which(p)).map(ToString::to_string))
}

fn rejected_text(facts: &Facts<'_>) -> String {
    let mut texts = facts.sync.rejected.clone();
    texts.sort();
    texts.dedup();
    format!("a proxy refused: {}", listed(texts.into_iter()))
}

fn listed(texts: impl Iterator<Item = String>) -> String {
    let texts: Vec<String> = texts.collect();
    let shown = texts.iter().take(LISTED).cloned().collect::<Vec<_>>().join("; ");
    match texts.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_counted_and_long_messages_cut_at_a_character() {
        let texts = (0..10).map(|n| n.to_string());
        assert_eq!(listed(texts), "0; 1; 2; 3; 4; 5; 6; 7; and 2 more");
        let verdict = Verdict::new(Truth::True, "Long", "ä".repeat(MESSAGE));
        assert!(verdict.message.len() <= MESSAGE && verdict.message.ends_with("ä…"));
    }
}
