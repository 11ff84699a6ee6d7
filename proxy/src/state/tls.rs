//! What a listener needs to speak TLS: certificates judged when they come, and a configuration made anew only when they or the settings
//! change, so that tickets and sessions of before stay good. No IO; handshakes are `serve`'s. Keys never leave here in any form. The keys
//! of tickets are random, and the library changes them every six hours; nothing else here is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ParsedCertificate, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tenbin_model::{Certificate, FieldError, ListenerTls, ResourceName, TlsVersion};

/// The most sessions of TLS 1.2 clients that are remembered for each listener: of those that know no tickets.
const MAX_SESSIONS: usize = 1024;
/// The most certificates in a chain.
const MAX_CHAIN: usize = 16;

/// TLS of a listener.
#[derive(Debug, Default)]
pub enum ServerTls {
    /// There is none: cleartext.
    #[default]
    Off,
    /// There is to be, but no certificate has come yet: nobody is served.
    Waiting,
    /// There is.
    On(Arc<Terminator>),
}

impl ServerTls {
    /// Whether clients must speak TLS.
    pub fn is_on(&self) -> bool {
        !matches!(self, ServerTls::Off)
    }
}

/// A certificate that can be shown, with its key.
pub struct Shown {
    name: ResourceName,
    key: Arc<CertifiedKey>,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shown({})", self.name)
    }
}

impl Shown {
    /// Judges a certificate.
    ///
    /// # Errors
    /// `chain` or `key` cannot be read, or they do not belong together. What they hold is not said.
    pub fn judge(certificate: &Certificate) -> Result<Self, FieldError> {
        let refused = |field: &str, accepted: &str| FieldError::new(field, "(hidden)", accepted);
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.chain.as_bytes()).collect();
        let chain = chain.map_err(|_| refused("chain", "certificates in PEM"))?;
        if chain.is_empty() || chain.len() > MAX_CHAIN {
            let accepted = format!("1 to {MAX_CHAIN} certificates in PEM");
            return Err(FieldError::new("chain", chain.len(), accepted));
        }
        if chain.iter().any(|der| ParsedCertificate::try_from(der).is_err()) {
            return Err(refused("chain", "X.509 certificates of version 3"));
        }
        let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes())
            .map_err(|_| refused("key", "a private key in PEM (PKCS#8, PKCS#1 or SEC1)"))?;
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|_| {
            refused(
                "key",
                "the private key of the chain's first certificate: RSA, ECDSA P-256/P-384 or Ed25519",
            )
        })?;
        Ok(Shown {
            name: certificate.name.clone(),
            key: Arc::new(key),
        })
    }

    /// Its name.
    pub fn name(&self) -> &ResourceName {
        &self.name
    }

    /// The certificate itself, without those that signed it.
    pub fn leaf(&self) -> Option<&CertificateDer<'static>> {
        self.key.cert.first()
    }

    fn is_for(&self, name: &ServerName<'_>) -> bool {
        let parsed = self.key.cert.first().map(ParsedCertificate::try_from);
        matches!(parsed, Some(Ok(parsed)) if verify_server_name(&parsed, name).is_ok())
    }
}

/// What ends the TLS of a listener's clients.
#[derive(Debug)]
pub struct Terminator {
    settings: ListenerTls,
    is_http: bool,
    shown: Vec<Arc<Shown>>,
    config: Arc<ServerConfig>,
}

impl Terminator {
    /// What handshakes are made with.
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// The TLS of a listener with `settings`: the very one of `before` where nothing changed. Certificates that are not there are left
    /// out; where none is, what there was before stays.
    pub(super) fn next(
        settings: Option<&ListenerTls>,
        is_http: bool,
        certificates: &BTreeMap<ResourceName, Arc<Shown>>,
        before: &ServerTls,
    ) -> ServerTls {
        let Some(settings) = settings else {
            return ServerTls::Off;
        };
        let shown: Vec<Arc<Shown>> = settings
            .certificates
            .iter()
            .filter_map(|name| certificates.get(name).cloned())
            .collect();
        let before = match before {
            ServerTls::On(before) => Some(before),
            ServerTls::Off | ServerTls::Waiting => None,
        };
        let stays = |before: &&Arc<Terminator>| shown.is_empty() || before.is_made_of(settings, is_http, &shown);
        if let Some(same) = before.filter(stays) {
            return ServerTls::On(Arc::clone(same));
        }
        match (shown.is_empty(), Self::build(settings, is_http, shown, before)) {
            (false, Some(made)) => ServerTls::On(Arc::new(made)),
            _ => ServerTls::Waiting,
        }
    }

    fn is_made_of(&self, settings: &ListenerTls, is_http: bool, shown: &[Arc<Shown>]) -> bool {
        let same = |(a, b): (&Arc<Shown>, &Arc<Shown>)| Arc::ptr_eq(a, b);
        self.settings == *settings
            && self.is_http == is_http
            && self.shown.len() == shown.len()
            && self.shown.iter().zip(shown).all(same)
    }

    /// `None` where there is no randomness to make tickets with.
    fn build(
        settings: &ListenerTls,
        is_http: bool,
        shown: Vec<Arc<Shown>>,
        before: Option<&Arc<Terminator>>,
    ) -> Option<Self> {
        let versions: &[&SupportedProtocolVersion] = match settings.minimum {
            TlsVersion::Tls12 => &[&TLS13, &TLS12],
            TlsVersion::Tls13 => &[&TLS13],
        };
        let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .ok()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ByName(shown.clone())));
        let (tickets, sessions): (Arc<dyn ProducesTickets>, _) = match before {
            Some(before) => (
                Arc::clone(&before.config.ticketer),
                Arc::clone(&before.config.session_storage),
            ),
            None => (
                ring::Ticketer::new().ok()?,
                ServerSessionMemoryCache::new(MAX_SESSIONS) as _,
            ),
        };
        config.ticketer = tickets;
        config.session_storage = sessions;
        if is_http {
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        Some(Terminator {
            settings: settings.clone(),
            is_http,
            shown,
            config: Arc::new(config),
        })
    }
}

/// Chooses the first certificate that is for the name that a client asks for, else the first of all.
#[derive(Debug)]
struct ByName(Vec<Arc<Shown>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let asked = match (&*self.0, &name) {
            ([_], _) | (_, None) => None,
            (all, Some(name)) => all.iter().find(|shown| shown.is_for(name)),
        };
        asked.or(self.0.first()).map(|shown| Arc::clone(&shown.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(name: &str, hosts: &[&str]) -> Certificate {
        let names: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Certificate {
            name: ResourceName::parse("name", name).unwrap(),
            chain: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        }
    }

    fn settings(names: &[&str]) -> ListenerTls {
        ListenerTls {
            certificates: names
                .iter()
                .map(|name| ResourceName::parse("name", name).unwrap())
                .collect(),
            minimum: TlsVersion::Tls12,
        }
    }

    #[test]
    fn bad_ones_are_refused_without_a_word_of_them() {
        let good = certificate("a", &["a.example"]);
        assert!(Shown::judge(&good).is_ok());
        let other = certificate("b", &["b.example"]);
        for (chain, key, field) in [
            ("", &*good.key, "chain"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                &good.key,
                "chain",
            ),
            (&good.chain, "", "key"),
            (&good.chain, &other.key, "key"),
        ] {
            let bad = Certificate {
                name: good.name.clone(),
                chain: chain.to_owned(),
                key: key.to_owned(),
            };
            let error = Shown::judge(&bad).unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
            assert!(!error.contains("AAAA") && !error.contains("BEGIN"), "{error}");
        }
    }

    #[test]
    fn names_are_exact_or_wild() {
        let shown = Shown::judge(&certificate("a", &["a.example", "*.b.example"])).unwrap();
        for (name, expected) in [
            ("a.example", true),
            ("A.Example", true),
            ("x.b.example", true),
            ("b.example", false),
            ("x.y.b.example", false),
        ] {
            assert_eq!(shown.is_for(&ServerName::try_from(name).unwrap()), expected, "{name}");
        }
    }

    #[test]
    fn nothing_is_made_anew_unless_it_changed() {
        let all = |certificates: &[Certificate]| -> BTreeMap<ResourceName, Arc<Shown>> {
            let judge = |c: &Certificate| (c.name.clone(), Arc::new(Shown::judge(c).unwrap()));
            certificates.iter().map(judge).collect()
        };
        let (a, b) = (certificate("a", &["a.example"]), certificate("b", &["b.example"]));
        let held = all(&[a.clone(), b]);
        let of = |tls: &ServerTls| match tls {
            ServerTls::On(on) => Arc::clone(on),
            ServerTls::Off | ServerTls::Waiting => panic!("TLS is on"),
        };
        assert!(!Terminator::next(None, true, &held, &ServerTls::Off).is_on());
        let first = Terminator::next(Some(&settings(&["a"])), true, &held, &ServerTls::Off);
        let same = Terminator::next(Some(&settings(&["a"])), true, &held, &first);
        assert!(Arc::ptr_eq(&of(&first), &of(&same)));
        let more = Terminator::next(Some(&settings(&["a", "b"])), true, &held, &first);
        assert!(!Arc::ptr_eq(&of(&first), &of(&more)));
        assert!(
            Arc::ptr_eq(&of(&first).config.ticketer, &of(&more).config.ticketer),
            "old tickets are good"
        );
        let gone = Terminator::next(Some(&settings(&["a"])), true, &BTreeMap::new(), &more);
        assert!(Arc::ptr_eq(&of(&more), &of(&gone)));
        let none = Terminator::next(Some(&settings(&["a"])), true, &BTreeMap::new(), &ServerTls::Off);
        assert!(matches!(none, ServerTls::Waiting), "never cleartext instead");
    }
}
