//! Credits into a ledger, by how many rows it holds.

use std::path::Path;
use std::time::Instant;

use hongbao::engine::{Claimed, Issued, Record};
use hongbao::follow::ledger::embedded::{Embedded, FILE};
use hongbao::follow::ledger::{Cursor, Entry, Ledger};
use hongbao::follow::movement::MovementId;
use hongbao::units::{EnvelopeId, MoneySource, Seed, Split, UserId};

const USERS: u64 = 5_000_000;
const SHARES: u32 = 5;

/// How the claims hit the envelopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Envelopes are emptied soon after they open, as on the eve.
    Eve,
    /// All are open before the first claim, and claims are spread over them.
    Rush,
}

/// What a stretch of a run has shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Credits {
    /// Credits in the ledger after it.
    pub rows: u64,
    /// Credits a second of the thread's own time.
    pub per_cpu_s: u64,
    /// Credits a second.
    pub per_s: u64,
    /// The log that is written ahead, as long as its file is now.
    pub wal_bytes: u64,
}

/// What a whole run has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditFigure {
    /// Bytes of the file for each credit, its envelope's part included.
    pub bytes_per_credit: u64,
    /// Hash of the balances; the same for the same arguments.
    pub digest: u64,
}

fn mixed(n: u64) -> u64 {
    let z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 31)
}

fn issued(n: u64) -> Record {
    Record::Issued(Issued {
        envelope: EnvelopeId(1 << 56 | n),
        sender: UserId(mixed(n) % USERS),
        order: n,
        payment: 0,
        total: 500,
        seed: Seed::default(),
        nonce: 0,
        shares: SHARES,
        share_max: 0,
        lifetime_s: 86_400,
        pay_within_s: 0,
        at: 1_800_000_000,
        split: Split::Equal,
        source: MoneySource::Vouched,
        terms_parts: 0,
    })
}

fn claimed(n: u64, envelopes: u64, mix: Mix) -> Record {
    let envelope = match mix {
        Mix::Eve => n / u64::from(SHARES),
        Mix::Rush => n.wrapping_mul(1_000_003) % envelopes,
    };
    Record::Claimed(Claimed {
        envelope: EnvelopeId(1 << 56 | envelope),
        user: UserId(mixed(!n) % USERS),
        amount: 100,
        rank: 0,
        at: 1_800_000_001,
    })
}

fn apply(ledger: &mut dyn Ledger, cursor: &mut Cursor, records: impl Iterator<Item = Record>) {
    let &mut Cursor { arrangement, shard, position: batch, .. } = cursor;
    let id = |index| MovementId { cell: 1, arrangement, shard, batch, index };
    let entries: Vec<_> =
        (0..).zip(records).map(|(i, record)| Entry { id: id(i), record }).collect();
    cursor.position += 1 << 24;
    cursor.batch += 1;
    ledger.apply(&entries, cursor).expect("the ledger takes what is right");
}

/// Nanoseconds that this thread has run, as the kernel counts them.
fn thread_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// A number of marks that the run is told at, and what it measures between.
struct Watch<'a> {
    /// Of the embedded ledger.
    directory: Option<&'a Path>,
    mark: (u64, Instant, u64),
}

impl Watch<'_> {
    fn stretch(&mut self, rows: u64) -> Credits {
        let now = (rows, Instant::now(), thread_ns());
        let credits = u128::from(rows - self.mark.0);
        let rate = |ns: u128| u64::try_from(credits * 1_000_000_000 / ns.max(1)).expect("a rate");
        let wal = self.directory.map(|directory| directory.join(format!("{FILE}-wal")));
        let seen = Credits {
            rows,
            per_cpu_s: rate((now.2 - self.mark.2).into()),
            per_s: rate((now.1 - self.mark.1).as_nanos()),
            wal_bytes: wal.and_then(|wal| wal.metadata().ok()).map_or(0, |file| file.len()),
        };
        self.mark = now;
        seen
    }
}

/// Applies `credits` in calls of `batch` to a new embedded ledger; `each` sees
/// the run about ten times.
pub fn credit_rate(mix: Mix, credits: u64, batch: u64, each: impl FnMut(Credits)) -> CreditFigure {
    let directory = tempfile::tempdir().expect("a directory for the ledger");
    let mut ledger = Embedded::open(directory.path()).expect("a new ledger");
    let watched = Some(directory.path());
    let digest = credit_into(&mut ledger, watched, mix, credits, batch, each);
    drop(ledger);
    let file = std::fs::metadata(directory.path().join(FILE)).expect("the ledger's file");
    CreditFigure { bytes_per_credit: file.len() / credits.max(1), digest }
}

/// The same into any ledger, which must be new; gives the digest.
pub fn credit_into(
    ledger: &mut dyn Ledger,
    watched: Option<&Path>,
    mix: Mix,
    credits: u64,
    batch: u64,
    mut each: impl FnMut(Credits),
) -> u64 {
    let mut cursor = Cursor { arrangement: 1, ..Cursor::default() };
    let envelopes = credits.div_ceil(u64::from(SHARES));
    for from in (0..envelopes).step_by(200_000) {
        let to = envelopes.min(from + 200_000);
        apply(ledger, &mut cursor, (from..to).map(issued));
    }
    let mut watch = Watch { directory: watched, mark: (0, Instant::now(), thread_ns()) };
    for from in (0..credits).step_by(usize::try_from(batch).expect("a batch fits memory")) {
        let to = credits.min(from + batch);
        apply(ledger, &mut cursor, (from..to).map(|n| claimed(n, envelopes, mix)));
        if to == credits || to - watch.mark.0 >= credits.div_ceil(10) {
            each(watch.stretch(to));
        }
    }
    (0..1000).fold(0, |hash, user| {
        mixed(hash ^ ledger.balance(UserId(user)).expect("a balance").available)
    })
}
