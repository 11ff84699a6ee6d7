//! Files in, resources or the field that is wrong out.

use tenbin_model::{
    AccessLog, AccessLogFormat, Affinity, Balancing, Bodies, Endpoint, EndpointId, EndpointSet, EndpointState, HashKey,
    HashTable, Kind, Limits, Listener, Policy, Retry, RetryOn, Route, RouteTable, SlowStart, Target, Timeouts,
    TlsVersion, UpstreamProtocol, VirtualHost,
};

use super::*;

const SMALL: &str = "
listeners:
  - name: web
    address: 127.0.0.1:8080
    routes:
      - cluster: hello
clusters:
  - name: hello
    endpoints: ['127.0.0.1:9002', '127.0.0.1:9001']
";

fn error(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "{from}");
    parse("t.yaml", &SMALL.replacen(from, to, 1)).unwrap_err().to_string()
}

#[test]
fn the_example_is_read_whole() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/standalone.yaml");
    let standalone = load(Path::new(path)).unwrap();
    assert!(standalone.status.is_some());
    assert!(standalone.admin.is_some());
    let kinds: Vec<_> = standalone.update.set.iter().map(Resource::kind).collect();
    let (cluster, listener) = ([Kind::Cluster, Kind::Endpoints], [Kind::Listener, Kind::Routes]);
    let expected = [&[Kind::Secret][..], &cluster, &cluster, &cluster, &listener].concat();
    assert_eq!(kinds, expected);
}

#[test]
fn what_is_left_out_has_its_default() {
    let standalone = parse("t.yaml", SMALL).unwrap();
    let name = ResourceName::parse("name", "hello").unwrap();
    let web = ResourceName::parse("name", "web").unwrap();
    let endpoint = |address: &str| Endpoint {
        id: EndpointId::parse("id", address).unwrap(),
        address: address.parse().unwrap(),
        state: EndpointState::Ready,
        instance: address.to_owned(),
        weight: 1,
        zone: String::new(),
    };
    let expected = vec![
        Resource::Cluster(Cluster {
            balancing: Balancing {
                policy: Policy::Adaptive,
                ..Balancing::default()
            },
            ..Cluster::new(name.clone())
        }),
        Resource::Endpoints(EndpointSet {
            cluster: name.clone(),
            endpoints: vec![endpoint("127.0.0.1:9001"), endpoint("127.0.0.1:9002")],
        }),
        Resource::Listener(Listener::new(web.clone(), ([127, 0, 0, 1], 8080).into(), web.clone())),
        Resource::Routes(RouteTable {
            name: web,
            hosts: vec![VirtualHost {
                name: "*".to_owned(),
                domains: vec!["*".to_owned()],
                routes: vec![Route::new("/", name)],
            }],
        }),
    ];
    assert_eq!(standalone.update.set, expected);
    assert_eq!((standalone.status, standalone.admin), (None, None));
}

#[test]
fn routes_of_one_host_come_together_in_their_order() {
    let text = SMALL.replace(
        "      - cluster: hello\n",
        "      - {host: a.example, prefix: /x, cluster: hello, requestTimeout: 500ms}
      - {cluster: hello}
      - {host: a.example, cluster: hello, requestTimeout: 2m}\n",
    );
    let standalone = parse("t.yaml", &text).unwrap();
    let Some(Resource::Routes(table)) = standalone.update.set.last() else {
        panic!("no routes")
    };
    let hosts: Vec<_> = table.hosts.iter().map(|h| (h.name.as_str(), h.routes.len())).collect();
    assert_eq!(hosts, [("a.example", 2), ("*", 1)]);
    assert_eq!(table.hosts[0].routes[0].prefix, "/x");
    assert_eq!(table.hosts[0].routes[0].timeouts.request, Duration::from_millis(500));
    assert_eq!(table.hosts[0].routes[1].timeouts.request, Duration::from_secs(120));
}

#[test]
fn mistakes_are_told_by_field_and_value() {
    for (from, to, told) in [
        (
            "127.0.0.1:8080",
            "localhost:8080",
            "t.yaml: listeners[0].address: \"localhost:8080\" is not accepted",
        ),
        (
            "cluster: hello",
            "cluster: helo",
            "listeners[0].routes[0].cluster: \"helo\" is not accepted",
        ),
        (
            "cluster: hello",
            "{cluster: hello, host: '*.a'}",
            "listeners[0].routes[0].host: \"*.a\"",
        ),
        (
            "cluster: hello",
            "{cluster: hello, prefix: x}",
            "listeners[0].routes[0].prefix: \"x\"",
        ),
        (
            "cluster: hello",
            "{cluster: hello, requestTimeout: 5}",
            "listeners[0].routes[0].requestTimeout: \"5\"",
        ),
        (
            "cluster: hello",
            "{cluster: hello, requestTimeout: 0s}",
            "requestTimeout: \"0ns\"",
        ),
        (
            "'127.0.0.1:9002'",
            "'127.0.0.1:9001'",
            "clusters[0].endpoints[1]: \"127.0.0.1:9001\"",
        ),
        (
            "'127.0.0.1:9002'",
            "'127.0.0.1:0'",
            "clusters[0].endpoints[0]: \"127.0.0.1:0\"",
        ),
        (
            "endpoints:",
            "algorithm: Best\n    endpoints:",
            "clusters[0].algorithm: \"Best\"",
        ),
        ("listeners:", "status: here\nlisteners:", "status: \"here\""),
        ("endpoints:", "endpoint:", "endpoint"),
        ("    routes:", "    timeout: 3s\n    routes:", "timeout"),
    ] {
        let error = error(from, to);
        assert!(error.contains(told), "{to}: {error}");
    }
    let twice = SMALL.replace("clusters:", "clusters:\n  - {name: hello, endpoints: []}");
    let error = parse("t.yaml", &twice).unwrap_err().to_string();
    assert!(error.contains("clusters[1].name: \"hello\""), "{error}");
}

/// The first cluster of the small file with these lines in it.
fn cluster(lines: &str) -> Result<(Balancing, Vec<u32>), String> {
    let text = SMALL.replace("    endpoints:", &format!("{lines}\n    endpoints:"));
    let standalone = parse("t.yaml", &text).map_err(|error| error.to_string())?;
    let mut found = (Balancing::default(), Vec::new());
    for resource in standalone.update.set {
        match resource {
            Resource::Cluster(cluster) => found.0 = cluster.balancing,
            Resource::Keys(keys) => found.1 = keys.keys.iter().map(|key| key.id).collect(),
            _ => {}
        }
    }
    Ok(found)
}

#[test]
fn balancing_is_said_as_in_a_balanced_app() {
    let (balancing, keys) = cluster(
        "    algorithm: PeakEwma
    algorithmConfig: {choiceCount: 3, decay: 5s, slowStart: {window: 30s}}",
    )
    .unwrap();
    let decay = Duration::from_secs(5);
    let expected = Balancing {
        policy: Policy::PeakEwma {
            decay,
            choices: Some(3),
        },
        slow_start: Some(SlowStart {
            window: Duration::from_secs(30),
            floor: SlowStart::DEFAULT_FLOOR,
        }),
        ..Balancing::default()
    };
    assert_eq!((balancing, keys), (expected, vec![]));
    for (lines, key, table) in [
        (
            "    algorithm: Maglev\n    affinity: {type: Header, header: {name: X-User}}",
            HashKey::Header("x-user".to_owned()),
            HashTable::Maglev,
        ),
        ("    algorithm: SourceIpHash", HashKey::SOURCE_IP, HashTable::Ring),
        (
            "    algorithm: SourceIpHash\n    affinity: {type: SourceIP, sourceIP: {ipv4PrefixLength: 24}}",
            HashKey::SourceIp { v4: 24, v6: 128 },
            HashTable::Ring,
        ),
        (
            "    affinity: {type: Cookie, cookie: {issuedBy: App, name: sid}}",
            HashKey::Cookie("sid".to_owned()),
            HashTable::Ring,
        ),
    ] {
        let expected = Some(Affinity::Hash {
            key,
            table,
            bound: None,
        });
        assert_eq!(cluster(lines).unwrap().0.affinity, expected, "{lines}");
    }
    let (balancing, keys) = cluster("    affinity: {type: Cookie, cookie: {ttl: 30d}, onDrain: Move}").unwrap();
    let Some(Affinity::Cookie(cookie)) = balancing.affinity else {
        panic!("{balancing:?}")
    };
    assert_eq!(cookie.ttl, Some(Duration::from_secs(30 * 24 * 3600)));
    assert_eq!(keys.len(), 1, "made at start");
}

#[test]
fn balancing_that_makes_no_sense_together_is_refused() {
    for (lines, told) in [
        ("    algorithm: RingHash", "clusters[0].algorithm: \"RingHash\""),
        (
            "    algorithm: Maglev\n    affinity: {type: Cookie}",
            "clusters[0].algorithm",
        ),
        (
            "    algorithm: SourceIpHash\n    affinity: {type: Path}",
            "clusters[0].algorithm",
        ),
        (
            "    algorithmConfig: {choiceCount: 3}",
            "clusters[0].algorithmConfig.choiceCount",
        ),
        ("    algorithmConfig: {decay: 3s}", "clusters[0].algorithmConfig.decay"),
        (
            "    algorithmConfig: {balanceFactor: 150}",
            "clusters[0].algorithmConfig.balanceFactor",
        ),
        (
            "    algorithmConfig: {sourceIP: {}}",
            "clusters[0].algorithmConfig.sourceIP",
        ),
        (
            "    algorithm: SourceIpHash\n    algorithmConfig: {slowStart: {window: 3s}}",
            "clusters[0].algorithmConfig.slowStart",
        ),
        (
            "    algorithm: LeastRequest\n    algorithmConfig: {choiceCount: 1}",
            "choiceCount: \"1\" is not accepted, expected 2 to 100",
        ),
        ("    affinity: {type: Best}", "clusters[0].affinity.type: \"Best\""),
        ("    affinity: {type: Header}", "clusters[0].affinity.header.name: \"\""),
        (
            "    affinity: {type: Path, onDrain: Keep}",
            "clusters[0].affinity.onDrain",
        ),
        (
            "    affinity: {type: Cookie, cookie: {issuedBy: App, name: a, secure: true}}",
            "clusters[0].affinity.cookie",
        ),
        (
            "    affinity: {type: Cookie, cookie: {sameSite: None}}",
            "cookie.sameSite: \"None\"",
        ),
        ("    affinity: {type: Cookie, cookie: {ttl: 500d}}", "cookie.ttl"),
        ("    sessionKeys: /no/file", "clusters[0].sessionKeys"),
    ] {
        let error = cluster(lines).unwrap_err();
        assert!(error.contains(told), "{lines}: {error}");
    }
    let error = error("'127.0.0.1:9002'", "{address: '127.0.0.1:9002', weight: 1001}");
    assert!(error.contains("clusters[0].endpoints[0].weight: \"1001\""), "{error}");
    let error = self::error("    routes:", "    trustedHops: [10.0.0.0/33]\n    routes:");
    assert!(
        error.contains("listeners[0].trustedHops[0]: \"10.0.0.0/33\""),
        "{error}"
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = load(Path::new("no-such-file.yaml")).unwrap_err().to_string();
    assert!(error.starts_with("no-such-file.yaml: "), "{error}");
}

/// The resources of the small file, in which `from` is `to`.
fn resources(from: &str, to: &str) -> Result<Vec<Resource>, String> {
    assert!(SMALL.contains(from), "{from}");
    let read = parse("t.yaml", &SMALL.replacen(from, to, 1));
    read.map(|standalone| standalone.update.set)
        .map_err(|error| error.to_string())
}

fn route(fields: &str) -> Result<Route, String> {
    let resources = resources("cluster: hello", &format!("{{cluster: hello, {fields}}}"))?;
    let table = resources.into_iter().find_map(|resource| match resource {
        Resource::Routes(table) => Some(table),
        _ => None,
    });
    Ok(table.unwrap().hosts[0].routes[0].clone())
}

#[test]
fn a_route_says_how_long_how_often_and_how_much() {
    let read = route(
        "requestTimeout: 1m30s, tryTimeout: 2s, idleTimeout: 10m, tunnelIdleTimeout: 1d, requestBodyBytes: 1000, \
         responseBodyBytes: 2000, bufferResponseBytes: 3000, retries: {tries: 5, conditions: [Timeout, GatewayError], \
         statuses: [503, 429], anyMethod: true, bodyBytes: 0, budgetPercent: 50, backoff: 100ms}",
    )
    .unwrap();
    let timeouts = Timeouts {
        request: Duration::from_secs(90),
        per_try: Some(Duration::from_secs(2)),
        idle: Duration::from_secs(600),
        tunnel_idle: Duration::from_secs(24 * 3600),
    };
    let retry = Retry {
        tries: 5,
        on: [RetryOn::Timeout, RetryOn::GatewayError].into(),
        statuses: [429, 503].into(),
        any_method: true,
        body: 0,
        budget: 50,
        backoff: Duration::from_millis(100),
    };
    let bodies = Bodies {
        request_max: Some(1000),
        response_max: Some(2000),
        response_buffer: Some(3000),
    };
    assert_eq!((read.timeouts, read.retry, read.bodies), (timeouts, retry, bodies));
}

#[test]
fn what_makes_no_sense_on_a_route_is_refused() {
    for (fields, told) in [
        (
            "tryTimeout: 61s",
            "routes[0].tryTimeout: \"61s\" is not accepted, expected at most 60s",
        ),
        ("idleTimeout: 8d", "routes[0].idleTimeout: "),
        ("tunnelIdleTimeout: soon", "routes[0].tunnelIdleTimeout: \"soon\""),
        (
            "retries: {conditions: [Timeout]}",
            "routes[0].retries.conditions: \"Timeout\"",
        ),
        (
            "retries: {conditions: [Closed, Weather]}",
            "routes[0].retries.conditions[1]: \"Weather\"",
        ),
        ("retries: {statuses: [200]}", "routes[0].retries.statuses[0]: \"200\""),
        ("retries: {anyMethod: true}", "routes[0].retries.anyMethod: "),
        ("retries: {tries: 1, statuses: [503]}", "routes[0].retries.tries: \"1\""),
        ("retries: {tries: 11}", "routes[0].retries.tries: \"11\""),
        ("retries: {backoff: 11s}", "routes[0].retries.backoff: \"11s\""),
        ("requestBodyBytes: 0", "routes[0].requestBodyBytes: \"0\""),
        ("bufferResponseBytes: 2000000", "routes[0].bufferResponseBytes: "),
    ] {
        let error = route(fields).unwrap_err();
        assert!(error.contains(told), "{fields}: {error}");
    }
}

fn listener(fields: &str) -> Result<Listener, String> {
    let resources = resources("    routes:", &format!("{fields}\n    routes:"))?;
    let listener = resources.into_iter().find_map(|resource| match resource {
        Resource::Listener(listener) => Some(listener),
        _ => None,
    });
    Ok(listener.unwrap())
}

#[test]
fn a_listener_says_what_it_tells_of_requests() {
    let read = listener(
        "    forwarded: true
    servedByHeader: X-Served-By
    accessLog: {format: JSON, oneIn: 100}
    tracing: {collector: 'http://otel:4317', samplePercent: 0.5}",
    )
    .unwrap();
    let log = AccessLog {
        format: AccessLogFormat::Json,
        one_in: 100,
    };
    assert!(read.forwarded);
    assert_eq!((read.served_by.as_deref(), read.access_log), (Some("x-served-by"), log));
    let tracing = read.tracing.unwrap();
    assert_eq!((tracing.sampled, &*tracing.service), (5000, "web"));
    for (fields, told) in [
        (
            "    servedByHeader: Set-Cookie",
            "listeners[0].servedByHeader: \"set-cookie\"",
        ),
        ("    accessLog: {format: XML}", "listeners[0].accessLog.format: \"XML\""),
        (
            "    accessLog: {format: Text, oneIn: 0}",
            "listeners[0].accessLog.oneIn: \"0\"",
        ),
        (
            "    tracing: {collector: otel}",
            "listeners[0].tracing.collector: \"otel\"",
        ),
        (
            "    tracing: {collector: 'http://otel:4317', samplePercent: 101}",
            "listeners[0].tracing.samplePercent: \"101\"",
        ),
        ("    tcp: hello", "listeners[0].routes: "),
    ] {
        let error = listener(fields).unwrap_err();
        assert!(error.contains(told), "{fields}: {error}");
    }
}

#[test]
fn connections_go_to_a_cluster_that_asks_nothing_of_requests() {
    let tcp = |cluster: &str, listener: &str| {
        let text = SMALL.replace(
            "    routes:\n      - cluster: hello",
            &format!("    tcp: hello\n{listener}"),
        );
        let text = text.replace("    endpoints:", &format!("{cluster}\n    endpoints:"));
        let read = parse("t.yaml", &text).map_err(|error| error.to_string());
        read.map(|standalone| standalone.update.set)
    };
    let resources = tcp("    affinity: {type: SourceIP}", "").unwrap();
    let Some(Resource::Listener(listener)) = resources.last() else {
        panic!("{resources:?}")
    };
    assert_eq!(listener.target, Target::Tcp(ResourceName::parse("n", "hello").unwrap()));
    assert_eq!(listener.idle_timeout, Duration::from_secs(3600));
    for (cluster, listener, told) in [
        ("    affinity: {type: Path}", "", "listeners[0].tcp: \"hello\""),
        ("    protocol: http2", "", "listeners[0].tcp: \"hello\""),
        ("", "    forwarded: true", "listeners[0].forwarded: "),
        ("", "    trustedHops: [10.0.0.0/8]", "listeners[0].trustedHops: "),
        ("    name: other", "", "duplicate"),
    ] {
        let error = tcp(cluster, listener).unwrap_err();
        assert!(error.contains(told), "{cluster}{listener}: {error}");
    }
}

const PEM: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

#[test]
fn certificates_are_read_from_files_of_their_own_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let made = rcgen::generate_simple_self_signed(["app.test".to_owned()]).unwrap();
    let (pem, private) = (made.cert.pem(), made.signing_key.serialize_pem());
    let (chain, key) = (file("chain", &pem), file("key", &private));
    let other = rcgen::generate_simple_self_signed(["app.test".to_owned()]).unwrap();
    let another = file("another", &other.signing_key.serialize_pem());
    let secret = private.lines().nth(1).unwrap().to_owned();
    let tls = |chain: &str, key: &str| {
        let fields =
            format!("    tls: {{certificates: [{{chain: {chain}, key: {key}}}], minVersion: '1.3'}}\n    routes:");
        resources("    routes:", &fields)
    };
    let read = tls(&chain, &key).unwrap();
    let [.., Resource::Certificate(certificate), Resource::Listener(listener), _] = read.as_slice() else {
        panic!("{read:?}")
    };
    assert_eq!((&certificate.chain, &certificate.key), (&pem, &private));
    let tls_read = listener.tls.as_ref().unwrap();
    assert_eq!(tls_read.certificates, std::slice::from_ref(&certificate.name));
    assert_eq!(tls_read.minimum, TlsVersion::Tls13);
    let long = file("long", &PEM.repeat(1200));
    for (error, told) in [
        (
            tls("/no/file", &key),
            "listeners[0].tls.certificates[0].chain: \"/no/file: ",
        ),
        (tls(&chain, &chain), "listeners[0].tls.certificates[0].key: "),
        (tls(&key, &key), "listeners[0].tls.certificates[0].chain: "),
        (tls(&long, &key), "listeners[0].tls.certificates[0].chain: "),
        (tls(&chain, &another), "listeners[0].tls.certificates[0].key: "),
        (
            resources("    routes:", "    tls: {certificates: []}\n    routes:"),
            "listeners[0].tls.certificates: \"0\"",
        ),
    ] {
        let error = error.unwrap_err();
        assert!(error.contains(told) && !error.contains(&secret), "{error}");
    }
}

#[test]
fn a_cluster_says_what_its_endpoints_speak_and_how_much_they_take() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca");
    std::fs::write(&ca, PEM).unwrap();
    let cluster = |fields: &str| {
        let resources = resources("    endpoints:", &format!("{fields}\n    endpoints:"))?;
        let cluster = resources.into_iter().find_map(|resource| match resource {
            Resource::Cluster(cluster) => Some(cluster),
            _ => None,
        });
        Ok::<Cluster, String>(cluster.unwrap())
    };
    let tls = format!("    tls: {{serverName: a.example, ca: {}}}", ca.display());
    let read = cluster(&format!(
        "    protocol: http2\n{tls}\n    limits: {{requestsPerEndpoint: 7, queueLength: 0}}"
    ))
    .unwrap();
    let limits = Limits {
        endpoint_requests: Some(7),
        queue: 0,
        ..Limits::default()
    };
    assert_eq!((read.protocol, read.limits), (UpstreamProtocol::Http2, limits));
    let read = read.tls.unwrap();
    assert_eq!((&*read.server_name, &*read.ca), ("a.example", PEM));
    for (fields, told) in [
        ("    protocol: http3", "clusters[0].protocol: \"http3\""),
        ("    tls: {serverName: A, ca: /no}", "clusters[0].tls.serverName: \"A\""),
        ("    tls: {serverName: a, ca: /no}", "clusters[0].tls.ca: \"/no: "),
        ("    tls: {ca: /no}", "serverName"),
        ("    limits: {connections: 0}", "clusters[0].limits.connections: \"0\""),
        ("    limits: {queueLength: 9}", "clusters[0].limits.queueLength: "),
        ("    limits: {queueTimeout: 9s}", "clusters[0].limits.queueTimeout: "),
    ] {
        let error = cluster(fields).unwrap_err();
        assert!(error.contains(told), "{fields}: {error}");
    }
}
