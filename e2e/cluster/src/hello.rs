//! The first app: applied, waited for, and asked a few times who it is.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read as _, Write as _};
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
    // Each connection through a port-forward costs about a second; requests are balanced one by one on a single one as well.
    let mut connection = forward.connect()?;
    let mut answered: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..REQUESTS {
        *answered.entry(instance(&get(&mut connection, "/")?)?).or_default() += 1;
    }
    say.line(format_args!(
        "   {REQUESTS} requests on one connection, to one of its sidecars; who answered:"
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

    fn connect(&self) -> Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(&self.address).context("the forwarded port doesn't answer")?;
        stream.set_read_timeout(Some(ANSWER))?;
        Ok(BufReader::new(stream))
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

/// The body of a GET; the connection is kept.
fn get(connection: &mut BufReader<TcpStream>, path: &str) -> Result<String> {
    write!(connection.get_mut(), "GET {path} HTTP/1.1\r\nHost: hello\r\n\r\n")?;
    answer(connection).context("no whole answer")
}

/// Reads one answer, up to the end of its body and no further.
fn answer(connection: &mut impl BufRead) -> Result<String> {
    let mut line = || -> Result<String> {
        let mut line = String::new();
        ensure!(connection.read_line(&mut line)? > 0, "the connection ended");
        Ok(line.trim_end().to_owned())
    };
    let status = line()?;
    let mut length = None;
    loop {
        let header = line()?;
        match header.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = Some(value.trim().to_owned());
            }
            _ if header.is_empty() => break,
            _ => {}
        }
    }
    let length = length.context("the answer has no Content-Length")?;
    let mut body = vec![0; length.parse().with_context(|| format!("Content-Length: {length}"))?];
    connection.read_exact(&mut body)?;
    ensure!(status.contains(" 200"), "hello answered `{status}`");
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// The instance that a JSON body names.
fn instance(body: &str) -> Result<String> {
    let value: serde_json::Value = serde_json::from_str(body).with_context(|| format!("no JSON: {body}"))?;
    Ok(value["instance"]
        .as_str()
        .with_context(|| format!("no `instance` in {body}"))?
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
    fn answers_are_read_one_after_the_other() {
        let mut both = "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"instance\":\"a\"}\
            HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length: 17\r\n\r\n{\"instance\":\"b\"}\n"
            .as_bytes();
        for name in ["a", "b"] {
            assert_eq!(instance(&answer(&mut both).unwrap()).unwrap(), name);
        }
        assert!(answer(&mut both).unwrap_err().to_string().contains("ended"));
        let refused = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno";
        let refused = answer(&mut refused.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains("503"), "{refused}");
        assert!(answer(&mut "HTTP/1.1 200 OK\r\n\r\n".as_bytes()).is_err());
        assert!(instance("{\"x\":1}").is_err());
    }
}
