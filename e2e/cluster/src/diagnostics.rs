//! What a failed run needs to be understood, saved from a cluster before it goes: objects, events, logs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::charts::NAMESPACE;
use crate::kind::Cluster;
use crate::own_daemon::tail;
use crate::say::Say;

const LIMIT: Duration = Duration::from_secs(30);
/// The label of an app's pods.
const APP: &str = "tenbin.dev/app";

/// Saves what there is into the folder, replacing what an earlier run left. What can't be had is left out; this runs
/// after a failure, and on a signal, and must not hide either.
///
/// # Errors
/// Where the folder can't be made.
pub fn save(cluster: &Cluster, dir: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir).with_context(|| format!("can't make {}", dir.display()))?;
    let write = |file: String, args: &[&str]| -> Option<PathBuf> {
        let file = dir.join(file);
        let run = cluster.kubectl(args.iter().copied()).despite_interrupt().limit(LIMIT);
        run.out_file(file.clone()).done().is_ok().then_some(file)
    };
    write("nodes.txt".to_owned(), &["describe", "nodes"]);
    write("pods.txt".to_owned(), &["get", "pods", "-A", "-o", "wide"]);
    write(
        "events.txt".to_owned(),
        &["get", "events", "-A", "--sort-by=.lastTimestamp"],
    );
    write("apps.yaml".to_owned(), &["get", "balancedapps", "-A", "-o", "yaml"]);
    write(
        "owned.yaml".to_owned(),
        &[
            "get",
            "deployments,services,endpointslices,pdb",
            "-A",
            "-l",
            APP,
            "-o",
            "yaml",
        ],
    );
    let names = "jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name}{\"\\n\"}{end}";
    for select in [["-n", NAMESPACE], ["-A", "--selector=tenbin.dev/app"]] {
        let list = cluster
            .kubectl(["get", "pods", "-o", names])
            .args(select)
            .despite_interrupt()
            .limit(LIMIT)
            .out();
        for (namespace, pod) in list.unwrap_or_default().lines().filter_map(|line| line.split_once(' ')) {
            let file = |end: &str| format!("{namespace}_{pod}{end}");
            let logs = [
                "logs",
                "-n",
                namespace,
                pod,
                "--all-containers",
                "--prefix",
                "--tail=5000",
            ];
            write(file(".log"), &logs);
            let previous = file(".previous.log");
            if write(previous.clone(), &[&logs[..], &["--previous"]].concat()).is_none() {
                let _ = fs::remove_file(dir.join(previous));
            }
            write(file(".txt"), &["describe", "pod", "-n", namespace, pod]);
        }
    }
    Ok(())
}

/// Shows the end of what a reader looks at first.
pub fn show(say: &Say, dir: &Path) {
    let mut logs: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    logs.retain(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(NAMESPACE))
    });
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    for file in [dir.join("pods.txt"), dir.join("events.txt")].into_iter().chain(logs) {
        let text = tail(&file, 25);
        if !text.is_empty() {
            say.plain(format_args!("\n--- {}", file.display()));
            say.plain(text);
        }
    }
}
