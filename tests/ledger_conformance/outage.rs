//! What a `PostgreSQL` can do that a file cannot: be away, be somebody else's,
//! lose the connection in the middle of a batch.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hongbao::follow::ledger::postgres::Postgres;
use hongbao::follow::ledger::{Ledger, LedgerError};
use hongbao::units::{MoneySource, UserId};

use crate::records::{Journal, claimed, issued};
use crate::server::{Server, shared};

fn refused(address: &str) -> String {
    match Postgres::open(address).err().expect("refused") {
        LedgerError::Unreachable(line) => line,
        other => panic!("{other}"),
    }
}

#[track_caller]
fn says(line: &str, parts: &[&str]) {
    assert!(!line.contains('\n'), "{line:?} is more than a line");
    for part in parts {
        assert!(line.contains(part), "{line:?} does not say {part:?}");
    }
}

#[test]
fn a_server_that_is_not_there_is_named_without_its_password() {
    let line = refused("postgres://me:secret@127.0.0.1:1/money");
    says(&line, &["database money at 127.0.0.1 as me", "refused", "check that PostgreSQL runs"]);
    assert!(!line.contains("secret"), "{line}");
}

#[test]
fn an_address_that_is_none_is_refused_with_an_example() {
    says(&refused("postgres://me@localhost:port/money"), &["postgres://USER@HOST:PORT/DATABASE"]);
}

#[test]
fn a_database_that_is_not_there_is_named() {
    let Some(server) = shared() else { return };
    let directory = tempfile::tempdir().unwrap();
    let address = server.address(directory.path()).replace("dbname=", "dbname=no");
    says(&refused(&address), &["does not exist", "check that"]);
}

#[test]
fn a_second_server_is_refused_and_the_first_goes_on() {
    let Some(server) = shared() else { return };
    let directory = tempfile::tempdir().unwrap();
    let address = server.address(directory.path());
    let mut first = Postgres::open(&address).unwrap();
    says(&refused(&address), &["another hongbao server books into it"]);
    first.deposit(UserId(1), 5, 1, 1).unwrap();
    drop(first);
    assert_eq!(Postgres::open(&address).unwrap().balance(UserId(1)).unwrap().available, 5);
}

#[test]
fn another_schema_is_refused() {
    let Some(server) = shared() else { return };
    let directory = tempfile::tempdir().unwrap();
    let address = server.address(directory.path());
    drop(Postgres::open(&address).unwrap());
    let name = database(directory.path());
    server.ask(&name, "UPDATE hongbao.meta SET value = 9 WHERE name = 'version'");
    says(&refused(&address), &["schema 9", "use the server that made them"]);
}

#[test]
fn a_commit_waits_for_the_disk_whatever_the_database_prefers() {
    let Some(server) = shared() else { return };
    let directory = tempfile::tempdir().unwrap();
    let address = server.address(directory.path());
    let name = database(directory.path());
    server.ask("postgres", &format!("ALTER DATABASE \"{name}\" SET synchronous_commit = off"));
    let mut ledger = Postgres::open(&address).unwrap();
    server.ask(
        &name,
        "CREATE TABLE public.seen (setting text);
         CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           INSERT INTO public.seen VALUES (current_setting('synchronous_commit'));
           RETURN NULL; END $$;
         CREATE TRIGGER see AFTER INSERT ON hongbao.transfers EXECUTE FUNCTION public.see()",
    );
    ledger.deposit(UserId(1), 5, 1, 1).unwrap();
    assert_eq!(server.ask(&name, "SELECT setting FROM public.seen"), "on");
}

#[test]
fn the_first_difference_is_found_with_its_row() {
    let Some(server) = shared() else { return };
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = Postgres::open(&server.address(directory.path())).unwrap();
    ledger.deposit(UserId(7), 5, 1, 1).unwrap();
    ledger.check().unwrap();
    server.ask(&database(directory.path()), "UPDATE hongbao.accounts SET available = 6");
    let said = ledger.check().unwrap_err().to_string();
    says(&said, &["the books say 6, the rows sum to 5", "user 7"]);
}

const PER_BATCH: u64 = 500;
const BATCHES: u64 = 60;

/// Another thread ends the connection again and again while batches are
/// applied; each is asked for until it is taken, and counts once.
#[test]
fn a_connection_that_breaks_anywhere_counts_each_batch_once() {
    let Some(server) = shared() else { return };
    let directory = tempfile::tempdir().unwrap();
    let mut ledger = Postgres::open(&server.address(directory.path())).unwrap();
    let (mut journal, over) = (Journal::new(0), AtomicBool::new(false));
    let first = issued(10, 1, u64::from(u32::MAX), u32::MAX, MoneySource::Vouched);
    journal.apply(&mut ledger, &[first]).unwrap();
    let batch = vec![claimed(10, 2, 1, 7); usize::try_from(PER_BATCH).unwrap()];
    let deadline = Instant::now() + Duration::from_secs(120);
    let taken = std::thread::scope(|scope| {
        let ended = || over.load(Ordering::Relaxed) || Instant::now() > deadline;
        scope.spawn(move || cut_until(ended, server, directory.path()));
        let (mut taken, mut broken) = (0, 0);
        while taken < BATCHES || broken < 5 {
            assert!(Instant::now() < deadline, "{taken} batches taken, {broken} broken");
            match journal.apply(&mut ledger, &batch) {
                Ok(_) => taken += 1,
                Err(LedgerError::Unreachable(_)) => broken += 1,
                Err(error) => panic!("{error}"),
            }
        }
        over.store(true, Ordering::Relaxed);
        println!("{taken} batches, {broken} calls broken");
        taken
    });
    let credited = loop {
        match ledger.balance(UserId(2)) {
            Ok(balance) => break balance.available,
            Err(error) => println!("{error}"),
        }
    };
    assert_eq!(credited, taken * PER_BATCH);
    ledger.check().unwrap();
}

fn cut_until(ended: impl Fn() -> bool, server: &Server, place: &Path) {
    let name = database(place);
    let sql = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = '{name}' AND application_name = 'hongbao'"
    );
    while !ended() {
        server.ask("postgres", &sql);
    }
}

fn database(place: &Path) -> String {
    place.file_name().unwrap().to_str().unwrap().to_owned()
}
