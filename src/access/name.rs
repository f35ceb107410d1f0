//! The name of a principal: a file is called after it, so it is plain.

use std::fmt;
use std::str::FromStr;

use crate::wire::PRINCIPAL_BYTES;

/// 1 to 32 of `a`–`z`, `0`–`9` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PrincipalName(String);

impl PrincipalName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a handshake has it, with zeros behind it.
    pub fn padded(&self) -> [u8; PRINCIPAL_BYTES] {
        let mut padded = [0; PRINCIPAL_BYTES];
        for (place, byte) in padded.iter_mut().zip(self.0.bytes()) {
            *place = byte;
        }
        padded
    }
}

impl fmt::Display for PrincipalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PrincipalName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=PRINCIPAL_BYTES).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("a principal's name is 1 to {PRINCIPAL_BYTES} of a-z, 0-9 and -"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_directory() {
        for name in ["gateway-1", "a", &"x".repeat(32)] {
            assert_eq!(name.parse::<PrincipalName>().unwrap().as_str(), name);
        }
        for name in ["", "../bank", "Bank", "a b", "a.b", "a/b", &"x".repeat(33), "红", "a\0"] {
            assert!(name.parse::<PrincipalName>().is_err(), "{name}");
        }
        let padded = "ab".parse::<PrincipalName>().unwrap().padded();
        assert_eq!((&padded[..3], padded.len()), (&b"ab\0"[..], 32));
    }
}
