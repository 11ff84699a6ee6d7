//! The corpus of http_desync_guardian: requests by how dangerous they are to who reads them otherwise than the proxy does. Each is
//! refused before a byte of it reaches the endpoint, or reaches it in the one form that all readers understand the same.

pub(crate) mod case;

use case::{Case, SMUGGLED, Tier};

use crate::http1::{AFTER, AFTER_LINE, is_untouched, responses};
use crate::message::Message;
use crate::recorder::Seen;
use crate::row::{Section, form};
use crate::world::{Got, PATIENCE, World, exchange};

/// What comes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// An error and the end of the connection; nothing reaches the endpoint.
    Refused,
    /// It is answered by the endpoint, and so is what follows it.
    Served,
}

/// Requests that the corpus holds for compliant and we refuse, by name, and why.
const REFUSED: [(&str, &str); 10] = [
    ("Correct TE OK", CODINGS),
    ("Transfer-Encoding: identity and chunked OK", CODINGS),
    ("Multiple transfer encoding headers in a single request OK", CODINGS),
    ("Different Transfer-Encoding headers", CODINGS),
    ("Different Transfer-Encoding headers combined", CODINGS),
    ("TE with custom parameters OK", PARAMETERS),
    ("Transfer-Encoding with a param: chunked;custom_param", PARAMETERS),
    (
        "Compliant URL",
        "it has a fragment, which is no part of a target (9112 §3.2)",
    ),
    ("International in URI", "a target is ASCII (3986 §2, 9112 §3.2)"),
    ("Empty URI", "there is no target (9112 §3)"),
];
const CODINGS: &str = "codings other than `chunked` are refused, 501 (9112 §6.1)";
const PARAMETERS: &str = "`chunked` has no parameters (9112 §7.1)";

/// Requests that the corpus would have refused or watched and we serve, by name, and what makes them unambiguous.
const SERVED: [(&str, &str); 12] = [
    ("Get with a body and Content-Length:0", LENGTH),
    ("Get with a body and Content-Length", LENGTH),
    ("Head with a body and Content-Length", LENGTH),
    ("Has a CL in GET", LENGTH),
    ("Get with a body and Transfer-Encoding", CODING),
    ("Head with a body and Transfer-Encoding", CODING),
    ("Has a TE in GET", CODING),
    ("Transfer_Encoding with underscore.", DROPPED),
    ("Content_Length with underscore.", DROPPED),
    ("Transfer-Encoding with multiple hyphens", OTHER),
    ("Transfer-Encoding with multiple delimiters", OTHER),
    ("Unknown but OK HTTP/1.2", "it is sent on as HTTP/1.1 (9110 §2.5)"),
];
const LENGTH: &str = "any method may have a body (9112 §6): it is sent on whole, with its length";
const CODING: &str = "any method may have a body (9112 §6): it is sent on whole, in chunks of our own";
const DROPPED: &str = "the header is dropped";
const OTHER: &str = "a header of another name, also where CGI makes a variable of it; it is passed on";

/// What must come of a request.
fn expected(case: &Case) -> Verdict {
    let listed = |list: &[(&str, &str)]| list.iter().any(|(name, _)| *name == case.name);
    match case.tier() {
        Tier::Severe => Verdict::Refused,
        Tier::Ambiguous | Tier::Acceptable if listed(&SERVED) => Verdict::Served,
        Tier::Ambiguous | Tier::Acceptable => Verdict::Refused,
        Tier::Compliant if listed(&REFUSED) => Verdict::Refused,
        Tier::Compliant => Verdict::Served,
    }
}

#[tokio::test]
async fn readers_that_differ_are_never_at_odds() {
    let world = World::start("", "").await;
    let mut failed = Vec::new();
    for case in case::all() {
        let result = judge(&world, &case).await;
        if result != Ok(expected(&case)) {
            failed.push(format!("{:?}: {} {result:?}", case.tier(), case.name));
        }
    }
    assert!(
        failed.is_empty(),
        "{} requests fail:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

async fn judge(world: &World, case: &Case) -> Result<Verdict, String> {
    world.endpoint.begin(None);
    let mut got = exchange(world.web, &[&case.bytes(), AFTER].concat(), PATIENCE).await;
    let connections = world.endpoint.record().connections.len();
    world.probe().await?;
    if !got.closed {
        return Err("the connection stays open".to_owned());
    }
    let seen = {
        let record = world.endpoint.record();
        is_untouched(&record.connections)?;
        if !record.seen.is_empty() && record.connections.len() != connections {
            return Err("the connection to the endpoint is not kept".to_owned());
        }
        record.seen.clone()
    };
    if case.method == "HEAD" && !seen.is_empty() {
        without_body(&mut got)?;
    }
    let statuses: Vec<_> = responses(&got)?.iter().filter_map(Message::status).collect();
    match (&statuses[..], &seen[..]) {
        ([400 | 501 | 505], []) => Ok(Verdict::Refused),
        ([200, 200], [request, after]) => {
            is_canonical(case, request)?;
            if after.request.line != AFTER_LINE || after.connection != request.connection {
                return Err(format!("what follows became {:?}", after.request.text()));
            }
            Ok(Verdict::Served)
        }
        _ => {
            let lines: Vec<_> = seen.iter().map(|seen| &seen.request.line).collect();
            Err(format!("it is told {statuses:?}, the endpoint saw {lines:?}"))
        }
    }
}

/// Takes the answer to a HEAD off, which has a length and no body.
fn without_body(got: &mut Got) -> Result<(), String> {
    let end = got.bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.filter(|_| got.bytes.starts_with(b"HTTP/1.1 200 "));
    let end = end.ok_or_else(|| format!("HEAD is answered by {:?}", String::from_utf8_lossy(&got.bytes)))?;
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    got.bytes.splice(..end + 4, head.iter().copied());
    Ok(())
}

/// Whether the endpoint saw it in the one form: its line, its body with one header that says how long it is, and no other header that
/// anybody could take for one; and all else of it as it was.
fn is_canonical(case: &Case, seen: &Seen) -> Result<(), String> {
    let body = case.body();
    form(&case.line()).body(&body).judge(seen)?;
    let request = &seen.request;
    let is_framing = |name: &str| ["content-length", "transfer-encoding"].contains(&&*name.replace('_', "-"));
    let names = request.headers.iter().map(|(name, _)| name.as_str());
    let framing: Vec<_> = names.filter(|name| is_framing(name)).collect();
    let good = match framing[..] {
        [] => body.is_empty(),
        ["content-length" | "transfer-encoding"] => true,
        _ => false,
    };
    if !good {
        return Err(format!("it is framed by {framing:?}"));
    }
    for (name, value) in case.headers() {
        let ours = is_framing(&name) || ["connection", "x-forwarded-for"].contains(&name.as_str());
        if !ours && !request.all(&name).contains(&value.as_str()) {
            return Err(format!("{name:?} is lost or changed in {:?}", request.text()));
        }
    }
    Ok(())
}

/// What comes of each tier, counted.
pub(crate) fn tiers() -> Section<[String; 5]> {
    let all = case::all();
    let row = |(tier, what): (Tier, &str)| {
        let cases: Vec<_> = all.iter().filter(|case| case.tier() == tier).collect();
        let served = cases.iter().filter(|case| expected(case) == Verdict::Served).count();
        let counts = [cases.len(), cases.len() - served, served].map(|count| count.to_string());
        let [requests, refused, served] = counts;
        [format!("{tier:?}"), what.to_owned(), requests, refused, served]
    };
    let tiers = [
        (Tier::Severe, "refuse it, and close"),
        (Tier::Ambiguous, "refuse it, or close both connections after it"),
        (Tier::Acceptable, "let it pass: against the RFC, and harmless"),
        (Tier::Compliant, "let it pass"),
    ];
    Section {
        title: "The corpus of http_desync_guardian",
        intro: INTRO,
        rows: tiers.into_iter().map(row).collect(),
    }
}

const INTRO: &str = "Requests that others collected, version 0.1.3 of \
    [http_desync_guardian](https://github.com/aws/http-desync-guardian), each with a body that would be a
request of its own to whoever reads its framing otherwise, and one more request behind it. *Refused*: 400, 501 or 505, nothing reaches
the endpoint, and the connection ends. *Served*: the endpoint sees that request and the one behind it, no other, framed by one header; the
connection to it is kept, and another client's request over it has its own answer.";

/// Where we are of another mind than the corpus.
pub(crate) fn listed() -> Section<[&'static str; 3]> {
    let with = |what: &'static str| move |(name, why): &(&'static str, &'static str)| [*name, what, *why];
    let refused = REFUSED.iter().map(with("compliant, refused"));
    Section {
        title: "Where the corpus and we are of another mind",
        intro: "",
        rows: refused.chain(SERVED.iter().map(with("suspicious, served"))).collect(),
    }
}

/// The corpus is whole, and what is listed is in it, once and in the tier that the list is for.
#[test]
fn what_is_listed_is_in_the_corpus() {
    let all = case::all();
    let count = |tier| all.iter().filter(|case| case.tier() == tier).count();
    let tiers = [Tier::Compliant, Tier::Acceptable, Tier::Ambiguous, Tier::Severe];
    assert_eq!(tiers.map(count), [28, 15, 58, 58]);
    for (list, of) in [(&REFUSED[..], &tiers[..1]), (&SERVED[..], &tiers[1..3])] {
        for (name, _) in list {
            let found = all.iter().any(|case| case.name == *name && of.contains(&case.tier()));
            assert!(found, "{name:?} is not in {of:?}");
        }
    }
    assert!(all.iter().any(|case| case.body().contains(SMUGGLED)));
}
