//! Files of keys: those of payment systems, of gateways that give tickets, and
//! the server's own for passwords. Each is a secret: a file that others could
//! read is refused.
//!
//! ```toml
//! [[key]]
//! id = 1
//! secret = "5f1c…"   # hex of 32 bytes or more: `openssl rand -hex 32`
//! ```
//!
//! To change a key, add the new one at the end, restart, let the payment system
//! or the gateway seal with it, and then take the old one out. A key for
//! passwords must stay as long as envelopes that were ordered under it.

use std::path::{Path, PathBuf};

use crate::private_file::{self, PrivateFileError};
use crate::wire::{BadKey, Keys, PaymentKeys};

/// Why a file of keys is of no use; one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read, or others could.
    #[error("keys: {0}")]
    File(#[from] PrivateFileError),
    /// It does not parse.
    #[error("keys in {0}: {1}")]
    Text(PathBuf, String),
    /// It has no key.
    #[error("there is no key in {0}: write `[[key]]`, `id = 1` and `secret = \"<64 hex digits>\"`")]
    None(PathBuf),
    /// A secret that is not hex.
    #[error("keys in {0}: the secret of key {1} is not hex, two digits for each byte")]
    Hex(PathBuf, u32),
    /// A secret that cannot be a key.
    #[error("keys in {0}: {1}")]
    Key(PathBuf, BadKey),
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    #[serde(default)]
    key: Vec<KeyEntry>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    id: u32,
    secret: String,
}

/// The payment keys in a file, and their ids in the order in which they stand
/// there.
pub fn read(path: &Path) -> Result<(PaymentKeys, Vec<u32>), KeyFileError> {
    read_keys(path).map(|(keys, ids)| (keys.into(), ids))
}

/// The keys in a file, whatever they are for, and their ids.
pub fn read_keys(path: &Path) -> Result<(Keys, Vec<u32>), KeyFileError> {
    let text = private_file::read(path)?;
    let file: KeyFile = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        let reason = error.message().replace('\n', " ");
        KeyFileError::Text(path.to_owned(), format!("line {line}: {reason}"))
    })?;
    let mut keys = Keys::default();
    for KeyEntry { id, secret } in &file.key {
        let secret = hex::decode(secret).map_err(|_| KeyFileError::Hex(path.to_owned(), *id))?;
        keys.add(*id, &secret).map_err(|bad| KeyFileError::Key(path.to_owned(), bad))?;
    }
    if keys.is_empty() {
        return Err(KeyFileError::None(path.to_owned()));
    }
    Ok((keys, file.key.iter().map(|key| key.id).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::EnvelopeId;
    use crate::wire::Payment;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    fn written(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    fn key(id: u32, digits: usize) -> String {
        format!("[[key]]\nid = {id}\nsecret = \"{}\"\n", "aF".repeat(digits / 2))
    }

    #[test]
    fn two_keys_are_read_with_their_ids() {
        let file = written(&(key(7, 64) + &key(2, 128)), 0o600);
        let (keys, ids) = read(file.path()).unwrap();
        assert_eq!(ids, [7, 2]);
        let payment = Payment { envelope: EnvelopeId(1), payment: 2, amount: 3 };
        let mut same = PaymentKeys::default();
        same.add(7, &[0xaf; 32]).unwrap();
        assert_eq!(keys.seal(7, 1, &payment), same.seal(7, 1, &payment));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_in_one_line() {
        let cases = [
            (key(1, 62), 0o600, "32 bytes"),
            (key(1, 64) + &key(1, 64), 0o600, "there twice"),
            (key(1, 64), 0o640, "chmod 600"),
            (key(1, 64), 0o604, "chmod 600"),
            (String::new(), 0o600, "no key"),
            (key(1, 64).replace("aF", "xy"), 0o600, "not hex"),
            (key(1, 64).replace("\"\n", "a\"\n"), 0o600, "not hex"),
            (key(1, 64) + "tail = 1\n", 0o600, "line 4"),
        ];
        for (text, mode, told) in cases {
            let file = written(&text, mode);
            let error = read(file.path()).unwrap_err().to_string();
            assert!(error.contains(told) && !error.contains('\n'), "{error}");
            assert!(error.contains(&file.path().display().to_string()), "{error}");
            assert!(!error.contains("aFaF"), "a secret is told: {error}");
        }
        assert!(
            read(Path::new("/nowhere/keys")).unwrap_err().to_string().contains("/nowhere/keys")
        );
    }
}
