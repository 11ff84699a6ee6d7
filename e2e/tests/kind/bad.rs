//! Item 5: mistakes people make. Each is refused at once, or reported in the conditions, by a message that names field and value;
//! and an app that runs goes on as it was.

use anyhow::{Context, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tenbin_e2e::{App, Lab, demo_spec, eventually, test};

/// A mistake: where it stands in the manifest (`/spec`: in several of its fields), what stands there, and what a message about it must name.
struct Mistake {
    what: &'static str,
    path: &'static str,
    value: Value,
    names: &'static [&'static str],
}

fn mistake(what: &'static str, path: &'static str, value: Value, names: &'static [&'static str]) -> Mistake {
    Mistake {
        what,
        path,
        value,
        names,
    }
}

/// Mistakes that `kubectl apply` itself must refuse.
fn refused() -> Vec<Mistake> {
    vec![
        mistake(
            "a negative number of replicas",
            "/spec/replicas",
            json!(-1),
            &["spec.replicas", "-1"],
        ),
        mistake("no ports", "/spec/ports", json!([]), &["spec.ports", "0"]),
        mistake(
            "a port beyond all ports",
            "/spec/ports/0/port",
            json!(70000),
            &["spec.ports[0].port", "70000"],
        ),
        mistake(
            "an algorithm by another spelling",
            "/spec/algorithm",
            json!("round-robin"),
            &["spec.algorithm", "round-robin", "RoundRobin"],
        ),
        mistake(
            "a field by another spelling",
            "/spec/replica",
            json!(3),
            &["spec.replica"],
        ),
        mistake(
            "two ports of one name",
            "/spec/ports",
            json!([{ "name": "http", "port": 8080 }, { "name": "http", "port": 8081 }]),
            &["spec.ports[1]", "http"],
        ),
        mistake(
            "a port's name in capitals",
            "/spec/ports/0/name",
            json!("HTTP"),
            &["spec.ports[0].name", "HTTP"],
        ),
        mistake(
            "two kinds of probe at once",
            "/spec/healthProbe",
            json!({ "http": { "path": "/healthz" }, "tcp": {} }),
            &["spec.healthProbe", "http", "tcp"],
        ),
        mistake(
            "a probe's path without a slash",
            "/spec/healthProbe/http/path",
            json!("healthz"),
            &["spec.healthProbe.http.path", "healthz"],
        ),
        mistake(
            "a probe of a port that is none",
            "/spec/healthProbe/port",
            json!("admin-api"),
            &["spec.healthProbe.port", "admin-api"],
        ),
        mistake(
            "a rollout that can't move",
            "/spec/rollout",
            json!({ "maxSurge": 0, "maxUnavailable": 0 }),
            &["spec.rollout", "maxSurge", "maxUnavailable", "0"],
        ),
        mistake(
            "a drain longer than the grace",
            "/spec/rollout",
            json!({ "drainSeconds": 61, "graceSeconds": 45 }),
            &["spec.rollout", "drainSeconds", "graceSeconds", "61", "45"],
        ),
        mistake(
            "a name that no Service can have",
            "/metadata/name",
            json!("my.shop"),
            &["metadata.name", "my.shop"],
        ),
        mistake(
            "an image that is empty",
            "/spec/image",
            json!(""),
            &["spec.image", "\"\""],
        ),
        mistake(
            "a size in no unit",
            "/spec/resources",
            json!({ "limits": { "memory": "64Megs" } }),
            &["spec.resources", "64Megs"],
        ),
    ]
}

/// Balancing and affinity that make no sense together, which `kubectl apply` itself must refuse. The fields stand beside those of the
/// demo app, whose algorithm is RoundRobin.
fn refused_balancing() -> Vec<Mistake> {
    vec![
        mistake(
            "hashing without a key",
            "/spec",
            json!({"algorithm": "Maglev"}),
            &["spec.algorithm", "Maglev", "affinity.type is None", "Header"],
        ),
        mistake(
            "hashing by a cookie that the proxies issue",
            "/spec",
            json!({"algorithm": "RingHash", "affinity": {"type": "Cookie"}}),
            &["spec.algorithm", "RingHash", "Cookie", "issuedBy App"],
        ),
        mistake(
            "two sources of a key",
            "/spec",
            json!({"algorithm": "SourceIpHash", "affinity": {"type": "Path"}}),
            &["spec.algorithm", "SourceIpHash", "Path", "SourceIP"],
        ),
        mistake(
            "a choice where nothing is chosen",
            "/spec",
            json!({"algorithmConfig": {"choiceCount": 3}}),
            &["spec.algorithmConfig.choiceCount", "RoundRobin", "LeastRequest"],
        ),
        mistake(
            "a decay of nothing",
            "/spec",
            json!({"algorithm": "LeastRequest", "algorithmConfig": {"decaySeconds": 3}}),
            &["spec.algorithmConfig.decaySeconds", "LeastRequest", "PeakEwma"],
        ),
        mistake(
            "a bound of load without a hash",
            "/spec",
            json!({"algorithmConfig": {"balanceFactor": 150}}),
            &["spec.algorithmConfig.balanceFactor", "RoundRobin", "SourceIpHash"],
        ),
        mistake(
            "a part of an address that nobody hashes",
            "/spec",
            json!({"algorithmConfig": {"sourceIP": {"ipv4PrefixLength": 24}}}),
            &["spec.algorithmConfig.sourceIP", "RoundRobin", "SourceIpHash"],
        ),
        mistake(
            "two parts of an address",
            "/spec",
            json!({"algorithm": "SourceIpHash", "affinity": {"type": "SourceIP"}, "algorithmConfig": {"sourceIP": {"ipv4PrefixLength": 24}}}),
            &["spec.algorithmConfig.sourceIP", "affinity.sourceIP"],
        ),
        mistake(
            "a slow start of a hash",
            "/spec",
            json!({"algorithm": "RingHash", "affinity": {"type": "Path"}, "algorithmConfig": {"slowStart": {"windowSeconds": 9}}}),
            &["spec.algorithmConfig.slowStart", "RingHash", "Adaptive"],
        ),
        mistake(
            "a header without its type",
            "/spec",
            json!({"affinity": {"type": "Path", "header": {"name": "x-user"}}}),
            &["spec.affinity.header", "Path", "Header"],
        ),
        mistake(
            "a type without its header",
            "/spec",
            json!({"affinity": {"type": "Header"}}),
            &["spec.affinity", "Header", "x-user"],
        ),
        mistake(
            "a parameter without its type",
            "/spec",
            json!({"affinity": {"type": "Path", "queryParam": {"name": "user"}}}),
            &["spec.affinity.queryParam", "Path", "QueryParam"],
        ),
        mistake(
            "a type without its parameter",
            "/spec",
            json!({"affinity": {"type": "QueryParam"}}),
            &["spec.affinity", "QueryParam", "user"],
        ),
        mistake(
            "a cookie without its type",
            "/spec",
            json!({"affinity": {"type": "None", "cookie": {"name": "user"}}}),
            &["spec.affinity.cookie", "None", "Cookie"],
        ),
        mistake(
            "a part of an address without its type",
            "/spec",
            json!({"affinity": {"type": "Path", "sourceIP": {"ipv6PrefixLength": 64}}}),
            &["spec.affinity.sourceIP", "Path", "SourceIP"],
        ),
        mistake(
            "a drain of no session",
            "/spec",
            json!({"affinity": {"type": "SourceIP", "onDrain": "Move"}}),
            &["spec.affinity.onDrain", "Move", "SourceIP", "Cookie"],
        ),
        mistake(
            "a death of no session",
            "/spec",
            json!({"affinity": {"type": "Cookie", "cookie": {"issuedBy": "App", "name": "sid"}, "onDead": "Fail"}}),
            &["spec.affinity.onDead", "Fail", "issuedBy App", "Proxy"],
        ),
        mistake(
            "an app's cookie without a name",
            "/spec",
            json!({"affinity": {"type": "Cookie", "cookie": {"issuedBy": "App"}}}),
            &["spec.affinity.cookie", "issuedBy App", "cookie.name"],
        ),
        mistake(
            "attributes of an app's cookie",
            "/spec",
            json!({"affinity": {"type": "Cookie", "cookie": {"issuedBy": "App", "name": "sid", "ttlSeconds": 9}}}),
            &["spec.affinity.cookie", "ttlSeconds", "issuedBy App", "Proxy"],
        ),
        mistake(
            "a cookie that browsers drop",
            "/spec",
            json!({"affinity": {"type": "Cookie", "cookie": {"sameSite": "None"}}}),
            &["spec.affinity.cookie.sameSite", "None", "secure true", "Lax"],
        ),
        mistake(
            "a cookie's name with a space",
            "/spec",
            json!({"affinity": {"type": "Cookie", "cookie": {"name": "my cookie"}}}),
            &["spec.affinity.cookie.name", "my cookie", "letters"],
        ),
        mistake(
            "a cookie's path that begins another attribute",
            "/spec",
            json!({"affinity": {"type": "Cookie", "cookie": {"path": "/;Domain=a"}}}),
            &["spec.affinity.cookie.path", "/;Domain=a"],
        ),
        mistake(
            "a header's name with a colon",
            "/spec",
            json!({"affinity": {"type": "Header", "header": {"name": "x-user:"}}}),
            &["spec.affinity.header.name", "x-user:", "letters"],
        ),
        mistake(
            "a parameter's name with its value",
            "/spec",
            json!({"affinity": {"type": "QueryParam", "queryParam": {"name": "user=1"}}}),
            &["spec.affinity.queryParam.name", "user=1"],
        ),
        mistake(
            "a hop that is no range",
            "/spec",
            json!({"trustedHops": ["10.0.0.0/8", "10.0.0.300/32"]}),
            &["spec.trustedHops", "10.0.0.300/32", "10.0.0.0/8"],
        ),
        mistake(
            "a distribution by another spelling",
            "/spec",
            json!({"trafficDistribution": "PreferClose"}),
            &["spec.trafficDistribution", "PreferClose", "PreferSameZone"],
        ),
    ]
}

/// Protocols, resilience and what proxies tell: values out of bounds, and what makes no sense together, which `kubectl apply` itself
/// must refuse.
fn refused_resilience() -> Vec<Mistake> {
    let port = |fields: Value| {
        let mut port = json!({"name": "http", "port": 8080});
        if let (Some(port), Value::Object(fields)) = (port.as_object_mut(), fields) {
            port.extend(fields);
        }
        json!({"ports": [port]})
    };
    let ca = "-----BEGIN CERTIFICATE-----";
    vec![
        mistake(
            "a protocol by another name",
            "/spec",
            port(json!({"appProtocol": "http2"})),
            &["spec.ports[0].appProtocol", "http2", "h2c"],
        ),
        mistake(
            "TLS that is verified by nothing",
            "/spec",
            port(json!({"appProtocol": "https"})),
            &["spec.ports[0].tls", "https", "caBundle"],
        ),
        mistake(
            "TLS where none is spoken",
            "/spec",
            port(json!({"appProtocol": "h2c", "tls": {"caBundle": ca}})),
            &["spec.ports[0].tls", "h2c", "h2 or grpc"],
        ),
        mistake(
            "a CA that is no PEM",
            "/spec",
            port(json!({"appProtocol": "h2", "tls": {"caBundle": "ca.crt"}})),
            &["spec.ports[0].tls.caBundle", "ca.crt", "BEGIN CERTIFICATE"],
        ),
        mistake(
            "a server's name with a wildcard",
            "/spec",
            port(json!({"appProtocol": "grpc", "tls": {"caBundle": ca, "serverName": "*.example.com"}})),
            &["spec.ports[0].tls.serverName", "*.example.com"],
        ),
        mistake(
            "a cookie of connections",
            "/spec",
            json!({"ports": [{"name": "db", "port": 5432, "appProtocol": "tcp"}], "affinity": {"type": "Cookie"}, "healthProbe": {"tcp": {}}}),
            &["spec.affinity.type", "Cookie", "tcp", "SourceIP"],
        ),
        mistake(
            "a time that is none",
            "/spec",
            json!({"resilience": {"timeouts": {"request": "5 seconds"}}}),
            &["spec.resilience.timeouts.request", "5 seconds", "1m30s"],
        ),
        mistake(
            "a time beyond its bounds",
            "/spec",
            json!({"resilience": {"timeouts": {"connect": "61m"}}}),
            &["spec.resilience.timeouts.connect", "61m", "1ms to 1h"],
        ),
        mistake(
            "a time of nothing",
            "/spec",
            json!({"resilience": {"timeouts": {"idle": "0s"}}}),
            &["spec.resilience.timeouts.idle", "0s", "1ms to 24h"],
        ),
        mistake(
            "a try longer than the request",
            "/spec",
            json!({"resilience": {"timeouts": {"perTry": "1m30s"}}}),
            &["spec.resilience.timeouts.perTry", "1m30s", "60s"],
        ),
        mistake(
            "a retry on a timeout that is none",
            "/spec",
            json!({"resilience": {"retries": {"conditions": ["Timeout"]}}}),
            &["spec.resilience.retries.conditions", "Timeout", "perTry"],
        ),
        mistake(
            "a condition by another spelling",
            "/spec",
            json!({"resilience": {"retries": {"conditions": ["5xx"]}}}),
            &["spec.resilience.retries.conditions[0]", "5xx", "GatewayError"],
        ),
        mistake(
            "a status that is a success",
            "/spec",
            json!({"resilience": {"retries": {"statuses": [503, 200]}}}),
            &["spec.resilience.retries.statuses[1]", "200", "400"],
        ),
        mistake(
            "any method, on nothing",
            "/spec",
            json!({"resilience": {"retries": {"anyMethod": true}}}),
            &["spec.resilience.retries.anyMethod", "statuses", "Closed"],
        ),
        mistake(
            "conditions of a single try",
            "/spec",
            json!({"resilience": {"retries": {"tries": 1, "statuses": [503]}}}),
            &["spec.resilience.retries.tries", "statuses", "2 to 10"],
        ),
        mistake(
            "a queue without a limit",
            "/spec",
            json!({"resilience": {"limits": {"queueLength": 9}}}),
            &["spec.resilience.limits", "queueLength", "requestsPerReplica"],
        ),
        mistake(
            "no requests at all",
            "/spec",
            json!({"resilience": {"limits": {"requests": 0}}}),
            &["spec.resilience.limits.requests", "0", "1"],
        ),
        mistake(
            "a buffer for whole films",
            "/spec",
            json!({"resilience": {"bufferResponseBytes": 1_048_577}}),
            &["spec.resilience.bufferResponseBytes", "1048577", "1048576"],
        ),
        mistake(
            "a header that HTTP reads",
            "/spec",
            json!({"proxy": {"servedByHeader": "Set-Cookie"}}),
            &["spec.proxy.servedByHeader", "Set-Cookie", "x-served-by"],
        ),
        mistake(
            "a log in another form",
            "/spec",
            json!({"proxy": {"accessLog": {"format": "json"}}}),
            &["spec.proxy.accessLog.format", "json", "JSON"],
        ),
        mistake(
            "a log of no request",
            "/spec",
            json!({"proxy": {"accessLog": {"format": "Text", "oneIn": 0}}}),
            &["spec.proxy.accessLog.oneIn", "0", "1"],
        ),
    ]
}

/// Mistakes that only the operator, or the API server at its hands, finds.
fn reported() -> Vec<Mistake> {
    vec![
        mistake(
            "a field of the pod by another spelling",
            "/spec/podTemplate",
            json!({ "spec": { "terminationGracePeriodSecond": 9 } }),
            &["podTemplate.spec.terminationGracePeriodSecond"],
        ),
        mistake(
            "a limit below the request",
            "/spec/resources",
            json!({ "requests": { "memory": "256Mi" }, "limits": { "memory": "64Mi" } }),
            &["memory", "256Mi", "64Mi"],
        ),
        mistake(
            "a ServiceAccount that is not there",
            "/spec/serviceAccountName",
            json!("no-such-account"),
            &["serviceaccount", "no-such-account"],
        ),
        mistake(
            "a CA whose PEM can't be read",
            "/spec/ports",
            json!([{ "name": "http", "port": 8080, "appProtocol": "https", "tls": { "caBundle": "-----BEGIN CERTIFICATE-----" } }]),
            &["spec.ports[http].tls.caBundle", "PEM"],
        ),
        mistake(
            "an image that is not there",
            "/spec/image",
            json!("tenbin.invalid/nothing:1"),
            &["image", "tenbin.invalid/nothing:1"],
        ),
    ]
}

fn manifest(lab: &Lab, name: &str, mistake: &Mistake) -> anyhow::Result<Value> {
    let mut object = json!({
        "apiVersion": "tenbin.dev/v1alpha1",
        "kind": "BalancedApp",
        "metadata": { "name": name },
        "spec": demo_spec(lab, 1),
    });
    if mistake.path == "/spec" {
        let fields = mistake.value.as_object().context("fields of the spec")?;
        for (field, value) in fields {
            put(&mut object, &format!("/spec/{field}"), value.clone())?;
        }
    } else {
        put(&mut object, mistake.path, mistake.value.clone())?;
    }
    Ok(object)
}

/// Sets the value at a JSON pointer whose parent exists.
fn put(object: &mut Value, path: &str, value: Value) -> anyhow::Result<()> {
    let (parent, field) = path.rsplit_once('/').context("a path begins with a slash")?;
    let parent = object.pointer_mut(parent).with_context(|| format!("no {parent}"))?;
    parent[field] = value;
    Ok(())
}

#[test]
fn mistakes_are_named() {
    test("bad", async |lab| {
        let mut wrong = Vec::new();
        for mistake in refused()
            .into_iter()
            .chain(refused_balancing())
            .chain(refused_resilience())
        {
            let text = manifest(lab, "mistaken", &mistake)?.to_string();
            let outcome = lab.kubectl.attempt(&["apply", "-f", "-"], &text).await?;
            if outcome.ok {
                wrong.push(format!("{}: accepted", mistake.what));
                lab.kubectl
                    .run(&["delete", "bapp", "mistaken", "--ignore-not-found"])
                    .await?;
            } else if let Some(missing) = mistake.names.iter().find(|n| !outcome.stderr.contains(**n)) {
                wrong.push(format!(
                    "{}: {missing:?} is not named: {}",
                    mistake.what,
                    outcome.stderr.trim()
                ));
            }
        }
        let reported = reported();
        for mistake in &reported {
            let app = manifest(lab, &name_of(mistake), mistake)?;
            lab.kubectl.apply(&app.to_string()).await?;
        }
        for mistake in &reported {
            if let Err(e) = is_reported(lab, mistake).await {
                wrong.push(format!("{}: {e:#}", mistake.what));
            }
        }
        ensure!(
            wrong.is_empty(),
            "{} of the mistakes:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
        Ok(())
    });
}

/// The name of the app that holds a mistake.
fn name_of(mistake: &Mistake) -> String {
    format!(
        "m-{}",
        mistake.path.rsplit('/').next().unwrap_or_default().to_lowercase()
    )
}

/// The mistake shows in the conditions of a new app: not Ready, and why.
async fn is_reported(lab: &Lab, mistake: &Mistake) -> anyhow::Result<()> {
    let app = App::named(lab, &name_of(mistake));
    eventually("reported", 20, async || {
        let conditions = app.conditions().await?;
        let not_ready = conditions.iter().any(|c| c.kind == "Ready" && c.status == "False");
        let named = conditions
            .iter()
            .any(|c| mistake.names.iter().all(|n| c.message.contains(n)));
        ensure!(not_ready && named, "{:?} not named in {conditions:#?}", mistake.names);
        Ok(())
    })
    .await
}

/// Each bad update, also one that is half good, leaves all of the running app as it was; also for pods that start meanwhile.
#[test]
fn a_bad_update_keeps_the_old_one_in_full() {
    test("update", async |lab| {
        let app = App::create(lab, "steady", demo_spec(lab, 2)).await?;
        let driver = lab.driver().await?;
        app.ready(2, 60).await?;
        let load = driver.start(&app.load("/", 4)).await?;
        load.answered(50).await?;
        let deployments = lab.api::<Deployment>();
        let before = deployments.get("steady").await?.metadata.generation;

        // The schema refuses one of these at once; the operator refuses the rest, all of it.
        ensure!(
            app.patch(&json!({ "ports": [] })).await.is_err(),
            "an app without ports was accepted"
        );
        app.patch(&json!({
            "replicas": 3,
            "algorithm": "LeastRequest",
            "ports": [{ "name": "http", "port": 9090, "servicePort": 81 }],
            "resources": { "requests": { "memory": "256Mi" }, "limits": { "memory": "64Mi" } },
        }))
        .await?;
        app.wait_condition("Degraded", "True", &["256Mi", "64Mi"], 20).await?;

        let victim = app.ready_names().await?.pop().context("a pod")?;
        lab.api::<Pod>().delete(&victim, &DeleteParams::default()).await?;
        eventually("a new pod of the old kind is Ready", 60, async || {
            let names = app.ready_names().await?;
            ensure!(names.len() == 2 && !names.contains(&victim), "{names:?}");
            Ok(names)
        })
        .await?;
        load.answered(100).await?;
        let report = load.report().await?;
        super::lossless(&report)?;
        let after = deployments.get("steady").await?;
        ensure!(
            after.metadata.generation == before,
            "the Deployment was changed: {after:?}"
        );
        eventually("the status counts it", 20, async || {
            let status = app.status().await?;
            ensure!(status["readyReplicas"] == 2, "{status:#}");
            Ok(())
        })
        .await?;

        // Alone, or others would take turns with it.
        super::lossless(&load.stop().await?)?;
        let even = tenbin_load::Load {
            count: Some(200),
            pause_ms: 0,
            ..app.load("/", 1)
        };
        let even = driver.run(&even).await?;
        ensure!(
            even.instances.values().all(|i| i.ok == 100),
            "no longer in round robin: {}",
            tenbin_e2e::explain(&even)
        );

        // Mended, all of it comes.
        let load = driver.start(&app.load("/", 4)).await?;
        app.patch(&json!({
            "ports": [{ "name": "http", "port": 9090, "servicePort": 80 }],
            "resources": { "requests": { "memory": "16Mi" }, "limits": { "memory": "64Mi" } },
        }))
        .await?;
        app.ready(3, 90).await?;
        app.wait_condition("Degraded", "False", &[], 20).await?;
        load.answered(50).await?;
        super::lossless(&load.stop().await?)
    });
}
