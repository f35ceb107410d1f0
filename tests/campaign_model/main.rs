//! Campaigns of the engine against a naive model: lists that are searched from
//! end to end, and the rules of the plan as sentences.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod naive;
mod world;

use hongbao::engine::{Engine, Misfit, Outcome, Record};
use hongbao::units::{EnvelopeId, EnvelopeState, Seed, Time, UserId};
use hongbao::wire::{
    BadRequest, CampaignPhase, Command, PlanPart, PlanTerms, Prize, SendOrder, Slot,
};
use world::{Dice, PRIZES, SPONSOR, START_S, World, at, slot};

#[test]
fn every_decision_is_the_naive_models() {
    let (seeds, steps) = if cfg!(miri) { (1, 300) } else { (20, 20_000) };
    let mut won = 0;
    for seed in 0..seeds {
        println!("seed {seed}");
        let mut world = World::new(seed, PRIZES[usize::try_from(seed).unwrap() % PRIZES.len()]);
        world.start();
        for _ in 0..steps {
            world.step();
        }
        world.check_sums();
        won += world.naive.wins.len();
    }
    assert!(cfg!(miri) || won > 2000, "{won} prizes were won");
}

/// At every second of the plan, whoever may win does as long as the quotas up to
/// the slot allow: so all of a slot's quota is given out, and not one more.
#[test]
fn a_crowd_gets_every_slots_quota_to_the_last_prize_and_not_one_more() {
    for prizes in PRIZES {
        let mut world = World::new(1, prizes);
        world.start();
        let (slots, mut planned) = (world.naive.slots.clone(), 0);
        let mut user = 1_000;
        for slot in slots {
            planned += slot.quota;
            for tenth in 0..10 * u64::from(slot.length_s) {
                world.now = Time(1000 * u64::from(slot.start) + 100 * tenth);
                for _ in 0..planned {
                    user += 1;
                    world.shake(UserId(user));
                }
            }
            assert_eq!(world.view().won, planned, "the slot from {}", slot.start);
        }
        world.check_sums();
    }
}

#[test]
fn half_a_slot_gives_about_half_its_quota() {
    let mut world = World::of(1, &[(100, 1500)], &[slot(0, 100, 1500)], 1);
    world.start();
    for (second, released) in [(0, 100), (50, 900), (80, 1380), (88, 1500), (99, 1500)] {
        world.now = at(second);
        assert_eq!(world.view().released, released, "after {second} s");
    }
    world.now = at(50);
    for user in 0..5000 {
        world.shake(UserId(user));
    }
    assert_eq!(world.view().won, 900);
}

#[test]
fn unused_quota_carries_on_and_nothing_is_given_between_slots() {
    let mut world = World::of(1, &[(5, 30)], &[slot(0, 10, 10), slot(20, 10, 10)], 1);
    world.start();
    world.now = at(9);
    (0..4).for_each(|user| world.shake(UserId(user)));
    assert_eq!(world.view().won, 4);
    world.now = at(15);
    (10..20).for_each(|user| world.shake(UserId(user)));
    assert_eq!(world.view().won, 4, "nothing between slots");
    world.now = at(29);
    (20..80).for_each(|user| world.shake(UserId(user)));
    assert_eq!(world.view().won, 20, "both quotas, and the ten without a slot stay");
}

#[test]
fn a_user_wins_once_a_slot_and_as_often_as_the_cap_says() {
    let slots = [slot(0, 10, 10), slot(10, 10, 10), slot(20, 10, 10)];
    for (wins_max, expected) in [(1, 1), (2, 2), (9, 3)] {
        let mut world = World::of(1, &[(5, 30)], &slots, wins_max);
        world.start();
        for second in 0..30 {
            world.now = at(second);
            world.shake(UserId(4));
        }
        assert_eq!(world.view().won, expected, "at most {wins_max}");
        let wins = world.engine.wins(world.campaign, UserId(4));
        assert_eq!(wins, Outcome::Wins { wins: expected, amount: 5 });
        let nobody = world.engine.wins(world.campaign, UserId(5));
        assert_eq!(nobody, Outcome::Wins { wins: 0, amount: 0 });
    }
}

#[test]
fn a_clock_that_jumps_a_day_releases_nothing_twice() {
    let day = 86_400;
    let mut world = World::of(1, &[(5, 40)], &[slot(0, 10, 10), slot(day, 10, 10)], 1);
    world.start();
    world.now = at(5);
    (0..50).for_each(|user| world.shake(UserId(user)));
    world.now = at(day + 9);
    (50..150).for_each(|user| world.shake(UserId(user)));
    assert_eq!(world.view().won, 20);
    // The shard's clock cannot run back; if it did, nothing would open again.
    world.now = at(5);
    (150..250).for_each(|user| world.shake(UserId(user)));
    assert_eq!(world.view().won, 20);
}

#[test]
fn a_plan_that_is_not_whole_does_not_start() {
    let prizes =
        |world: &mut World, amount, count| world.plan(PlanPart::Prize(0, Prize { amount, count }));
    let mut world = World::draft(1, &[(5, 30)], 100);
    assert_eq!(world.command(Command::Start), Outcome::Invalid(BadRequest::PlanTerms));
    let terms = PlanTerms { wins_max: 1, opens_at: START_S + 5, fallback: 3 };
    assert_eq!(world.plan(PlanPart::Terms(terms)), Outcome::Arranged { repeated: false });
    assert_eq!(world.command(Command::Start), Outcome::Invalid(BadRequest::PlanPrizes));
    for (amount, count) in [(5, 29), (6, 30), (5, 31), (150, 1)] {
        prizes(&mut world, amount, count);
        let refused = world.command(Command::Start);
        assert_eq!(refused, Outcome::Invalid(BadRequest::PlanPrizes), "{amount} x {count}");
    }
    prizes(&mut world, 5, 15);
    world.plan(PlanPart::Prize(1, Prize { amount: 5, count: 15 }));
    assert_eq!(world.command(Command::Start), Outcome::Invalid(BadRequest::PlanPrizes));
    prizes(&mut world, 4, 15);
    world.plan(PlanPart::Prize(2, Prize { amount: 1, count: 15 }));
    assert_eq!(world.command(Command::Start), Outcome::Invalid(BadRequest::PlanPrizes));
}

#[test]
fn slots_that_do_not_fit_the_campaign_do_not_start_it() {
    let bad: [&[(u8, Slot)]; 6] = [
        &[(0, slot(4, 10, 5))],                       // before anybody takes part
        &[(0, slot(91, 10, 5))],                      // ends after the envelope
        &[(0, slot(10, 10, 5)), (1, slot(19, 5, 5))], // overlap
        &[(0, slot(10, 10, 5)), (2, slot(30, 5, 5))], // one is missing
        &[(0, slot(10, 10, 31))],                     // more than there is
        &[],
    ];
    for slots in bad {
        let mut world = World::draft(1, &[(5, 30)], 100);
        let terms = PlanTerms { wins_max: 1, opens_at: START_S + 5, fallback: 3 };
        world.plan(PlanPart::Terms(terms));
        world.plan(PlanPart::Prize(0, Prize { amount: 5, count: 30 }));
        for &(number, slot) in slots {
            world.plan(PlanPart::Slot(number, slot));
        }
        let refused = world.command(Command::Start);
        assert_eq!(refused, Outcome::Invalid(BadRequest::PlanSlots), "{slots:?}");
    }
}

#[test]
fn a_plan_is_fixed_from_its_start_and_only_the_sponsor_writes_it() {
    let mut world = World::of(1, &[(5, 30)], &[slot(0, 10, 10)], 1);
    let other = UserId(SPONSOR.0 + 1);
    let part = PlanPart::Slot(0, slot(0, 10, 9));
    let denied = world.engine.plan(world.campaign, other, &part, world.now);
    assert_eq!((denied.outcome, denied.record), (Outcome::Denied, None));
    let denied = world.engine.command(world.campaign, other, Command::Start, world.now);
    assert_eq!((denied.outcome, denied.record), (Outcome::Denied, None));
    world.start();
    assert_eq!(world.plan(part), Outcome::Conflict);
    let same = PlanPart::Slot(0, slot(0, 10, 10));
    assert_eq!(world.plan(same), Outcome::Arranged { repeated: true });
    let late =
        Record::Planned(hongbao::engine::Planned { envelope: world.campaign, part, at: START_S });
    assert_eq!(world.engine.apply(&late), Err(Misfit::Contradiction(world.campaign)));
}

#[test]
fn a_campaign_gives_nothing_before_its_start_while_it_pauses_and_after_its_end() {
    let mut world = World::of(1, &[(5, 30)], &[slot(0, 10, 10)], 1);
    world.now = at(5);
    let shake =
        |world: &World, user| world.engine.shake(world.campaign, UserId(user), world.now).outcome;
    assert_eq!(shake(&world, 1), Outcome::NotBegun);
    assert_eq!(world.command(Command::Pause), Outcome::NotBegun);
    assert_eq!(world.command(Command::Start), Outcome::Arranged { repeated: false });
    assert_eq!(world.command(Command::Start), Outcome::Arranged { repeated: true });
    world.shake(UserId(1));
    assert_eq!(world.command(Command::Pause), Outcome::Arranged { repeated: false });
    assert_eq!(world.view().phase, CampaignPhase::Paused);
    assert_eq!(shake(&world, 2), Outcome::Paused);
    assert_eq!(world.command(Command::Pause), Outcome::Arranged { repeated: true });
    assert_eq!(world.command(Command::Start), Outcome::Arranged { repeated: false });
    world.shake(UserId(2));
    assert_eq!(world.view().won, 2);
    let refund = world.engine.cancel(world.campaign, SPONSOR, world.now);
    assert_eq!(refund.outcome, Outcome::Refunded { amount: 140, repeated: false });
    world.apply(&refund.record.unwrap());
    assert_eq!(shake(&world, 3), Outcome::Cancelled);
    assert_eq!(world.command(Command::Start), Outcome::Cancelled);
    let again = world.engine.cancel(world.campaign, SPONSOR, world.now);
    assert_eq!(
        (again.outcome, again.record),
        (Outcome::Refunded { amount: 140, repeated: true }, None,)
    );
    world.check_sums();
}

#[test]
fn the_end_of_a_campaign_refunds_the_rest_once() {
    let mut world = World::of(1, &[(5, 30)], &[slot(0, 10, 10)], 1);
    world.start();
    world.now = at(5);
    (0..3).for_each(|user| world.shake(UserId(user)));
    world.now = Time(1000 * u64::from(world.view().ends_at));
    assert_eq!(world.engine.shake(world.campaign, UserId(9), world.now).outcome, Outcome::Expired);
    let over = world.engine.due(world.now).unwrap();
    let Record::Closed(closed) = over else { panic!("{over:?}") };
    assert_eq!((closed.sender, closed.refunded), (SPONSOR, 135));
    world.apply(&over);
    assert_eq!(world.engine.due(world.now), None);
    world.check_sums();
}

#[test]
fn prizes_cannot_be_claimed_and_shares_cannot_be_shaken() {
    let mut world = World::of(1, &[(5, 30)], &[slot(0, 10, 10)], 1);
    world.start();
    world.now = at(5);
    let claim = world.engine.claim(world.campaign, UserId(1), world.now);
    assert_eq!((claim.outcome, claim.record), (Outcome::ByShakingOnly, None));
    let plain = world.plain_envelope();
    let shake = world.engine.shake(plain, UserId(1), world.now);
    assert_eq!((shake.outcome, shake.record), (Outcome::NotFound, None));
    let part = PlanPart::Slot(0, slot(0, 10, 9));
    assert_eq!(world.engine.plan(plain, SPONSOR, &part, world.now).outcome, Outcome::NotFound);
    assert_eq!(world.engine.shake(EnvelopeId(0), UserId(1), world.now).outcome, Outcome::NotFound);
}

#[test]
fn a_recycled_campaign_leaves_nothing_behind() {
    let mut world = World::of(1, &[(5, 3)], &[slot(0, 10, 3)], 1);
    world.start();
    world.now = at(9);
    (0..5).for_each(|user| world.shake(UserId(user)));
    assert_eq!(world.engine.show(world.campaign).unwrap().state, EnvelopeState::Exhausted);
    world.now = at(100_000);
    let recycled = world.engine.recyclable(world.now).unwrap();
    world.apply(&recycled);
    assert!(world.engine.campaign(world.campaign, world.now).is_none());
    assert_eq!(world.engine.campaigns(world.now).count(), 0);
    assert!(world.restored(&[], 0).campaign(world.campaign, world.now).is_none());
    world.check_sums();
}

#[test]
fn a_shard_takes_so_many_campaigns_and_says_when_it_is_full() {
    let mut world = World::of(1, &[(5, 3)], &[slot(0, 10, 3)], 1);
    let mut orders = 10..;
    let full = std::iter::from_fn(|| world.another(orders.next()?)).last();
    assert_eq!(world.engine.campaigns(world.now).count(), 64);
    assert!(full.is_some() && world.another(9999).is_none());
}

#[test]
fn a_campaign_too_many_does_not_fit_and_an_envelope_does() {
    let mut world = World::of(1, &[(5, 3)], &[slot(0, 10, 3)], 1);
    (10..72).for_each(|order| assert!(world.another(order).is_some()));
    let order = SendOrder { sender: UserId(SPONSOR.0 + 1), ..world.order_of_another(99) };
    let early = world.engine.issue(&order, Seed([1, 2]), world.now);
    assert!(world.another(72).is_some(), "the last that a shard takes");
    assert_eq!(world.engine.apply(&early.record.unwrap()), Err(Misfit::Full));
    world.plain_envelope();
}

#[test]
fn every_campaign_of_a_shard_is_in_its_image() {
    let mut world = World::of(1, &[(5, 3)], &[slot(0, 10, 3)], 1);
    (10..73).for_each(|order| assert!(world.another(order).is_some()));
    let (slices, began) = world.image(&mut Dice(1), false);
    let restored = world.restored(&slices, began);
    assert_eq!(restored.campaigns(world.now).count(), 64);
    assert_eq!(restored.digest(), world.engine.digest());
}

/// A campaign is copied at a moment of its own: what was done before it is in the image,
/// what was done after it in the records.
#[test]
fn a_command_between_two_slices_is_done_once() {
    let mut world = World::of(1, &[(5, 3)], &[slot(0, 10, 3)], 1);
    let began = world.position();
    let (mut cursor, mut slices) = (world.engine.begin_image(), Vec::new());
    let mut slice = Vec::new();
    while world.engine.next_slice(&mut cursor, world.position(), &mut slice) {
        slices.push(std::mem::take(&mut slice));
        match slices.len() {
            1 => world.start(), // the counters are copied, the campaign is not
            2 => assert_eq!(world.command(Command::Pause), Outcome::Arranged { repeated: false }),
            _ => {}
        }
    }
    world.engine.end_image(cursor);
    let restored = world.restored(&slices, began);
    let phase = |engine: &Engine| engine.campaign(world.campaign, world.now).unwrap().phase;
    assert_eq!([phase(&restored), phase(&world.engine)], [CampaignPhase::Paused; 2]);
}

/// The plan, too: once the campaign has begun, a part of it would not fit any more.
#[test]
fn a_plan_between_two_slices_is_written_once() {
    let mut world = World::of(1, &[(5, 3)], &[slot(0, 10, 3)], 1);
    let began = world.position();
    let (mut cursor, mut slices) = (world.engine.begin_image(), Vec::new());
    let mut slice = Vec::new();
    while world.engine.next_slice(&mut cursor, world.position(), &mut slice) {
        slices.push(std::mem::take(&mut slice));
        if slices.len() == 1 {
            let part = PlanPart::Slot(0, slot(0, 10, 2));
            assert_eq!(world.plan(part), Outcome::Arranged { repeated: false });
            world.start();
        }
    }
    world.engine.end_image(cursor);
    let (phase, mut tail) = (CampaignPhase::Running, world.tail(began));
    // Each a batch of its own, and both one batch.
    for end in [None, Some(world.position())] {
        for (at, _) in &mut tail {
            *at = end.unwrap_or(*at);
        }
        let mut restoring = world::restoring();
        for slice in &slices {
            restoring.load(slice).unwrap();
        }
        restoring.apply(&tail).expect("the tail fits");
        let restored = restoring.finish().unwrap();
        assert_eq!(restored.campaign(world.campaign, world.now).unwrap().phase, phase);
        assert_eq!(restored.digest(), world.engine.digest());
    }
}

/// What is told at once to shakes of campaigns that give nothing.
#[test]
fn every_campaign_says_when_it_gives_prizes_and_why_it_does_not() {
    let mut world = World::of(1, &[(5, 3)], &[slot(5, 10, 3)], 1);
    let opens_at = START_S + 5;
    let terms = PlanTerms { wins_max: 1, opens_at, fallback: 9 };
    assert_eq!(world.plan(PlanPart::Terms(terms)), Outcome::Arranged { repeated: false });
    let told = |world: &World| world.engine.campaigns(world.now).next().unwrap();
    let is_told = |world: &World, outcome| assert_eq!(told(world), (world.campaign, outcome));
    world.now = at(5);
    is_told(&world, Some(Outcome::NotBegun));
    world.start();
    is_told(&world, None);
    world.now = at(4);
    is_told(&world, Some(Outcome::NotBegun));
    world.command(Command::Pause);
    is_told(&world, Some(Outcome::Paused));
    world.command(Command::Start);
    world.now = Time(1000 * u64::from(world.view().ends_at));
    is_told(&world, None); // nobody has recorded its end
    let expired = world.engine.due(world.now).unwrap();
    world.apply(&expired);
    is_told(&world, Some(Outcome::Expired));
}

#[test]
fn a_campaign_is_not_restored_without_its_envelope_nor_that_without_the_campaign() {
    let mut world = World::of(1, &[(5, 3)], &[slot(0, 10, 3)], 1);
    let (slices, _) = world.image(&mut Dice(1), false);
    assert_eq!(slices.len(), 3, "counters, the campaign and its envelope's page");
    let restoring = |slices: &[&Vec<u8>]| {
        let mut restoring = world::restoring();
        for slice in slices {
            restoring.load(slice).expect("as it was saved");
        }
        restoring
    };
    let whole = restoring(&[&slices[0], &slices[1], &slices[2]]);
    let (plan, phase) = whole.kept_plan(world.campaign).unwrap();
    assert_eq!((plan.slots(), phase), (&[slot(0, 10, 3)][..], CampaignPhase::Draft));
    assert!(whole.finish().is_ok());
    for kept in [1, 2] {
        let half = restoring(&[&slices[0], &slices[kept]]).finish().err();
        assert_eq!(half, Some(Misfit::Contradiction(world.campaign)));
    }
}

#[test]
fn recycled_campaigns_make_room() {
    let mut world = World::of(1, &[(5, 3)], &[slot(0, 10, 3)], 1);
    (10..73).for_each(|order| assert!(world.another(order).is_some()));
    world.now = at(1000);
    while let Some(expired) = world.engine.due(world.now) {
        world.apply(&expired);
    }
    world.now = at(100_000);
    while let Some(recycled) = world.engine.recyclable(world.now) {
        world.apply(&recycled);
    }
    (100..164).for_each(|order| assert!(world.another(order).is_some()));
    assert!(world.another(164).is_none());
}

#[test]
fn images_in_the_middle_of_a_campaign_and_the_tail_restore_it() {
    let seeds = if cfg!(miri) { 1 } else { 12 };
    for seed in 0..seeds {
        println!("seed {seed}");
        let mut world =
            World::draft(seed, PRIZES[usize::try_from(seed).unwrap() % PRIZES.len()], 400);
        let mut dice = Dice(seed);
        let (slices, began) = world.image_in_traffic(&mut dice);
        for _ in 0..dice.below(2000) {
            world.step();
        }
        for (slices, from) in [(&slices[..], began), (&slices[..], 0), (&[][..], 0)] {
            let engine = world.restored(slices, from);
            assert_eq!(engine.digest(), world.engine.digest());
            let (view, again) = (world.view(), engine.campaign(world.campaign, world.now).unwrap());
            assert_eq!(format!("{view:?}"), format!("{again:?}"));
            for user in 0..200 {
                let user = UserId(user);
                let shake =
                    |of: &hongbao::engine::Engine| of.shake(world.campaign, user, world.now);
                assert_eq!(shake(&engine), shake(&world.engine), "user {}", user.0);
            }
        }
    }
}
