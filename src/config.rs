//! Settings: flag, then file, then environment, then default, each value with
//! where it came from.
//!
//! One table below is all there is to a setting; an unknown key anywhere is an
//! error. This room opens nothing but the configuration file.

mod reach;

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::limits;
use crate::units::{Cell, Durability, Fen, PARTITIONS};

pub use reach::Uids;

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A command-line flag.
    Flag,
    /// The TOML file.
    File,
    /// A `HONGBAO_*` variable.
    Environment,
    /// The built-in default.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Flag => "flag",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Default => "default",
        })
    }
}

/// What is wrong with the configuration, in one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {0}: {1}; give an existing file with --config")]
    Unreadable(PathBuf, std::io::Error),
    /// The file does not parse, or has an unknown key.
    #[error("configuration file {0}: {1}")]
    File(PathBuf, String),
    /// A variable that is no setting.
    #[error("unknown variable {0}; `hongbao check-config` lists the settings, prefix HONGBAO_")]
    UnknownVariable(String),
    /// A variable whose value does not parse.
    #[error("variable {0}: {1}")]
    Variable(String, String),
    /// Strangers could reach what moves money.
    #[error(
        "{key} = {address} can be reached from other machines, and there are no keys: set --keys \
         to a directory of principals' keys (docs/SECURITY.md), or listen on 127.0.0.1"
    )]
    Exposed {
        /// The setting.
        key: &'static str,
        /// What it was set to.
        address: SocketAddr,
    },
    /// Settings of which one is of no use without another.
    #[error("{key} is set and {missing} is not: {what}")]
    Alone {
        /// The setting.
        key: &'static str,
        /// The one it is of no use without.
        missing: &'static str,
        /// What to do.
        what: &'static str,
    },
    /// A value out of its range.
    #[error("{key} = {value} is out of range: {expected}")]
    Range {
        /// The setting.
        key: &'static str,
        /// What it was set to.
        value: String,
        /// What it may be.
        expected: String,
    },
}

/// A value that can be written in a flag, a file and a variable.
trait Shown {
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

impl TryFrom<Plain> for Cores {
    type Error = String;

    fn try_from(plain: Plain) -> Result<Self, String> {
        String::from(plain).parse()
    }
}

impl TryFrom<Plain> for MaybeListen {
    type Error = String;

    fn try_from(plain: Plain) -> Result<Self, String> {
        String::from(plain).parse()
    }
}

impl TryFrom<Plain> for LedgerPlace {
    type Error = String;

    fn try_from(plain: Plain) -> Result<Self, String> {
        String::from(plain).parse()
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

fn durability(text: &str) -> Result<Durability, String> {
    match text {
        "sync" => Ok(Durability::Sync),
        "os" => Ok(Durability::Os),
        _ => Err("`sync` (survives a power cut) or `os` (survives a process crash)".to_owned()),
    }
}

macro_rules! settings {
    ($( $(#[doc = $doc:literal])+ $key:ident: $kind:ty [$given:ty] = $default:expr $(, parse $parser:path)?; )*) => {
        /// Every setting of a server.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Config {
            $( $(#[doc = $doc])+ pub $key: $kind, )*
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $( $key: $default, )* }
            }
        }

        /// Settings as one source gives them; what it does not say is `None`.
        #[derive(Clone, Debug, Default, clap::Args, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Given {
            $( $(#[doc = $doc])+ #[arg(long, allow_negative_numbers = true $(, value_parser = $parser)?)] pub $key: Option<$given>, )*
        }

        /// The configuration, and the source of each of its values.
        #[derive(Clone, Debug)]
        pub struct Resolved {
            /// The values.
            pub config: Config,
            /// For each setting: its key, its value as text, its source.
            pub origins: Vec<(&'static str, String, Source)>,
        }

        fn merge(flags: Given, file: Given, environment: Given) -> Resolved {
            let mut config = Config::default();
            let mut origins = Vec::new();
            $(
                let (given, source) = match (flags.$key, file.$key, environment.$key) {
                    (Some(given), _, _) => (Some(given), Source::Flag),
                    (_, Some(given), _) => (Some(given), Source::File),
                    (_, _, Some(given)) => (Some(given), Source::Environment),
                    _ => (None, Source::Default),
                };
                if let Some(given) = given {
                    config.$key = given.into();
                }
                origins.push((stringify!($key), config.$key.shown(), source));
            )*
            Resolved { config, origins }
        }

        const KEYS: &[&str] = &[$(stringify!($key)),*];
    };
}

settings! {
    /// Directory of the data; made if it is missing
    data: PathBuf [PathBuf] = PathBuf::from("./hongbao-data");
    /// TCP address to serve on; port 0 lets the kernel choose
    listen: SocketAddr [SocketAddr] = SocketAddr::from(([127, 0, 0, 1], 7878));
    /// Path of a unix socket to serve on as well
    unix: Option<PathBuf> [PathBuf] = None;
    /// What a reply waits for: `sync` (the disk) or `os` (the mapping only)
    durability: Durability [Durability] = Durability::Sync, parse durability;
    /// Number of this cell, the first byte of every envelope id
    cell: Cell [Cell] = 1;
    /// Shards, each a thread with its own journal; none is one for each core
    /// that `cores` names
    shards: Option<u16> [u16] = None;
    /// Cores the shards are pinned to: `auto`, `none`, or a list such as `0,1`
    cores: Cores [Cores] = Cores::Auto;
    /// First of the shards' own TCP ports; 0 lets the kernel choose them
    shard_port_first: u16 [u16] = 0;
    /// HTTP address of the control plane, or `none`
    admin: MaybeListen [MaybeListen] = MaybeListen::At(SocketAddr::from(([127, 0, 0, 1], 7880)));
    /// TCP address of the settlement stream, or `none`
    settlement: MaybeListen [MaybeListen] = MaybeListen::Nowhere;
    /// Core the background plane is pinned to; none leaves it to the scheduler
    background_core: Option<usize> [usize] = None;
    /// Connections at the same time
    connections_max: u32 [u32] = 1024;
    /// Envelopes that the tables hold, all shards together
    envelopes_max: u32 [u32] = 2_000_000;
    /// Memory for envelopes and their claims, in MiB, all shards together
    table_mib: u32 [u32] = 1024;
    /// Size of a journal segment, in KiB
    segment_kib: u32 [u32] = 256 * 1024;
    /// Shares of one envelope
    shares_max: u32 [u32] = 100;
    /// Money in one envelope, in fen
    total_fen_max: Fen [Fen] = 1_000_000_000_000;
    /// Money in one envelope divided by its shares, in fen
    share_mean_fen_max: Fen [Fen] = 20_000;
    /// Longest life of an envelope, in seconds
    lifetime_s_max: u32 [u32] = 24 * 3600;
    /// How long an order waits for its money before it lapses, in seconds
    pay_within_s: u32 [u32] = 900;
    /// Orders of one sender and day; 0 is any number
    sends_per_day_max: u32 [u32] = 0;
    /// Money in the orders of one sender and day, in fen; 0 is any sum
    sent_fen_per_day_max: Fen [Fen] = 0;
    /// Envelopes of one sender that are reserved or open; 0 is any number
    live_per_sender_max: u32 [u32] = 0;
    /// Where a day begins, in minutes east of UTC; whole quarters of an hour
    utc_offset_min: i32 [i32] = 480;
    /// Shares that one user receives a day; 0 is any number
    receives_per_day_max: u32 [u32] = 0;
    /// Money that one user receives a day, in fen; 0 is any sum
    received_fen_per_day_max: Fen [Fen] = 0;
    /// Users a day whose receipts are counted, all shards together, where one of
    /// the two is set
    receivers_max: u32 [u32] = 1_000_000;
    /// How long a closed envelope is shown, and its order number remembered, in
    /// seconds
    retention_s: u32 [u32] = 24 * 3600;
    /// Time between checkpoints, in seconds; 0 takes none
    checkpoint_interval_s: u32 [u32] = 300;
    /// How fast a checkpoint is written, in MiB a second for each shard
    checkpoint_mib_s: u32 [u32] = 48;
    /// Where balances live: `embedded` (a file in the data directory), `none`, or
    /// `postgres://user@host/database`
    ledger: LedgerPlace [LedgerPlace] = LedgerPlace::Embedded;
    /// What a request may wait inside the server before the server refuses:
    /// first new envelopes and lists, at twice that looks, at four times
    /// claims
    wait_us_max: u32 [u32] = 20_000;
    /// File of the keys that payment systems seal with, readable by its owner
    /// only; none takes no outside payments
    payment_keys: Option<PathBuf> [PathBuf] = None;
    /// File of the token that changes over the admin port must show; none is
    /// `admin.token` in the data directory, drawn at the first start
    admin_token: Option<PathBuf> [PathBuf] = None;
    /// Directory with a file of keys for each principal that may connect by TCP;
    /// none asks nobody, and listens on loopback only
    keys: Option<PathBuf> [PathBuf] = None;
    /// TCP address to serve on over TLS 1.3 as well, or `none`
    tls_listen: MaybeListen [MaybeListen] = MaybeListen::Nowhere;
    /// PEM file of the server's certificate, with its issuers' behind it
    tls_certificate: Option<PathBuf> [PathBuf] = None;
    /// PEM file of the certificate's private key, readable by its owner only
    tls_key: Option<PathBuf> [PathBuf] = None;
    /// PEM file of the issuers whose certificates clients must show over TLS; one
    /// whose DNS name is a principal's needs no key; none asks for no certificate
    tls_client_ca: Option<PathBuf> [PathBuf] = None;
    /// Users of this machine, by number, who may use the unix socket besides root
    /// and the server's own: `none`, or a list such as `1000,1001`
    unix_uids: Uids [Uids] = Uids::default();
    /// How long a connection may take to prove who it is, in milliseconds
    handshake_ms: u32 [u32] = 5_000;
    /// How long a frame may take from its first byte to its last, in milliseconds;
    /// 0 is for ever
    frame_ms: u32 [u32] = 10_000;
    /// How long a connection may take to read what it was answered, in
    /// milliseconds; 0 is for ever
    write_ms: u32 [u32] = 30_000;
    /// How long a connection may ask for nothing, in seconds; 0 is for ever
    idle_s: u32 [u32] = 0;
    /// Connections of one shard at the same time that have not proved who they are
    strangers_max: u32 [u32] = 256;
    /// The same of one address, or of one IPv6 network of 64 bits
    strangers_per_address_max: u32 [u32] = 64;
    /// Connections of one principal with one shard; 0 is any number
    connections_per_principal_max: u32 [u32] = 0;
    /// File of the keys that gateways make tickets with, readable by its owner
    /// only; none takes no orders that want a ticket
    ticket_keys: Option<PathBuf> [PathBuf] = None;
    /// File of the server's own keys that passwords are kept under, readable by
    /// its owner only; none takes no orders with a password
    password_keys: Option<PathBuf> [PathBuf] = None;
    /// Wrong guesses of a user at the password of one envelope
    guesses_per_user_max: u8 [u8] = 5;
    /// Wrong guesses of all users at one envelope, for each of its shares; 0 is
    /// any number
    guesses_per_share_max: u32 [u32] = 200;
    /// Users who have a grade or are on a list; every shard keeps all of them; 0
    /// keeps no grades and no lists
    risk_users_max: u32 [u32] = 0;
    /// The grade of users who have none, 1 to 255, the higher the better
    risk_grade_unknown: u8 [u8] = 100;
    /// Users of a lower grade are given nothing; 0 is no rule
    risk_deny_below: u8 [u8] = 0;
    /// What users of a lower grade win is held; 0 is no rule
    risk_hold_below: u8 [u8] = 0;
    /// Shares above it are held, in fen; 0 is no rule
    risk_hold_above_fen: u32 [u32] = 0;
    /// Who wins more than so often in the window is given nothing; 0 is no rule
    risk_deny_wins: u8 [u8] = 0;
    /// What is won more than so often in the window is held; 0 is no rule
    risk_hold_wins: u8 [u8] = 0;
    /// From which device, as gateways tag them, more than so often is won in the
    /// window is given nothing; 0 is no rule
    risk_deny_device_wins: u8 [u8] = 0;
    /// What is won more than so often in the window from a device is held; 0 is no
    /// rule
    risk_hold_device_wins: u8 [u8] = 0;
    /// From which address, as gateways tag them, more than so often is won in the
    /// window is given nothing; 0 is no rule
    risk_deny_address_wins: u8 [u8] = 0;
    /// What is won more than so often in the window from an address is held; 0 is
    /// no rule
    risk_hold_address_wins: u8 [u8] = 0;
    /// Who claims and shakes more than so often in the window, winning or not, is
    /// given nothing; 0 is no rule
    risk_deny_tries: u8 [u8] = 0;
    /// What who claims and shakes more than so often in the window wins is held; 0
    /// is no rule
    risk_hold_tries: u8 [u8] = 0;
    /// Who has said more than so many wrong passwords in the window, at any
    /// envelopes, is given nothing; 0 is no rule
    risk_deny_guesses: u8 [u8] = 0;
    /// What who has said more than so many wrong passwords in the window wins is
    /// held; 0 is no rule
    risk_hold_guesses: u8 [u8] = 0;
    /// The window in which all that is counted, in seconds
    risk_window_s: u32 [u32] = 60;
    /// Users, devices and addresses that win in a window, of each so many, all shards
    /// together, where a rule counts them
    risk_winners_max: u32 [u32] = 1_000_000;
    /// Users who claim or shake in a window, all shards together, where tries are
    /// counted
    risk_triers_max: u32 [u32] = 1_000_000;
    /// Shares that one shard holds, or has rejected in envelopes that are kept
    risk_holds_max: u32 [u32] = 4096;
    /// How long a share is held before time decides, in seconds
    risk_hold_s: u32 [u32] = 3600;
    /// What time decides: `reject` (back to the sender) or `release`
    risk_hold_ends: HoldEnds [HoldEnds] = HoldEnds::Reject;
    /// How far the wall clock may be set while the server runs, in seconds, and
    /// still be followed, a millisecond a second
    clock_step_s_max: u32 [u32] = 10;
    /// How long after the last record the wall clock may be at a start, in seconds;
    /// 0 is any time
    clock_ahead_s_max: u32 [u32] = 0;
}

/// What is counted by the day must be kept so long, in seconds.
const DAY_S: u32 = 24 * 3600;

/// Variables with our prefix that belong to the tools, not to the server.
const TOOL_VARIABLES: &[&str] = &[
    "HONGBAO_ADDR",
    "HONGBAO_CONFIG",
    "HONGBAO_PRINCIPAL",
    "HONGBAO_PRINCIPAL_KEY",
    "HONGBAO_TLS_CA",
    "HONGBAO_TLS_CERT",
    "HONGBAO_TLS_CERT_KEY",
    "HONGBAO_TOKEN_FILE",
];

impl Resolved {
    /// Puts flags, file and environment together and checks every value.
    pub fn from_sources(
        flags: Given,
        file: Option<&Path>,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let file = file.map(read_file).transpose()?.unwrap_or_default();
        let resolved = merge(flags, file, of_environment(variables)?);
        resolved.config.check()?;
        Ok(resolved)
    }
}

fn read_file(path: &Path) -> Result<Given, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable(path.to_owned(), error))?;
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        let reason = error.message().replace('\n', " ");
        ConfigError::File(path.to_owned(), format!("line {line}: {reason}"))
    })
}

fn of_environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Given, ConfigError> {
    let mut given = toml::Table::new();
    for (name, value) in variables {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
        let Some(key) = name.strip_prefix("HONGBAO_") else { continue };
        if TOOL_VARIABLES.contains(&name) {
            continue;
        }
        let key = key.to_ascii_lowercase();
        if !KEYS.contains(&key.as_str()) {
            return Err(ConfigError::UnknownVariable(name.to_owned()));
        }
        let value = match value.parse::<i64>() {
            Ok(number) => toml::Value::Integer(number),
            Err(_) => toml::Value::String(value.to_owned()),
        };
        // One by one, so that an error names its variable.
        let alone = toml::Table::from_iter([(key.clone(), value.clone())]);
        alone.try_into::<Given>().map_err(|error| {
            ConfigError::Variable(name.to_owned(), error.message().replace('\n', " "))
        })?;
        given.insert(key, value);
    }
    given.try_into().map_err(|error: toml::de::Error| {
        ConfigError::Variable("HONGBAO_*".into(), error.to_string())
    })
}

fn within(
    key: &'static str,
    value: u64,
    allowed: std::ops::RangeInclusive<u64>,
) -> Result<(), ConfigError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    let expected = format!("{} to {}", allowed.start(), allowed.end());
    Err(ConfigError::Range { key, value: value.to_string(), expected })
}

impl Config {
    /// Bytes of a journal segment.
    pub fn segment_bytes(&self) -> usize {
        usize::try_from(self.segment_kib).unwrap_or(usize::MAX).saturating_mul(1024)
    }

    /// Bytes of the envelope tables.
    pub fn table_bytes(&self) -> usize {
        usize::try_from(self.table_mib).unwrap_or(usize::MAX).saturating_mul(1 << 20)
    }

    /// Checks every value against its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let kib = |bytes: usize| u64::try_from(bytes / 1024).unwrap_or(u64::MAX);
        let segments = kib(limits::SEGMENT_BYTES_MIN)..=kib(limits::SEGMENT_BYTES_MAX);
        within("segment_kib", self.segment_kib.into(), segments)?;
        if !self.segment_kib.is_multiple_of(4) {
            let (key, value) = ("segment_kib", self.segment_kib.to_string());
            return Err(ConfigError::Range { key, value, expected: "a multiple of 4".into() });
        }
        within("connections_max", self.connections_max.into(), 1..=65_536)?;
        within("envelopes_max", self.envelopes_max.into(), 1..=1 << 30)?;
        within("table_mib", self.table_mib.into(), 1..=1 << 22)?;
        within("shares_max", self.shares_max.into(), 1..=u64::from(u32::MAX))?;
        within("total_fen_max", self.total_fen_max, 1..=limits::TOTAL_FEN_MAX)?;
        within("share_mean_fen_max", self.share_mean_fen_max, 1..=limits::SHARE_FEN_MAX)?;
        within("shards", self.shards.unwrap_or(1).into(), 1..=PARTITIONS.into())?;
        within("retention_s", self.retention_s.into(), 0..=u64::from(u32::MAX) / 4)?;
        within("checkpoint_interval_s", self.checkpoint_interval_s.into(), 0..=30 * 24 * 3600)?;
        within("checkpoint_mib_s", self.checkpoint_mib_s.into(), 1..=1 << 20)?;
        within("wait_us_max", self.wait_us_max.into(), 100..=60_000_000)?;
        within("lifetime_s_max", self.lifetime_s_max.into(), 1..=u64::from(u32::MAX) / 4)?;
        within("pay_within_s", self.pay_within_s.into(), 1..=limits::PAY_WITHIN_S_MAX.into())?;
        within("clock_step_s_max", self.clock_step_s_max.into(), 1..=3600)?;
        self.check_reach()?;
        let guesses = 1..=limits::GUESSES_PER_USER_MAX.into();
        within("guesses_per_user_max", self.guesses_per_user_max.into(), guesses)?;
        self.check_risk()?;
        self.check_days()
    }

    /// Checks where a day begins, and that what is counted by the day is kept
    /// for a day.
    fn check_days(&self) -> Result<(), ConfigError> {
        if !(-720..=840).contains(&self.utc_offset_min) || self.utc_offset_min % 15 != 0 {
            let (key, value) = ("utc_offset_min", self.utc_offset_min.to_string());
            return Err(ConfigError::Range {
                key,
                value,
                expected: "-720 to 840, a multiple of 15".into(),
            });
        }
        let daily = self.sends_per_day_max > 0 || self.sent_fen_per_day_max > 0;
        if daily && self.retention_s < DAY_S {
            let (key, value) = ("retention_s", self.retention_s.to_string());
            let expected = format!(
                "at least {DAY_S} with sends_per_day_max or sent_fen_per_day_max, which count the \
                 envelopes that are kept"
            );
            return Err(ConfigError::Range { key, value, expected });
        }
        self.check_receiving()
    }

    /// Checks the limits on what a user receives, which are counted in few bits
    /// and after a start from the claims that are kept.
    fn check_receiving(&self) -> Result<(), ConfigError> {
        let shares = 0..=limits::RECEIVES_PER_DAY_MAX.into();
        within("receives_per_day_max", self.receives_per_day_max.into(), shares)?;
        within("received_fen_per_day_max", self.received_fen_per_day_max, 0..=u32::MAX.into())?;
        within("receivers_max", self.receivers_max.into(), 1..=1 << 28)?;
        if self.limits_receiving() && self.retention_s < DAY_S {
            let (key, value) = ("retention_s", self.retention_s.to_string());
            let expected = format!(
                "at least {DAY_S} with receives_per_day_max or received_fen_per_day_max, which \
                 count the claims that are kept"
            );
            return Err(ConfigError::Range { key, value, expected });
        }
        Ok(())
    }

    /// Checks the rules of risk. Wins are counted again at a start from the claims
    /// that are kept.
    fn check_risk(&self) -> Result<(), ConfigError> {
        within("risk_users_max", self.risk_users_max.into(), 0..=1 << 28)?;
        within("risk_grade_unknown", self.risk_grade_unknown.into(), 1..=255)?;
        for (key, rule) in self.counted_rules() {
            within(key, rule.into(), 0..=limits::WINS_COUNTED_MAX.into())?;
        }
        within("risk_window_s", self.risk_window_s.into(), 3..=DAY_S.into())?;
        within("risk_winners_max", self.risk_winners_max.into(), 1..=1 << 28)?;
        within("risk_triers_max", self.risk_triers_max.into(), 1..=1 << 28)?;
        within("risk_holds_max", self.risk_holds_max.into(), 1..=limits::HOLDS_MAX.into())?;
        within("risk_hold_s", self.risk_hold_s.into(), 1..=limits::HOLD_S_MAX.into())?;
        let counted_s = 2 * self.risk_window_s;
        if (self.risk_deny_wins > 0 || self.risk_hold_wins > 0) && self.retention_s < counted_s {
            let (key, value) = ("retention_s", self.retention_s.to_string());
            let expected = format!(
                "at least {counted_s}, twice risk_window_s, with risk_deny_wins or risk_hold_wins, \
                 which count the claims that are kept"
            );
            return Err(ConfigError::Range { key, value, expected });
        }
        Ok(())
    }

    /// The rules of risk about how often something is done in a window.
    fn counted_rules(&self) -> [(&'static str, u8); 10] {
        [
            ("risk_deny_wins", self.risk_deny_wins),
            ("risk_hold_wins", self.risk_hold_wins),
            ("risk_deny_device_wins", self.risk_deny_device_wins),
            ("risk_hold_device_wins", self.risk_hold_device_wins),
            ("risk_deny_address_wins", self.risk_deny_address_wins),
            ("risk_hold_address_wins", self.risk_hold_address_wins),
            ("risk_deny_tries", self.risk_deny_tries),
            ("risk_hold_tries", self.risk_hold_tries),
            ("risk_deny_guesses", self.risk_deny_guesses),
            ("risk_hold_guesses", self.risk_hold_guesses),
        ]
    }

    /// Whether shares are judged by any rule of risk.
    pub fn has_risk(&self) -> bool {
        let by_grade = [self.risk_deny_below, self.risk_hold_below];
        let counted = self.counted_rules().map(|(_, rule)| rule);
        self.risk_users_max > 0
            || self.risk_hold_above_fen > 0
            || by_grade.into_iter().chain(counted).any(|number| number > 0)
    }

    /// Whether there is a limit on what a user receives.
    pub fn limits_receiving(&self) -> bool {
        self.receives_per_day_max > 0 || self.received_fen_per_day_max > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> impl Iterator<Item = (OsString, OsString)> {
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| (k.into(), v.into())).collect();
        pairs.into_iter()
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn source_of(resolved: &Resolved, key: &str) -> Source {
        resolved.origins.iter().find(|origin| origin.0 == key).unwrap().2
    }

    #[test]
    fn a_flag_beats_the_file_which_beats_the_environment() {
        let file = file("table_mib = 20\nshares_max = 21\n");
        let flags = Given { table_mib: Some(10), ..Given::default() };
        let environment = [
            ("HONGBAO_TABLE_MIB", "30"),
            ("HONGBAO_SHARES_MAX", "31"),
            ("HONGBAO_CELL", "32"),
            ("PATH", "/bin"),
        ];
        let resolved =
            Resolved::from_sources(flags, Some(file.path()), variables(&environment)).unwrap();
        let config = &resolved.config;
        assert_eq!((config.table_mib, config.shares_max, config.cell), (10, 21, 32));
        assert_eq!(source_of(&resolved, "table_mib"), Source::Flag);
        assert_eq!(source_of(&resolved, "shares_max"), Source::File);
        assert_eq!(source_of(&resolved, "cell"), Source::Environment);
        assert_eq!(source_of(&resolved, "data"), Source::Default);
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_name() {
        let file = file("cell = 2\ntabel_mib = 20\n");
        let error = Resolved::from_sources(Given::default(), Some(file.path()), variables(&[]));
        let text = error.unwrap_err().to_string();
        assert!(text.contains("line 2") && text.contains("tabel_mib"), "{text}");
        let environment = [("HONGBAO_TABEL_MIB", "20")];
        let error = Resolved::from_sources(Given::default(), None, variables(&environment));
        assert!(error.unwrap_err().to_string().contains("HONGBAO_TABEL_MIB"));
    }

    #[test]
    fn a_bad_value_names_its_variable_and_its_range() {
        let environment = [("HONGBAO_DURABILITY", "never")];
        let error = Resolved::from_sources(Given::default(), None, variables(&environment));
        let text = error.unwrap_err().to_string();
        assert!(text.contains("HONGBAO_DURABILITY") && !text.contains('\n'), "{text}");
        for (key, value) in [("segment_kib", 1), ("segment_kib", 1001), ("table_mib", 0)] {
            let file = file(&format!("{key} = {value}"));
            let error = Resolved::from_sources(Given::default(), Some(file.path()), variables(&[]));
            assert!(error.unwrap_err().to_string().contains(key));
        }
    }

    #[test]
    fn a_limit_of_a_day_needs_envelopes_to_be_kept_for_a_day() {
        for key in ["sends_per_day_max", "sent_fen_per_day_max"] {
            let resolve = |retention_s| {
                let file = file(&format!("{key} = 1\nretention_s = {retention_s}"));
                Resolved::from_sources(Given::default(), Some(file.path()), variables(&[]))
            };
            let text = resolve(86_399).unwrap_err().to_string();
            assert!(text.contains("retention_s") && text.contains("86400"), "{text}");
            resolve(86_400).unwrap();
        }
        Config { live_per_sender_max: 1, retention_s: 0, ..Config::default() }.check().unwrap();
    }

    #[test]
    fn a_day_begins_at_a_quarter_of_an_hour_of_the_world() {
        for (utc_offset_min, kept) in [(-720, true), (840, true), (-735, false), (481, false)] {
            let config = Config { utc_offset_min, ..Config::default() };
            assert_eq!(config.check().is_ok(), kept, "{utc_offset_min}");
        }
        for (pay_within_s, kept) in [(0, false), (1, true), (604_800, true), (604_801, false)] {
            let config = Config { pay_within_s, ..Config::default() };
            assert_eq!(config.check().is_ok(), kept, "{pay_within_s}");
        }
    }

    #[test]
    fn a_limit_on_receiving_needs_claims_to_be_kept_for_a_day() {
        for key in ["receives_per_day_max", "received_fen_per_day_max"] {
            let resolve = |retention_s| {
                let file = file(&format!("{key} = 1\nretention_s = {retention_s}"));
                Resolved::from_sources(Given::default(), Some(file.path()), variables(&[]))
            };
            let text = resolve(86_399).unwrap_err().to_string();
            assert!(text.contains("retention_s") && text.contains("86400"), "{text}");
            resolve(86_400).unwrap();
        }
        for (shares, fen, users, kept) in [
            (65_534, u64::from(u32::MAX), 1, true),
            (65_535, 1, 1, false),
            (1, 1 << 32, 1, false),
            (1, 1, 0, false),
        ] {
            let config = Config {
                receives_per_day_max: shares,
                received_fen_per_day_max: fen,
                receivers_max: users,
                ..Config::default()
            };
            assert_eq!(config.check().is_ok(), kept, "{shares} {fen} {users}");
        }
    }

    #[test]
    fn rules_of_risk_are_in_range_and_wins_need_claims_to_be_kept() {
        let with = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            (config.check().is_ok(), config.has_risk())
        };
        assert_eq!(with(|_| {}), (true, false));
        assert_eq!(with(|c| c.risk_users_max = 1), (true, true));
        assert_eq!(with(|c| c.risk_hold_above_fen = 1), (true, true));
        assert_eq!(with(|c| c.risk_deny_below = 1), (true, true));
        assert_eq!(with(|c| c.risk_hold_wins = 200), (true, true));
        assert!(!with(|c| c.risk_hold_wins = 201).0);
        assert_eq!(with(|c| c.risk_deny_device_wins = 1), (true, true));
        assert_eq!(with(|c| c.risk_hold_guesses = 200), (true, true));
        assert!(!with(|c| c.risk_deny_tries = 201).0 && !with(|c| c.risk_triers_max = 0).0);
        assert!(!with(|c| c.risk_grade_unknown = 0).0);
        assert!(!with(|c| c.risk_hold_s = 0).0 && !with(|c| c.risk_holds_max = 0).0);
        let kept = |retention_s| Config { risk_deny_wins: 1, retention_s, ..Config::default() };
        assert!(kept(119).check().is_err() && kept(120).check().is_ok());
        let file = file("risk_hold_ends = \"release\"");
        let read = Resolved::from_sources(Given::default(), Some(file.path()), variables(&[]));
        assert_eq!(read.unwrap().config.risk_hold_ends, HoldEnds::Release);
    }

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
    fn the_defaults_are_in_range() {
        Config::default().check().unwrap();
    }
}
