//! The session cookie in requests and responses. Fields, a line each: `cookie` is a request's, `set-cookie` and what tells caches is the
//! app's response.

use std::sync::OnceLock;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request};
use tenbin_model::{
    Affinity as Settings, HashKey, HashTable, OnDead, OnDrain, ResourceName, SameSite, SessionCookie, SessionKey,
    SessionKeys,
};
use tenbin_proxy::affinity::{Affinity, Brought, Sessions};

use super::fields::{fields, values, without};

const NAME: &str = "tenbin";
const NOW: Duration = Duration::from_secs(1_800_000_000);
const UID: &str = "uid-1";

fn name() -> ResourceName {
    ResourceName::app_port("ns", "app", "http")
}

fn sessions() -> &'static Sessions {
    static SESSIONS: OnceLock<Sessions> = OnceLock::new();
    SESSIONS.get_or_init(|| {
        let cookie = SessionCookie {
            name: NAME.to_owned(),
            path: "/shop".to_owned(),
            ttl: Some(Duration::from_secs(3600)),
            same_site: SameSite::Strict,
            secure: true,
            http_only: true,
            on_drain: OnDrain::Keep,
            on_dead: OnDead::Rebalance,
            keys: name(),
        };
        let keys = SessionKeys {
            name: name(),
            keys: vec![SessionKey { id: 1, secret: [7; 32] }],
        };
        Sessions::new(&cookie, &name(), Some(&keys))
    })
}

/// Everything but our cookie stays as it was, in its order; of ours nothing is left for the app or taken from it, and nothing opens that
/// was not sealed.
pub(crate) fn law(wire: &[u8]) {
    let headers = fields(wire);
    request(&headers);
    response(&headers);
}

fn request(headers: &HeaderMap) {
    let sessions = sessions();
    let brought = sessions.read(headers, NOW);
    assert!(!matches!(brought, Brought::Session { .. }), "{brought:?}");
    assert_eq!(brought == Brought::Nothing, ours(headers) == 0);

    let mut hidden = headers.clone();
    sessions.hide(&mut hidden);
    assert_eq!(ours(&hidden), 0);
    assert_eq!(sessions.read(&hidden, NOW), Brought::Nothing);
    let others = |headers: &HeaderMap| -> Vec<Vec<u8>> {
        let pairs = values(headers, "cookie").into_iter().flat_map(pairs);
        pairs
            .filter(|pair| name_of(pair) != Some(NAME.as_bytes()))
            .map(<[u8]>::to_vec)
            .collect()
    };
    assert_eq!(others(&hidden), others(headers));
    assert_eq!(without(&hidden, &["cookie"]), without(headers, &["cookie"]));
    let lines = |headers: &HeaderMap| -> Vec<Vec<u8>> {
        let lines = values(headers, "cookie").into_iter();
        lines
            .filter(|line| !pairs(line).any(|pair| name_of(pair) == Some(NAME.as_bytes())))
            .map(<[u8]>::to_vec)
            .collect()
    };
    let kept: Vec<Vec<u8>> = lines(&hidden);
    assert!(
        lines(headers).iter().all(|line| kept.contains(line)),
        "a line without ours stays as it is"
    );
    let again = hidden.clone();
    sessions.hide(&mut hidden);
    assert_eq!(hidden, again);
    for other in ["o", "a", "tenbin2", ""] {
        assert_eq!(
            hash(other, headers),
            hash(other, &hidden),
            "what an app's own cookie hashes to"
        );
    }

    // A good one in front of all counts.
    let mut good = HeaderMap::new();
    good.append("cookie", sealed());
    for line in headers.get_all("cookie") {
        good.append("cookie", line.clone());
    }
    let brought = sessions.read(&good, NOW);
    assert!(matches!(brought, Brought::Session { token, old: false } if token.uid() == UID));
}

fn response(headers: &HeaderMap) {
    let sessions = sessions();
    let mut owned = headers.clone();
    sessions.own(&mut owned);
    let not_ours = values(headers, "set-cookie").into_iter().filter(|line| !is_ours(line));
    let not_ours: Vec<&[u8]> = not_ours.collect();
    assert_eq!(
        values(&owned, "set-cookie"),
        not_ours,
        "in their order: the last of a name wins"
    );
    assert_eq!(without(&owned, &["set-cookie"]), without(headers, &["set-cookie"]));

    let mut issued = owned.clone();
    sessions.issue(&mut issued, UID, NOW);
    let lines = values(&issued, "set-cookie");
    let (last, before) = lines.split_last().expect("one is issued");
    assert_eq!(before, not_ours);
    assert!(is_ours(last) && last.ends_with(b"; Path=/shop; Max-Age=3600; SameSite=Strict; Secure; HttpOnly"));
    let caching = ["set-cookie", "cache-control", "cdn-cache-control", "surrogate-control"];
    assert_eq!(without(&issued, &caching), without(&owned, &caching));
    is_private(&owned, &issued);
}

/// Shared caches leave it alone, and know the rest as before.
fn is_private(before: &HeaderMap, after: &HeaderMap) {
    assert!(!after.contains_key("cdn-cache-control") && !after.contains_key("surrogate-control"));
    let (before, after) = (directives(before), directives(after));
    let is = |directive: &[u8], name: &str| {
        let own = directive.split(|&b| b == b'=').next().unwrap_or_default();
        own.trim_ascii().eq_ignore_ascii_case(name.as_bytes())
    };
    let alone = |directive: &Vec<u8>| directive.eq_ignore_ascii_case(b"private") || is(directive, "no-store");
    assert!(after.iter().any(alone), "{:?}", shown(&after));
    let shared = |directive: &Vec<u8>| is(directive, "public") || is(directive, "s-maxage");
    assert!(!after.iter().any(shared), "{:?}", shown(&after));
    let rest = |all: &[Vec<u8>]| -> Vec<Vec<u8>> {
        let kept = all
            .iter()
            .filter(|directive| !shared(directive) && !directive.eq_ignore_ascii_case(b"private"));
        kept.cloned().collect()
    };
    assert_eq!(shown(&rest(&before)), shown(&rest(&after)));
}

fn shown(directives: &[Vec<u8>]) -> Vec<String> {
    directives
        .iter()
        .map(|directive| directive.escape_ascii().to_string())
        .collect()
}

/// What caches are told, all lines as one (RFC 9110 §5.3).
fn directives(headers: &HeaderMap) -> Vec<Vec<u8>> {
    let joined = values(headers, "cache-control").join(&b", "[..]);
    let (mut all, mut current, mut quoted, mut escaped) = (Vec::new(), Vec::new(), false, false);
    for &b in &joined {
        if b == b',' && !quoted {
            all.push(std::mem::take(&mut current));
            continue;
        }
        current.push(b);
        let ends_escape = escaped;
        escaped = quoted && !escaped && b == b'\\';
        if b == b'"' && !ends_escape {
            quoted = !quoted;
        }
    }
    all.push(current);
    let trimmed = all.iter().map(|directive| directive.trim_ascii().to_vec());
    trimmed.filter(|directive| !directive.is_empty()).collect()
}

fn sealed() -> HeaderValue {
    static SEALED: OnceLock<HeaderValue> = OnceLock::new();
    let sealed = SEALED.get_or_init(|| {
        let mut response = HeaderMap::new();
        sessions().issue(&mut response, UID, NOW);
        let pair = values(&response, "set-cookie")[0]
            .split(|&b| b == b';')
            .next()
            .unwrap_or_default();
        HeaderValue::from_bytes(pair).expect("a value")
    });
    sealed.clone()
}

fn hash(cookie: &str, headers: &HeaderMap) -> Option<u64> {
    let settings = Settings::Hash {
        key: HashKey::Cookie(cookie.to_owned()),
        table: HashTable::Ring,
        bound: None,
    };
    let mut request = Request::new(());
    request.headers_mut().clone_from(headers);
    let bond = Affinity::new(Some(&settings), &name(), None).bond(&request, || [10, 0, 0, 1].into(), || NOW);
    bond.key()
}

fn ours(headers: &HeaderMap) -> usize {
    let pairs = values(headers, "cookie").into_iter().flat_map(pairs);
    pairs.filter(|pair| name_of(pair) == Some(NAME.as_bytes())).count()
}

fn is_ours(set_cookie: &[u8]) -> bool {
    let pair = set_cookie.split(|&b| b == b';').next().unwrap_or_default();
    let name = pair.split(|&b| b == b'=').next().unwrap_or_default();
    name.trim_ascii() == NAME.as_bytes()
}

fn pairs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let pairs = line.split(|&b| b == b';').map(<[u8]>::trim_ascii);
    pairs.filter(|pair| !pair.is_empty())
}

fn name_of(pair: &[u8]) -> Option<&[u8]> {
    let at = pair.iter().position(|&b| b == b'=')?;
    Some(pair[..at].trim_ascii_end())
}
