//! Paths that a router and an app could read differently.

use crate::row::{Row, Section, form, refused, row, target};

pub(super) fn section() -> Section<Row> {
    let bad = |name, path: &str, rule| row(name, target(path), refused(400), rule);
    let app = |name, path: &str, as_path: &str, rule| {
        row(
            name,
            target(path),
            form(&format!("GET {as_path} HTTP/1.1")).passes(),
            rule,
        )
    };
    let admin = |name, path: &str, as_path: &str, rule| {
        let form = form(&format!("GET {as_path} HTTP/1.1"));
        row(name, target(path), form.admin().passes(), rule)
    };
    let dots = "3986 §5.2.4, §6.2.2.3";
    let encoded = "3986 §2.4";
    let readings = "read otherwise, it leads to another route";
    Section {
        title: "Paths",
        intro: "There is a route for `/admin` and one for all else. What is routed is what is sent on: dot segments are resolved and \
                encoded letters, digits, `-`, `.`, `_`, `~` decoded (RFC 3986 §6.2.2), in both. What stays as it is, but an app may read \
                otherwise (merged slashes, `%2f` and `%5c` decoded, `;parameters` dropped), passes where it finds the same route so, \
                too, and is refused where it finds another. Queries are never looked at.",
        rows: vec![
            admin("plain", "/admin/a", "/admin/a", "3986 §3.3"),
            app("another case", "/ADMIN", "/ADMIN", "3986 §6.2.2.1: paths have a case"),
            admin("up", "/a/../admin", "/admin", dots),
            app("up, out of a route", "/admin/../a", "/a", dots),
            app("up, at the end", "/admin/..", "/", dots),
            admin("here", "/./admin/.", "/admin/", dots),
            admin("up, encoded", "/a/%2e%2E/admin", "/admin", dots),
            admin("up, half encoded", "/a/.%2e/admin", "/admin", dots),
            app("up, out of a route, encoded", "/admin/%2e%2e/a", "/a", dots),
            bad("above the root", "/../admin", "3986 §5.4.2: an error of who sent it"),
            bad(
                "above the root, later",
                "/a/../../admin",
                "3986 §5.4.2: an error of who sent it",
            ),
            bad(
                "above the root, encoded",
                "/%2e%2e/admin",
                "3986 §5.4.2: an error of who sent it",
            ),
            row(
                "up, in an absolute target",
                target("http://a/b/../admin?c=/../"),
                form("GET /admin?c=/../ HTTP/1.1").admin().passes(),
                dots,
            ),
            admin("an encoded letter", "/%61dmin", "/admin", "3986 §6.2.2.2"),
            app("encoded twice", "/%2561dmin", "/%2561dmin", "3986 §2.4: decoded once"),
            app(
                "up, encoded twice",
                "/a/%252e%252e/admin",
                "/a/%252e%252e/admin",
                "3986 §2.4: decoded once",
            ),
            app("an empty segment", "/a//b", "/a//b", "3986 §3.3"),
            app("a URL as a segment", "/get/http://b/c", "/get/http://b/c", "3986 §3.3"),
            bad("an empty segment in front", "//admin", readings),
            bad("three slashes", "///admin", readings),
            bad("up, past an empty segment", "/admin//../a", readings),
            app("an encoded slash", "/a%2Fb", "/a%2Fb", "3986 §2.2"),
            bad("an encoded slash in front", "/%2fadmin", readings),
            bad("up, behind an encoded slash", "/a%2f../admin", "a hidden dot segment"),
            bad("up, before an encoded slash", "/admin/..%2fa", "a hidden dot segment"),
            bad("a backslash", "/a\\admin", "3986 §3.3: none of a path"),
            app("an encoded backslash", "/a%5cb", "/a%5cb", encoded),
            bad("an encoded backslash in front", "/%5cadmin", readings),
            bad(
                "up, behind an encoded backslash",
                "/a/..%5c..%5cadmin",
                "a hidden dot segment",
            ),
            app("a parameter", "/a;b=c/d", "/a;b=c/d", "3986 §3.3"),
            admin(
                "a parameter of the route's segment",
                "/admin;b/c",
                "/admin;b/c",
                "3986 §3.3",
            ),
            bad("a parameter of nothing", "/;a/admin", readings),
            bad("up, with a parameter", "/admin/..;/a", "a hidden dot segment"),
            bad(
                "up, with a parameter that says something",
                "/a/..;b=c/admin",
                "a hidden dot segment",
            ),
            bad("here, with a parameter", "/.;a/admin", "a hidden dot segment"),
            bad("an encoded NUL", "/a%00b", encoded),
            bad("an encoded NUL at the end", "/admin%00", encoded),
            bad("a percent sign alone", "/a%", "3986 §2.1"),
            bad("half an escape", "/a%2", "3986 §2.1"),
            bad("an escape that is none", "/a%zz", "3986 §2.1"),
            bad("up, in overlong UTF-8", "/%c0%ae%c0%ae/admin", "3629 §3"),
            bad("a slash in overlong UTF-8", "/a%c0%afadmin", "3629 §3"),
            app("encoded UTF-8", "/%c3%a9%20", "/%c3%a9%20", "3986 §2.5"),
            app(
                "other characters",
                "/a|{b}^\"c",
                "/a|{b}^\"c",
                "browsers send some of them",
            ),
            app(
                "a query of all that",
                "/a?b=/../%00%2f\\;//",
                "/a?b=/../%00%2f\\;//",
                "3986 §3.4",
            ),
        ],
    }
}
