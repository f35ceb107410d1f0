//! A connection that is ready: alone with its ledger, durable, of a schema that
//! this server knows. This room never moves money.

use std::error::Error;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, GenericClient, IsolationLevel, NoTls, Transaction};

use super::rows::number;
use crate::follow::ledger::LedgerError;

const SCHEMA: &str = include_str!("schema.sql");
const VERSION: i64 = 1;

/// The advisory lock of the server that books into a database: "hongbao" in
/// ASCII.
const LOCK: i64 = 0x68_6f6e_6762_616f;

/// How long the lock is asked for. A server that just ended is let go of some
/// milliseconds later; of one whose box is gone, by the keepalives below.
const LOCK_WAIT: Duration = Duration::from_secs(3);

/// Database and role may have settings of their own; these are what the ledger
/// counts on. `lock_timeout` is for a person's open transaction.
const SETTINGS: &str = "
    SET search_path = hongbao, pg_temp;
    SET client_min_messages = warning;
    SET statement_timeout = 0;
    SET lock_timeout = '10s';
    SET idle_in_transaction_session_timeout = 0;
    SET tcp_keepalives_idle = 10;
    SET tcp_keepalives_interval = 5;
    SET tcp_keepalives_count = 3;";

/// Where a call's changes stand before they are merged into their tables.
const STAGES: &str = "
    CREATE TEMPORARY TABLE changed_envelopes (LIKE envelopes) ON COMMIT DELETE ROWS;
    CREATE TEMPORARY TABLE changed_accounts (
      user_id bigint NOT NULL, available bigint NOT NULL, held bigint NOT NULL
    ) ON COMMIT DELETE ROWS;";

impl From<tokio_postgres::Error> for LedgerError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Unreachable(text(&error))
    }
}

/// What an error and its causes say, in one line.
fn text(error: &tokio_postgres::Error) -> String {
    let mut said = match error.as_db_error() {
        Some(said) => return format!("PostgreSQL: {said}").replace('\n', "; "),
        None => error.to_string(),
    };
    let mut cause = error.source();
    while let Some(inner) = cause {
        said = format!("{said}: {inner}");
        cause = inner.source();
    }
    format!("PostgreSQL: {said}").replace('\n', "; ")
}

/// What moves the bytes of one ledger while its thread waits.
pub(super) fn runtime() -> Result<Runtime, LedgerError> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| LedgerError::Unreachable(format!("no event loop for PostgreSQL: {error}")))
}

/// The address as it is written; without its password.
pub(super) fn config(address: &str) -> Result<Config, LedgerError> {
    let unclear = |error| {
        LedgerError::Unreachable(format!(
            "{}; an address is postgres://USER@HOST:PORT/DATABASE",
            text(&error)
        ))
    };
    let mut config: Config = address.parse().map_err(unclear)?;
    if config.get_application_name().is_none() {
        config.application_name("hongbao");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(Duration::from_secs(10));
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(Duration::from_secs(30));
    }
    Ok(config)
}

fn place(config: &Config) -> String {
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    let user = config.get_user().unwrap_or("(the system's user)");
    let database = config.get_dbname().unwrap_or(user);
    format!("database {database} at {} as {user}", hosts.collect::<Vec<_>>().join(","))
}

/// A connection and the task that moves its bytes.
pub(super) struct Session {
    client: Client,
    connection: JoinHandle<()>,
}

impl Session {
    /// Connects and makes everything ready; creates the tables where none are.
    pub(super) async fn open(config: &Config) -> Result<Self, LedgerError> {
        let mut session = Self::connect(config).await?;
        let ready = session.make_ready(&place(config)).await;
        session.or_closed(ready).await
    }

    /// Connects to look on, beside a server or without one; changes nothing.
    pub(super) async fn open_to_read(config: &Config) -> Result<Self, LedgerError> {
        let session = Self::connect(config).await?;
        let ready = session.make_readable(&place(config)).await;
        session.or_closed(ready).await
    }

    async fn or_closed(self, ready: Result<(), LedgerError>) -> Result<Self, LedgerError> {
        match ready {
            Ok(()) => Ok(self),
            Err(error) => {
                self.close().await;
                Err(error)
            }
        }
    }

    async fn connect(config: &Config) -> Result<Self, LedgerError> {
        let (client, connection) = config.connect(NoTls).await.map_err(|error| {
            LedgerError::Unreachable(format!(
                "{}: {}; check that PostgreSQL runs there, that the database exists and that \
                 pg_hba.conf lets this user in without TLS",
                place(config),
                text(&error)
            ))
        })?;
        let connection = tokio::spawn(async move {
            // What ends a connection is told to whoever waits for an answer.
            let _ = connection.await;
        });
        Ok(Self { client, connection })
    }

    async fn make_readable(&self, place: &str) -> Result<(), LedgerError> {
        self.client.batch_execute(SETTINGS).await?;
        self.client.batch_execute("SET default_transaction_read_only = on").await?;
        if !has_tables(&self.client).await? {
            return Err(LedgerError::Unreachable(format!(
                "{place}: no ledger is here; give the address that the server's `ledger` has"
            )));
        }
        known_version(&self.client, place).await
    }

    async fn make_ready(&mut self, place: &str) -> Result<(), LedgerError> {
        self.client.batch_execute(SETTINGS).await?;
        self.durable(place).await?;
        self.alone(place).await?;
        self.tables(place).await?;
        Ok(self.client.batch_execute(STAGES).await?)
    }

    async fn durable(&self, place: &str) -> Result<(), LedgerError> {
        let sql = "SELECT current_setting('fsync'), current_setting('synchronous_commit')";
        let row = self.client.query_typed_one(sql, &[]).await?;
        if row.try_get::<_, &str>(0)? == "off" {
            return Err(LedgerError::Unreachable(format!(
                "{place}: fsync is off, a power cut would lose money; set fsync = on"
            )));
        }
        if row.try_get::<_, &str>(1)? == "off" {
            self.client.batch_execute("SET synchronous_commit = on").await?;
        }
        Ok(())
    }

    async fn alone(&self, place: &str) -> Result<(), LedgerError> {
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            let sql = "SELECT pg_try_advisory_lock($1)";
            let row = self.client.query_typed_one(sql, &[number(&LOCK)]).await?;
            if row.try_get(0)? {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(LedgerError::Unreachable(format!(
                    "{place}: another hongbao server books into it; stop that one, or give this \
                     one a database of its own"
                )));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn tables(&mut self, place: &str) -> Result<(), LedgerError> {
        let transaction = self.client.transaction().await?;
        if !has_tables(&transaction).await? {
            transaction.batch_execute(SCHEMA).await?;
        }
        known_version(&transaction, place).await?;
        Ok(transaction.commit().await?)
    }

    /// Whether the connection is known to have ended.
    pub(super) fn is_over(&self) -> bool {
        self.client.is_closed()
    }

    /// For what one statement can answer: it sees one moment by itself.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// A transaction that sees one moment and changes nothing.
    pub(super) async fn still<T>(
        &mut self,
        work: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let moment =
            self.client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
        let transaction = moment.read_only(true).start().await?;
        ended(work(&transaction).await, transaction).await
    }

    /// A transaction that is alone in changing the ledger: its first lock is
    /// the number of the next booking.
    pub(super) async fn write<T>(
        &mut self,
        work: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let latest = self.client.build_transaction().isolation_level(IsolationLevel::ReadCommitted);
        let transaction = latest.read_only(false).start().await?;
        let sql = "SELECT 1 FROM meta WHERE name = 'next' FOR UPDATE";
        let done = match transaction.execute_typed(sql, &[]).await {
            Ok(_) => work(&transaction).await,
            Err(error) => Err(error.into()),
        };
        ended(done, transaction).await
    }

    /// Says goodbye, so that the lock is free at once.
    pub(super) async fn close(self) {
        drop(self.client);
        let _ = timeout(Duration::from_secs(1), self.connection).await;
    }
}

async fn has_tables(from: &impl GenericClient) -> Result<bool, LedgerError> {
    let sql = "SELECT to_regclass('hongbao.meta') IS NOT NULL";
    Ok(from.query_typed_one(sql, &[]).await?.try_get(0)?)
}

async fn known_version(from: &impl GenericClient, place: &str) -> Result<(), LedgerError> {
    let sql = "SELECT value FROM meta WHERE name = 'version'";
    let version: i64 = from.query_typed_one(sql, &[]).await?.try_get(0)?;
    if version == VERSION {
        return Ok(());
    }
    Err(LedgerError::Unreachable(format!(
        "{place}: its tables have schema {version}, this server knows {VERSION}; use the server \
         that made them"
    )))
}

/// Commits what was done, or takes it back now: a transaction that is merely
/// dropped keeps its locks until the connection is used again.
async fn ended<T>(
    done: Result<T, LedgerError>,
    transaction: Transaction<'_>,
) -> Result<T, LedgerError> {
    match done {
        Ok(value) => {
            transaction.commit().await?;
            Ok(value)
        }
        Err(error) => {
            // If this fails the connection is gone, and the transaction with it.
            let _ = transaction.rollback().await;
            Err(error)
        }
    }
}
