//! TLS on both sides. Texts are PEM; private keys are never shown.

use std::fmt;

use crate::ResourceName;

/// How a listener speaks TLS with clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// The [`Certificate`]s it has, 1 to [`Self::MAX`]: the first that is for the name a client asks for (SNI), else the first of all.
    pub certificates: Vec<ResourceName>,
    /// The oldest version it speaks.
    pub minimum: TlsVersion,
}

impl ListenerTls {
    /// The most [`Self::certificates`].
    pub const MAX: usize = 64;
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// A certificate and its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its name.
    pub name: ResourceName,
    /// The chain, the server's own certificate first.
    pub chain: String,
    /// Its private key.
    pub key: String,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.name)
    }
}

/// How endpoints are spoken TLS with. They are always verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The name that their certificate must be for, and that they are asked for (SNI): a host name or an IP address.
    pub server_name: String,
    /// The certificates of the CAs that may sign theirs.
    pub ca: String,
}
