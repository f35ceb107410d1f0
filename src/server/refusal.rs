//! Why a server does not start, or has ended: one line each that says what to
//! do.

use std::io;
use std::net::SocketAddr;

use crate::access;
use crate::admin::{AdminError, TokenError};
use crate::config::ConfigError;
use crate::follow::Obstacle;
use crate::follow::settle::SettleError;
use crate::journal::{ArrangementError, DirectoryError, RecoveryError, StorageError};
use crate::net::{ListenError, RingRefused};
use crate::payment_keys::KeyFileError;
use crate::tls::TlsError;

/// Why a server does not start; one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No keys in a file of keys.
    #[error(transparent)]
    PaymentKeys(#[from] KeyFileError),
    /// No keys of principals where some are wanted.
    #[error(transparent)]
    Keys(#[from] access::KeyFileError),
    /// No certificate or key where TLS is wanted.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No ring.
    #[error(transparent)]
    Ring(#[from] RingRefused),
    /// No socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// No control plane.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// No token for it.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// No data directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The shards' directories are not as they must be.
    #[error(transparent)]
    Arrangement(#[from] ArrangementError),
    /// No segments can be made ready.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The journal is damaged, or is not ours.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The ledger does not belong to this data, or cannot be opened.
    #[error("ledger: {0}")]
    Ledger(#[source] Obstacle),
    /// The ledger must have everything before the data is arranged anew.
    #[error(
        "ledger: {0}; before the data is arranged for another number of shards the ledger must \
         have all of it: start once more with the number of shards it has, and see `hb ledger \
         status`"
    )]
    LedgerBeforeRearranging(#[source] Obstacle),
    /// No settlement port.
    #[error("{0}: {1}; choose another address for the settlement stream with --settlement")]
    SettlementPort(SocketAddr, #[source] io::Error),
    /// A subscriber of the settlement stream does not fit the journals.
    #[error("settlement stream: {0}")]
    Settlement(#[from] SettleError),
    /// The wall clock is further ahead of the journal than it may be.
    #[error(
        "the clock on the wall is {ahead_s} s ahead of the last record, and clock_ahead_s_max \
         allows {ahead_s_max} s: set the clock right, or, if the server was away that long, start \
         once with --clock-ahead-s-max 0"
    )]
    ClockAhead {
        /// By how much.
        ahead_s: u64,
        /// The setting.
        ahead_s_max: u32,
    },
    /// The core to pin to is not there.
    #[error("core {0} is not available to this process; choose others with --cores")]
    Core(usize),
    /// A core that two shards would share.
    #[error("core {0} is listed twice in --cores; give each shard a core of its own, or `none`")]
    CoreTwice(usize),
    /// More shards than partitions.
    #[error("{0} shards are more than the 256 partitions of a cell; list fewer cores")]
    TooManyShards(usize),
    /// The shards' own ports do not fit between the others.
    #[error(
        "the ports of {shards} shards from {first} on do not fit below 65536 and beside the \
         shared port {shared}; choose another --shard-port-first"
    )]
    ShardPorts {
        /// The number of shards.
        shards: u16,
        /// The first of their ports.
        first: u16,
        /// The port that all of them share.
        shared: u16,
    },
    /// A port for TLS that is for plain connections, too.
    #[error(
        "{0} would be for TLS and for plain connections: choose another port with --tls-listen, or \
         another --shard-port-first"
    )]
    TlsPort(SocketAddr),
    /// A list of cores that does not fit the number of shards.
    #[error(
        "{shards} shards cannot be pinned to {cores} cores; give --cores one core for each shard, or `none`"
    )]
    CoresForShards {
        /// The number of shards.
        shards: u16,
        /// The number of cores listed.
        cores: usize,
    },
    /// More memory than there is.
    #[error(
        "the tables need {needed_mib} MiB and this machine has {machine_mib}; \
         lower --table-mib or --envelopes-max"
    )]
    Memory {
        /// What the configuration asks for.
        needed_mib: u64,
        /// What the machine has.
        machine_mib: u64,
    },
    /// More users have received something today than can be counted.
    #[error(
        "more users have received something today than receivers_max = {0} leaves room for; \
         raise --receivers-max"
    )]
    Receivers(u32),
    /// Too few file descriptors.
    #[error(
        "connections_max = {wanted} needs more file descriptors than the limit of {limit}; \
         raise it with `ulimit -n` or LimitNOFILE=, or lower --connections-max"
    )]
    Descriptors {
        /// The configured number of connections.
        wanted: u32,
        /// The hard limit of the process.
        limit: u64,
    },
    /// The operating system refused something basic.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// Why a running server has ended.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A shard's thread has panicked; its message is on standard error.
    #[error("a shard has panicked; its journal is intact, start the server again")]
    Panicked,
}

impl StartError {
    /// Whether the disk has ended the start: somebody should look before the next.
    pub fn is_failed_sync(&self) -> bool {
        matches!(self, Self::Recovery(RecoveryError::Commit(_)))
    }
}
