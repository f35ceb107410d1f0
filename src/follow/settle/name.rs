//! The name of a subscriber: a file is called after it, so it is plain.

use std::fmt;
use std::str::FromStr;

/// Bytes of the longest name.
pub const NAME_BYTES_MAX: usize = 32;

/// Names of risk services begin so, and no others.
const RISK: &str = "risk-";

/// What a subscriber is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Every movement of money.
    Movements,
    /// What a risk service is to hear.
    News,
}

/// 1 to 32 of `a`–`z`, `0`–`9` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriberName(String);

impl SubscriberName {
    /// What a subscriber of this name is sent. The name alone says it, so no cursor of
    /// the one content is ever moved by a receiver of the other.
    pub fn content(&self) -> Content {
        if self.0.starts_with(RISK) { Content::News } else { Content::Movements }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubscriberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SubscriberName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("a subscriber's name is 1 to {NAME_BYTES_MAX} of a-z, 0-9 and -"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_directory() {
        for name in ["bank", "a", "9-lives", &"x".repeat(32)] {
            assert_eq!(name.parse::<SubscriberName>().unwrap().as_str(), name);
        }
        for name in ["", "../bank", "Bank", "a b", "a.b", "a/b", &"x".repeat(33), "红"] {
            assert!(name.parse::<SubscriberName>().is_err(), "{name}");
        }
        let content = |name: &str| name.parse::<SubscriberName>().unwrap().content();
        assert_eq!(content("risk-desk"), Content::News);
        assert!(["risk", "a-risk-", "bank"].map(content) == [Content::Movements; 3]);
    }
}
