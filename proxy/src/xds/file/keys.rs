//! Session keys of a proxy with a file: lines of base64, or made at start. No error here ever shows one.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::ring;
use sha2::{Digest, Sha256};
use tenbin_model::{FieldError, ResourceName, SessionKey, SessionKeys};

const ACCEPTED: &str = "a file with a line for each key: 32 bytes in base64, the sealing one first";

/// The largest file, in bytes: room for all keys with much around them.
const MAX_FILE: u64 = 64 * 1024;

/// The keys of the file, of which the first seals; without one a key that ends with this process.
pub(super) fn read(path: &str, name: ResourceName, file: Option<&Path>) -> Result<SessionKeys, FieldError> {
    let secrets = match file {
        Some(file) => {
            let mut text = String::new();
            let read = File::open(file).and_then(|open| open.take(MAX_FILE + 1).read_to_string(&mut text));
            let shown = file.display();
            read.map_err(|error| FieldError::new(path, format!("{shown}: {error}"), ACCEPTED))?;
            if text.len() as u64 > MAX_FILE {
                return Err(FieldError::new(
                    path,
                    format!("{shown}: above {MAX_FILE} bytes"),
                    ACCEPTED,
                ));
            }
            parse(&text).map_err(|line| FieldError::new(path, format!("{shown}: line {line}"), ACCEPTED))?
        }
        None => vec![random().ok_or_else(|| FieldError::new(path, "(none)", "randomness to make a key of"))?],
    };
    let key = |secret: [u8; 32]| SessionKey {
        id: id(&secret),
        secret,
    };
    SessionKeys::new(path, name, secrets.into_iter().map(key).collect())
}

/// The secrets, or the number of the first line that is none. Empty lines are passed over.
fn parse(text: &str) -> Result<Vec<[u8; 32]>, usize> {
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty());
    let secret = |line: &str| STANDARD.decode(line).ok()?.try_into().ok();
    lines.map(|(number, line)| secret(line).ok_or(number + 1)).collect()
}

/// The id follows from the key, so that it stays when others are put before it.
fn id(secret: &[u8; 32]) -> u32 {
    let hash = Sha256::digest(secret);
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
}

fn random() -> Option<[u8; 32]> {
    let mut secret = [0; 32];
    ring::default_provider().secure_random.fill(&mut secret).ok()?;
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> ResourceName {
        ResourceName::parse("name", "hello").unwrap()
    }

    #[test]
    fn keys_are_read_in_their_order_with_ids_that_stay() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        let (old, new) = (STANDARD.encode([1; 32]), STANDARD.encode([2; 32]));
        std::fs::write(&file, format!("{old}\n")).unwrap();
        let before = read("k", name(), Some(&file)).unwrap();
        std::fs::write(&file, format!("{new}\n\n{old}\n")).unwrap();
        let after = read("k", name(), Some(&file)).unwrap();
        assert_eq!(after.keys[1], before.keys[0]);
        assert_eq!(after.keys[0].secret, [2; 32]);
    }

    #[test]
    fn a_bad_line_is_named_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        let short = STANDARD.encode([7; 31]);
        std::fs::write(&file, format!("{}\n{short}", STANDARD.encode([1; 32]))).unwrap();
        let error = read("clusters[0].sessionKeys", name(), Some(&file))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("clusters[0].sessionKeys: ") && error.contains("line 2"),
            "{error}"
        );
        assert!(!error.contains(&short), "{error}");
        std::fs::write(&file, format!("{}{}", "\n".repeat(65_536), STANDARD.encode([1; 32]))).unwrap();
        let error = read("k", name(), Some(&file)).unwrap_err().to_string();
        assert!(error.contains("above 65536 bytes"), "not even read to its end: {error}");
        let error = read("k", name(), Some(Path::new("no-such-file")))
            .unwrap_err()
            .to_string();
        assert!(error.contains("no-such-file"), "{error}");
    }

    #[test]
    fn without_a_file_each_start_makes_its_own() {
        let (one, other) = (read("k", name(), None).unwrap(), read("k", name(), None).unwrap());
        assert_ne!(one.keys, other.keys);
    }
}
