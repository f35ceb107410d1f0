//! Settings: flag, then file, then environment, then default, each value with
//! where it came from.
//!
//! One table below is all there is to a setting; an unknown key anywhere is an
//! error. This room opens nothing but the configuration file.

mod checks;
mod reach;
mod values;

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::units::{Cell, Durability, Fen};

use values::{Shown, durability};

pub use values::{Cores, HoldEnds, LedgerPlace, MaybeListen, Uids};

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
}
