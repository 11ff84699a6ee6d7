//! The trace that a request is part of (W3C Trace Context): kept where it came with one, else made. Pure functions on headers.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use tenbin_balance::Rng;
use tenbin_model::Tracing;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The longest `tracestate` that is told to the collector; the endpoint gets it whatever its length.
const MAX_STATE: usize = 512;
/// The length of a `traceparent` of version 00.
const LENGTH: usize = 55;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Names a span in its trace; never all zeros.
pub type SpanId = [u8; 8];
/// Names a trace; never all zeros.
type TraceId = [u8; 16];

/// A request's place in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    trace: TraceId,
    /// The caller's span; none where the trace begins here.
    parent: Option<SpanId>,
    /// The request's own.
    span: SpanId,
    sampled: bool,
    state: String,
}

impl Context {
    /// The place of a request with these headers, on a listener whose spans go to `tracing`. `None` where its trace is not sampled by whoever
    /// began it: then all stays as it came. A `traceparent` that is none begins a new trace, as the standard says.
    pub fn begin(tracing: &Tracing, headers: &HeaderMap, rng: &mut Rng) -> Option<Self> {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let parent = match (parents.next(), parents.next()) {
            (Some(one), None) => parse(one.as_bytes()),
            _ => None,
        };
        match parent {
            Some(Parent { sampled: false, .. }) => None,
            Some(Parent { trace, span, .. }) => Some(Context {
                trace,
                parent: Some(span),
                span: span_id(rng),
                sampled: true,
                state: state(headers),
            }),
            None => Some(Context {
                trace: trace_id(rng),
                parent: None,
                span: span_id(rng),
                sampled: rng.below(1_000_000) < tracing.sampled as usize,
                state: String::new(),
            }),
        }
    }

    /// Whether its spans are sent.
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// The trace, as people write it.
    pub fn trace_id(&self) -> String {
        self.trace.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Tells an endpoint of its caller's span `span`. Where the trace began here, no other's state is passed on.
    pub fn inject(&self, headers: &mut HeaderMap, span: SpanId) {
        if self.parent.is_none() {
            headers.remove(TRACESTATE);
        }
        let flags = if self.sampled { b"-01" } else { b"-00" };
        let mut text = Vec::with_capacity(LENGTH);
        text.extend_from_slice(b"00-");
        hex(&mut text, &self.trace);
        text.push(b'-');
        hex(&mut text, &span);
        text.extend_from_slice(flags);
        if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(text)) {
            headers.insert(TRACEPARENT, value);
        }
    }

    pub(super) fn trace(&self) -> TraceId {
        self.trace
    }

    pub(super) fn parent(&self) -> Option<SpanId> {
        self.parent
    }

    pub(super) fn span(&self) -> SpanId {
        self.span
    }

    pub(super) fn state(&self) -> &str {
        &self.state
    }
}

/// What a `traceparent` says.
struct Parent {
    trace: TraceId,
    span: SpanId,
    sampled: bool,
}

/// `version "-" trace-id "-" parent-id "-" flags`, in lower-case hexadecimal; a later version may go on after another `-`.
fn parse(text: &[u8]) -> Option<Parent> {
    let version: [u8; 1] = unhex(text.get(..2)?)?;
    let rest = text.get(LENGTH..)?;
    let ends = rest.is_empty() || (version != [0] && rest.starts_with(b"-"));
    let dashes = [2, 35, 52].into_iter().all(|at| text.get(at) == Some(&b'-'));
    if version == [0xff] || !ends || !dashes {
        return None;
    }
    let trace = unhex(text.get(3..35)?)?;
    let span = unhex(text.get(36..52)?)?;
    let [flags] = unhex(text.get(53..LENGTH)?)?;
    (trace != [0; 16] && span != [0; 8]).then_some(Parent {
        trace,
        span,
        sampled: flags & 1 == 1,
    })
}

fn unhex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| HEX.iter().position(|&hex| hex == byte);
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = u8::try_from(digit(*pair.first()?)? << 4 | digit(*pair.last()?)?).ok()?;
    }
    (text.len() == 2 * N).then_some(bytes)
}

fn hex(text: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        let digits = [byte >> 4, byte & 15].map(|digit| HEX.get(usize::from(digit)).copied().unwrap_or(b'0'));
        text.extend_from_slice(&digits);
    }
}

/// What other tracers say of the request; nothing where it is too long, or not text.
fn state(headers: &HeaderMap) -> String {
    let mut state = String::new();
    for line in headers.get_all(TRACESTATE) {
        let Ok(line) = line.to_str() else { return String::new() };
        if !state.is_empty() {
            state.push(',');
        }
        state.push_str(line);
        if state.len() > MAX_STATE {
            return String::new();
        }
    }
    state
}

/// A name for a new span.
pub(crate) fn span_id(rng: &mut Rng) -> SpanId {
    rng.next_u64().max(1).to_be_bytes()
}

fn trace_id(rng: &mut Rng) -> TraceId {
    let (high, low) = (u128::from(rng.next_u64()), u128::from(rng.next_u64()));
    (high << 64 | low).max(1).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn tracing(sampled: u32) -> Tracing {
        Tracing {
            collector: "http://collector:4317".to_owned(),
            sampled,
            service: "hello".to_owned(),
        }
    }

    fn headers(parent: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, parent.parse().unwrap());
        headers.insert(TRACESTATE, "a=1".parse().unwrap());
        headers
    }

    fn begin(headers: &HeaderMap, sampled: u32) -> Option<Context> {
        Context::begin(&tracing(sampled), headers, &mut Rng::new(3))
    }

    #[test]
    fn a_trace_goes_on_through_us() {
        let mut headers = headers(GOOD);
        let context = begin(&headers, 0).unwrap();
        assert!(context.is_sampled(), "the parent decides");
        assert_eq!(context.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!((context.state(), context.parent().is_some()), ("a=1", true));
        context.inject(&mut headers, [0xab; 8]);
        let told = headers.get(TRACEPARENT).unwrap();
        assert_eq!(told, "00-0af7651916cd43dd8448eb211c80319c-abababababababab-01");
        assert_eq!(headers.get(TRACESTATE).unwrap(), "a=1");
    }

    #[test]
    fn what_is_not_sampled_stays_as_it_came() {
        let unsampled = GOOD.replace("-01", "-00");
        assert_eq!(begin(&headers(&unsampled), 1_000_000), None);
    }

    #[test]
    fn what_is_no_context_begins_a_new_one() {
        let later = format!("01{}-more", &GOOD[2..]);
        assert!(parse(GOOD.as_bytes()).is_some());
        assert!(parse(later.as_bytes()).is_some(), "a later version may say more");
        for bad in [
            String::new(),
            "00".to_owned(),
            format!("{GOOD}-more"),
            format!("ff{}", &GOOD[2..]),
            GOOD.to_uppercase(),
            GOOD.replace('-', "_"),
            GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
            GOOD.replace("01", "0g"),
        ] {
            let mut headers = headers(&bad);
            let context = begin(&headers, 1_000_000).unwrap();
            assert_eq!(context.parent(), None, "{bad}");
            context.inject(&mut headers, [1; 8]);
            assert!(headers.get(TRACESTATE).is_none(), "another trace's state");
        }
        let mut twice = headers(GOOD);
        twice.append(TRACEPARENT, GOOD.parse().unwrap());
        assert_eq!(begin(&twice, 0).unwrap().parent(), None);
    }

    #[test]
    fn so_many_of_a_million_begin_a_trace() {
        let mut rng = Rng::new(1);
        let sampled = (0..100_000).filter(|_| {
            let context = Context::begin(&tracing(10_000), &HeaderMap::new(), &mut rng);
            context.unwrap().is_sampled()
        });
        let sampled = sampled.count();
        assert!((800..1_200).contains(&sampled), "{sampled}");
        let mut headers = HeaderMap::new();
        begin(&headers, 0).unwrap().inject(&mut headers, [1; 8]);
        let told = headers.get(TRACEPARENT).unwrap().to_str().unwrap();
        assert!(told.ends_with("-00"), "the endpoint learns that it is not: {told}");
    }
}
