//! The token that whoever changes something over the admin port has to show: a
//! file that only its owner may read, so who can read it is who may.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use axum::http::{HeaderMap, header};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::private_file::{self, PrivateFileError};

/// The file of the token in a data directory.
pub const TOKEN_FILE: &str = "admin.token";

/// The shortest token: what 16 random bytes are as hex.
const LETTERS_MIN: usize = 32;

/// Bytes that are drawn for one.
const DRAWN_BYTES: usize = 32;

/// What stands before it in a request.
const SCHEME: &str = "Bearer ";

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Its file cannot be read, or others could.
    #[error("admin token: {0}")]
    File(#[from] PrivateFileError),
    /// It could be guessed.
    #[error(
        "the admin token in {0} is shorter than 32 letters: put the output of `openssl rand -hex \
         32` there, or remove the file to have one drawn"
    )]
    Short(PathBuf),
    /// A new one cannot be kept.
    #[error("cannot write the admin token to {0}: {1}; make room and see who owns the directory")]
    Unwritten(PathBuf, #[source] io::Error),
    /// The operating system gives no random numbers.
    #[error("admin token: no random numbers: {0}")]
    Random(String),
}

/// A token, as a MAC of it under a key of this process: comparing two MACs tells
/// nothing about how much of a guess was right.
#[derive(Clone)]
pub struct Token {
    blind: Hmac<Sha256>,
    expected: [u8; 32],
}

/// A drawn token that is not in its file yet.
#[must_use = "nobody can know it before it is written"]
pub struct Drawn {
    path: PathBuf,
    text: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    fn of(text: &str) -> Result<Self, TokenError> {
        let blind = Hmac::new_from_slice(&random()?)
            .map_err(|error| TokenError::Random(error.to_string()))?;
        let expected = mac(&blind, text).finalize().into_bytes().into();
        Ok(Self { blind, expected })
    }

    /// The token in a file.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let text = private_file::read(path)?;
        let text = text.trim();
        if text.len() < LETTERS_MIN {
            return Err(TokenError::Short(path.to_owned()));
        }
        Self::of(text)
    }

    /// The token of a data directory, or a new one for it, which
    /// [`Drawn::write`] puts there.
    pub fn of_directory(directory: &Path) -> Result<(Self, Option<Drawn>), TokenError> {
        let path = directory.join(TOKEN_FILE);
        if path.exists() {
            return Ok((Self::read(&path)?, None));
        }
        let text = hex::encode(random()?);
        Ok((Self::of(&text)?, Some(Drawn { path, text })))
    }

    /// Whether a request shows it.
    pub fn is_shown(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.strip_prefix(SCHEME));
        let right = |text| mac(&self.blind, text).verify_slice(&self.expected).is_ok();
        shown.is_some_and(|text| right(text.trim()))
    }
}

impl Drawn {
    /// Puts it into its file, durably, for its owner alone.
    pub fn write(self) -> Result<(), TokenError> {
        let unwritten = |error| TokenError::Unwritten(self.path.clone(), error);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(&self.path).map_err(unwritten)?;
        file.write_all(format!("{}\n", self.text).as_bytes()).map_err(unwritten)?;
        file.sync_all().map_err(unwritten)?;
        let directory = self.path.parent().unwrap_or(Path::new("."));
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(unwritten)
    }
}

fn mac(blind: &Hmac<Sha256>, text: &str) -> Hmac<Sha256> {
    let mut mac = blind.clone();
    mac.update(text.as_bytes());
    mac
}

fn random() -> Result<[u8; DRAWN_BYTES], TokenError> {
    let mut bytes = [0; DRAWN_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| TokenError::Random(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn a_token_is_drawn_once_and_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let (first, drawn) = Token::of_directory(directory.path()).unwrap();
        let path = directory.path().join(TOKEN_FILE);
        assert!(!path.exists(), "a start that is refused has written nothing");
        drawn.unwrap().write().unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.trim().len(), 64);
        let (again, drawn) = Token::of_directory(directory.path()).unwrap();
        assert!(drawn.is_none());
        for token in [first, again] {
            assert!(token.is_shown(&headers(&format!("Bearer {}", text.trim()))));
        }
        let other = tempfile::tempdir().unwrap();
        Token::of_directory(other.path()).unwrap().1.unwrap().write().unwrap();
        assert_ne!(std::fs::read_to_string(other.path().join(TOKEN_FILE)).unwrap(), text);
    }

    #[test]
    fn nothing_but_the_whole_token_is_right() {
        let text = "0123456789abcdef0123456789abcdef";
        let token = Token::of(text).unwrap();
        assert!(token.is_shown(&headers(&format!("Bearer {text}"))));
        for wrong in ["Bearer ", "Bearer 0", "Basic x", "", text, &format!("Bearer {text}0")] {
            assert!(!token.is_shown(&headers(wrong)), "{wrong}");
        }
        for place in 0..text.len() {
            let mut guess = text.to_owned();
            guess.replace_range(place..=place, "x");
            assert!(!token.is_shown(&headers(&format!("Bearer {guess}"))));
        }
        assert!(!token.is_shown(&HeaderMap::new()));
        assert_eq!(format!("{token:?}"), "Token");
    }

    #[test]
    fn a_token_that_others_could_read_or_guess_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(TOKEN_FILE);
        for (text, mode, told) in
            [("a".repeat(32), 0o644, "chmod 600"), ("a".repeat(31), 0o600, "shorter")]
        {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = Token::of_directory(directory.path()).err().unwrap().to_string();
            assert!(error.contains(told) && !error.contains("aaaa"), "{error}");
        }
    }
}
