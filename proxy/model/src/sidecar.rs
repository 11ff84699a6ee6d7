//! What a pod tells its sidecar of the app's ports, so that it speaks with the app as the operator will have it before the operator has
//! said anything: the text of a variable, and the content of a file for each port with TLS. Reading and writing them is not done here.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde_json::json;

use crate::{FieldError, UpstreamProtocol, UpstreamTls, bounds};

/// What an app speaks on a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1.
    #[default]
    Http,
    /// HTTP/1.1 over TLS.
    Https,
    /// HTTP/2 in cleartext, by prior knowledge.
    H2c,
    /// HTTP/2 over TLS.
    H2,
    /// Anything, connection by connection.
    Tcp,
}

impl Speaks {
    const ALL: [Self; 5] = [Self::Http, Self::Https, Self::H2c, Self::H2, Self::Tcp];

    /// Its word in a [`SidecarPort`].
    pub fn as_str(self) -> &'static str {
        match self {
            Speaks::Http => "http",
            Speaks::Https => "https",
            Speaks::H2c => "h2c",
            Speaks::H2 => "h2",
            Speaks::Tcp => "tcp",
        }
    }

    /// Which HTTP its endpoints speak; plain TCP has the default.
    pub fn protocol(self) -> UpstreamProtocol {
        match self {
            Speaks::Http | Speaks::Https | Speaks::Tcp => UpstreamProtocol::Http1,
            Speaks::H2c | Speaks::H2 => UpstreamProtocol::Http2,
        }
    }

    /// Whether it is over TLS.
    pub fn is_tls(self) -> bool {
        matches!(self, Speaks::Https | Speaks::H2)
    }
}

/// One port of an app. Its text is `name=listen:app`, and `/` with what the app speaks where that is not HTTP/1.1 in cleartext, as
/// `http=15080:8080` or `grpc=15081:9090/h2c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarPort {
    /// Its name.
    pub name: String,
    /// The port that the sidecar listens on.
    pub listen: u16,
    /// The port that the app listens on: not 0.
    pub app: u16,
    /// What the app speaks there.
    pub speaks: Speaks,
}

impl SidecarPort {
    /// The variable that holds the ports of an app, with commas between them.
    pub const VARIABLE: &str = "TENBIN_PORTS";

    /// The name of the file with the TLS of a port: [`UpstreamTls::to_json`].
    pub fn tls_file(name: &str) -> String {
        format!("tls-{name}.json")
    }
}

impl fmt::Display for SidecarPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}:{}", self.name, self.listen, self.app)?;
        match self.speaks {
            Speaks::Http => Ok(()),
            speaks => write!(f, "/{}", speaks.as_str()),
        }
    }
}

impl FromStr for SidecarPort {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        let parse = || {
            let (name, ports) = text.split_once('=')?;
            let (listen, app) = ports.split_once(':')?;
            let (app, speaks) = app.split_once('/').unwrap_or((app, Speaks::Http.as_str()));
            let (listen, app) = (listen.parse().ok()?, app.parse().ok()?);
            let speaks = Speaks::ALL.into_iter().find(|known| known.as_str() == speaks)?;
            (!name.is_empty() && app != 0).then(|| SidecarPort {
                name: name.to_owned(),
                listen,
                app,
                speaks,
            })
        };
        let accepted = "name=listen:app with port numbers, as http=15080:8080, then /https, /h2c, /h2 or /tcp where the app speaks that";
        parse().ok_or_else(|| FieldError::new(Self::VARIABLE, text, accepted))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TlsFile {
    server_name: String,
    ca_bundle: String,
}

impl UpstreamTls {
    /// The most bytes of [`Self::to_json`] that are read. As PEM is text with a line's end every 64 characters, its own bound is met long
    /// before this.
    pub const MAX_JSON: usize = 2 * bounds::MAX_PEM;

    /// The content of the file of a port, with the fields of the app's own spec.
    pub fn to_json(&self) -> String {
        json!({ "serverName": self.server_name, "caBundle": self.ca }).to_string()
    }

    /// Reads what [`Self::to_json`] wrote.
    ///
    /// # Errors
    /// It is something else, or what a field holds is not accepted.
    pub fn from_json(text: &[u8]) -> Result<Self, FieldError> {
        let size = || format!("({} bytes)", text.len());
        let read = (text.len() <= Self::MAX_JSON).then(|| serde_json::from_slice(text).ok());
        let TlsFile { server_name, ca_bundle } = read.flatten().ok_or_else(|| {
            let accepted = format!(
                "JSON with the texts serverName and caBundle, at most {} bytes",
                Self::MAX_JSON
            );
            FieldError::new("tls", size(), accepted)
        })?;
        Ok(UpstreamTls {
            server_name: bounds::server_name("serverName", &server_name)?,
            ca: bounds::authorities("caBundle", &ca_bundle)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    #[test]
    fn a_port_is_written_and_read_and_plain_http_says_nothing_of_itself() {
        for (speaks, text) in [
            (Speaks::Http, "p=15080:80"),
            (Speaks::Https, "p=15080:80/https"),
            (Speaks::H2c, "p=15080:80/h2c"),
            (Speaks::H2, "p=15080:80/h2"),
            (Speaks::Tcp, "p=15080:80/tcp"),
        ] {
            let port = SidecarPort {
                name: "p".to_owned(),
                listen: 15080,
                app: 80,
                speaks,
            };
            assert_eq!(port.to_string(), text);
            assert_eq!(text.parse(), Ok(port));
        }
        assert_eq!("p=15080:80/http".parse(), "p=15080:80".parse::<SidecarPort>());
    }

    #[test]
    fn what_is_no_port_is_named_with_what_would_be() {
        for bad in [
            "",
            "p",
            "p=1",
            "=1:2",
            "p=1:0",
            "p=1:65536",
            "p=x:2",
            "p=1:2/",
            "p=1:2/grpc",
            "p=1:2/H2C",
            "p=1:2/tcp/tcp",
            "p=1/tcp:2",
        ] {
            let error = bad.parse::<SidecarPort>().unwrap_err().to_string();
            let named = format!("TENBIN_PORTS: {bad:?}");
            assert!(
                error.starts_with(&named) && error.contains("/h2c, /h2 or /tcp"),
                "{error}"
            );
        }
    }

    #[test]
    fn tls_is_written_and_read() {
        let tls = UpstreamTls {
            server_name: "hello.shop.svc".to_owned(),
            ca: CERTIFICATE.to_owned(),
        };
        assert_eq!(UpstreamTls::from_json(tls.to_json().as_bytes()), Ok(tls.clone()));
        let lines = "A".repeat(64) + "\n";
        let body = lines.repeat(bounds::MAX_PEM / lines.len() - 1);
        let largest = UpstreamTls {
            ca: CERTIFICATE.replace("AAAA\n", &body),
            ..tls
        };
        assert_eq!(UpstreamTls::from_json(largest.to_json().as_bytes()), Ok(largest));
    }

    #[test]
    fn bad_tls_is_refused_by_its_field_and_pem_is_not_shown() {
        let of = |server_name: &str, ca: &str| {
            let tls = UpstreamTls {
                server_name: server_name.to_owned(),
                ca: ca.to_owned(),
            };
            UpstreamTls::from_json(tls.to_json().as_bytes()).unwrap_err()
        };
        assert_eq!(of("*.shop", CERTIFICATE).path, "serverName");
        assert_eq!(of("shop", "AAAA").path, "caBundle");
        for bad in [
            &b"{}"[..],
            b"",
            b"[]",
            b"\xff",
            br#"{"serverName": "a", "caBundle": 1}"#,
        ] {
            assert_eq!(UpstreamTls::from_json(bad).unwrap_err().path, "tls");
        }
        let long = UpstreamTls::from_json(&vec![b' '; UpstreamTls::MAX_JSON + 1]).unwrap_err();
        assert_eq!(long.value, format!("({} bytes)", UpstreamTls::MAX_JSON + 1));
        assert!(!of("shop", "c2VjcmV0").to_string().contains("c2Vj"));
    }
}
