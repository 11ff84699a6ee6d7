use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use rustls_pki_types::UnixTime;

use super::super::held::{Data, Held};
use super::super::issue::{CA_CERT, CA_KEY, NEXT_KEY, TLS_CERT, carry_out, issue};
use super::super::judge::judge;
use super::*;

const DAY: u64 = BACKDATE;
const START: u64 = 2_000_000_000;

fn lives() -> Lives {
    Lives::new(730 * DAY, 90 * DAY, DAY).expect("good")
}

fn names() -> Vec<String> {
    vec!["op.ns.svc".to_owned()]
}

fn text(data: &Data, name: &str) -> String {
    String::from_utf8(data[name].0.clone()).expect("text")
}

fn count(bundle: &str) -> usize {
    bundle.matches("BEGIN CERTIFICATE").count()
}

/// Whether a proxy that has this bundle accepts what is served at `now`.
fn accepted(bundle: &str, data: &Data, now: u64) -> Result<(), String> {
    let mut data = data.clone();
    data.insert(CA_CERT.to_owned(), ByteString(bundle.as_bytes().to_vec()));
    let secret = Secret {
        data: Some(data),
        ..Default::default()
    };
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    judge(
        &secret,
        &names(),
        now,
        &Arc::new(rustls::crypto::ring::default_provider()),
    )
    .map(|_| ())
}

/// A Secret through time, with the bundles that proxies can have by now.
struct Timeline {
    lives: Lives,
    data: Data,
    /// Since when which bundle was in the Secret; the last is there now.
    bundles: Vec<(u64, String)>,
    steps: Vec<(u64, Step)>,
    due: u64,
}

impl Timeline {
    fn new(lives: Lives, now: u64) -> Self {
        let data = issue(&names(), &lives, now).expect("issued");
        Timeline {
            lives,
            bundles: vec![(now, text(&data, CA_CERT))],
            data,
            steps: Vec::new(),
            due: 0,
        }
    }

    fn facts(&self) -> Facts {
        Held::of(&self.data).facts()
    }

    fn decide(&self, now: u64) -> Decision {
        decide(&self.facts(), &self.lives, now)
    }

    /// The leader's turn: one step at most. `lost`: it dies between making and storing.
    fn turn(&mut self, now: u64, lost: bool) -> bool {
        if now < self.due {
            return false;
        }
        match self.decide(now) {
            Decision::At(at) => {
                assert!(at > now, "{at} {now}");
                self.due = at;
                false
            }
            Decision::Now(step) => {
                let held = Held::of(&self.data);
                let made = carry_out(step, &held, &self.data, &names(), &self.lives, now).expect("made");
                if !lost {
                    self.data = made;
                    self.steps.push((now, step));
                    // As late as storing may be.
                    self.bundles.push((now + STORE.as_secs(), text(&self.data, CA_CERT)));
                }
                true
            }
        }
    }

    /// Every step that is due.
    fn settle(&mut self, now: u64) -> Vec<Step> {
        let before = self.steps.len();
        self.due = 0;
        while self.turn(now, false) {
            assert!(self.steps.len() < before + 6, "no end: {:?}", self.steps);
        }
        self.steps[before..].iter().map(|(_, step)| *step).collect()
    }

    /// Whatever a proxy got up to `overlap` ago, it accepts what is served.
    fn check(&mut self, now: u64) {
        let since = now.saturating_sub(self.lives.overlap);
        let outdated = |pair: &[(u64, String)]| pair[1].0 <= since;
        let gone = self.bundles.windows(2).take_while(|pair| outdated(pair)).count();
        self.bundles.drain(..gone);
        for (at, bundle) in &self.bundles {
            if let Err(error) = accepted(bundle, &self.data, now) {
                panic!("a bundle of {at} at {now}: {error}; {:?}", self.steps);
            }
        }
    }

    fn times(&self, step: Step) -> usize {
        self.steps.iter().filter(|(_, s)| *s == step).count()
    }
}

#[test]
fn over_years_no_proxy_meets_a_certificate_that_it_can_not_check() {
    let mut line = Timeline::new(lives(), START);
    let years = 7 * 365 * DAY;
    for now in (START..START + years).step_by(12 * 3600) {
        while line.turn(now, false) {
            line.check(now);
        }
        line.check(now);
        let facts = line.facts();
        let serving = facts.serving.expect("serving");
        assert_eq!(serving.ends(), serving.validity.ends, "it outlives its CA");
        assert!(serving.ends() >= now + 29 * DAY, "late: {:?}", line.steps);
        assert!(facts.cas.len() <= 3, "{facts:?}");
        let waits = facts.cas.iter().any(|ca| ca.role == Role::Next);
        assert_eq!(line.data.contains_key(NEXT_KEY), waits, "a key without its CA");
    }
    // A new CA every two thirds of two years, a certificate every 60 days.
    assert_eq!(line.times(Step::AddCa), 5);
    assert_eq!(line.times(Step::Promote), 5);
    assert_eq!(line.times(Step::DropCas), 5);
    assert!(line.times(Step::Renew) >= 35, "{}", line.times(Step::Renew));
    assert_eq!(line.times(Step::Reissue), 0);
}

#[test]
fn leaders_may_die_between_and_within_steps() {
    let lives = Lives::new(360, 60, 90).expect("good");
    for seed in 0..3 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut line = Timeline::new(lives, START);
        let mut down = 0;
        for now in START..START + 1200 {
            if now >= down {
                let lost = random.u8(..3) == 0;
                if line.turn(now, lost) {
                    // Nobody knows what the one before had in mind.
                    down = now + random.u64(..8);
                }
            }
            line.check(now);
        }
        assert!(line.times(Step::Promote) >= 2, "{:?}", line.steps);
        assert_eq!(line.times(Step::Reissue), 0, "{:?}", line.steps);
    }
}

#[test]
fn operators_that_were_away_for_long_recover_at_once() {
    // Away for less than the certificate's rest: nobody notices. For longer: the CA that proxies know signs anew. For years: a new CA.
    let cases = [
        (80 * DAY, vec![Step::Renew]),
        (100 * DAY, vec![Step::Renew]),
        (500 * DAY, vec![Step::AddCa, Step::Renew]),
        (3000 * DAY, vec![Step::Reissue]),
    ];
    for (away, expected) in cases {
        let mut line = Timeline::new(lives(), START);
        let old = text(&line.data, CA_CERT);
        let now = START + away;
        let mut steps = line.settle(now);
        steps.sort_by_key(|step| *step != Step::AddCa);
        assert_eq!(steps, expected, "{away}");
        accepted(&text(&line.data, CA_CERT), &line.data, now).expect("good again");
        let known = accepted(&old, &line.data, now);
        assert_eq!(known.is_ok(), !expected.contains(&Step::Reissue), "{away}: {known:?}");
        assert_eq!(
            count(&text(&line.data, CA_CERT)),
            expected.iter().filter(|s| **s == Step::AddCa).count() + 1
        );
    }
}

#[test]
fn a_ca_that_ends_before_its_successors_turn_hands_over_at_its_end() {
    let mut line = Timeline::new(lives(), START);
    // Back an hour before the end.
    let end = START + 730 * DAY;
    let mut steps = line.settle(end - 3600);
    assert_eq!(steps, [Step::Renew, Step::AddCa]);
    let bundle = text(&line.data, CA_CERT);
    assert_eq!(
        line.decide(end - 3600),
        Decision::At(end),
        "renewing under it would not last longer"
    );
    steps = line.settle(end);
    assert_eq!(steps[0], Step::Promote, "{steps:?}");
    accepted(&bundle, &line.data, end).expect("proxies had an hour to get it");
}

#[test]
fn a_new_ca_waits_its_whole_overlap() {
    let mut line = Timeline::new(lives(), START);
    let added = START + 730 * DAY / 3 * 2;
    assert_eq!(line.settle(added - 1).last(), Some(&Step::Renew));
    assert!(line.settle(added).contains(&Step::AddCa));
    let turn = added + DAY + STORE.as_secs();
    assert_eq!(line.settle(turn - 1), []);
    let old_key = text(&line.data, CA_KEY);
    let next_key = text(&line.data, NEXT_KEY);
    assert_eq!(line.settle(turn), [Step::Promote]);
    assert_eq!(text(&line.data, CA_KEY), next_key);
    assert!(
        !line.data.values().any(|value| value.0 == old_key.as_bytes()),
        "the old CA's key is kept"
    );
    assert!(!line.data.contains_key(NEXT_KEY));
    // The old CA stays as long as something that it signed could be served somewhere.
    assert_eq!(count(&text(&line.data, CA_CERT)), 2);
    line.settle(turn + 90 * DAY - 1);
    assert_eq!(count(&text(&line.data, CA_CERT)), 2);
    assert!(line.settle(turn + 90 * DAY).contains(&Step::DropCas));
    assert_eq!(count(&text(&line.data, CA_CERT)), 1);
}

#[test]
fn a_setting_that_became_shorter_counts_at_once_and_a_longer_one_never_prolongs() {
    let mut line = Timeline::new(lives(), START);
    let now = START + 3600;
    assert_eq!(line.settle(now), []);
    line.lives = Lives::new(360, 60, 90).expect("good");
    assert_eq!(line.settle(now), [Step::AddCa, Step::Renew]);
    line.lives = lives();
    let Decision::At(at) = line.decide(now) else {
        panic!("nothing is due");
    };
    assert_eq!(at, now + 40, "by the life that it has");
}

#[test]
fn what_others_added_to_the_bundle_stays_until_it_ends() {
    let mut line = Timeline::new(lives(), START);
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_after = rcgen::date_time_ymd(2034, 1, 1);
    let foreign = params
        .self_signed(&rcgen::KeyPair::generate().expect("key"))
        .expect("signed")
        .pem();
    let ours = text(&line.data, CA_CERT);
    // As people write it: with words around, and the same one often.
    let bundle = format!("our CA:\n{}{ours}", foreign.repeat(15));
    line.data.insert(CA_CERT.to_owned(), ByteString(bundle.into_bytes()));
    let held = Held::of(&line.data);
    assert_eq!(held.cas.len(), 16);
    let made = carry_out(Step::AddCa, &held, &line.data, &names(), &line.lives, START).expect("made");
    let bundle = text(&made, CA_CERT);
    assert_eq!(count(&bundle), 16, "no more than is accepted");
    assert!(bundle.contains(&ours), "what signs is never pushed out");
    accepted(&bundle, &made, START).expect("good");
    // 2034 begins within the year.
    assert_eq!(line.settle(START + 60 * DAY), [Step::Renew]);
    assert!(text(&line.data, CA_CERT).contains(&foreign));
    assert!(line.settle(START + 300 * DAY).contains(&Step::DropCas));
    assert_eq!(text(&line.data, CA_CERT), ours);
}

#[test]
fn a_ca_without_its_key_is_followed_by_a_new_one_and_nobody_is_cut() {
    let mut line = Timeline::new(lives(), START);
    let bundle = text(&line.data, CA_CERT);
    line.data.insert(CA_KEY.to_owned(), ByteString(b"lost".to_vec()));
    assert_eq!(line.settle(START + 1), [Step::AddCa]);
    accepted(&bundle, &line.data, START + 1).expect("still served by the old one");
    assert_eq!(line.settle(START + 2 * DAY), [Step::Promote]);
}

#[test]
fn what_is_left_decides_how_damage_is_mended() {
    let fresh = issue(&names(), &lives(), START).expect("issued");
    let without = |gone: &[&str]| {
        let mut data = fresh.clone();
        data.retain(|name, _| !gone.contains(&name.as_str()));
        mend(&Held::of(&data).facts(), START)
    };
    assert_eq!(without(&[TLS_CERT]), Step::Renew);
    assert_eq!(without(&[TLS_CERT, CA_KEY]), Step::Reissue);
    assert_eq!(without(&[CA_CERT]), Step::Reissue);
    let held = Held::of(&fresh);
    let mut waiting = carry_out(Step::AddCa, &held, &fresh, &names(), &lives(), START).expect("made");
    waiting.remove(CA_KEY);
    assert_eq!(mend(&Held::of(&waiting).facts(), START), Step::Promote);
}
