//! The sealed content of a session cookie: which endpoint, since when. Sealed with an authenticated cipher, so a client can neither read
//! nor make one. AES-256-GCM-SIV (RFC 8452), since many proxies draw nonces for one key at random: with plain AES-GCM one that comes
//! twice would let cookies be forged, and clients that keep no cookies use up its 2³² a key in weeks. Here it tells no more than
//! that two cookies say the same.
//! Where the cookie stands in a request, and what follows from it, must not come here.

use std::fmt;

use aes_gcm_siv::aead::Generate;
use aes_gcm_siv::{AeadInOut, Aes256GcmSiv, KeyInit, Nonce, Tag};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tenbin_model::{ResourceName, SessionKey, SessionKeys};

/// What an endpoint's identity may be long, in bytes: [`tenbin_model::EndpointId`]'s limit.
const MAX_UID: usize = 128;
const KEY_ID: usize = 4;
const NONCE: usize = 12;
const ISSUED: usize = 8;
const TAG: usize = 16;
/// What stands before the sealed part.
const HEAD: usize = KEY_ID + NONCE;
/// The shortest and the longest token, in bytes before they are written as text.
const MIN: usize = HEAD + ISSUED + 1 + TAG;
const MAX: usize = HEAD + ISSUED + MAX_UID + TAG;
/// The longest token as text.
pub(super) const MAX_TEXT: usize = MAX.div_ceil(3) * 4;
/// How far ahead of ours another proxy's clock may be, in seconds.
const SKEW: u64 = 300;

/// The keys of an app, ready for use. The first seals, each opens what it sealed.
pub struct Keyring(Box<[Key]>);

struct Key {
    id: u32,
    cipher: Aes256GcmSiv,
    /// What its tokens are bound to without containing it: their form, the key's id and the app.
    bound_to: Box<[u8]>,
}

/// What a token turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// One of ours, and its time is not over.
    Valid(Token),
    /// One of ours whose time is over, or begins more than five minutes from now.
    Expired,
    /// Not made by a proxy of this app, or changed since.
    Forged,
    /// Sealed with a key that is not, or no longer, known.
    UnknownKey,
}

/// What a token says.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    uid: [u8; MAX_UID],
    length: usize,
    /// When it was issued, in seconds since 1970.
    pub issued: u64,
}

impl Token {
    /// The identity of the endpoint.
    pub fn uid(&self) -> &str {
        std::str::from_utf8(&self.uid[..self.length]).unwrap_or_default()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({} since {})", self.uid(), self.issued)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

impl Keyring {
    /// The keys that `cluster`'s app has; without any, nothing is sealed and nothing opens. The ports of an app share its sessions, so
    /// what a token is bound to is the cluster's name without its port.
    pub fn new(cluster: &ResourceName, keys: Option<&SessionKeys>) -> Self {
        let app = cluster.as_str();
        let app = app.rsplit_once('/').map_or(app, |(app, _port)| app);
        let ready = |key: &SessionKey| Key {
            id: key.id,
            cipher: Aes256GcmSiv::new(&key.secret.into()),
            bound_to: [b"tenbin session 1 ", &key.id.to_be_bytes()[..], app.as_bytes()]
                .concat()
                .into(),
        };
        Keyring(keys.iter().flat_map(|keys| &keys.keys).map(ready).collect())
    }

    /// What the keys are known by, the one that seals first. The keys themselves are never shown.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|key| key.id)
    }

    /// Writes a token for the endpoint `uid`, issued `now` (in seconds since 1970), behind `text`. False, and nothing written, without
    /// a key, without randomness, or for what is no identity (empty, or longer than 128 bytes).
    pub fn seal(&self, uid: &str, now: u64, text: &mut String) -> bool {
        let (Some(key), Ok(nonce)) = (self.0.first(), Nonce::try_generate()) else {
            return false;
        };
        if uid.is_empty() || uid.len() > MAX_UID {
            return false;
        }
        let end = HEAD + ISSUED + uid.len();
        let mut bytes = [0; MAX];
        bytes[..KEY_ID].copy_from_slice(&key.id.to_be_bytes());
        bytes[KEY_ID..HEAD].copy_from_slice(&nonce);
        bytes[HEAD..HEAD + ISSUED].copy_from_slice(&now.to_be_bytes());
        bytes[HEAD + ISSUED..end].copy_from_slice(uid.as_bytes());
        let content = &mut bytes[HEAD..end];
        let Ok(tag) = key.cipher.encrypt_inout_detached(&nonce, &key.bound_to, content.into()) else {
            return false;
        };
        bytes[end..end + TAG].copy_from_slice(&tag);
        URL_SAFE_NO_PAD.encode_string(&bytes[..end + TAG], text);
        true
    }

    /// Opens what a client sent, at `now` (in seconds since 1970), of tokens that are valid for `ttl` seconds. What can't be a token by its
    /// length or letters costs no decryption.
    pub fn open(&self, text: &[u8], now: u64, ttl: u64) -> Opened {
        if text.len() > MAX_TEXT {
            return Opened::Forged;
        }
        let mut bytes = [0; MAX_TEXT];
        let Ok(length @ MIN..=MAX) = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) else {
            return Opened::Forged;
        };
        let (head, sealed) = bytes[..length].split_at_mut(HEAD);
        let (key_id, nonce) = head.split_at(KEY_ID);
        let Some(key) = self.key(key_id) else {
            return Opened::UnknownKey;
        };
        let (content, tag) = sealed.split_at_mut(length - HEAD - TAG);
        let (Ok(nonce), Ok(tag)) = (Nonce::try_from(nonce), Tag::try_from(&*tag)) else {
            return Opened::Forged;
        };
        let opened = key
            .cipher
            .decrypt_inout_detached(&nonce, &key.bound_to, (&mut *content).into(), &tag);
        if opened.is_err() {
            return Opened::Forged;
        }
        match read(content) {
            Some(token) if token.issued > now.saturating_add(SKEW) => Opened::Expired,
            Some(token) if now.saturating_sub(token.issued) >= ttl => Opened::Expired,
            Some(token) => Opened::Valid(token),
            None => Opened::Forged,
        }
    }

    fn key(&self, id: &[u8]) -> Option<&Key> {
        let id = u32::from_be_bytes(id.try_into().ok()?);
        self.0.iter().find(|key| key.id == id)
    }
}

fn read(content: &[u8]) -> Option<Token> {
    let (issued, uid) = content.split_at_checked(ISSUED)?;
    let mut token = Token {
        uid: [0; MAX_UID],
        length: uid.len(),
        issued: u64::from_be_bytes(issued.try_into().ok()?),
    };
    token.uid.get_mut(..uid.len())?.copy_from_slice(uid);
    Some(token)
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
