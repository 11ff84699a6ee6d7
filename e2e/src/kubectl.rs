//! The user's own tools, `kubectl` and `helm`, for what the tests do as a user would.

use std::process::Stdio;

use anyhow::{Context, ensure};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// What a program said.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whether it ended with 0.
    pub ok: bool,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// `kubectl` in one namespace.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: String,
    namespace: String,
}

impl Kubectl {
    /// `program` with `--namespace namespace`.
    pub fn new(program: &str, namespace: &str) -> Self {
        Kubectl {
            program: program.to_owned(),
            namespace: namespace.to_owned(),
        }
    }

    /// Runs it; gives its standard output.
    ///
    /// # Errors
    /// It does not end with 0: with what it said.
    pub async fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        let outcome = self.attempt(args, "").await?;
        ensure!(
            outcome.ok,
            "kubectl {}: {}{}",
            args.join(" "),
            outcome.stdout,
            outcome.stderr
        );
        Ok(outcome.stdout)
    }

    /// Runs `kubectl apply -f -` with `manifest`.
    ///
    /// # Errors
    /// It does not end with 0: with what it said.
    pub async fn apply(&self, manifest: &str) -> anyhow::Result<String> {
        let outcome = self.attempt(&["apply", "-f", "-"], manifest).await?;
        ensure!(outcome.ok, "kubectl apply: {}{}", outcome.stdout, outcome.stderr);
        Ok(outcome.stdout)
    }

    /// Runs it with `input`, however it ends.
    ///
    /// # Errors
    /// It can't be started.
    pub async fn attempt(&self, args: &[&str], input: &str) -> anyhow::Result<Outcome> {
        let mut all = vec!["--namespace", self.namespace.as_str()];
        all.extend_from_slice(args);
        run(&self.program, &all, input).await
    }
}

/// Runs a program with `input` on its standard input.
pub(crate) async fn run(program: &str, args: &[&str], input: &str) -> anyhow::Result<Outcome> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{program} can't be started"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends without reading says why itself.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await?;
    Ok(Outcome {
        ok: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
