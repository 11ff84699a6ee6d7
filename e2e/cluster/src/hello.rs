//! The first app: applied, waited for, and asked a few times who it is.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::Context;
use crate::kind::Cluster;
use crate::run::end;
use crate::say::span;

const ANSWER: Duration = Duration::from_secs(10);
const REQUESTS: usize = 10;

/// Applies `examples/hello.yaml`, waits until it is Ready, sends requests and says who answered.
///
/// # Errors
/// Where the app doesn't become Ready or doesn't answer.
pub fn show(context: &Context, cluster: &Cluster) -> Result<()> {
    let say = &context.say;
    let begin = Instant::now();
    cluster
        .kubectl(["apply", "-f"])
        .args([context.root.join("examples/hello.yaml")])
        .done()?;
    cluster
        .kubectl(["wait", "--for=condition=Ready", "bapp/hello", "--timeout=120s"])
        .done()?;
    say.line(format_args!(
        "   hello is Ready, {} after `kubectl apply`",
        span(begin.elapsed())
    ));
    let port = cluster
        .kubectl(["get", "service", "hello", "-o", "jsonpath={.spec.ports[0].port}"])
        .out()?;
    let forward = Forward::open(cluster, "svc/hello", &port)?;
    let mut answered: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..REQUESTS {
        *answered.entry(instance(&forward.get("/")?)?).or_default() += 1;
    }
    say.line(format_args!(
        "   {REQUESTS} requests through one of its sidecars; who answered:"
    ));
    for (name, count) in answered {
        say.line(format_args!("     {count:>3} × {name}"));
    }
    Ok(())
}

/// A `kubectl port-forward`, which ends with this value.
struct Forward {
    child: Child,
    /// Kept open: kubectl ends when it can't write a line for a connection. A pipe holds far more than we cause.
    _out: ChildStdout,
    address: String,
}

impl Forward {
    fn open(cluster: &Cluster, target: &str, port: &str) -> Result<Self> {
        let mut child = std::process::Command::new(&cluster.tools.kubectl)
            .env("KUBECONFIG", &cluster.kubeconfig)
            .args(["port-forward", target, &format!(":{port}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("can't run kubectl")?;
        let mut out = child.stdout.take().context("kubectl has no output")?;
        let mut said = Vec::new();
        let mut byte = [0];
        while out.read(&mut byte).unwrap_or(0) == 1 && byte[0] != b'\n' {
            said.push(byte[0]);
        }
        let line = String::from_utf8_lossy(&said).into_owned();
        match forwarded(&line) {
            Some(address) => Ok(Self {
                child,
                _out: out,
                address,
            }),
            None => {
                end(&mut child);
                bail!("kubectl can't forward a port to {target}: {line}")
            }
        }
    }

    /// The body of a GET, each on a connection of its own.
    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(&self.address).context("the forwarded port doesn't answer")?;
        stream.set_read_timeout(Some(ANSWER))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: hello\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).context("no whole answer")?;
        body(&String::from_utf8_lossy(&answer))
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in `Forwarding from 127.0.0.1:34567 -> 8080`.
fn forwarded(line: &str) -> Option<String> {
    let (address, _) = line.strip_prefix("Forwarding from ")?.split_once(" -> ")?;
    Some(address.to_owned())
}

fn body(answer: &str) -> Result<String> {
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer that is no HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.contains(" 200"), "hello answered `{status}`");
    Ok(body.to_owned())
}

/// The instance that a JSON body names; chunk sizes around it do no harm.
fn instance(body: &str) -> Result<String> {
    let json = match (body.find('{'), body.rfind('}')) {
        (Some(start), Some(end)) if start < end => &body[start..=end],
        _ => bail!("hello answered no JSON: {body}"),
    };
    let value: serde_json::Value = serde_json::from_str(json).with_context(|| format!("no JSON: {json}"))?;
    Ok(value["instance"]
        .as_str()
        .with_context(|| format!("no `instance` in {json}"))?
        .to_owned())
}

/// What to try next, in a shell that knows the cluster.
pub fn next(context: &Context, cluster: &Cluster) {
    let say = &context.say;
    if let Ok(listed) = cluster.kubectl(["get", "bapp"]).out() {
        say.plain(format_args!("\n{listed}"));
    }
    say.plain("\nTry next, with the variables below in your shell:\n");
    for command in [
        "kubectl scale bapp hello --replicas=4",
        "kubectl get bapp",
        "kubectl logs -l tenbin.dev/app=hello --prefix",
        "kubectl port-forward svc/hello 8080:80",
        "cargo xtask down",
    ] {
        say.plain(format_args!("  {command}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forwarded_address_is_read() {
        assert_eq!(
            forwarded("Forwarding from 127.0.0.1:34567 -> 8080").as_deref(),
            Some("127.0.0.1:34567")
        );
        assert_eq!(forwarded("error: no such service"), None);
    }

    #[test]
    fn the_instance_is_read_also_from_chunks() {
        let answer =
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n19\r\n{\"instance\":\"a\",\"n\":1}\r\n0\r\n\r\n";
        assert_eq!(instance(&body(answer).unwrap()).unwrap(), "a");
        assert!(
            body("HTTP/1.1 503 Service Unavailable\r\n\r\nno")
                .unwrap_err()
                .to_string()
                .contains("503")
        );
        assert!(instance("{\"x\":1}").is_err());
    }
}
