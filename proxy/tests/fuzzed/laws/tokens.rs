//! Tokens of session cookies: what a client sends is opened with an app's keys.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tenbin_model::{ResourceName, SessionKey, SessionKeys};
use tenbin_proxy::affinity::{Keyring, Opened};

const NOW: u64 = 1_800_000_000;
const TTL: u64 = 3600;
const SKEW: u64 = 300;
const UID: &str = "0b7e9a52-6a3c-4d0e-9b1f-3f1f2f9a7c11";
/// Known by two of the letters that fuzzers find first.
const IDS: [u32; 2] = [1, 0x4141_4141];

fn keyring(cluster: &str) -> Keyring {
    let name = ResourceName::parse("test", cluster).expect("a name");
    let key = |&id: &u32| SessionKey {
        id,
        secret: [id as u8 ^ 0x5a; 32],
    };
    let keys = SessionKeys {
        name: name.clone(),
        keys: IDS.iter().map(key).collect(),
    };
    Keyring::new(&name, Some(&keys))
}

fn ours() -> &'static Keyring {
    static OURS: OnceLock<Keyring> = OnceLock::new();
    OURS.get_or_init(|| keyring("ns/app/http"))
}

fn sealed(uid: &str, now: u64) -> Option<String> {
    let mut text = String::new();
    ours().seal(uid, now, &mut text).then_some(text)
}

/// What no key sealed never opens; a sealed one that was changed in any way does not either, nor for another app; one opens exactly as
/// long as its time goes, and says what was sealed.
pub(crate) fn law(wire: &[u8]) {
    strange(wire);
    strange(URL_SAFE_NO_PAD.encode(wire).as_bytes());
    for id in IDS {
        strange(URL_SAFE_NO_PAD.encode([&id.to_be_bytes(), wire].concat()).as_bytes());
    }
    static GOOD: OnceLock<String> = OnceLock::new();
    let good = GOOD.get_or_init(|| sealed(UID, NOW).expect("it can be sealed"));
    changed(good, wire);
    for stranger in ["ns/other/http", "other/app/http", "app"] {
        static OTHERS: OnceLock<Vec<Keyring>> = OnceLock::new();
        let others = OTHERS.get_or_init(|| ["ns/other/http", "other/app/http", "app"].map(keyring).into());
        let opened = others.iter().map(|other| other.open(good.as_bytes(), NOW, TTL));
        assert!(opened.into_iter().all(|opened| opened == Opened::Forged), "{stranger}");
    }
    timely(good, wire);
    if let Ok(uid) = std::str::from_utf8(wire) {
        let text = sealed(uid, NOW);
        assert_eq!(text.is_some(), (1..=128).contains(&uid.len()));
        let opened = text.map(|text| ours().open(text.as_bytes(), NOW, TTL));
        assert!(
            opened.is_none_or(
                |opened| matches!(opened, Opened::Valid(token) if token.uid() == uid && token.issued == NOW)
            )
        );
    }
}

/// Nobody who has no key makes a token.
fn strange(text: &[u8]) {
    let opened = ours().open(text, NOW, TTL);
    assert!(matches!(opened, Opened::Forged | Opened::UnknownKey), "{opened:?}");
    let known = URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| {
        let id = bytes.first_chunk().map(|id| u32::from_be_bytes(*id));
        id.is_some_and(|id| IDS.contains(&id))
    });
    assert!(!known || opened == Opened::Forged);
}

/// `good` with bits flipped, with letters in other places, cut and continued.
fn changed(good: &str, wire: &[u8]) {
    let mut bytes = URL_SAFE_NO_PAD.decode(good).expect("base64");
    for (byte, change) in bytes.iter_mut().zip(wire) {
        *byte ^= change;
    }
    let flipped = URL_SAFE_NO_PAD.encode(&bytes);
    let mut letters = good.as_bytes().to_vec();
    for change in wire.chunks_exact(2).take(4) {
        let at = usize::from(change[0]) % letters.len();
        letters[at] = change[1];
    }
    let (cut, _) = good.split_at(usize::from(wire.first().copied().unwrap_or(0)) % good.len());
    let longer = [good.as_bytes(), wire].concat();
    for text in [flipped.as_bytes(), &letters, cut.as_bytes(), &longer] {
        let valid = matches!(ours().open(text, NOW, TTL), Opened::Valid(_));
        assert_eq!(valid, text == good.as_bytes(), "{:?}", String::from_utf8_lossy(text));
    }
}

/// Two numbers: when it is now, and how long tokens are valid.
fn timely(good: &str, wire: &[u8]) {
    let (Some(now), Some(ttl)) = (
        wire.first_chunk::<8>(),
        wire.get(8..).and_then(<[u8]>::first_chunk::<8>),
    ) else {
        return;
    };
    for now in [
        u64::from_be_bytes(*now),
        NOW.wrapping_add(u64::from_be_bytes(*now) % 8192).wrapping_sub(4096),
    ] {
        for ttl in [u64::from_be_bytes(*ttl), u64::from_be_bytes(*ttl) % 8192] {
            let expected = u128::from(NOW) <= u128::from(now) + u128::from(SKEW) && now.saturating_sub(NOW) < ttl;
            let opened = ours().open(good.as_bytes(), now, ttl);
            assert_eq!(matches!(opened, Opened::Valid(_)), expected, "{now} {ttl} {opened:?}");
            assert!(expected || opened == Opened::Expired);
        }
    }
}
