//! The files of keys: one for each principal, called after it, in a directory
//! of the server's; the client has a copy of its own.
//!
//! ```toml
//! # keys/gateway-1.toml, chmod 600
//! roles = ["claimer"]
//! [[key]]
//! id = 1
//! secret = "5f1c…"   # hex of 32 bytes or more: `openssl rand -hex 32`
//! ```
//!
//! To change a key, add the new one below, restart the server, give the new one
//! to the client, and then take the old one out.

use std::path::{Path, PathBuf};

use super::keyring::{Keyring, KeyringError, Principal};
use super::name::PrincipalName;
use super::proof::{Identity, Key};
use super::roles::{Role, Roles};
use crate::private_file::{self, PrivateFileError};

/// Why there are no keys; one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read, or others could.
    #[error("keys: {0}")]
    File(#[from] PrivateFileError),
    /// It does not parse.
    #[error("keys in {0}: {1}")]
    Text(PathBuf, String),
    /// The file's name is no principal's.
    #[error("keys: {0} is called after no principal: {1}, then `.toml`")]
    Name(PathBuf, String),
    /// A directory without a key.
    #[error(
        "there is no key in {0}: put a file such as gateway-1.toml there, see docs/SECURITY.md"
    )]
    None(PathBuf),
    /// A secret that cannot be a key.
    #[error("keys in {0}: the secret of key {1} is not hex of 32 bytes (64 digits) or more")]
    Secret(PathBuf, u32),
    /// Keys that do not fit together.
    #[error("keys in {0}: {1}")]
    Keys(PathBuf, #[source] KeyringError),
    /// The operating system gives no random numbers.
    #[error("keys: no random numbers: {0}")]
    Random(String),
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    #[serde(default)]
    roles: Vec<Role>,
    #[serde(default)]
    key: Vec<KeyEntry>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    id: u32,
    secret: String,
}

/// Everybody whose file is in a directory. With `certificates` a file may be
/// without a key: that principal comes by its certificate.
pub fn read_keyring(directory: &Path, certificates: bool) -> Result<Keyring, KeyFileError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| KeyFileError::Random(error.to_string()))?;
    let decoy = Key::new(&secret).ok_or(KeyFileError::Random("too few".to_owned()))?;
    let keyring = Keyring::new(decoy);
    let mut keyring = if certificates { keyring.with_certificates() } else { keyring };
    for path in private_file::list(directory)? {
        let name = name_of(&path)?;
        let Content { roles, keys } = read(&path)?;
        let added = keyring.add(Principal { name, roles: Roles::of(&roles), keys });
        added.map_err(|error| KeyFileError::Keys(path, error))?;
    }
    if keyring.principals().is_empty() {
        return Err(KeyFileError::None(directory.to_owned()));
    }
    Ok(keyring)
}

/// The identity in a client's file, under this name or the file's own: the
/// first key of the file.
pub fn read_identity(path: &Path, name: Option<&PrincipalName>) -> Result<Identity, KeyFileError> {
    let name = name.cloned().map_or_else(|| name_of(path), Ok)?;
    let Content { keys, .. } = read(path)?;
    let (id, key) = keys
        .into_iter()
        .next()
        .ok_or_else(|| KeyFileError::Keys(path.to_owned(), KeyringError::NoKey))?;
    Ok(Identity::new(name, id, key))
}

fn name_of(path: &Path) -> Result<PrincipalName, KeyFileError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = name.strip_suffix(".toml").unwrap_or_default();
    stem.parse().map_err(|why| KeyFileError::Name(path.to_owned(), why))
}

/// The roles and the keys of one file.
struct Content {
    roles: Vec<Role>,
    keys: Vec<(u32, Key)>,
}

fn read(path: &Path) -> Result<Content, KeyFileError> {
    let text = private_file::read(path)?;
    let file: KeyFile = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        // What stands behind the colon may quote a value, and so a secret.
        let reason = error.message().split([':', '\n']).next().unwrap_or_default();
        KeyFileError::Text(path.to_owned(), format!("line {line}: {reason}"))
    })?;
    let key = |KeyEntry { id, secret }: KeyEntry| {
        let key = hex::decode(secret).ok().and_then(|secret| Key::new(&secret));
        Ok((id, key.ok_or_else(|| KeyFileError::Secret(path.to_owned(), id))?))
    };
    let keys = file.key.into_iter().map(key).collect::<Result<_, KeyFileError>>()?;
    Ok(Content { roles: file.roles, keys })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    const SECRET: &str = "af0102030405060708090a0b0c0d0e0faf0102030405060708090a0b0c0d0e0f";

    fn put(directory: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn file(roles: &str, ids: &[u32]) -> String {
        let key = |id| format!("[[key]]\nid = {id}\nsecret = \"{SECRET}\"\n");
        format!("roles = [{roles}]\n") + &ids.iter().map(key).collect::<String>()
    }

    #[test]
    fn a_directory_is_a_keyring_and_a_file_an_identity() {
        let directory = tempfile::tempdir().unwrap();
        let path = put(directory.path(), "bank.toml", &file("\"payer\", \"settler\"", &[7]), 0o600);
        put(directory.path(), "gateway-1.toml", &file("\"claimer\"", &[1, 2]), 0o400);
        let keyring = read_keyring(directory.path(), false).unwrap();
        let shown =
            |principal: &Principal| (principal.name.to_string(), principal.roles.to_string());
        let shown: Vec<_> = keyring.principals().iter().map(shown).collect();
        let expected = [("bank", "payer, settler"), ("gateway-1", "claimer")];
        assert_eq!(shown, expected.map(|(name, roles)| (name.to_owned(), roles.to_owned())));
        let identity = read_identity(&path, None).unwrap();
        let challenge = identity.challenge([1; 32]);
        let (challenged, pending) = keyring.answer(&challenge, [2; 32]);
        let proof = identity.prove(&challenge, &challenged).unwrap();
        assert_eq!(keyring.verify(&pending, &proof).unwrap().0, 0);
        let renamed = read_identity(&path, Some(&"gateway-1".parse().unwrap())).unwrap();
        assert_eq!(renamed.name().as_str(), "gateway-1");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_in_one_line_without_its_secret() {
        let good = file("\"claimer\"", &[1]);
        let cases = [
            ("a.toml", good.clone(), 0o640, "chmod 600"),
            ("a.toml", good.clone(), 0o644, "chmod 600"),
            ("a.toml", file("", &[1]), 0o600, "no role"),
            ("a.toml", file("\"claimer\"", &[]), 0o600, "no key"),
            ("a.toml", file("\"claimer\"", &[1, 2, 3]), 0o600, "take the oldest out"),
            ("a.toml", file("\"claimer\"", &[1, 1]), 0o600, "there twice"),
            ("a.toml", file("\"root\"", &[1]), 0o600, "line 1"),
            ("a.toml", good.clone() + "tail = 1\n", 0o600, "line 5"),
            ("a.toml", good.replace("af01", "xyz1"), 0o600, "not hex"),
            ("a.toml", good.replace("af0102", ""), 0o600, "not hex"),
            ("A.toml", good.clone(), 0o600, "called after no principal"),
            ("a.txt", good.clone(), 0o600, "called after no principal"),
        ];
        for (name, text, mode, told) in cases {
            let directory = tempfile::tempdir().unwrap();
            let path = put(directory.path(), name, &text, mode);
            let error = read_keyring(directory.path(), false).unwrap_err().to_string();
            assert!(error.contains(told) && !error.contains('\n'), "{told}: {error}");
            assert!(error.contains(&path.display().to_string()), "{error}");
            assert!(!error.contains("0405060708"), "a secret is told: {error}");
        }
    }

    #[test]
    fn an_empty_directory_and_none_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let told = read_keyring(directory.path(), false).unwrap_err().to_string();
        assert!(told.contains("no key") && told.contains("SECURITY.md"), "{told}");
        let told = read_keyring(Path::new("/nowhere/keys"), false).unwrap_err().to_string();
        assert!(told.contains("/nowhere/keys"), "{told}");
    }
}
