//! Makes CAs and serving certificates of the stream, and from a Secret's content what it holds after a step. Pure but for the keys'
//! randomness: the time is passed in. When a step is due is decided in `rotate`.

use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::held::{Ca, Data, Held};
use super::judge::MAX_CAS;
use super::rotate::{BACKDATE, Lives, Role, Step};

/// Key of the Secret: bundle of the CA certificates that proxies trust, newest first.
pub(super) const CA_CERT: &str = "ca.crt";
/// Key of the Secret: private key of the CA that signs.
pub(super) const CA_KEY: &str = "ca.key";
/// Key of the Secret: private key of the CA that will sign; there only between two steps.
pub(super) const NEXT_KEY: &str = "next-ca.key";
/// Key of the Secret: the serving certificate, with its chain.
pub(super) const TLS_CERT: &str = "tls.crt";
/// Key of the Secret: private key of the serving certificate.
pub(super) const TLS_KEY: &str = "tls.key";

/// How the common names of our CAs begin. The time follows, so that the CAs of a bundle can be told apart.
pub(super) const CA_NAME: &str = "Tenbin stream CA ";

/// A CA with its key.
struct Made {
    pem: String,
    key: KeyPair,
    ends: u64,
}

/// A serving certificate and its key, both in PEM.
type Serving = (String, String);

/// A new CA and a serving certificate for `names`, made at `now`, as data of the Secret.
///
/// # Errors
/// A name is no DNS name.
pub(super) fn issue(names: &[String], lives: &Lives, now: u64) -> Result<Data, String> {
    let nothing = Data::new();
    carry_out(Step::Reissue, &Held::of(&nothing), &nothing, names, lives, now)
}

/// What a Secret that holds `data`, read as `held`, is to hold after `step`. Entries of others stay.
///
/// # Errors
/// There is no CA for the step, or a name is no DNS name. Never shows a key.
pub(super) fn carry_out(
    step: Step,
    held: &Held,
    data: &Data,
    names: &[String],
    lives: &Lives,
    now: u64,
) -> Result<Data, String> {
    let failed = |error: rcgen::Error| error.to_string();
    let facts = held.facts();
    let mut data = data.clone();
    let mut stay: Vec<&Ca> = held.cas.iter().collect();
    let mut new = None;
    let serving: Option<Serving> = match step {
        Step::Renew => Some(signed(held, Role::Current, names, lives, now)?),
        Step::Promote => {
            let serving = signed(held, Role::Next, names, lives, now)?;
            if let Some(key) = data.remove(NEXT_KEY) {
                data.insert(CA_KEY.to_owned(), key);
            }
            Some(serving)
        }
        Step::AddCa => {
            let ca = new.insert(new_ca(lives, now).map_err(failed)?);
            set(&mut data, NEXT_KEY, ca.key.serialize_pem());
            None
        }
        Step::DropCas => {
            let over = |ca: &Ca| facts.drop_at(&ca.facts, lives).is_some_and(|at| at <= now);
            stay.retain(|ca| !over(ca));
            None
        }
        Step::Reissue => {
            stay.retain(|ca| ca.facts.validity.ends > now);
            let ca = new.insert(new_ca(lives, now).map_err(failed)?);
            set(&mut data, CA_KEY, ca.key.serialize_pem());
            data.remove(NEXT_KEY);
            Some(new_serving(&ca.pem, &ca.key, ca.ends, names, lives, now).map_err(failed)?)
        }
    };
    if let Some((certificate, key)) = serving {
        set(&mut data, TLS_CERT, certificate);
        set(&mut data, TLS_KEY, key);
    }
    let room = MAX_CAS - usize::from(new.is_some());
    let stay = bounded(stay, room).into_iter().map(|ca| ca.pem.as_str());
    let bundle: String = new.iter().map(|ca| ca.pem.as_str()).chain(stay).collect();
    set(&mut data, CA_CERT, bundle);
    Ok(data)
}

/// At most `room` of them: of those without a key here, the last of the bundle goes first.
fn bounded(mut cas: Vec<&Ca>, room: usize) -> Vec<&Ca> {
    let keyless = |ca: &&Ca| !matches!(ca.facts.role, Role::Current | Role::Next);
    while cas.len() > room {
        match cas.iter().rposition(keyless) {
            Some(at) => cas.remove(at),
            None => break,
        };
    }
    cas
}

fn set(data: &mut Data, name: &str, pem: String) {
    data.insert(name.to_owned(), ByteString(pem.into_bytes()));
}

/// A serving certificate by the CA of `held` in that role.
fn signed(held: &Held, role: Role, names: &[String], lives: &Lives, now: u64) -> Result<Serving, String> {
    let key = match role {
        Role::Next => held.next_key.as_ref(),
        _ => held.key.as_ref(),
    };
    let (ca, key) = held.ca(role, now).zip(key).ok_or("no CA with its key could sign")?;
    let serving = new_serving(&ca.pem, key, ca.facts.validity.ends, names, lives, now);
    serving.map_err(|error| error.to_string())
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn new_ca(lives: &Lives, now: u64) -> Result<Made, rcgen::Error> {
    let ends = lives.ca_end(now);
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.distinguished_name = named(format!("{CA_NAME}{now}"));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = at(now.saturating_sub(BACKDATE)).into();
    params.not_after = at(ends).into();
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    Ok(Made { pem, key, ends })
}

fn new_serving(
    ca: &str,
    ca_key: &KeyPair,
    ca_ends: u64,
    names: &[String],
    lives: &Lives,
    now: u64,
) -> Result<Serving, rcgen::Error> {
    let mut params = CertificateParams::new(names.to_vec())?;
    let common = names.first().map_or("tenbin-operator", String::as_str);
    // A common name holds at most 64 characters; the SANs are what counts.
    params.distinguished_name = named(common.chars().take(64).collect());
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = at(now.saturating_sub(BACKDATE)).into();
    params.not_after = at(lives.serving_end(now, ca_ends)).into();
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &Issuer::from_ca_cert_pem(ca, ca_key)?)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn named(common: String) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}
