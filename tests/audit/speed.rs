//! How fast the journal's part is, on a journal that is made from a seed:
//! `AUDIT_RECORDS=5000000 cargo test --release --test audit speed -- --nocapture`.

use std::time::{Duration, Instant};

use hongbao::engine::{Claimed, Issued, Record};
use hongbao::units::{EnvelopeId, MoneySource, UserId};

use crate::OFFLINE;
use crate::rig::{AT, Writer, audit_of, order};

const SEGMENT: usize = 64 << 20;

/// Envelopes that are open at a time.
const OPEN: usize = 100_000;

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % n
    }
}

/// An open envelope: its id, what is left and for how many, and its claims.
struct Open(EnvelopeId, u64, u32, u16);

fn issue(dice: &mut Dice, n: u32) -> (Record, Open) {
    let shares = 1 + u32::try_from(dice.below(9)).unwrap();
    let total = u64::from(shares) * (1 + dice.below(300));
    let envelope = EnvelopeId::new(1, u8::try_from(n % 256).unwrap(), n / 256, 1);
    let plain = order(n, MoneySource::Vouched);
    let issued = Issued { envelope, sender: UserId(dice.below(1 << 20)), total, shares, ..plain };
    (Record::Issued(issued), Open(envelope, total, shares, 0))
}

#[test]
fn speed() {
    let records = std::env::var("AUDIT_RECORDS").map_or(200_000, |text| text.parse().unwrap());
    let mut writer = Writer::new(SEGMENT);
    let (mut dice, mut open, mut next) = (Dice(1), Vec::new(), 0_u32);
    println!("seed 1, {records} records");
    for _ in 0..records / 1000 {
        let mut group = Vec::with_capacity(1000);
        while group.len() < 1000 {
            // Five claims an envelope, as in the mixes of the load.
            if open.len() < OPEN && (open.is_empty() || dice.below(6) == 0) {
                let (record, new) = issue(&mut dice, next);
                next += 1;
                open.push(new);
                group.push(record);
                continue;
            }
            let at = usize::try_from(dice.below(u64::try_from(open.len()).unwrap())).unwrap();
            let Open(envelope, left, shares, rank) = &mut open[at];
            let amount = left.div_ceil(u64::from(*shares));
            let user = UserId(u64::from(*rank) << 40 | dice.below(1 << 40));
            let amount_32 = u32::try_from(amount).unwrap();
            let claim =
                Claimed { envelope: *envelope, user, amount: amount_32, rank: *rank, at: AT };
            group.push(Record::Claimed(claim));
            (*left, *shares, *rank) = (*left - amount, *shares - 1, *rank + 1);
            if *shares == 0 {
                open.swap_remove(at);
            }
        }
        writer.commit(&group);
    }
    writer.close();
    let began = (Instant::now(), on_the_core());
    let report = audit_of(&writer.data(), OFFLINE).unwrap();
    let took = (began.0.elapsed(), on_the_core().saturating_sub(began.1));
    assert_eq!(report.records, records / 1000 * 1000);
    assert!(report.balance.is_even());
    let rate = |took: Duration| u128::from(report.records) * 1_000_000 / took.as_micros().max(1);
    let (records, envelopes) = (report.records, report.envelopes);
    println!("{records} records, {envelopes} envelopes: {} records/s of one core", rate(took.1));
    println!("{} records/s by the clock, whatever else the machine did", rate(took.0));
}

/// What this thread has had of a core.
fn on_the_core() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(spent.tv_sec), u32::try_from(spent.tv_nsec));
    Duration::new(seconds.unwrap(), nanos.unwrap())
}
