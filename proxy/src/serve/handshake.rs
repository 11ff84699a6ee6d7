//! Why TLS handshakes with clients fail, in a few words that metrics can count by. Carrying a handshake out must not come here.

use std::io;

use rustls::Error;

/// Why a handshake came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It took too long.
    Timeout,
    /// The client left in the middle.
    Closed,
    /// The client does not want our certificate, or something else of ours, and said so.
    Alert,
    /// What came is not TLS, or broken.
    Malformed,
    /// There is no version, cipher or signature that both know.
    Incompatible,
    /// There is no application protocol that both know (ALPN).
    Alpn,
    /// The listener has no certificate yet.
    NoCertificate,
    /// Anything else.
    Other,
}

impl Refused {
    /// Every reason; its place here is its place in [`crate::state::PortStats::handshake_failures`].
    pub const ALL: [Refused; 8] = [
        Refused::Timeout,
        Refused::Closed,
        Refused::Alert,
        Refused::Malformed,
        Refused::Incompatible,
        Refused::Alpn,
        Refused::NoCertificate,
        Refused::Other,
    ];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Refused::Timeout => "timeout",
            Refused::Closed => "closed",
            Refused::Alert => "alert",
            Refused::Malformed => "malformed",
            Refused::Incompatible => "incompatible",
            Refused::Alpn => "alpn",
            Refused::NoCertificate => "no_certificate",
            Refused::Other => "other",
        }
    }

    /// The reason that an error of the TLS library tells.
    pub(super) fn of(error: &io::Error) -> Self {
        let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            return Refused::Closed;
        };
        match tls {
            Error::AlertReceived(_) => Refused::Alert,
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_)
            | Error::DecryptError
            | Error::PeerSentOversizedRecord => Refused::Malformed,
            Error::PeerIncompatible(_) => Refused::Incompatible,
            Error::NoApplicationProtocol => Refused::Alpn,
            _ => Refused::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_reasons_agree() {
        for (place, reason) in Refused::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place, "{}", reason.name());
        }
        assert_eq!(Refused::of(&io::ErrorKind::UnexpectedEof.into()), Refused::Closed);
        let garbage = io::Error::new(io::ErrorKind::InvalidData, Error::DecryptError);
        assert_eq!(Refused::of(&garbage), Refused::Malformed);
    }
}
