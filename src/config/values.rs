//! The kinds of values that a setting may have besides numbers and paths: how
//! each is read, and how it is shown again.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::units::Durability;

/// A value that can be written in a flag, a file and a variable.
pub(super) trait Shown {
    fn shown(&self) -> String;
}

macro_rules! shown_by_display {
    ($($kind:ty),*) => { $(impl Shown for $kind { fn shown(&self) -> String { self.to_string() } })* };
}
shown_by_display!(u8, u16, u32, u64, i32, usize, SocketAddr, Cores, MaybeListen, LedgerPlace);
shown_by_display!(Uids, HoldEnds);

impl Shown for PathBuf {
    fn shown(&self) -> String {
        self.display().to_string()
    }
}

impl Shown for Durability {
    fn shown(&self) -> String {
        match self {
            Self::Sync => "sync".to_owned(),
            Self::Os => "os".to_owned(),
        }
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), Shown::shown)
    }
}

/// Which cores the shards are pinned to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "Plain")]
pub enum Cores {
    /// One core a shard; with more than two cores the last is left to the
    /// background and control planes.
    Auto,
    /// None: the scheduler decides.
    Free,
    /// These, in this order, one a shard.
    Listed(Vec<usize>),
}

/// An address, or nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "Plain")]
pub enum MaybeListen {
    /// Not served.
    Nowhere,
    /// Served here.
    At(SocketAddr),
}

/// Where balances live.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "Plain")]
pub enum LedgerPlace {
    /// Nowhere: nothing is credited, and no order from a balance is taken.
    Nowhere,
    /// With the program that embeds the server, which says by
    /// [`crate::Server::covers`] whether a balance holds an order's money. No
    /// setting of the server's own binary.
    Program,
    /// In a file of the data directory.
    Embedded,
    /// In a `PostgreSQL`, at this address; it may hold a password.
    Postgres(String),
}

/// What becomes of a held share that nobody decides about in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HoldEnds {
    /// It goes back to the sender.
    Reject,
    /// The claimant gets it.
    Release,
}

impl FromStr for HoldEnds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "reject" => Ok(Self::Reject),
            "release" => Ok(Self::Release),
            _ => Err("`reject` or `release`".to_owned()),
        }
    }
}

impl fmt::Display for HoldEnds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Reject => "reject",
            Self::Release => "release",
        })
    }
}

/// Users of this machine, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "Plain")]
pub struct Uids(pub Vec<u32>);

/// A value as the file or a variable has it: `cores = 1` is as good as "1".
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Plain {
    Number(u32),
    Text(String),
}

impl From<Plain> for String {
    fn from(plain: Plain) -> Self {
        match plain {
            Plain::Number(number) => number.to_string(),
            Plain::Text(text) => text,
        }
    }
}

macro_rules! read_as_text {
    ($($kind:ty),*) => { $(impl TryFrom<Plain> for $kind {
        type Error = String;

        fn try_from(plain: Plain) -> Result<Self, String> {
            String::from(plain).parse()
        }
    })* };
}
read_as_text!(Cores, MaybeListen, LedgerPlace, Uids);

impl FromStr for Uids {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::default());
        }
        let uids = text.split(',').map(|uid| uid.trim().parse());
        let expected = |_| "`none`, or numbers of users such as 1000 or 1000,1001".to_owned();
        uids.collect::<Result<_, _>>().map(Self).map_err(expected)
    }
}

impl fmt::Display for Uids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        f.write_str(&self.0.iter().map(u32::to_string).collect::<Vec<_>>().join(","))
    }
}

impl FromStr for LedgerPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::Nowhere),
            "embedded" => Ok(Self::Embedded),
            url if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                Ok(Self::Postgres(url.to_owned()))
            }
            _ => Err("`embedded`, `none`, or postgres://user@host/database".to_owned()),
        }
    }
}

impl fmt::Display for LedgerPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("none"),
            Self::Program => f.write_str("program"),
            Self::Embedded => f.write_str("embedded"),
            Self::Postgres(url) => f.write_str(&without_password(url)),
        }
    }
}

impl fmt::Debug for LedgerPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f) // a password is not for logs
    }
}

/// `postgres://user:secret@host/x` without the secret.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return String::new() };
    let (people, place) = rest.rsplit_once('@').unwrap_or(("", rest));
    let place = place.split_once('?').map_or(place, |(place, _)| place); // may have one too
    match people.split(':').next() {
        Some(user) if !user.is_empty() => format!("{scheme}://{user}@{place}"),
        _ => format!("{scheme}://{place}"),
    }
}

impl FromStr for Cores {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "`auto`, `none`, or core numbers such as `0` or `0,2,3`".to_owned();
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::Free),
            listed => {
                let cores = listed.split(',').map(|core| core.trim().parse());
                cores.collect::<Result<_, _>>().map(Self::Listed).map_err(|_| expected())
            }
        }
    }
}

impl FromStr for MaybeListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::Nowhere),
            address => address
                .parse()
                .map(Self::At)
                .map_err(|_| "`none`, or an address with a port such as 127.0.0.1:7880".to_owned()),
        }
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Free => f.write_str("none"),
            Self::Listed(cores) => {
                let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
                f.write_str(&cores.join(","))
            }
        }
    }
}

impl fmt::Display for MaybeListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("none"),
            Self::At(address) => address.fmt(f),
        }
    }
}

pub(super) fn durability(text: &str) -> Result<Durability, String> {
    match text {
        "sync" => Ok(Durability::Sync),
        "os" => Ok(Durability::Os),
        _ => Err("`sync` (survives a power cut) or `os` (survives a process crash)".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_is_shown_without_its_password() {
        let shown = |text: &str| text.parse::<LedgerPlace>().unwrap().to_string();
        let secret = "postgres://hb:secret@db:5432/money?sslmode=disable&password=secret";
        assert_eq!(shown(secret), "postgres://hb@db:5432/money");
        assert_eq!(shown("postgres:///money"), "postgres:///money");
        assert_eq!([shown("embedded"), shown("none")], ["embedded", "none"]);
        let place: LedgerPlace = secret.parse().unwrap();
        assert!(!format!("{place:?}").contains("secret"));
        let wrong = "sqlite".parse::<LedgerPlace>().unwrap_err();
        assert!(wrong.contains("embedded"), "{wrong}");
    }

    #[test]
    fn users_are_read_and_shown_alike() {
        for text in ["none", "0", "1000,1001"] {
            assert_eq!(text.parse::<Uids>().unwrap().to_string(), text);
        }
        for text in ["", "root", "-1", "1,,2"] {
            assert!(text.parse::<Uids>().unwrap_err().contains("1000"), "{text}");
        }
    }
}
