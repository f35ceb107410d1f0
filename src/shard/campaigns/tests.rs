//! A crowd of any size against one campaign, millisecond by millisecond, without
//! sockets or clocks: the draw, the owner's looks and the engine together.

use super::*;
use crate::engine::{Capacity, EnvelopeLimits, SenderLimits, mix};
use crate::units::{MoneySource, Seed, Split, UserId};
use crate::wire::{Command, PlanPart, PlanTerms, Prize, SendOrder, Slot};

const SPONSOR: UserId = UserId(1);
const START_S: u32 = 1_700_000_000;
const PRIZES: u32 = 20_000;

/// What a slot of two seconds gave to a crowd of so many shakes a millisecond.
struct Given {
    won: u32,
    /// Shakes that went on to the owner.
    asked: u32,
    /// The most that wins were behind what was released, once it had begun.
    behind_most: u32,
}

fn campaign(engine: &mut Engine) -> EnvelopeId {
    let order = SendOrder {
        sender: SPONSOR,
        order: 1,
        payment: 1,
        total: u64::from(PRIZES) * 5,
        shares: PRIZES,
        lifetime_s: 3600,
        share_max: 0,
        split: Split::Prizes,
        source: MoneySource::Vouched,
        nonce: 0,
    };
    let now = Time(1000 * u64::from(START_S));
    let decision = engine.issue(&order, Seed([1, 2]), now);
    let envelope = decision.record.unwrap().envelope();
    engine.apply(&decision.record.unwrap()).unwrap();
    let slot = Slot { start: START_S + 1, length_s: 2, quota: PRIZES };
    for part in [
        PlanPart::Terms(PlanTerms { wins_max: 1, opens_at: START_S, fallback: 4 }),
        PlanPart::Prize(0, Prize { amount: 5, count: PRIZES }),
        PlanPart::Slot(0, slot),
    ] {
        let decision = engine.plan(envelope, SPONSOR, &part, now);
        engine.apply(&decision.record.unwrap()).unwrap();
    }
    let decision = engine.command(envelope, SPONSOR, Command::Start, now);
    engine.apply(&decision.record.unwrap()).unwrap();
    envelope
}

/// Plays three seconds; the slot begins with the second of them.
fn play(shakes_per_ms: u32) -> Given {
    let limits = EnvelopeLimits {
        shares_max: 1,
        total_fen_max: 1,
        share_mean_fen_max: 1,
        lifetime_s_max: 1,
        pay_within_s: 1,
        senders: SenderLimits::NONE,
    };
    let capacity = Capacity { envelopes: 10, table_bytes: 8 << 20, retention_s: 60 };
    let mut engine = Engine::new(1, capacity, limits);
    let envelope = campaign(&mut engine);
    let mut campaigns = Campaigns::new(Arc::new(Crowd::between(1)), 0, &engine);
    let stands =
        Stands { appended: Position(1), committed: Position(1), passed: Position(u64::MAX) };
    let (mut user, mut given) = (0, Given { won: 0, asked: 0, behind_most: 0 });
    for ms in 0..3000 {
        let now = Time(1000 * u64::from(START_S) + ms);
        if campaigns.is_due(now) {
            campaigns.look(&engine, now, stands);
        }
        for _ in 0..shakes_per_ms {
            user += 1;
            let drawn = campaigns.crowd.draw(envelope, 0, || mix(user));
            if drawn == Drawn::AskOwner {
                given.asked += 1;
                let decision = engine.shake(envelope, UserId(user), now);
                if let Some(win) = decision.record {
                    engine.apply(&win).unwrap();
                    given.won += 1;
                }
            }
        }
        let released = engine.campaign(envelope, now).unwrap().released;
        assert!(given.won <= released, "{} of {released} after {ms} ms", given.won);
        if ms >= 1100 {
            given.behind_most = given.behind_most.max(released - given.won);
        }
    }
    given
}

#[test]
fn the_quota_lasts_the_slot_and_is_given_out_whatever_the_crowd() {
    for shakes_per_ms in [30, 300, 3000] {
        let Given { won, asked, behind_most } = play(shakes_per_ms);
        println!("{shakes_per_ms} a ms: {won} won, {asked} asked, {behind_most} behind at most");
        assert!((PRIZES / 100 * 99..=PRIZES).contains(&won));
        assert!(asked < won + won / 4, "{asked} went on to the owner for {won} prizes");
        assert!(behind_most < PRIZES / 20, "{behind_most} behind what was released");
    }
}

#[test]
fn a_crowd_that_is_too_small_wins_nearly_every_time() {
    // Five shakes a millisecond for ten prizes.
    let Given { won, asked, .. } = play(5);
    assert!(won >= 9000, "{won} of 10,000 shakes in the slot");
    assert!(asked <= 10_500, "{asked}");
}
