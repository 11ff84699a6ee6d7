//! Sessions of a cluster whose proxies issue cookies: what a request's cookie says, and what the client is told with the response.
//! Made once for each snapshot; which endpoint takes a request is the balancer's decision, and must not come here.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{Entry, HeaderValue, SET_COOKIE};
use tenbin_model::{OnDead, OnDrain, ResourceName, SameSite, SessionCookie, SessionKeys};

use super::caching::make_private;
use super::cookie;
use super::outcome::Outcome;
use super::token::{Keyring, MAX_TEXT, Opened, Token};

/// How many cookies of our name are looked at: a browser may have one for each of several paths.
const MAX_COOKIES: usize = 4;

/// The sessions of a cluster, ready for use.
#[derive(Debug)]
pub struct Sessions {
    name: Box<str>,
    keyring: Keyring,
    /// How long a cookie is valid, in seconds.
    ttl: u64,
    /// What follows a cookie's value.
    attributes: Box<str>,
    /// What happens to sessions on an endpoint that drains.
    pub on_drain: OnDrain,
    /// What happens to sessions on an endpoint that is gone or can't be reached.
    pub on_dead: OnDead,
}

/// What a request brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Brought {
    /// No cookie of ours.
    Nothing,
    /// A cookie of our name that is of no use, and why: expired, forged, or of an unknown key.
    Useless(Outcome),
    /// A cookie that names an endpoint; renewed when more than half of its time is over.
    Session {
        /// What it says.
        token: Token,
        /// Whether more than half of its time is over.
        old: bool,
    },
}

impl Sessions {
    /// The sessions of `cluster`. Without keys nobody gets one.
    pub fn new(cookie: &SessionCookie, cluster: &ResourceName, keys: Option<&SessionKeys>) -> Self {
        Sessions {
            name: cookie.name.as_str().into(),
            keyring: Keyring::new(cluster, keys),
            ttl: cookie.ttl.unwrap_or(SessionCookie::SESSION_LIFE).as_secs(),
            attributes: attributes(cookie).into(),
            on_drain: cookie.on_drain,
            on_dead: cookie.on_dead,
        }
    }

    /// The cookie's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long a cookie is valid.
    pub fn ttl(&self) -> Duration {
        Duration::from_secs(self.ttl)
    }

    /// What the keys are known by, the one that seals first.
    pub fn key_ids(&self) -> impl Iterator<Item = u32> {
        self.keyring.ids()
    }

    /// What a request with `headers` brought, at the time of day `now`. Of several cookies of our name the first good one counts, of at
    /// most four.
    pub fn read(&self, headers: &HeaderMap, now: Duration) -> Brought {
        let now = now.as_secs();
        let mut useless = None;
        for value in cookie::values(headers, self.name.as_bytes()).take(MAX_COOKIES) {
            match self.keyring.open(value, now, self.ttl) {
                Opened::Valid(token) => {
                    let old = now.saturating_sub(token.issued) > self.ttl / 2;
                    return Brought::Session { token, old };
                }
                Opened::Expired => useless.get_or_insert(Outcome::Expired),
                Opened::Forged => useless.get_or_insert(Outcome::Forged),
                Opened::UnknownKey => useless.get_or_insert(Outcome::UnknownKey),
            };
        }
        useless.map_or(Brought::Nothing, Brought::Useless)
    }

    /// Takes our cookies out of what an endpoint gets: they are none of an app's business, and what it logs or reflects must not be worth
    /// anything.
    pub fn hide(&self, headers: &mut HeaderMap) {
        cookie::remove(headers, self.name.as_bytes());
    }

    /// Takes cookies of our name out of an app's response: the name is ours, and one of the app's would end the session.
    pub fn own(&self, headers: &mut HeaderMap) {
        let Entry::Occupied(mut lines) = headers.entry(SET_COOKIE) else {
            return;
        };
        if !lines.iter().any(|line| self.is_ours(line)) {
            return;
        }
        // In their order: of two cookies with one name the last counts (RFC 6265 §5.3).
        let kept: Vec<HeaderValue> = lines.iter().filter(|line| !self.is_ours(line)).cloned().collect();
        let mut kept = kept.into_iter();
        match kept.next() {
            Some(first) => {
                lines.insert(first);
                kept.for_each(|line| lines.append(line));
            }
            None => drop(lines.remove()),
        }
    }

    fn is_ours(&self, set_cookie: &HeaderValue) -> bool {
        let pair = set_cookie.as_bytes().split(|&b| b == b';').next().unwrap_or_default();
        let name = pair.split(|&b| b == b'=').next().unwrap_or_default();
        name.trim_ascii() == self.name.as_bytes()
    }

    /// Tells a client with its response that its session is at the endpoint `uid` from the time of day `now` on, and shared caches
    /// that the response is its alone.
    pub fn issue(&self, headers: &mut HeaderMap, uid: &str, now: Duration) {
        let mut text = String::with_capacity(self.name.len() + 1 + MAX_TEXT + self.attributes.len());
        text.push_str(&self.name);
        text.push('=');
        if !self.keyring.seal(uid, now.as_secs(), &mut text) {
            return;
        }
        text.push_str(&self.attributes);
        let Ok(mut value) = HeaderValue::from_maybe_shared(Bytes::from(text)) else {
            return;
        };
        value.set_sensitive(true);
        headers.append(SET_COOKIE, value);
        make_private(headers);
    }
}

/// The attributes of a cookie (RFC 6265 §4.1.1), beginning with `; `.
fn attributes(cookie: &SessionCookie) -> String {
    let mut text = format!("; Path={}", cookie.path);
    if let Some(ttl) = cookie.ttl {
        text.push_str(&format!("; Max-Age={}", ttl.as_secs()));
    }
    text.push_str(match cookie.same_site {
        SameSite::Lax => "; SameSite=Lax",
        SameSite::Strict => "; SameSite=Strict",
        SameSite::None => "; SameSite=None",
    });
    if cookie.secure {
        text.push_str("; Secure");
    }
    if cookie.http_only {
        text.push_str("; HttpOnly");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{CACHE_CONTROL, COOKIE};
    use tenbin_model::SessionKey;

    const NOW: Duration = Duration::from_secs(1_800_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn settings() -> SessionCookie {
        SessionCookie {
            name: "tenbin".to_owned(),
            path: "/shop".to_owned(),
            ttl: Some(HOUR),
            same_site: SameSite::Strict,
            secure: true,
            http_only: true,
            on_drain: OnDrain::Keep,
            on_dead: OnDead::Rebalance,
            keys: name(),
        }
    }

    fn name() -> ResourceName {
        ResourceName::app_port("ns", "app", "http")
    }

    fn sessions(settings: &SessionCookie, ids: &[u32]) -> Sessions {
        let keys = ids.iter().map(|&id| SessionKey {
            id,
            secret: [id as u8; 32],
        });
        let keys = SessionKeys {
            name: name(),
            keys: keys.collect(),
        };
        Sessions::new(settings, &name(), Some(&keys))
    }

    /// What a client that got `response` sends from then on.
    fn request(response: &HeaderMap) -> HeaderMap {
        let cookies: Vec<&str> = response
            .get_all(SET_COOKIE)
            .iter()
            .filter_map(|line| line.to_str().unwrap().split(';').next())
            .collect();
        HeaderMap::from_iter([(COOKIE, cookies.join("; ").parse().unwrap())])
    }

    fn issued(sessions: &Sessions, now: Duration) -> HeaderMap {
        let mut response = HeaderMap::new();
        sessions.issue(&mut response, "uid-1", now);
        response
    }

    #[test]
    fn a_session_is_issued_and_read_again() {
        let sessions = sessions(&settings(), &[1]);
        let response = issued(&sessions, NOW);
        let set = response[SET_COOKIE].to_str().unwrap();
        let (pair, attributes) = set.split_once(';').unwrap();
        assert_eq!(
            attributes,
            " Path=/shop; Max-Age=3600; SameSite=Strict; Secure; HttpOnly"
        );
        assert!(pair.starts_with("tenbin="), "{set}");
        assert_eq!(response[CACHE_CONTROL], "private");
        for (age, is_old) in [
            (Duration::ZERO, false),
            (HOUR / 2, false),
            (HOUR / 2 + Duration::from_secs(1), true),
        ] {
            let Brought::Session { token, old } = sessions.read(&request(&response), NOW + age) else {
                panic!("no session after {age:?}")
            };
            assert_eq!((token.uid(), old), ("uid-1", is_old), "{age:?}");
        }
        assert_eq!(
            sessions.read(&request(&response), NOW + HOUR),
            Brought::Useless(Outcome::Expired)
        );
        assert_eq!(sessions.read(&HeaderMap::new(), NOW), Brought::Nothing);
    }

    #[test]
    fn a_cookie_without_a_time_of_its_own_lives_with_the_browser_and_a_week() {
        let mut settings = settings();
        settings.ttl = None;
        (settings.secure, settings.http_only, settings.same_site) = (false, false, SameSite::Lax);
        let sessions = sessions(&settings, &[1]);
        let response = issued(&sessions, NOW);
        let set = response[SET_COOKIE].to_str().unwrap();
        assert!(set.ends_with("; Path=/shop; SameSite=Lax"), "{set}");
        let week = SessionCookie::SESSION_LIFE;
        let read = |age| sessions.read(&request(&response), NOW + age);
        assert!(matches!(
            read(week - Duration::from_secs(1)),
            Brought::Session { old: true, .. }
        ));
        assert_eq!(read(week), Brought::Useless(Outcome::Expired));
    }

    #[test]
    fn the_first_good_cookie_of_a_few_counts() {
        let sessions = sessions(&settings(), &[1]);
        let good = request(&issued(&sessions, NOW))[COOKIE].to_str().unwrap().to_owned();
        let read = |line: String| sessions.read(&HeaderMap::from_iter([(COOKIE, line.parse().unwrap())]), NOW);
        assert!(matches!(read(format!("tenbin=bad; {good}")), Brought::Session { .. }));
        let many = "tenbin=bad; ".repeat(MAX_COOKIES);
        assert_eq!(read(many + &good), Brought::Useless(Outcome::Forged));
    }

    #[test]
    fn an_app_neither_sees_nor_sets_it() {
        let sessions = sessions(&settings(), &[1]);
        let mut request = HeaderMap::from_iter([(COOKIE, HeaderValue::from_static("a=1; tenbin=x; b=2"))]);
        sessions.hide(&mut request);
        assert_eq!(request[COOKIE], "a=1; b=2");

        let mut response = HeaderMap::new();
        for line in [
            "b=1",
            "tenbin=x; Path=/",
            "a=tenbin=",
            "tenbin",
            "Tenbin=x",
            " tenbin =y",
            "b=2",
        ] {
            response.append(SET_COOKIE, HeaderValue::from_static(line));
        }
        sessions.own(&mut response);
        let left: Vec<_> = response
            .get_all(SET_COOKIE)
            .iter()
            .map(|line| line.to_str().unwrap())
            .collect();
        assert_eq!(left, ["b=1", "a=tenbin=", "Tenbin=x", "b=2"], "the last b counts");
        response.remove(SET_COOKIE);
        response.append(SET_COOKIE, HeaderValue::from_static("tenbin=x"));
        sessions.own(&mut response);
        assert!(response.is_empty());
    }

    #[test]
    fn without_keys_a_response_stays_as_it_is() {
        let sessions = Sessions::new(&settings(), &name(), None);
        assert!(issued(&sessions, NOW).is_empty());
    }
}
