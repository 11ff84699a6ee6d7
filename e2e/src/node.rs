//! What is done to a node of the cluster from outside: processes killed or stopped as a machine's trouble would. Nodes of kind are
//! containers, so that all of it stays inside of them.

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Pod;

use crate::kubectl::run;

/// A node.
#[derive(Clone, Debug)]
pub struct Node {
    name: String,
}

impl Node {
    /// The node of that name.
    pub fn named(name: &str) -> Self {
        Node { name: name.to_owned() }
    }

    /// The node that the pod runs on.
    ///
    /// # Errors
    /// It runs on none yet.
    pub fn of(pod: &Pod) -> anyhow::Result<Self> {
        let name = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        Ok(Node::named(name.context("the pod runs on no node")?))
    }

    /// Runs a shell script on the node; gives its standard output.
    ///
    /// # Errors
    /// It does not end with 0: with what it said.
    pub async fn run(&self, script: &str) -> anyhow::Result<String> {
        let outcome = run("docker", &["exec", &self.name, "sh", "-ec", script], "").await?;
        ensure!(
            outcome.ok,
            "on node {}: {script}: {}{}",
            self.name,
            outcome.stdout,
            outcome.stderr
        );
        Ok(outcome.stdout)
    }

    /// Kills containers of a pod with SIGKILL, all of them where `containers` is empty; gives the time when they were dead, in
    /// milliseconds since 1970.
    ///
    /// # Errors
    /// One of them does not run.
    pub async fn kill(pod: &Pod, containers: &[&str]) -> anyhow::Result<u64> {
        let uid = pod.metadata.uid.as_deref().context("the pod has no UID")?;
        let mut script =
            format!("pids=\nall=$(ctr -n k8s.io t ls)\nof='labels.\"io.kubernetes.pod.uid\"==\"{uid}\"'\n");
        let filters: Vec<String> = match containers {
            [] => vec!["$of".to_owned()],
            named => named
                .iter()
                .map(|name| format!("$of,labels.\\\"io.kubernetes.container.name\\\"==\\\"{name}\\\""))
                .collect(),
        };
        for filter in &filters {
            // Containers that ended before are listed too, without a task.
            script += &format!(
                "found=\nfor c in $(ctr -n k8s.io c ls -q \"{filter}\"); do\n\
                 p=$(echo \"$all\" | awk -v c=$c '$1 == c && $3 == \"RUNNING\" {{ print $2 }}')\n\
                 found=\"$found $p\"\ndone\n\
                 [ -n \"$(echo $found)\" ]\npids=\"$pids $found\"\n"
            );
        }
        script += "kill -9 $pids\nwhile kill -0 $pids 2>/dev/null; do :; done\ndate +%s%3N";
        let time = Node::of(pod)?.run(&script).await?;
        time.trim().parse().with_context(|| format!("{time:?} is no time"))
    }
}
