//! What opens, and what does not.

use super::*;
use proptest::prelude::*;

const NOW: u64 = 1_800_000_000;
const TTL: u64 = 3600;
const UID: &str = "0b7e9a52-6a3c-4d0e-9b1f-3f1f2f9a7c11";

fn keyring(cluster: &str, ids: &[u32]) -> Keyring {
    let name = ResourceName::parse("test", cluster).unwrap();
    let keys = ids.iter().map(|&id| SessionKey {
        id,
        secret: std::array::from_fn(|i| (id as usize * 7 + i) as u8),
    });
    let keys = SessionKeys {
        name: name.clone(),
        keys: keys.collect(),
    };
    Keyring::new(&name, Some(&keys))
}

fn sealed(keyring: &Keyring, uid: &str, now: u64) -> String {
    let mut text = String::new();
    assert!(keyring.seal(uid, now, &mut text));
    text
}

fn valid(opened: Opened) -> Token {
    match opened {
        Opened::Valid(token) => token,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_sealed_opens_everywhere_the_keys_are() {
    let text = sealed(&keyring("ns/app/http", &[1]), UID, NOW);
    let other_port_and_proxy = keyring("ns/app/admin", &[1]);
    let token = valid(other_port_and_proxy.open(text.as_bytes(), NOW + 1, TTL));
    assert_eq!((token.uid(), token.issued), (UID, NOW));
    assert!(!text.contains(UID), "nobody reads where it leads");
    assert_ne!(
        text,
        sealed(&keyring("ns/app/http", &[1]), UID, NOW),
        "nor that two lead to the same"
    );
}

#[test]
fn a_rotation_keeps_what_the_old_key_sealed() {
    let old = sealed(&keyring("ns/app/http", &[1]), UID, NOW);
    let rotated = keyring("ns/app/http", &[2, 1]);
    valid(rotated.open(old.as_bytes(), NOW, TTL));
    let new = sealed(&rotated, UID, NOW);
    valid(keyring("ns/app/http", &[2]).open(new.as_bytes(), NOW, TTL));
    assert_eq!(
        keyring("ns/app/http", &[2]).open(old.as_bytes(), NOW, TTL),
        Opened::UnknownKey
    );
}

#[test]
fn another_apps_token_is_forged_even_under_the_same_key() {
    let text = sealed(&keyring("ns/app/http", &[1]), UID, NOW);
    for other in ["ns/other/http", "other/app/http", "app"] {
        let opened = keyring(other, &[1]).open(text.as_bytes(), NOW, TTL);
        assert_eq!(opened, Opened::Forged, "{other}");
    }
}

#[test]
fn time_is_the_wall_clocks() {
    let keyring = keyring("app", &[1]);
    let text = sealed(&keyring, UID, NOW);
    let open = |now| keyring.open(text.as_bytes(), now, TTL);
    valid(open(NOW + TTL - 1));
    assert_eq!(open(NOW + TTL), Opened::Expired);
    assert_eq!(open(u64::MAX), Opened::Expired);
    valid(open(NOW - SKEW));
    assert_eq!(open(NOW - SKEW - 1), Opened::Expired, "from the future");
    assert_eq!(open(0), Opened::Expired);
}

#[test]
fn without_keys_nothing_is_sealed_or_opened() {
    let name = ResourceName::parse("test", "app").unwrap();
    let none = Keyring::new(&name, None);
    let mut text = "kept".to_owned();
    assert!(!none.seal(UID, NOW, &mut text));
    assert_eq!(text, "kept");
    let good = sealed(&keyring("app", &[1]), UID, NOW);
    assert_eq!(none.open(good.as_bytes(), NOW, TTL), Opened::UnknownKey);
}

#[test]
fn identities_of_any_permitted_length() {
    let keyring = keyring("app", &[1]);
    for uid in ["a".to_owned(), "u".repeat(128)] {
        let text = sealed(&keyring, &uid, NOW);
        assert!(text.len() <= MAX_TEXT);
        assert_eq!(valid(keyring.open(text.as_bytes(), NOW, TTL)).uid(), uid);
    }
    let mut text = String::new();
    assert!(!keyring.seal("", NOW, &mut text));
    assert!(!keyring.seal(&"u".repeat(129), NOW, &mut text));
}

#[test]
fn secrets_are_not_shown() {
    assert_eq!(format!("{:?}", keyring("app", &[7, 3])), "[7, 3]");
}

proptest! {
    #[test]
    fn whatever_is_sent_is_refused_quietly(text in proptest::collection::vec(any::<u8>(), 0..400)) {
        let opened = keyring("app", &[1]).open(&text, NOW, TTL);
        prop_assert!(matches!(opened, Opened::Forged | Opened::UnknownKey));
    }

    #[test]
    fn well_formed_garbage_is_forged(rest in proptest::collection::vec(any::<u8>(), 0..260)) {
        let bytes = [&1u32.to_be_bytes()[..], &rest].concat();
        let opened = keyring("app", &[1]).open(URL_SAFE_NO_PAD.encode(bytes).as_bytes(), NOW, TTL);
        prop_assert_eq!(opened, Opened::Forged);
    }

    #[test]
    fn every_changed_bit_is_noticed(at in 0usize..76, bit in 0u32..8) {
        let keyring = keyring("app", &[1]);
        let mut bytes = URL_SAFE_NO_PAD.decode(sealed(&keyring, UID, NOW)).unwrap();
        prop_assert_eq!(bytes.len(), 76);
        bytes[at] ^= 1 << bit;
        let opened = keyring.open(URL_SAFE_NO_PAD.encode(bytes).as_bytes(), NOW, TTL);
        prop_assert_eq!(opened, if at < 4 { Opened::UnknownKey } else { Opened::Forged });
    }

    #[test]
    fn what_is_cut_or_longer_is_forged(cut in 0usize..101) {
        let keyring = keyring("app", &[1]);
        let text = sealed(&keyring, UID, NOW);
        prop_assert_eq!(keyring.open(&text.as_bytes()[..cut], NOW, TTL), Opened::Forged);
        let longer = text.clone() + &text[..=cut];
        prop_assert_eq!(keyring.open(longer.as_bytes(), NOW, TTL), Opened::Forged);
    }
}
