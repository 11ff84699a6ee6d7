//! The worlds in which algorithms are compared. Faults begin after ten seconds, when everybody knows what is usual.

use std::time::Duration;

use crate::scenario::{Change, Fault, Scenario, Service};
use crate::traffic::Mix;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn fault(at: u64, fault: Fault) -> Vec<(Duration, Change)> {
    vec![(s(at), Change::Fault(0, fault))]
}

/// All machines alike.
pub fn alike() -> Scenario {
    Scenario {
        name: "all alike",
        about: "ten machines of four workers, 70% busy, memoryless service of 10 ms",
        ..Scenario::default()
    }
}

/// Service times of two kinds.
pub fn bimodal() -> Scenario {
    Scenario {
        name: "two kinds of requests",
        about: "nine in ten take 5 ms, the others 55 ms",
        service: Service::Bimodal,
        ..Scenario::default()
    }
}

/// A heavy tail of service times.
pub fn heavy_tailed() -> Scenario {
    Scenario {
        name: "heavy-tailed requests",
        about: "log-normal service, σ = 1.5",
        service: Service::Heavy,
        ..Scenario::default()
    }
}

/// One machine is ten times slower, for good.
pub fn one_slow() -> Scenario {
    Scenario {
        name: "one 10 × slower",
        about: "one of ten takes ten times as long from the 10th second on",
        changes: fault(10, Fault::Slow(10.0)),
        duration: s(60),
        ..Scenario::default()
    }
}

/// One machine is ten times slower from the beginning.
pub fn one_always_slow() -> Scenario {
    Scenario {
        name: "one 10 × slower, always",
        about: "one of ten takes ten times as long from the beginning on",
        changes: fault(0, Fault::Slow(10.0)),
        ..Scenario::default()
    }
}

/// A machine joins cold and warms up over ten seconds.
pub fn one_cold() -> Scenario {
    let warming = (0..20).map(|step| {
        let times = 10.0 - 9.0 * f64::from(step) / 19.0;
        (
            s(10) + Duration::from_millis(500) * step,
            Change::Fault(0, Fault::Slow(times)),
        )
    });
    Scenario {
        name: "one cold",
        about: "one of ten starts again in the 10th second, ten times slower, and is warm ten seconds later",
        changes: warming.collect(),
        ..Scenario::default()
    }
}

/// One answers with errors at once while its probe is green.
pub fn one_fails_fast() -> Scenario {
    Scenario {
        name: "one fails fast",
        about: "one of ten answers every request with an error after 1 ms, its probe green",
        changes: fault(10, Fault::Fails),
        duration: s(40),
        ..Scenario::default()
    }
}

/// One accepts and never answers.
pub fn one_hangs() -> Scenario {
    Scenario {
        name: "one hangs",
        about: "one of ten accepts and never answers; requests give up after 10 s",
        changes: fault(10, Fault::Hangs),
        duration: s(40),
        ..Scenario::default()
    }
}

/// One is killed and comes back.
pub fn one_killed() -> Scenario {
    Scenario {
        name: "one killed and back",
        about: "one of ten is killed in the 10th second, taken out a second later, back in the 20th",
        changes: vec![
            (s(10), Change::Fault(0, Fault::Down)),
            (s(11), Change::Leave(0)),
            (s(20), Change::Fault(0, Fault::None)),
            (s(20), Change::Join(0)),
        ],
        ..Scenario::default()
    }
}

/// One is ready and not ready, every second.
pub fn flapping() -> Scenario {
    let flap = |n: u64| {
        let change = if n.is_multiple_of(2) {
            Change::Leave(0)
        } else {
            Change::Join(0)
        };
        (s(5 + n), change)
    };
    Scenario {
        name: "one flaps",
        about: "one of ten becomes ready and not ready every second",
        changes: (0..20).map(flap).collect(),
        ..Scenario::default()
    }
}

/// Ten more machines.
pub fn scale_up() -> Scenario {
    Scenario {
        name: "scale up",
        about: "ten machines at 70%, five more in the 10th second",
        machines: vec![1.0; 15],
        changes: (10..15).map(|m| (s(10), Change::Join(m))).collect(),
        ..Scenario::default()
    }
}

/// Half of the machines stop.
pub fn scale_down() -> Scenario {
    let drain = (10..15).map(|m| (s(10), Change::Drain(m)));
    let leave = (10..15).map(|m| (s(15), Change::Leave(m)));
    Scenario {
        name: "scale down",
        about: "fifteen machines, five of which drain in the 10th second; 70% busy after it",
        machines: vec![1.0; 15],
        present: 15,
        changes: drain.chain(leave).collect(),
        ..Scenario::default()
    }
}

/// Long polls and sockets among short requests.
pub fn long_lived() -> Scenario {
    Scenario {
        name: "long polls and sockets",
        about: "of 100 requests three are polls of 25 s and one a socket of a minute; the others take 10 ms",
        mix: Mix {
            polls: 0.03,
            sockets: 0.01,
        },
        duration: s(60),
        ..Scenario::default()
    }
}

/// Machines of different speed, told by weights.
pub fn unequal() -> Scenario {
    Scenario {
        name: "unequal machines, weighted",
        about: "five machines twice as fast as the other five, as their weights say; 70% busy",
        machines: [vec![1.0; 5], vec![2.0; 5]].concat(),
        weighted: true,
        rate: 4200.0,
        ..Scenario::default()
    }
}

/// Machines of different speed of which nobody tells.
pub fn unequal_untold() -> Scenario {
    Scenario {
        name: "unequal machines, no weights",
        weighted: false,
        about: "the same, and nobody said so",
        ..unequal()
    }
}

/// Few requests, one machine slow.
pub fn low_rate() -> Scenario {
    Scenario {
        name: "low rate, one slow",
        about: "twenty requests a second, one of ten machines ten times slower",
        rate: 20.0,
        duration: s(600),
        changes: fault(10, Fault::Slow(10.0)),
        ..Scenario::default()
    }
}

/// Fifty proxies, a new machine.
pub fn newcomer() -> Scenario {
    Scenario {
        name: "50 proxies, one new",
        about: "fifty proxies with views of their own, an eleventh machine in the 10th second",
        machines: vec![1.0; 11],
        proxies: 50,
        changes: vec![(s(10), Change::Join(10))],
        ..Scenario::default()
    }
}

/// Fifty proxies, one machine slow.
pub fn many_proxies_one_slow() -> Scenario {
    Scenario {
        name: "50 proxies, one 10 × slower",
        about: "fifty proxies with views of their own, one of ten machines ten times slower",
        proxies: 50,
        ..one_slow()
    }
}

/// All worlds, the plain ones first.
pub fn all() -> Vec<Scenario> {
    vec![
        alike(),
        bimodal(),
        heavy_tailed(),
        unequal(),
        unequal_untold(),
        one_slow(),
        one_always_slow(),
        one_cold(),
        one_fails_fast(),
        one_hangs(),
        one_killed(),
        flapping(),
        scale_up(),
        scale_down(),
        long_lived(),
        low_rate(),
        newcomer(),
        many_proxies_one_slow(),
    ]
}
