//! Where a server is: `host:port`, or `unix:/path` for a local socket.
//!
//! This room never connects.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP address, `host:port`.
    Tcp(String),
    /// A unix socket's path.
    Unix(PathBuf),
}

/// Text that names no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address: write host:port (127.0.0.1:7878) or unix:/path/to/socket")]
pub struct BadAddress(String);

impl Address {
    /// The same host with another port; `None` for a unix socket.
    pub fn with_port(&self, port: u16) -> Option<Self> {
        match self {
            Self::Tcp(address) => {
                let (host, _) = address.rsplit_once(':')?;
                Some(Self::Tcp(format!("{host}:{port}")))
            }
            Self::Unix(_) => None,
        }
    }
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if let Some(path) = text.strip_prefix("unix:") {
            let named = !path.is_empty();
            return named.then(|| Self::Unix(path.into())).ok_or_else(|| BadAddress(text.into()));
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self::Tcp(text.into()))
            }
            _ => Err(BadAddress(text.into())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_shown_alike() {
        for text in ["127.0.0.1:7878", "[::1]:7878", "box.example:1", "unix:/run/hongbao.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn another_port_is_on_the_same_host() {
        let port = |text: &str| text.parse::<Address>().unwrap().with_port(9);
        assert_eq!(port("[::1]:7878").unwrap().to_string(), "[::1]:9");
        assert_eq!(port("box.example:1").unwrap().to_string(), "box.example:9");
        assert_eq!(port("unix:/run/hongbao.sock"), None);
    }

    #[test]
    fn what_is_no_address_is_told_how_to_write_one() {
        for text in ["", "box", "unix:", ":7878", "box:port", "box:70000"] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.to_string().contains("host:port"), "{error}");
        }
    }
}
