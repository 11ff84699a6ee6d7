//! The laws of `laws`, for every file of the fuzzers' corpus, and for what comes of each by a change here and there.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod laws;

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

/// How many changed forms of each file are tried.
const CHANGED: u32 = 20;

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let files = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} is empty");
    files
}

/// Asks for `law` of the corpus of `target`. The name of a file is told where it fails.
fn replay(target: &str, law: fn(&[u8])) {
    let config = Config {
        cases: CHANGED,
        failure_persistence: None,
        ..Config::default()
    };
    for (path, wire) in corpus(target) {
        println!("{}", path.display());
        law(&wire);
        // One for each file: a runner counts what it has tried over all that it is given.
        let mut runner = TestRunner::new(config.clone());
        let changes = prop::collection::vec((any::<Index>(), any::<u8>()), 1..4);
        let changed = runner.run(&(changes, any::<Index>()), |(changes, cut)| {
            let mut wire = wire.clone();
            for (at, byte) in changes {
                if !wire.is_empty() {
                    let at = at.index(wire.len());
                    wire[at] = byte;
                }
            }
            law(&wire);
            law(&wire[..cut.index(wire.len() + 1)]);
            Ok(())
        });
        changed.unwrap();
    }
}

macro_rules! replayed {
    ($($target:ident),*) => {$(
        #[test]
        fn $target() {
            replay(stringify!($target), laws::$target::law);
        }
    )*};
}

replayed!(
    addresses, contexts, cookies, discovery, files, paths, requests, resources, snapshots, tokens
);
