//! What timeouts, retries, limits, TLS and the like are on the wire: what an Envoy is told, and what is refused by which field.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::collections::BTreeSet;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3::Cluster as XdsCluster;
use envoy_types::pb::envoy::config::core::v3::transport_socket::ConfigType as SocketConfig;
use envoy_types::pb::envoy::config::core::v3::{DataSource, Metadata, TransportSocket, data_source::Specifier};
use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::{Route as XdsRoute, RouteAction};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type as SecretType;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CommonTlsContext, DownstreamTlsContext, TlsCertificate, UpstreamTlsContext,
};
use envoy_types::pb::google::protobuf::value::Kind as ValueKind;
use envoy_types::pb::google::protobuf::{Any, BoolValue, Struct, Value};
use prost::{Message, Name};
use tenbin_model::xds::METADATA;
use tenbin_model::{
    AccessLog, AccessLogFormat, Certificate, Cluster, FieldError, Limits, Listener, ListenerTls, ResourceName, Retry,
    RetryOn, Route, Target, Timeouts, TlsVersion, UpstreamProtocol, UpstreamTls,
};

const CA: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";

fn name(text: &str) -> ResourceName {
    ResourceName::parse("name", text).unwrap()
}

fn route() -> Route {
    Route::new("/", name("a"))
}

fn action(route: &Route) -> RouteAction {
    match route.to_xds().action {
        Some(Action::Route(action)) => action,
        other => panic!("{other:?}"),
    }
}

fn cluster() -> Cluster {
    Cluster::new(name("a"))
}

fn listener() -> Listener {
    Listener::new(name("a"), "0.0.0.0:15080".parse().unwrap(), name("a"))
}

/// Our metadata with this JSON under `key`.
fn metadata(key: &str, json: &str) -> Option<Metadata> {
    let value = Value {
        kind: Some(ValueKind::StringValue(json.to_owned())),
    };
    let ours = Struct {
        fields: [(key.to_owned(), value)].into(),
    };
    Some(Metadata {
        filter_metadata: [(METADATA.to_owned(), ours)].into(),
        ..Metadata::default()
    })
}

fn told<T: std::fmt::Debug>(read: Result<T, FieldError>, key: &str) -> String {
    let error = read.unwrap_err().to_string();
    let path = format!("metadata.filter_metadata[{METADATA}].{key}");
    error
        .strip_prefix(&path)
        .unwrap_or_else(|| panic!("{error}"))
        .to_owned()
}

#[test]
fn an_envoy_sends_again_only_what_no_app_can_have_begun() {
    let policy = action(&route()).retry_policy.unwrap();
    assert_eq!(policy.retry_on, "connect-failure,refused-stream");
    assert_eq!(policy.num_retries.unwrap().value, 2);
    assert_eq!(policy.per_try_timeout, None);
    assert_eq!(policy.retriable_request_headers, []);
    let once = Route {
        retry: Retry {
            tries: 1,
            ..Retry::default()
        },
        ..route()
    };
    assert_eq!(action(&once).retry_policy, None);
}

#[test]
fn an_envoy_is_told_of_conditions_and_keeps_to_idempotent_methods() {
    let mut route = route();
    route.timeouts.per_try = Some(Duration::from_millis(1500));
    route.retry.on = BTreeSet::from([RetryOn::Timeout, RetryOn::GatewayError]);
    route.retry.statuses = BTreeSet::from([429]);
    let policy = action(&route).retry_policy.unwrap();
    assert_eq!(
        policy.retry_on,
        "connect-failure,refused-stream,reset,gateway-error,retriable-status-codes"
    );
    let time = policy.per_try_timeout.unwrap();
    assert_eq!((time.seconds, time.nanos), (1, 500_000_000));
    assert_eq!(policy.retriable_status_codes, [429]);
    assert_eq!(policy.retriable_request_headers[0].name, ":method");
    route.retry.any_method = true;
    assert_eq!(action(&route).retry_policy.unwrap().retriable_request_headers, []);
}

#[test]
fn an_envoy_never_cuts_what_our_proxy_would_not() {
    let mut route = route();
    assert_eq!(action(&route).timeout.unwrap().seconds, 0);
    assert_eq!(action(&route).idle_timeout.unwrap().seconds, 3600);
    route.timeouts = Timeouts {
        request: Duration::from_secs(7200),
        ..route.timeouts
    };
    assert_eq!(action(&route).idle_timeout.unwrap().seconds, 7200);
}

#[test]
fn a_route_with_the_defaults_says_nothing_of_them() {
    assert_eq!(route().to_xds().metadata, None);
    assert_eq!(cluster().to_xds().circuit_breakers, None);
    assert_eq!(listener().to_xds().metadata, None);
}

#[test]
fn options_of_a_route_are_refused_by_the_field_that_is_wrong() {
    let refused = |json: &str| {
        let xds = XdsRoute {
            metadata: metadata("route", json),
            ..route().to_xds()
        };
        told(Route::from_xds(&xds), "route")
    };
    for (json, error) in [
        (r#"{"timeouts":{"request":"0s"}}"#, ".timeouts.request: \"0ns\""),
        (r#"{"timeouts":{"per_try":"1m"}}"#, ".timeouts.per_try: \"1m\""),
        (r#"{"timeouts":{"idle":"604801s"}}"#, ".timeouts.idle: "),
        (r#"{"timeouts":{"tunnel_idle":""}}"#, ".timeouts.tunnel_idle: "),
        (
            r#"{"retry":{"tries":11}}"#,
            ".retry.tries: \"11\" is not accepted, expected 1 to 10",
        ),
        (r#"{"retry":{"on":["closed","weather"]}}"#, ".retry.on[1]: \"weather\""),
        (r#"{"retry":{"statuses":[503,399]}}"#, ".retry.statuses[1]: \"399\""),
        (
            r#"{"retry":{"statuses":[400,400,400,400,400,400,400,400,400,400,400,400,400,400,400,400,400]}}"#,
            ".retry.statuses: \"17\"",
        ),
        (r#"{"retry":{"body":1048577}}"#, ".retry.body: \"1048577\""),
        (r#"{"retry":{"budget":101}}"#, ".retry.budget: \"101\""),
        (r#"{"retry":{"backoff":"11s"}}"#, ".retry.backoff: \"11s\""),
        (r#"{"bodies":{"request_max":0}}"#, ".bodies.request_max: \"0\""),
        (r#"{"bodies":{"response_max":1099511627777}}"#, ".bodies.response_max: "),
        (r#"{"bodies":{"response_buffer":1048577}}"#, ".bodies.response_buffer: "),
        (r#"{"retry":3}"#, ": "),
        ("nonsense", ": "),
    ] {
        let got = refused(json);
        assert!(got.starts_with(error), "{json}: {got}");
    }
    let newer = XdsRoute {
        metadata: metadata("route", r#"{"retry":{"tries":2,"mood":1},"weather":{}}"#),
        ..route().to_xds()
    };
    assert_eq!(
        Route::from_xds(&newer).unwrap().retry.tries,
        2,
        "what is not known is passed over"
    );
}

#[test]
fn limits_are_told_to_an_envoy_and_read_from_our_metadata() {
    let limits = Limits {
        connections: Some(100),
        endpoint_connections: Some(10),
        queue: 7,
        ..Limits::default()
    };
    let xds = Cluster { limits, ..cluster() }.to_xds();
    let breakers = xds.circuit_breakers.clone().unwrap();
    let all = breakers.thresholds[0];
    assert_eq!(all.max_connections.unwrap().value, 100);
    assert_eq!(
        all.max_requests.unwrap().value,
        u32::MAX,
        "no limit, where Envoy has 1024"
    );
    assert_eq!(all.max_pending_requests.unwrap().value, 7);
    assert_eq!(breakers.per_host_thresholds[0].max_connections.unwrap().value, 10);
    let refused = |json: &str| {
        let metadata = metadata("balancing", &format!(r#"{{"algorithm":"random","limits":{json}}}"#));
        let xds = XdsCluster {
            metadata,
            ..xds.clone()
        };
        told(Cluster::from_xds(&xds), "balancing")
    };
    for (json, error) in [
        (r#"{"connections":0}"#, ".limits.connections: \"0\""),
        (r#"{"endpoint_connections":1000001}"#, ".limits.endpoint_connections: "),
        (r#"{"requests":-1}"#, ": "),
        (r#"{"endpoint_requests":0}"#, ".limits.endpoint_requests: \"0\""),
        (r#"{"queue":100001}"#, ".limits.queue: \"100001\""),
        (r#"{"queue_timeout":"0s"}"#, ".limits.queue_timeout: \"0ns\""),
    ] {
        let got = refused(json);
        assert!(got.starts_with(error), "{json}: {got}");
    }
}

#[test]
fn options_of_a_listener_are_refused_by_the_field_that_is_wrong() {
    for (json, error) in [
        (r#"{"served_by":"set-cookie"}"#, ".served_by: \"set-cookie\""),
        (r#"{"served_by":"X-By"}"#, ".served_by: \"X-By\""),
        (r#"{"access_log":{"format":"xml"}}"#, ".access_log.format: \"xml\""),
        (
            r#"{"access_log":{"format":"text","one_in":0}}"#,
            ".access_log.one_in: \"0\"",
        ),
        (
            r#"{"tracing":{"collector":"otel","sampled":1,"service":"a"}}"#,
            ".tracing.collector: \"otel\"",
        ),
        (
            r#"{"tracing":{"collector":"http://otel:1","sampled":1000001,"service":"a"}}"#,
            ".tracing.sampled: ",
        ),
        (
            r#"{"tracing":{"collector":"http://otel:1","sampled":1}}"#,
            ".tracing.service: \"\"",
        ),
    ] {
        let mut xds = listener().to_xds();
        xds.metadata = metadata("listener", json);
        let got = told(Listener::from_xds(&xds), "listener");
        assert!(got.starts_with(error), "{json}: {got}");
    }
    let mut xds = listener().to_xds();
    xds.metadata = metadata("listener", r#"{"access_log":{"format":"json"},"mood":1}"#);
    let json = AccessLog {
        format: AccessLogFormat::Json,
        one_in: 1,
    };
    assert_eq!(Listener::from_xds(&xds).unwrap().access_log, json);
}

#[test]
fn endpoints_of_http2_are_told_to_an_envoy_and_no_third_protocol_is_taken() {
    const KEY: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    assert!(cluster().to_xds().typed_extension_protocol_options.is_empty());
    let http2 = Cluster {
        protocol: UpstreamProtocol::Http2,
        ..cluster()
    };
    let xds = http2.to_xds();
    assert_eq!(Cluster::from_xds(&xds), Ok(http2));
    let refused = |change: fn(&mut XdsCluster)| {
        let mut xds = xds.clone();
        change(&mut xds);
        Cluster::from_xds(&xds).unwrap_err().to_string()
    };
    let path = format!("typed_extension_protocol_options[{KEY}]");
    let emptied = refused(|c| c.typed_extension_protocol_options.get_mut(KEY).unwrap().value.clear());
    assert!(emptied.starts_with(&path), "{emptied}");
    let other = refused(|c| {
        drop(
            c.typed_extension_protocol_options
                .insert("other".to_owned(), Any::default()),
        );
    });
    assert!(
        other.starts_with("typed_extension_protocol_options: \"other\""),
        "{other}"
    );
}

fn to_endpoints(change: impl FnOnce(&mut UpstreamTlsContext)) -> Result<Cluster, FieldError> {
    let tls = UpstreamTls {
        server_name: "hello.shop.svc".to_owned(),
        ca: CA.to_owned(),
    };
    let mut xds = Cluster {
        tls: Some(tls),
        ..cluster()
    }
    .to_xds();
    edit(xds.transport_socket.as_mut().unwrap(), change);
    Cluster::from_xds(&xds)
}

/// Changes the context inside a socket.
fn edit<C: Message + Default>(socket: &mut TransportSocket, change: impl FnOnce(&mut C)) {
    let Some(SocketConfig::TypedConfig(any)) = &mut socket.config_type else {
        panic!("no context")
    };
    let mut context = C::decode(any.value.as_slice()).unwrap();
    change(&mut context);
    any.value = context.encode_to_vec();
}

#[test]
fn tls_with_endpoints_that_would_verify_less_or_otherwise_is_refused() {
    let common = |context: &mut UpstreamTlsContext| context.common_tls_context.take().unwrap();
    assert!(to_endpoints(|_| {}).is_ok());
    let as_bytes = to_endpoints(|context| {
        let Some(ValidationContextType::ValidationContext(v)) =
            &mut context.common_tls_context.as_mut().unwrap().validation_context_type
        else {
            panic!("not verified")
        };
        v.trusted_ca.as_mut().unwrap().specifier = Some(Specifier::InlineBytes(CA.into()));
    });
    assert_eq!(as_bytes.unwrap().tls.unwrap().ca, CA);
    for (what, read) in [
        ("not verified", to_endpoints(|c| drop(common(c)))),
        ("another name asked for", to_endpoints(|c| c.sni = "other".to_owned())),
        ("no name asked for", to_endpoints(|c| c.sni.clear())),
        ("renegotiation", to_endpoints(|c| c.allow_renegotiation = true)),
        (
            "a certificate of our own",
            to_endpoints(|c| {
                let common = c.common_tls_context.as_mut().unwrap();
                common.tls_certificates.push(TlsCertificate::default());
            }),
        ),
        (
            "no name to verify",
            to_endpoints(|c| {
                let common = c.common_tls_context.as_mut().unwrap();
                if let Some(ValidationContextType::ValidationContext(v)) = &mut common.validation_context_type {
                    v.match_typed_subject_alt_names.clear();
                }
            }),
        ),
        (
            "expired certificates",
            to_endpoints(|c| {
                let common = c.common_tls_context.as_mut().unwrap();
                if let Some(ValidationContextType::ValidationContext(v)) = &mut common.validation_context_type {
                    v.allow_expired_certificate = true;
                }
            }),
        ),
    ] {
        let error = read.expect_err(what);
        assert!(
            error.path.starts_with("transport_socket.typed_config"),
            "{what}: {error}"
        );
    }
}

#[test]
fn an_address_is_verified_but_not_asked_for() {
    let tls = UpstreamTls {
        server_name: "10.0.0.1".to_owned(),
        ca: CA.to_owned(),
    };
    let by_address = Cluster {
        tls: Some(tls),
        ..cluster()
    };
    let mut xds = by_address.to_xds();
    assert_eq!(Cluster::from_xds(&xds), Ok(by_address));
    edit(
        xds.transport_socket.as_mut().unwrap(),
        |context: &mut UpstreamTlsContext| {
            assert_eq!(context.sni, "");
        },
    );
}

fn with_tls(target: Target, change: impl FnOnce(&mut DownstreamTlsContext)) -> Result<Listener, FieldError> {
    let tls = ListenerTls {
        certificates: vec![name("a/tls/1"), name("a/tls/0")],
        minimum: TlsVersion::Tls13,
    };
    let mut xds = Listener {
        tls: Some(tls),
        target,
        ..listener()
    }
    .to_xds();
    edit(xds.filter_chains[0].transport_socket.as_mut().unwrap(), change);
    Listener::from_xds(&xds)
}

#[test]
fn clients_choose_among_the_versions_of_http_but_nothing_for_tcp() {
    with_tls(Target::Http(name("a")), |context| {
        let common = context.common_tls_context.as_ref().unwrap();
        assert_eq!(common.alpn_protocols, ["h2", "http/1.1"]);
    })
    .unwrap();
    let tcp = with_tls(Target::Tcp(name("a")), |context| {
        assert_eq!(context.common_tls_context.as_ref().unwrap().alpn_protocols, [""; 0]);
    })
    .unwrap();
    assert_eq!(
        tcp.tls.unwrap().certificates,
        [name("a/tls/1"), name("a/tls/0")],
        "in their order"
    );
}

#[test]
fn tls_with_clients_that_we_would_not_do_is_refused() {
    type Change = fn(&mut DownstreamTlsContext);
    fn common(context: &mut DownstreamTlsContext) -> &mut CommonTlsContext {
        context.common_tls_context.as_mut().unwrap()
    }
    let cases: [(&str, Change); 6] = [
        ("certificates of clients", |c| {
            c.require_client_certificate = Some(BoolValue { value: true });
        }),
        ("inline certificates", |c| {
            common(c).tls_certificates.push(TlsCertificate::default());
        }),
        ("no certificates", |c| {
            common(c).tls_certificate_sds_secret_configs.clear();
        }),
        ("twice the same", |c| {
            let secrets = &mut common(c).tls_certificate_sds_secret_configs;
            secrets[1] = secrets[0].clone();
        }),
        ("another source", |c| {
            common(c).tls_certificate_sds_secret_configs[0].sds_config = None;
        }),
        ("an old version", |c| {
            common(c).tls_params.as_mut().unwrap().tls_minimum_protocol_version = 1;
        }),
    ];
    for (what, change) in cases {
        let error = with_tls(Target::Http(name("a")), change).expect_err(what);
        let path = "filter_chains[0].transport_socket.typed_config";
        assert!(error.path.starts_with(path), "{what}: {error}");
    }
}

#[test]
fn a_listener_of_tcp_names_a_cluster() {
    let tcp = Listener {
        target: Target::Tcp(name("db")),
        ..listener()
    };
    let mut xds = tcp.to_xds();
    assert_eq!(Listener::from_xds(&xds), Ok(tcp));
    let filter = &mut xds.filter_chains[0].filters[0];
    assert_eq!(filter.name, "envoy.filters.network.tcp_proxy");
    let Some(ConfigType::TypedConfig(any)) = &mut filter.config_type else {
        panic!("no filter")
    };
    any.value.clear();
    let error = Listener::from_xds(&xds).unwrap_err();
    assert_eq!(error.path, "filter_chains[0].filters[0].typed_config.cluster");
}

#[test]
fn certificates_are_refused_without_being_shown() {
    let certificate = Certificate {
        name: name("a/tls/0"),
        chain: CA.to_owned(),
        key: KEY.to_owned(),
    };
    assert_eq!(format!("{certificate:?}"), "Certificate(a/tls/0)");
    assert_eq!(Certificate::from_xds(&certificate.to_xds()), Ok(certificate.clone()));
    let inline = |text: &str| {
        Some(DataSource {
            specifier: Some(Specifier::InlineString(text.to_owned())),
            ..DataSource::default()
        })
    };
    let refused = |chain: Option<DataSource>, key: Option<DataSource>| {
        let mut xds = certificate.to_xds();
        let Some(SecretType::TlsCertificate(both)) = &mut xds.r#type else {
            panic!("no certificate")
        };
        (both.certificate_chain, both.private_key) = (chain, key);
        let error = Certificate::from_xds(&xds).unwrap_err();
        assert!(!error.to_string().contains("c2Vj"), "{error}");
        error.path
    };
    let (chain, key) = ("tls_certificate.certificate_chain", "tls_certificate.private_key");
    assert_eq!(refused(None, inline(KEY)), chain);
    assert_eq!(refused(inline(KEY), inline(KEY)), chain);
    assert_eq!(refused(inline(&CA.repeat(1200)), inline(KEY)), chain);
    assert_eq!(refused(inline(CA), None), key);
    assert_eq!(refused(inline(CA), inline(CA)), key);
    assert_eq!(refused(inline(CA), inline(&KEY[..KEY.len() - 9])), key);
    let file = Some(DataSource {
        specifier: Some(Specifier::Filename("/etc/key".to_owned())),
        ..DataSource::default()
    });
    assert_eq!(refused(inline(CA), file), key, "nobody makes a proxy read a file");
}

#[test]
fn a_type_that_is_not_expected_is_named() {
    let mut xds = listener().to_xds();
    let Some(ConfigType::TypedConfig(any)) = &mut xds.filter_chains[0].filters[0].config_type else {
        panic!("no filter")
    };
    any.type_url = UpstreamTlsContext::type_url();
    let error = Listener::from_xds(&xds).unwrap_err();
    assert_eq!(error.path, "filter_chains[0].filters[0].typed_config.type_url");
}
