//! The rules of balancing and affinity, in the API server's expression language (CEL): what goes together. Each message names the
//! field, its value and what would be accepted. What a value alone may be stands at its field.

mod ports;
mod resilience;

use kube::core::{Message, Rule};
pub(crate) use ports::{
    ca_bundle, connections_have_no_requests, served_by_header, server_name, tls_is_read,
    tls_is_there_where_it_is_spoken,
};
pub(crate) use resilience::{
    TIME, a_queue_needs_a_limit, a_try_is_no_longer_than_its_request, any_method_needs_a_condition,
    conditions_need_tries, on_timeout_needs_a_time,
};

/// The affinity of the spec is a key to hash.
const KEYED: &str = "(has(self.affinity) && (self.affinity.type in ['SourceIP', 'Header', 'QueryParam', 'Path'] \
                     || (self.affinity.type == 'Cookie' && has(self.affinity.cookie) && self.affinity.cookie.issuedBy == 'App')))";
/// The algorithm of the spec, `Adaptive` where none is given.
const ALGORITHM: &str = "(has(self.algorithm) ? self.algorithm : 'Adaptive')";
/// The type of affinity of the spec.
const AFFINITY: &str = "(has(self.affinity) ? self.affinity.type : 'None')";
/// In an affinity: it is a cookie that the proxies issue.
const OURS: &str = "(self.type == 'Cookie' && (!has(self.cookie) || self.cookie.issuedBy == 'Proxy'))";
/// A token (RFC 9110, RFC 6265).
const TOKEN: &str = r"^[!#$%&\'*+.^_`|~0-9A-Za-z-]+$";

/// A rule at `field` whose message is an expression.
fn rule(rule: impl Into<String>, field: &str, message: impl Into<String>) -> Rule {
    Rule::new(rule)
        .field_path(field)
        .message(Message::Expression(message.into()))
}

/// A rule about the value it stands at.
fn value(text: impl Into<String>, message: impl Into<String>) -> Rule {
    Rule::new(text).message(Message::Expression(message.into()))
}

pub(crate) fn hashing_needs_a_key() -> Rule {
    rule(
        format!("!({ALGORITHM} in ['RingHash', 'Maglev']) || {KEYED}"),
        ".algorithm",
        format!(
            "'algorithm (%s) needs a key to hash, but affinity.type is %s: set affinity.type to SourceIP, Header, QueryParam or \
             Path, or to Cookie with cookie.issuedBy App; or set algorithm to Adaptive, RoundRobin, Random, LeastRequest or \
             PeakEwma'.format([{ALGORITHM}, {AFFINITY}])"
        ),
    )
}

pub(crate) fn source_ip_hash_is_its_own_affinity() -> Rule {
    rule(
        format!("{ALGORITHM} != 'SourceIpHash' || {AFFINITY} in ['None', 'SourceIP']"),
        ".algorithm",
        format!(
            "'algorithm (SourceIpHash) hashes the address of the client, but affinity.type is %s: remove affinity, set \
             affinity.type to SourceIP, or name another algorithm'.format([{AFFINITY}])"
        ),
    )
}

/// A number that other algorithms do not read.
fn number(field: &str, read: &str, readers: &str) -> Rule {
    option(
        field,
        "(%d) ",
        &format!("self.algorithmConfig.{field}, "),
        read,
        readers,
    )
}

/// A group of options that other algorithms do not read.
fn group(field: &str, read: &str, readers: &str) -> Rule {
    option(field, "", "", read, readers)
}

fn option(field: &str, shown: &str, value: &str, read: &str, readers: &str) -> Rule {
    rule(
        format!("!has(self.algorithmConfig) || !has(self.algorithmConfig.{field}) || {read}"),
        &format!(".algorithmConfig.{field}"),
        format!(
            "'algorithmConfig.{field} {shown}is not read with algorithm %s and affinity.type %s: remove it, or use {readers}'\
             .format([{value}{ALGORITHM}, {AFFINITY}])"
        ),
    )
}

pub(crate) fn choice_count_is_read() -> Rule {
    let read = format!("{ALGORITHM} in ['LeastRequest', 'PeakEwma']");
    number("choiceCount", &read, "it with algorithm LeastRequest or PeakEwma")
}

pub(crate) fn decay_is_read() -> Rule {
    let read = format!("{ALGORITHM} == 'PeakEwma'");
    number("decaySeconds", &read, "it with algorithm PeakEwma")
}

pub(crate) fn balance_factor_is_read() -> Rule {
    let read = format!("{ALGORITHM} == 'SourceIpHash' || {KEYED}");
    let readers = "it with algorithm SourceIpHash, or with an affinity of type SourceIP, Header, QueryParam, Path or Cookie \
                   issued by App";
    number("balanceFactor", &read, readers)
}

pub(crate) fn source_ip_is_read() -> Rule {
    let read = format!("({ALGORITHM} == 'SourceIpHash' && {AFFINITY} == 'None')");
    let readers = "it with algorithm SourceIpHash and no affinity; with affinity.type SourceIP it is affinity.sourceIP";
    group("sourceIP", &read, readers)
}

pub(crate) fn slow_start_is_read() -> Rule {
    let read = format!("!({ALGORITHM} in ['RingHash', 'Maglev', 'SourceIpHash'])");
    let readers = "it with algorithm Adaptive, RoundRobin, Random, LeastRequest or PeakEwma";
    group("slowStart", &read, readers)
}

pub(crate) fn hops_are_ranges() -> Rule {
    value(
        "self.all(hop, isCIDR(hop))",
        "'trustedHops must be ranges of addresses, as 10.0.0.0/8 or fd00::/8, but one of them is %s'\
         .format([self.filter(hop, !isCIDR(hop))[0]])",
    )
}

/// A part of an affinity that its type needs.
fn needed(field: &str, kind: &str, example: &str) -> Rule {
    rule(
        format!("has(self.{field}) == (self.type == '{kind}')"),
        &format!(".{field}"),
        format!(
            "self.type == '{kind}' ? 'affinity.type {kind} needs affinity.{field}, as {field}: {{name: {example}}}' : \
             'affinity.{field} is not read with affinity.type %s: remove it, or set affinity.type to {kind}'.format([self.type])"
        ),
    )
}

/// A part of an affinity that only its type reads.
fn read_by(field: &str, read: &str, readers: &str) -> Rule {
    rule(
        format!("!has(self.{field}) || {read}"),
        &format!(".{field}"),
        format!(
            "'affinity.{field} is not read with affinity.type %s: remove it, or set affinity.type to {readers}'\
             .format([self.type])"
        ),
    )
}

pub(crate) fn header_and_its_type() -> Rule {
    needed("header", "Header", "x-user")
}

pub(crate) fn query_param_and_its_type() -> Rule {
    needed("queryParam", "QueryParam", "user")
}

pub(crate) fn cookie_and_its_type() -> Rule {
    read_by("cookie", "self.type == 'Cookie'", "Cookie")
}

pub(crate) fn source_ip_and_its_type() -> Rule {
    read_by("sourceIP", "self.type == 'SourceIP'", "SourceIP")
}

fn of_our_cookie(field: &str) -> Rule {
    rule(
        format!("!has(self.{field}) || {OURS}"),
        &format!(".{field}"),
        format!(
            "'affinity.{field} (%s) is read only for a cookie that the proxies issue, but affinity.type is %s%s: remove it, or set \
             affinity.type to Cookie with cookie.issuedBy Proxy'.format([self.{field}, self.type, \
             self.type == 'Cookie' ? ' with cookie.issuedBy App' : ''])"
        ),
    )
}

pub(crate) fn on_drain_needs_our_cookie() -> Rule {
    of_our_cookie("onDrain")
}

pub(crate) fn on_dead_needs_our_cookie() -> Rule {
    of_our_cookie("onDead")
}

pub(crate) fn an_apps_cookie_has_a_name() -> Rule {
    Rule::new("!has(self.cookie) || self.cookie.issuedBy != 'App' || has(self.cookie.name)")
        .field_path(".cookie")
        .message("affinity.cookie.issuedBy App needs affinity.cookie.name, the name of the cookie that the app sets")
}

pub(crate) fn an_apps_cookie_has_no_attributes() -> Rule {
    let fields = ["path", "ttlSeconds", "sameSite", "secure", "httpOnly"];
    let none: Vec<String> = fields.iter().map(|field| format!("!has(self.{field})")).collect();
    Rule::new(format!("self.issuedBy != 'App' || ({})", none.join(" && "))).message(
        "affinity.cookie.path, ttlSeconds, sameSite, secure and httpOnly are not read with issuedBy App, since the app sets its \
         cookie: remove them, or set issuedBy to Proxy",
    )
}

pub(crate) fn same_site_none_needs_secure() -> Rule {
    Rule::new("!has(self.sameSite) || self.sameSite != 'None' || (has(self.secure) && self.secure)")
        .field_path(".sameSite")
        .message("affinity.cookie.sameSite None needs affinity.cookie.secure true, or browsers drop the cookie; else Lax or Strict")
}

pub(crate) fn cookie_name() -> Rule {
    value(
        format!("self.matches('{TOKEN}')"),
        r"'affinity.cookie.name (%s) must be 1 to 64 letters, digits or characters of !#$%%&\'*+-.^_`|~'.format([self])",
    )
}

pub(crate) fn cookie_path() -> Rule {
    value(
        "self.matches('^/[ -:<-~]*$')",
        "'affinity.cookie.path (%s) must begin with / and be at most 256 printable ASCII characters without ;'.format([self])",
    )
}

pub(crate) fn header_name() -> Rule {
    value(
        format!("self.matches('{TOKEN}')"),
        r"'affinity.header.name (%s) must be 1 to 128 letters, digits or characters of !#$%%&\'*+-.^_`|~'.format([self])",
    )
}

pub(crate) fn query_param_name() -> Rule {
    value(
        "self.matches('^[!-~]+$') && !self.matches('[&=#]')",
        "'affinity.queryParam.name (%s) must be 1 to 128 printable ASCII characters without &, = and #'.format([self])",
    )
}
