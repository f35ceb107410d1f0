//! Credits a second into the embedded ledger, by how many rows it holds.
//! `ledger [CREDITS [BATCH]]`; the seed is fixed, the last line is a hash.

use std::time::Instant;

use hongbao::engine::{Claimed, Issued, Record};
use hongbao::follow::ledger::embedded::Embedded;
use hongbao::follow::ledger::{Cursor, Entry, Ledger};
use hongbao::follow::movement::MovementId;
use hongbao::units::{EnvelopeId, MoneySource, Seed, Split, UserId};

const USERS: u64 = 5_000_000;
const SHARES: u32 = 5;

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
    })
}

fn claimed(n: u64, envelopes: u64) -> Record {
    Record::Claimed(Claimed {
        envelope: EnvelopeId(1 << 56 | (n.wrapping_mul(1_000_003) % envelopes)),
        user: UserId(mixed(!n) % USERS),
        amount: 100,
        rank: 0,
        at: 1_800_000_001,
    })
}

fn apply(ledger: &mut Embedded, cursor: &mut Cursor, records: impl Iterator<Item = Record>) {
    let &mut Cursor { arrangement, shard, position: batch, .. } = cursor;
    let id = |index| MovementId { cell: 1, arrangement, shard, batch, index };
    let entries: Vec<_> =
        (0..).zip(records).map(|(i, record)| Entry { id: id(i), record }).collect();
    cursor.position += 1 << 24;
    cursor.batch += 1;
    ledger.apply(&entries, cursor).expect("the ledger takes what is right");
}

fn main() {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<u64>().expect("a number"));
    let credits = numbers.next().unwrap_or(1_000_000);
    let batch = numbers.next().unwrap_or(200_000);
    let directory = tempfile::tempdir().expect("a directory for the ledger");
    let mut ledger = Embedded::open(directory.path()).expect("a new ledger");
    let mut cursor = Cursor { arrangement: 1, ..Cursor::default() };
    let envelopes = credits.div_ceil(u64::from(SHARES));
    for from in (0..envelopes).step_by(200_000) {
        let to = envelopes.min(from + 200_000);
        apply(&mut ledger, &mut cursor, (from..to).map(issued));
    }
    let (mut done, mut mark) = (0, (0, Instant::now()));
    while done < credits {
        let to = credits.min(done + batch);
        apply(&mut ledger, &mut cursor, (done..to).map(|n| claimed(n, envelopes)));
        done = to;
        let micros = u64::try_from(mark.1.elapsed().as_micros()).expect("fits");
        if micros > 2_000_000 || done == credits {
            println!("{done} rows: {} credits/s", (done - mark.0) * 1_000_000 / micros.max(1));
            mark = (done, Instant::now());
        }
    }
    let file = directory.path().join(hongbao::follow::ledger::embedded::FILE);
    let hash = (0..1000).fold(0, |hash, user| {
        mixed(hash ^ ledger.balance(UserId(user)).expect("a balance").available)
    });
    drop(ledger);
    let bytes = std::fs::metadata(file).expect("the ledger's file").len();
    println!("{} bytes a credit; hash {hash:016x}", bytes / credits);
}
