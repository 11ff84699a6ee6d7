//! When which certificate of the stream is replaced: from what the Secret holds and the time to the next step. Pure: nothing is
//! made, read or written here, and no clock is looked at. Times are seconds since 1970.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Certificates are valid from so long before they were made, in seconds, since clocks differ. No part of their life.
pub(super) const BACKDATE: u64 = 24 * 3600;
/// The longest that storing a step may take.
pub(super) const STORE: Duration = Duration::from_secs(5);

/// CA's life: no shorter than what lets a bundle travel twice, no longer than anybody should rely on one key.
const CA: RangeInclusive<u64> = 240..=315_360_000;
/// Shortest life of the serving certificate.
const MIN_SERVING: u64 = 60;
/// Shortest overlap: what a kubelet takes to bring a changed ConfigMap into a pod.
const MIN_OVERLAP: u64 = 60;

/// How long certificates live, and how long a CA is trusted before it signs. In seconds; each is renewed at two thirds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lives {
    /// Of a CA.
    ca: u64,
    /// Of a serving certificate.
    serving: u64,
    /// From a CA's way into the bundle to the first certificate that it signs.
    overlap: u64,
}

impl Lives {
    /// Lives in seconds: of a CA (240 to 315360000), of a serving certificate (60 to half of that of a CA), and the time that a new
    /// CA waits in the bundle (60 to a quarter of that of a CA: a new one joins at two thirds, and has to follow well before the end).
    ///
    /// # Errors
    /// Which is out of its bounds: by its flag and chart value, with the value and what is accepted.
    pub fn new(ca: u64, serving: u64, overlap: u64) -> Result<Self, String> {
        let checks = [
            ("ca", ca, CA, ""),
            ("serving", serving, MIN_SERVING..=ca / 2, ", half of the CA's life"),
            ("overlap", overlap, MIN_OVERLAP..=ca / 4, ", a quarter of the CA's life"),
        ];
        for (name, value, accepted, why) in checks {
            if !accepted.contains(&value) {
                let (least, most) = accepted.into_inner();
                return Err(format!(
                    "--certificate-{name}-seconds (certificates.{name}Seconds of the chart): {value}, expected {least} to \
                     {most}{why}"
                ));
            }
        }
        Ok(Lives { ca, serving, overlap })
    }

    /// Of a CA made at `now`: when it ends.
    pub(super) fn ca_end(&self, now: u64) -> u64 {
        now.saturating_add(self.ca)
    }

    /// Of a serving certificate made at `now` under a CA that ends at `ca`: when it ends, never after its CA.
    pub(super) fn serving_end(&self, now: u64, ca: u64) -> u64 {
        now.saturating_add(self.serving).min(ca)
    }

    /// From a CA's making to the time when surely every proxy has it: storing it takes its time too.
    fn overlap(&self) -> u64 {
        self.overlap + STORE.as_secs()
    }
}

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    /// First second.
    pub(super) starts: u64,
    /// Last second.
    pub(super) ends: u64,
}

impl Validity {
    /// When it was made. What ends within the day of the backdate was not made here.
    fn made(self) -> u64 {
        let made = self.starts.saturating_add(BACKDATE);
        if made < self.ends { made } else { self.starts }
    }

    /// At two thirds of its life; of `life` where that is shorter, so that a shorter setting counts at once.
    fn due(self, life: u64) -> u64 {
        let made = self.made();
        made + self.ends.saturating_sub(made).min(life) / 3 * 2
    }

    fn over(self, now: u64) -> bool {
        self.ends <= now
    }
}

/// What a CA of the bundle is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It signs.
    Current,
    /// It will sign.
    Next,
    /// It signed; its key is gone.
    Retired,
    /// Whoever added it knows.
    Foreign,
}

/// A CA of the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CaFacts {
    pub(super) role: Role,
    pub(super) validity: Validity,
}

/// The serving certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ServingFacts {
    pub(super) validity: Validity,
    /// The CA of the bundle that signed it, if that is known.
    pub(super) signer: Option<CaFacts>,
}

impl ServingFacts {
    /// When nobody can check it any more.
    pub(super) fn ends(&self) -> u64 {
        let ends = self.validity.ends;
        self.signer.map_or(ends, |signer| ends.min(signer.validity.ends))
    }

    /// When a person who brought it should hear of its end: a third of its life before, and 30 days at most.
    pub(super) fn warn_at(&self) -> u64 {
        let life = self.ends().saturating_sub(self.validity.starts);
        self.ends().saturating_sub((life / 3).min(30 * BACKDATE))
    }
}

/// What the Secret holds, as far as it could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) cas: Vec<CaFacts>,
    pub(super) serving: Option<ServingFacts>,
}

impl Facts {
    /// The CA in that role which is still valid.
    fn usable(&self, role: Role, now: u64) -> Option<Validity> {
        let mut in_role = self.cas.iter().filter(|ca| ca.role == role && !ca.validity.over(now));
        in_role.next().map(|ca| ca.validity)
    }

    /// Whether the serving certificate is there and too old.
    pub(super) fn over(&self, now: u64) -> bool {
        self.serving.is_some_and(|serving| serving.ends() <= now)
    }

    /// When nobody needs this CA in the bundle any more: at its end, or when the last certificate it can have signed has ended. A
    /// retired one signs nothing from the overlap of its successor on, since promoting comes before renewing.
    pub(super) fn drop_at(&self, ca: &CaFacts, lives: &Lives) -> Option<u64> {
        let ends = ca.validity.ends;
        let signer = self.serving.and_then(|serving| serving.signer);
        match ca.role {
            Role::Current | Role::Next => None,
            _ if signer.is_some_and(|signer| signer == *ca) => None,
            Role::Foreign => Some(ends),
            Role::Retired => {
                let current = self.cas.iter().find(|ca| ca.role == Role::Current);
                let out = current.map(|current| current.validity.made() + lives.overlap() + lives.serving);
                Some(out.map_or(ends, |out| out.min(ends)))
            }
        }
    }
}

/// One update of the Secret. After each of them, what it holds can be served and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A new serving certificate by the current CA.
    Renew,
    /// A new CA joins the bundle and signs nothing yet.
    AddCa,
    /// The next CA becomes the current one and signs a new serving certificate.
    Promote,
    /// CAs that nobody needs any more leave the bundle.
    DropCas,
    /// A new CA signs at once, since there is no other that can.
    Reissue,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// This, now.
    Now(Step),
    /// Nothing before that time.
    At(u64),
}

/// The next step. Of several that are due the CA's comes first: after its successor's overlap the old one signs nothing more.
pub(super) fn decide(facts: &Facts, lives: &Lives, now: u64) -> Decision {
    let Some(serving) = facts.serving.filter(|serving| serving.ends() > now) else {
        return Decision::Now(mend(facts, now));
    };
    let current = facts.usable(Role::Current, now);
    let (promote, add) = match facts.usable(Role::Next, now) {
        Some(next) => (Some(next.made() + lives.overlap()), None),
        None => (None, Some(current.map_or(now, |ca| ca.due(lives.ca)))),
    };
    // What ends with its CA already would not live longer.
    let renew = current.filter(|ca| {
        let by_it = serving.signer.is_some_and(|signer| signer.role == Role::Current);
        !by_it || serving.validity.ends < ca.ends
    });
    let steps = [
        (Step::Promote, promote),
        (Step::AddCa, add),
        (Step::Renew, renew.map(|_| serving.validity.due(lives.serving))),
        (
            Step::DropCas,
            facts.cas.iter().filter_map(|ca| facts.drop_at(ca, lives)).min(),
        ),
    ];
    let due = |(step, at): &(Step, Option<u64>)| at.filter(|at| *at <= now).map(|_| *step);
    match steps.iter().find_map(due) {
        Some(step) => Decision::Now(step),
        None => {
            let ats = steps.iter().filter_map(|(_, at)| *at);
            Decision::At(ats.fold(serving.ends(), u64::min))
        }
    }
}

/// What gives a serving certificate that can be checked, by the CA that most proxies know.
pub(super) fn mend(facts: &Facts, now: u64) -> Step {
    let usable = |role| facts.usable(role, now).is_some();
    match (usable(Role::Current), usable(Role::Next)) {
        (true, _) => Step::Renew,
        (false, true) => Step::Promote,
        (false, false) => Step::Reissue,
    }
}

#[cfg(test)]
mod tests;
