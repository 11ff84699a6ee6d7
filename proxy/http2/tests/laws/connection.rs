//! A whole connection, of either side, fed any bytes and used in any way.
#![allow(dead_code, reason = "each test and fuzzer uses some")]

use super::owner::{Outcome, Owner};
use super::script::{Script, Step};

/// Nothing is said that may not be said, nothing waits for ever or without bound, and however the bytes are cut, the same comes of them.
pub(crate) fn connection(data: &[u8]) {
    let Some(script) = Script::read(data) else { return };
    let whole = run(&script, &[usize::MAX], true);
    for cuts in [&[1][..], &script.cuts] {
        assert_eq!(run(&script, cuts, false), whole, "in pieces of {cuts:?}");
    }
}

fn run(script: &Script, cuts: &[usize], is_watched: bool) -> Outcome {
    let mut owner = Owner::new(script, is_watched);
    let mut cuts = cuts.iter().cycle();
    for step in &script.steps {
        match step {
            Step::Use(what) => owner.by_itself(*what),
            Step::Wire(bytes) => {
                let mut rest = &bytes[..];
                while !rest.is_empty()
                    && let Some(&cut) = cuts.next()
                {
                    let (piece, after) = rest.split_at(rest.len().min(cut));
                    owner.wire(piece);
                    rest = after;
                }
            }
        }
    }
    owner.finish()
}
