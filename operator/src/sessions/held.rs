//! What a Secret of session keys holds: text to keys and back. A line per key: id, when it was added, since when it seals (`-`: not
//! yet), and the secret in base64. The first seals. No error here ever shows a secret.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tenbin_model::{SessionKey, SessionKeys};

use super::rotate::Step;

/// The keys of an app: 1 to [`SessionKeys::MAX`], the first of which seals, none twice by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held(Vec<HeldKey>);

/// One key, with what its rotation follows from; times in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldKey {
    /// What proxies get of it.
    pub key: SessionKey,
    /// When it was added to the set.
    pub added: u64,
    /// Since when it seals, or has sealed; none until it first does.
    pub sealing: Option<u64>,
}

impl Held {
    /// The first keys of an app: one, which seals at once, since nobody has a cookie yet.
    pub fn first(secret: [u8; 32], now: u64) -> Self {
        Held(vec![HeldKey {
            key: SessionKey { id: 1, secret },
            added: now,
            sealing: Some(now),
        }])
    }

    /// The keys, the sealing one first.
    pub fn keys(&self) -> &[HeldKey] {
        &self.0
    }

    /// The keys after a step of the rotation. `secret` is new, for the step that needs one.
    #[must_use]
    pub fn after(&self, step: Step, secret: [u8; 32], now: u64) -> Self {
        let mut keys = self.0.clone();
        match step {
            Step::Add => {
                let last = keys.iter().map(|held| held.key.id).max().unwrap_or_default();
                let free = |id: &u32| keys.iter().all(|held| held.key.id != *id);
                let id = (1..=8).map(|n| last.wrapping_add(n)).find(free).unwrap_or_default();
                keys.push(HeldKey {
                    key: SessionKey { id, secret },
                    added: now,
                    sealing: None,
                });
            }
            Step::Promote(id) => {
                // Stable: the others stay in their order behind it.
                keys.sort_by_key(|held| held.key.id != id);
                if let Some(first) = keys.first_mut() {
                    first.sealing = Some(now);
                }
            }
            Step::Drop(id) => keys.retain(|held| held.key.id != id),
        }
        Held(keys)
    }

    /// The text of a Secret.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        for held in &self.0 {
            let sealing = held.sealing.map_or("-".to_owned(), |since| since.to_string());
            let secret = STANDARD.encode(held.key.secret);
            // Writing to a String can't fail.
            let _ = writeln!(text, "{} {} {sealing} {secret}", held.key.id, held.added);
        }
        text
    }

    /// Reads the text of a Secret.
    ///
    /// # Errors
    /// Says which line is wrong and what would be accepted, without its content.
    pub fn decode(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "it is not text".to_owned())?;
        let lines = text.lines().enumerate();
        let keys: Vec<HeldKey> = lines
            .map(|(number, line)| {
                line_of(line).ok_or_else(|| {
                    format!(
                        "line {} is not an id, two times (the second may be -) and 32 bytes in base64",
                        number + 1
                    )
                })
            })
            .collect::<Result<_, _>>()?;
        if !(1..=SessionKeys::MAX).contains(&keys.len()) {
            return Err(format!(
                "it holds {} keys, expected 1 to {}",
                keys.len(),
                SessionKeys::MAX
            ));
        }
        if keys[0].sealing.is_none() {
            return Err("its first key does not seal yet, expected one that does".to_owned());
        }
        let twice = |at: usize| keys[..at].iter().any(|held| held.key.id == keys[at].key.id);
        match (0..keys.len()).find(|at| twice(*at)) {
            Some(at) => Err(format!("line {} has the id of another line", at + 1)),
            None => Ok(Held(keys)),
        }
    }
}

fn line_of(line: &str) -> Option<HeldKey> {
    let mut words = line.split(' ');
    let [id, added, sealing, secret] = [words.next()?, words.next()?, words.next()?, words.next()?];
    if words.next().is_some() {
        return None;
    }
    Some(HeldKey {
        key: SessionKey {
            id: id.parse().ok()?,
            secret: STANDARD.decode(secret).ok()?.try_into().ok()?,
        },
        added: added.parse().ok()?,
        sealing: match sealing {
            "-" => None,
            since => Some(since.parse().ok()?),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let held = Held::first([7; 32], 100)
            .after(Step::Add, [8; 32], 200)
            .after(Step::Promote(2), [0; 32], 300)
            .after(Step::Add, [9; 32], 400);
        let ids: Vec<u32> = held.keys().iter().map(|held| held.key.id).collect();
        assert_eq!(ids, [2, 1, 3], "the sealing one first");
        assert_eq!(Held::decode(held.encode().as_bytes()), Ok(held.clone()));
        assert!(!format!("{held:?}").contains("8, 8"), "a secret is shown");
    }

    #[test]
    fn damage_is_named_without_the_secret() {
        let secret = STANDARD.encode([171; 32]);
        let good = format!("1 5 6 {secret}\n");
        assert!(Held::decode(good.as_bytes()).is_ok());
        for (text, named) in [
            (String::new(), "0 keys"),
            (good.repeat(2), "line 2 has the id"),
            (format!("1 5 - {secret}\n"), "does not seal"),
            (format!("{good}x 5 6 {secret}\n"), "line 2 is not"),
            (format!("1 5 6 {secret} more\n"), "line 1 is not"),
            (format!("1 5 6 {}\n", &secret[4..]), "line 1 is not"),
            ((1..=9).map(|id| format!("{id} 5 6 {secret}\n")).collect(), "9 keys"),
        ] {
            let error = Held::decode(text.as_bytes()).unwrap_err();
            assert!(error.contains(named), "{text:?}: {error}");
            assert!(!error.contains(&secret[4..40]), "{error}");
        }
        assert!(Held::decode(&[0xff]).is_err());
    }
}
