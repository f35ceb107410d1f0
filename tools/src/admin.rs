//! One request to a server's admin port, and errors that say what to do.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Result, bail};
use clap::Args;
use hongbao::admin::TOKEN_FILE;
use hongbao::private_file::{self, PrivateFileError};
use minreq::{Error, Request};
use serde_json::Value;

use crate::exit::Refused;

/// Longer than the server's slowest answer: a withdrawal waits up to 30 s for
/// what is queued.
const PATIENCE_S: u64 = 35;

/// Where the admin port is, and what it wants to be shown.
#[derive(Args)]
pub(crate) struct AdminArgs {
    /// The server's admin port: `http://host:port` or `host:port`
    #[arg(long, env = "HONGBAO_ADMIN", default_value = "http://127.0.0.1:7880")]
    pub(crate) admin: AdminAddress,
    /// The server's data directory, where its token is
    #[arg(long, value_name = "DIR", env = "HONGBAO_DATA", default_value = "./hongbao-data")]
    data: PathBuf,
    /// The file of the token, if it is elsewhere
    #[arg(long, value_name = "FILE", env = "HONGBAO_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

/// An address of an admin port; shown as the start of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdminAddress(String);

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0)
    }
}

impl FromStr for AdminAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("https:") {
            return Err("the admin port speaks plain HTTP: write http://host:port".into());
        }
        let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let sound = |letter: char| letter.is_ascii_alphanumeric() || ".:-_[]".contains(letter);
        if port.is_none() || !address.chars().all(sound) {
            return Err(format!("`{text}` is no admin port: write http://host:port"));
        }
        Ok(Self(address.to_owned()))
    }
}

impl AdminArgs {
    /// Reads a path. On loopback nobody wants a token for that.
    pub(crate) fn get(&self, path: &str) -> Result<String> {
        let request = minreq::get(format!("{}{path}", self.admin));
        match &self.token_file {
            Some(path) => self.admin.ask(bearing(request, &read(path)?)),
            None => self.admin.ask(request),
        }
    }

    /// Posts to a path, with nothing in it.
    pub(crate) fn post(&self, path: &str) -> Result<String> {
        self.change(minreq::post(format!("{}{path}", self.admin)))
    }

    /// Posts a JSON value to a path.
    pub(crate) fn post_json(&self, path: &str, value: &Value) -> Result<String> {
        self.change(minreq::post(format!("{}{path}", self.admin)).with_body(value.to_string()))
    }

    /// Shows the token: the one that is named, or for a server on this machine
    /// that of the data directory, which is not for others to see.
    fn change(&self, request: Request) -> Result<String> {
        let own = self.data.join(TOKEN_FILE);
        let path = self.token_file.as_ref().or(self.admin.is_loopback().then_some(&own));
        let token = path.map(|path| read(path));
        match token {
            Some(Ok(token)) => self.admin.ask(bearing(request, &token)),
            Some(Err(error)) if self.token_file.is_some() => Err(error.into()),
            // The server has the first word: perhaps it does not run at all.
            Some(Err(missing)) => self.admin.ask(request).map_err(|error| {
                if error.is::<TokenWanted>() { error.context(missing) } else { error }
            }),
            None => self.admin.ask(request),
        }
    }
}

fn read(path: &Path) -> Result<String, PrivateFileError> {
    Ok(private_file::read(path)?.trim().to_owned())
}

fn bearing(request: Request, token: &str) -> Request {
    request.with_header("Authorization", format!("Bearer {token}"))
}

/// The server wants a token that was not shown, or another one.
#[derive(Debug)]
struct TokenWanted(String);

impl fmt::Display for TokenWanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TokenWanted {}

impl AdminAddress {
    /// Whether it is on this machine for sure.
    fn is_loopback(&self) -> bool {
        let host = self.0.rsplit_once(':').map_or("", |(host, _)| host);
        let host = host.trim_matches(['[', ']']);
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    fn ask(&self, request: Request) -> Result<String> {
        let answer = match request.with_timeout(PATIENCE_S).with_follow_redirects(false).send() {
            Ok(answer) => answer,
            Err(Error::IoError(error)) => bail!(
                "no admin port answers at {self} ({error}); start `hongbao serve`, whose setting \
                 `admin` says where it is, and give it with --admin"
            ),
            Err(error) => bail!("{self} gives no sound HTTP ({error}); is it an admin port?"),
        };
        let text = answer.as_str().unwrap_or_default();
        match answer.status_code {
            200..300 => Ok(text.to_owned()),
            409 => Err(Refused(text.trim_end().to_owned()).into()),
            401 => Err(TokenWanted(text.trim_end().to_owned()).into()),
            code => {
                let line = text.lines().next().unwrap_or_default();
                bail!("{self} refused with {code}: {line}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_port_is_a_host_and_a_port_with_or_without_its_scheme() {
        for text in ["127.0.0.1:7880", "http://127.0.0.1:7880", "http://127.0.0.1:7880/"] {
            let address: AdminAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), "http://127.0.0.1:7880");
        }
        assert_eq!("[::1]:80".parse::<AdminAddress>().unwrap().to_string(), "http://[::1]:80");
        for text in ["", "none", "localhost", "https://a:1", "a:b", "a:70000", "a b:1", "a/b:1"] {
            let told = text.parse::<AdminAddress>().unwrap_err();
            assert!(told.contains("http://host:port"), "{told}");
        }
    }
}
