//! Every kind of envelope in one table: let through, refused for each of its
//! reasons, repeated, sold out, expired, and all of it again after a restart; and
//! the same under SIGKILL (`kill`).
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod kill;
mod kind;
#[path = "../rig/mod.rs"]
mod rig;

use std::path::Path;
use std::time::Duration;

use hongbao::client::{Client, ClientError, Shaken, Wins};
use hongbao::units::{EnvelopeId, Split, UserId};
use hongbao::wire::{
    CampaignPhase, Command, Denial, Evidence, Ineligible, Mark, NotOpen, PlanPart, PlanTerms,
    Prize, ReplyBody, Resolution, SendOrder, Slot, Status, ToldTerms,
};
use hongbao::{Config, Server};
use kind::{Cast, HELD_FEN, Kind, Said, now, try_claim};
use rig::{config, connect, key_file, order, until};

const SENDER: u64 = 7;
const PATIENCE: Duration = Duration::from_secs(60);

/// Until an envelope opens to claims, however slow the disk is at its sending.
const OPENS_S: u32 = 4;

/// Until a window ends; whoever may has claimed long before.
const ENDS_S: u32 = 10;

/// A short life, in which all that needs it alive is done.
const SHORT_S: u32 = 16;

fn several(dir: &Path, shards: u16) -> Config {
    let keys = Some(key_file(dir, &[1, 2]));
    Config {
        shards: Some(shards),
        ticket_keys: keys.clone(),
        password_keys: keys,
        risk_users_max: 1000,
        risk_hold_above_fen: u32::try_from(HELD_FEN).unwrap() - 1,
        ..config(&dir.join("data"))
    }
}

/// What becomes of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Every share is taken.
    Emptied,
    /// One share is taken, and its time is over.
    Expired,
    /// One share is taken, and it lives on.
    Open,
}

const FATES: [Fate; 3] = [Fate::Emptied, Fate::Expired, Fate::Open];

/// One line of the table, as it goes on.
struct Line {
    kind: Kind,
    fate: Fate,
    cast: Cast,
    envelope: EnvelopeId,
    /// What is told to whoever has a share, always.
    repeats: Vec<(UserId, Said)>,
    /// What both members are shown of the terms.
    terms: Vec<ToldTerms>,
    rows: Result<usize, (Status, u32)>,
}

fn claim(client: &mut Client, envelope: EnvelopeId, user: UserId, shown: &Evidence<'_>) -> Said {
    try_claim(client, envelope, user, shown).expect("the server answers")
}

fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> (Status, u32) {
    match result.unwrap_err() {
        ClientError::Refused(refusal) => (refusal.status, refusal.detail),
        other => panic!("{other}"),
    }
}

impl Line {
    /// Orders it, and has it refuse whom it must while its window is shut.
    fn begin(client: &mut Client, kind: Kind, fate: Fate, number: u64) -> Self {
        let (sender, user) = (SENDER + number % 5, 1000 + 10 * number);
        let cast = Cast::of(sender, user, (now() + OPENS_S, now() + ENDS_S));
        let lifetime_s = if fate == Fate::Expired { SHORT_S } else { 3600 };
        let shares = if fate == Fate::Open { 3 } else { 2 };
        let order = kind.order(&cast, number, shares, lifetime_s);
        let envelope = client.send_with(&order, &kind.terms(&cast)).unwrap().envelope;
        let again = client.send_with(&order, &kind.terms(&cast)).unwrap();
        assert!(again.repeated && again.envelope == envelope, "{kind:?}");
        if kind == Kind::Timed {
            let early = (Status::NotEligible, Ineligible::TooEarly.code(), ReplyBody::None);
            let member = cast.members[0];
            assert_eq!(claim(client, envelope, member, &Evidence::default()), early);
        }
        if kind == Kind::Graded {
            client.risk_mark(cast.outsider, Mark::Grade(kind::GRADE - 1)).unwrap();
        }
        let (repeats, terms) = (Vec::new(), Vec::new());
        Self { kind, fate, cast, envelope, repeats, terms, rows: Ok(0) }
    }

    fn name(&self) -> String {
        format!("{:?}, {:?}", self.kind, self.fate)
    }

    fn take(&mut self, client: &mut Client, member: usize) {
        let (envelope, user) = (self.envelope, self.cast.members[member]);
        let evidence = self.kind.evidence(envelope, user);
        let mut told = claim(client, envelope, user, &evidence);
        if self.kind == Kind::Timed && member == 0 {
            until("it opens", PATIENCE, || {
                let is_early = told.0 == Status::NotEligible;
                if is_early {
                    told = claim(client, envelope, user, &evidence);
                }
                !is_early
            });
        }
        if self.kind == Kind::Held {
            assert_eq!(told, (Status::Withheld, 0, ReplyBody::None), "{}", self.name());
            client.risk_resolve(envelope, user, Resolution::Release).unwrap();
            told = (Status::Ok, 0, ReplyBody::Amount(HELD_FEN));
        }
        let (Status::Ok, 0, ReplyBody::Amount(_)) = told else {
            panic!("{}: {user} is told {told:?}", self.name())
        };
        self.repeats.push((user, (Status::AlreadyClaimed, 0, told.2)));
    }

    fn refuses(&self, client: &mut Client) {
        for refusal in self.kind.refusals(self.envelope, &self.cast) {
            let told = claim(client, self.envelope, refusal.user, &refusal.evidence);
            let (status, detail) = refusal.told;
            assert_eq!(told, (status, detail, ReplyBody::None), "{}", self.name());
        }
    }

    /// Everybody who may has claimed.
    fn go_on(&mut self, client: &mut Client) {
        self.refuses(client);
        self.take(client, 0);
        if self.fate == Fate::Emptied {
            self.take(client, 1);
        }
        self.terms = self.shown(client);
        self.rows = self.rows(client);
    }

    fn shown(&self, client: &mut Client) -> Vec<ToldTerms> {
        let members = self.cast.members.iter();
        members.map(|user| client.terms(self.envelope, *user).unwrap()).collect()
    }

    fn rows(&self, client: &mut Client) -> Result<usize, (Status, u32)> {
        match client.detail(self.envelope) {
            Ok(detail) => Ok(detail.rows.len()),
            Err(error) => Err(refused::<()>(Err(error))),
        }
    }

    /// Who has nothing by now gets nothing, for the reason that it is over.
    fn end(&self, client: &mut Client) {
        let (envelope, user) = (self.envelope, self.cast.members[1]);
        let evidence = self.kind.evidence(envelope, user);
        let over = match self.fate {
            Fate::Emptied => return self.stays(client),
            Fate::Expired => (Status::Expired, 0, ReplyBody::None),
            Fate::Open if self.kind != Kind::Window => return self.stays(client),
            Fate::Open => (Status::NotEligible, Ineligible::TooLate.code(), ReplyBody::None),
        };
        // A look takes nothing, so it can be repeated until it is refused.
        until("it is over", PATIENCE, || {
            let looked = client.grab(envelope, user);
            looked.is_err_and(|error| refused::<()>(Err(error)) == (over.0, over.1))
        });
        assert_eq!(claim(client, envelope, user, &evidence), over, "{}", self.name());
        self.stays(client);
    }

    /// What must be told at any time from now on, and after any restart.
    fn stays(&self, client: &mut Client) {
        for (user, told) in &self.repeats {
            let right = self.kind.evidence(self.envelope, *user);
            for shown in [Evidence::default(), right, kind::saying(b"whatever")] {
                let again = claim(client, self.envelope, *user, &shown);
                assert_eq!(again, *told, "{}, {user}", self.name());
            }
        }
        if self.fate == Fate::Emptied {
            let sold_out = (Status::SoldOut, 0, ReplyBody::None);
            let outsider = self.cast.outsider;
            assert_eq!(claim(client, self.envelope, outsider, &Evidence::default()), sold_out);
        }
        assert_eq!(self.shown(client), self.terms, "{}", self.name());
    }

    /// After a restart all is as it was; who is still let in gets a share.
    fn again(&mut self, client: &mut Client) {
        self.end(client);
        if self.fate != Fate::Open {
            return;
        }
        assert_eq!(self.rows(client), self.rows, "{}", self.name());
        if self.kind == Kind::Window {
            return;
        }
        if self.kind != Kind::Fission {
            self.refuses(client); // there only while nobody has a share
        }
        self.take(client, 1);
        self.terms = self.shown(client); // a coupon is told with a share
        self.stays(client);
    }
}

/// A campaign with one prize, which is won; and one with a prize that nobody wins.
struct Sponsored {
    won: EnvelopeId,
    expired: EnvelopeId,
}

impl Sponsored {
    const WINNER: UserId = UserId(1);
    const SPONSOR: UserId = UserId(42);

    fn of(client: &mut Client) -> Self {
        let [won, expired] = [(1, 3600), (2, SHORT_S)].map(|(number, lifetime_s)| {
            let ordered = order(Self::SPONSOR.0, number, 500, 1);
            let ordered = SendOrder { split: Split::Prizes, lifetime_s, ..ordered };
            client.send(&ordered).unwrap().envelope
        });
        let not_begun = (Status::NotOpen, NotOpen::NotBegun.code());
        assert_eq!(refused(client.shake(won, Self::WINNER)), not_begun);
        for part in [
            PlanPart::Terms(PlanTerms { wins_max: 1, opens_at: now(), fallback: 7 }),
            PlanPart::Prize(0, Prize { amount: 500, count: 1 }),
            PlanPart::Slot(0, Slot { start: now(), length_s: 600, quota: 1 }),
        ] {
            client.campaign_plan(won, Self::SPONSOR, part).unwrap();
        }
        client.campaign_command(won, Self::SPONSOR, Command::Start).unwrap();
        until("somebody wins", PATIENCE, || {
            let told = client.shake(won, Self::WINNER).unwrap();
            assert!(matches!(
                told,
                Shaken::Won { amount: 500, kind: 0 } | Shaken::Lost { fallback: 7 }
            ));
            matches!(told, Shaken::Won { .. })
        });
        Self { won, expired }
    }

    fn check(&self, client: &mut Client) {
        until("the second is over", PATIENCE, || {
            let told = refused(client.shake(self.expired, Self::WINNER));
            told == (Status::Expired, 0)
        });
        for (user, count, last) in [(Self::WINNER, 1, 500), (UserId(2), 0, 0)] {
            assert_eq!(client.campaign_wins(self.won, user).unwrap(), Wins { count, last });
        }
        let shaking_only = (Status::Denied, Denial::ByShakingOnly.code());
        let told = client.claim(self.expired, UserId(2));
        assert!([(Status::Expired, 0), shaking_only].contains(&refused(told)));
        until("it is sold out for everybody", PATIENCE, || {
            match client.shake(self.won, UserId(2)) {
                Ok(told) => {
                    assert!(matches!(told, Shaken::Lost { .. }), "one prize, and {told:?}");
                    false
                }
                Err(error) => refused::<()>(Err(error)) == (Status::SoldOut, 0),
            }
        });
        let status = client.campaign_status(self.won).unwrap();
        assert_eq!((status.head.phase, status.head.won), (CampaignPhase::Running, 1));
    }
}

/// All lines, each step of all of them before the next, so that they wait together.
fn go_through_the_table(shards: u16) {
    let dir = tempfile::tempdir().unwrap();
    let several = several(dir.path(), shards);
    let server = Server::start(several.clone()).unwrap();
    let mut client = connect(&server);
    let mut lines = Vec::new();
    for (kind, place) in Kind::ALL.into_iter().zip(0_u64..) {
        let number = |fate: u64| 1 + 3 * place + fate;
        let begin = |(fate, n)| Line::begin(&mut client, kind, fate, number(n));
        let mut of_kind: Vec<Line> = FATES.into_iter().zip(0..).map(begin).collect();
        for line in &mut of_kind {
            line.go_on(&mut client);
        }
        lines.extend(of_kind);
    }
    let sponsored = Sponsored::of(&mut client);
    for line in &lines {
        line.end(&mut client);
    }
    sponsored.check(&mut client);
    server.drain().unwrap();
    let server = Server::start(several).unwrap();
    let mut client = connect(&server);
    for line in &mut lines {
        line.again(&mut client);
    }
    sponsored.check(&mut client);
    println!("{shards} shards: {} lines, each over a restart", lines.len());
}

#[test]
fn every_kind_is_kept_repeated_emptied_and_over_and_again_after_a_restart() {
    go_through_the_table(1);
}

#[test]
fn every_kind_is_the_same_over_the_mesh() {
    go_through_the_table(2);
}
