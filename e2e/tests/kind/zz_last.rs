//! What takes the operators away, or judges all that came before: these tests come last, in the order of their names.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use tenbin_e2e::{App, Lab, demo_spec, eventually, test};

/// What is granted and may be left unused by a run, with the reason.
const SPARE: [(&str, &str, &str, &str); 5] = [
    (
        "get",
        "apps",
        "controllerrevisions",
        "only after a revision of that name was there already",
    ),
    (
        "update",
        "tenbin.dev",
        "balancedapps/finalizers",
        "what an admission plugin asks for of whoever sets an owner that blocks deletion",
    ),
    (
        "create",
        "",
        "secrets",
        "only the first operator of an installation makes the certificate",
    ),
    (
        "update",
        "",
        "secrets",
        "certificates rotate every other month; zz_rotation, which comes after, has them do so by the minute",
    ),
    (
        "create",
        "coordination.k8s.io",
        "leases",
        "only the first operator of an installation makes the lease",
    ),
];

/// A verb on a resource of a group.
type Right = (String, String, String);

/// Before any operator is restarted: what they called and what they may call is the same.
#[test]
fn a_rbac_is_no_wider_than_used() {
    test("rbac", async |lab| {
        let metrics = lab.operator_metrics().await?;
        let label = |s: &tenbin_e2e::Sample, name: &str| s.labels.get(name).cloned().unwrap_or_default();
        let called: BTreeSet<Right> = metrics
            .named("tenbin_operator_api_requests_total")
            .map(|s| {
                // A server-side apply that makes its object needs both rights: the answer tells.
                let made = label(s, "verb") == "patch" && label(s, "code") == "201";
                let verb = if made { "create".to_owned() } else { label(s, "verb") };
                (verb, label(s, "group"), label(s, "resource"))
            })
            .collect();
        ensure!(called.len() > 10, "the operators count too few calls: {called:?}");
        let granted = granted(lab).await?;
        let spare: BTreeSet<Right> = SPARE
            .iter()
            .map(|(verb, group, resource, _)| ((*verb).to_owned(), (*group).to_owned(), (*resource).to_owned()))
            .collect();
        let unused: Vec<&Right> = granted.difference(&called).filter(|r| !spare.contains(*r)).collect();
        let missing: Vec<&Right> = called.difference(&granted).collect();
        ensure!(
            unused.is_empty() && missing.is_empty(),
            "granted, never called: {unused:?}\ncalled, not granted: {missing:?}"
        );
        Ok(())
    });
}

/// Whoever may view, edit or administer a namespace may do so with the apps in it, and no more.
#[test]
fn a_users_roles_include_apps() {
    test("roles", async |lab| {
        let subject = format!("system:serviceaccount:{}:default", lab.namespace);
        let cases = [
            ("view", "get", true),
            ("view", "update", false),
            ("edit", "create", true),
            ("admin", "delete", true),
        ];
        for (role, verb, expected) in cases {
            let clusterrole = format!("--clusterrole={role}");
            let account = format!("--serviceaccount={}:default", lab.namespace);
            lab.kubectl
                .run(&["create", "rolebinding", "r", &clusterrole, &account])
                .await?;
            let may = async |verb: &str, part: &str| {
                let part = format!("--subresource={part}");
                let question = [
                    "auth",
                    "can-i",
                    verb,
                    "balancedapps.tenbin.dev",
                    &part,
                    "--as",
                    &subject,
                ];
                Ok::<bool, anyhow::Error>(lab.kubectl.attempt(&question, "").await?.ok)
            };
            eventually("the role is as it should be", 10, async || {
                let found = may(verb, "").await?;
                ensure!(found == expected, "{role} may {verb}: {found}");
                Ok(())
            })
            .await?;
            let status = may("update", "status").await?;
            ensure!(!status, "{role} may write the status");
            lab.kubectl.run(&["delete", "rolebinding", "r"]).await?;
        }
        Ok(())
    });
}

/// Everything that the operators' `ServiceAccount` is granted, by whatever role.
async fn granted(lab: &Lab) -> anyhow::Result<BTreeSet<Right>> {
    let pods = lab.operators().await?;
    let account = pods[0].spec.as_ref().and_then(|s| s.service_account_name.clone());
    let account = account.context("the operators have a ServiceAccount")?;
    let of_account = |subjects: Option<Vec<k8s_openapi::api::rbac::v1::Subject>>| {
        let mut all = subjects.into_iter().flatten();
        all.any(|s| {
            s.kind == "ServiceAccount" && s.name == account && s.namespace.as_ref() == Some(&lab.settings.system)
        })
    };
    let all = ListParams::default();
    let mut rules: Vec<PolicyRule> = Vec::new();
    let cluster_roles: Api<ClusterRole> = Api::all(lab.client.clone());
    let cluster_bindings: Api<ClusterRoleBinding> = Api::all(lab.client.clone());
    for binding in cluster_bindings.list(&all).await?.items {
        if of_account(binding.subjects) {
            rules.extend(
                cluster_roles
                    .get(&binding.role_ref.name)
                    .await?
                    .rules
                    .unwrap_or_default(),
            );
        }
    }
    let roles: Api<Role> = Api::all(lab.client.clone());
    let bindings: Api<RoleBinding> = Api::all(lab.client.clone());
    for binding in bindings.list(&all).await?.items {
        if !of_account(binding.subjects) {
            continue;
        }
        let name = &binding.role_ref.name;
        let found = match binding.role_ref.kind.as_str() {
            "ClusterRole" => cluster_roles.get(name).await?.rules,
            _ => {
                let namespace = binding.metadata.namespace.context("a binding has a namespace")?;
                let mut in_namespace = roles.list(&all).await?.items.into_iter();
                let role = in_namespace.find(|r| {
                    r.metadata.name.as_ref() == Some(name) && r.metadata.namespace.as_ref() == Some(&namespace)
                });
                role.with_context(|| format!("no role {name}"))?.rules
            }
        };
        rules.extend(found.unwrap_or_default());
    }
    let mut rights = BTreeSet::new();
    for rule in rules {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for verb in &rule.verbs {
                    rights.insert((verb.clone(), group.clone(), resource.clone()));
                }
            }
        }
    }
    Ok(rights)
}

/// `helm uninstall tenbin` leaves the apps serving; installed again, it goes on where it was.
#[test]
fn b_uninstalling_leaves_the_apps_serving() {
    test("uninstall", async |lab| {
        let app = App::create(lab, "stays", demo_spec(lab, 2)).await?;
        let driver = lab.driver().await?;
        app.ready(2, 60).await?;
        let load = driver.start(&app.load("/", 4)).await?;
        load.answered(50).await?;
        lab.with_chart(async || {
            lab.helm(&["uninstall", "tenbin", "--wait"], "").await?;
            eventually("the operators are gone", 60, async || {
                let left = lab.system::<Deployment>().list(&ListParams::default()).await?.items;
                ensure!(left.is_empty(), "{} Deployments", left.len());
                ensure!(lab.operators().await?.is_empty(), "operators are still there");
                Ok(())
            })
            .await?;
            load.answered(100).await?;
            ensure!(app.ready_names().await?.len() == 2, "pods went with the chart");
            super::lossless(&load.report().await?)
        })
        .await?;
        app.ready(2, 60).await?;
        app.patch(&json!({ "replicas": 1 })).await?;
        app.ready(1, 60).await?;
        super::lossless(&load.stop().await?)
    });
}
