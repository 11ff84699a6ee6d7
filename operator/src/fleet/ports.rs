//! Which port number is whose in a pod. Computed from the spec alone, so that compile and the pod template agree without asking.

use std::collections::BTreeSet;

use serde_json::Value;
use tenbin_crds::BalancedAppSpec;

/// Where the proxy's first listener tries to be.
const FIRST_LISTENER: u16 = 15080;
/// Where the proxy's /livez, /readyz and /metrics try to be.
const FIRST_ADMIN: u16 = 15020;

/// The ports of a pod that the operator decides on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The app's, in the order of the spec.
    pub app: Vec<PortPlan>,
    /// The proxy's own, for /livez, /readyz and /metrics.
    pub admin: u16,
}

/// One port of the app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPlan {
    /// Its name.
    pub name: String,
    /// Where the app listens.
    pub app: u16,
    /// Where the proxy listens for it.
    pub listen: u16,
    /// Where the Service listens for it.
    pub service: u16,
}

impl PortPlan {
    /// The name of the proxy's port for it: at most 15 characters, as Kubernetes has it.
    pub fn proxy_name(&self) -> String {
        format!("tb-{}", self.name)
    }
}

impl Ports {
    /// The ports of a spec: the proxy's are the first that neither the app nor a container of `podTemplate` uses.
    pub fn of(spec: &BalancedAppSpec) -> Self {
        let mut used: BTreeSet<u16> = spec.ports.iter().map(|port| port.port).collect();
        used.extend(declared(spec));
        let app = spec.ports.iter().map(|port| PortPlan {
            name: port.name.clone(),
            app: port.port,
            listen: claim(&mut used, FIRST_LISTENER),
            service: port.service_port.unwrap_or(port.port),
        });
        Ports {
            app: app.collect(),
            admin: claim(&mut used, FIRST_ADMIN),
        }
    }
}

/// The port numbers that containers of `podTemplate` declare, read without judging.
fn declared(spec: &BalancedAppSpec) -> impl Iterator<Item = u16> {
    let pod = spec.pod_template.as_ref().and_then(|t| t.get("spec"));
    let lists = ["containers", "initContainers"]
        .into_iter()
        .filter_map(move |list| pod?.get(list)?.as_array());
    let ports = lists
        .flatten()
        .filter_map(|container| container.get("ports")?.as_array())
        .flatten();
    ports.filter_map(|port| u16::try_from(port.get("containerPort").and_then(Value::as_u64)?).ok())
}

/// The first free number from `first` on. There is always one: an object that declares 50,000 ports is larger than etcd takes.
fn claim(used: &mut BTreeSet<u16>, first: u16) -> u16 {
    let free = (first..=u16::MAX).find(|port| !used.contains(port)).unwrap_or(first);
    used.insert(free);
    free
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(ports: &Value, template: &Value) -> BalancedAppSpec {
        serde_json::from_value(json!({"image": "i", "ports": ports, "podTemplate": template})).expect("valid")
    }

    #[test]
    fn the_proxy_takes_the_first_free_ports() {
        let plain = Ports::of(&spec(
            &json!([{"name": "a", "port": 80}, {"name": "b", "port": 81, "servicePort": 8}]),
            &json!(null),
        ));
        let listen: Vec<u16> = plain.app.iter().map(|p| p.listen).collect();
        assert_eq!((listen.as_slice(), plain.admin), ([15080, 15081].as_slice(), 15020));
        assert_eq!((plain.app[0].service, plain.app[1].service), (80, 8));
    }

    #[test]
    fn the_proxy_avoids_ports_of_the_app_and_of_every_container() {
        let template = json!({"spec": {
            "containers": [{"name": "x", "ports": [{"containerPort": 15080}, {"containerPort": 15020}]}],
            "initContainers": [{"name": "y", "ports": [{"containerPort": 15082}, {"containerPort": "no"}]}],
        }});
        let busy = Ports::of(&spec(
            &json!([{"name": "a", "port": 15081}, {"name": "b", "port": 80}]),
            &template,
        ));
        let listen: Vec<u16> = busy.app.iter().map(|p| p.listen).collect();
        assert_eq!((listen.as_slice(), busy.admin), ([15083, 15084].as_slice(), 15021));
    }

    #[test]
    fn any_template_is_read_without_a_panic() {
        for template in [
            json!({"spec": 1}),
            json!({"spec": {"containers": {}}}),
            json!({"spec": {"containers": [1, {"ports": 1}]}}),
        ] {
            let plan = Ports::of(&spec(&json!([{"name": "a", "port": 80}]), &template));
            assert_eq!(plan.app[0].listen, 15080);
        }
    }
}
