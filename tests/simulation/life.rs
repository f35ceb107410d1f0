//! One seed's run: what happens, in which order, until every sum is held.

use std::collections::BTreeMap;

use hongbao::journal::simulated::Disk;
use hongbao::limits::DETAIL_ROWS_MAX;
use hongbao::net::simulated::World;
use hongbao::units::{EnvelopeId, Fen, Time, Uptime, UserId};
use hongbao::wire::{PlanPart, Request};
use tempfile::TempDir;

use crate::book::Book;
use crate::client::Client;
use crate::clock::Bounds;
use crate::envelope::Envelope;
use crate::following::Following;
use crate::held::Holds;
use crate::server::{HOLD_ABOVE_FEN, Room, Server, disks, identity, recover};
use crate::tally::Tally;

const STEPS: u64 = 16_000;
pub(crate) const CLIENTS: usize = 5;

/// Steps until everything outstanding must have been answered.
const PATIENCE: u64 = 20_000;

/// Turns in which time has decided whatever is due.
const RESTING_TURNS: u64 = 100;

/// A world, a server in it, and its clients.
pub(crate) struct Life {
    pub(crate) world: World,
    pub(crate) disks: Vec<Disk>,
    pub(crate) room: Room,
    /// Whether other numbers of shards come.
    pub(crate) is_roomy: bool,
    place: TempDir,
    pub(crate) server: Option<Server>,
    pub(crate) following: Following,
    pub(crate) clients: Vec<Client>,
    pub(crate) book: Book,
    /// What time it can be for the server.
    pub(crate) bounds: Bounds,
    looked_at: Uptime,
    pub(crate) orders: u64,
    /// The plan of each campaign that was ordered.
    pub(crate) plans: BTreeMap<(UserId, u64), Vec<PlanPart>>,
    pub(crate) tally: Tally,
}

impl Life {
    pub(crate) fn new(seed: u64) -> Self {
        let shards = usize::try_from(1 + seed % 3).unwrap();
        let is_roomy = seed.is_multiple_of(2);
        let room = Room::of(seed, is_roomy);
        let hold_above = room.holds_shares().then_some(HOLD_ABOVE_FEN.into());
        Self {
            world: World::new(seed, Time(1_700_000_000_000)),
            disks: disks(shards),
            room,
            is_roomy,
            place: tempfile::tempdir().unwrap(),
            server: None,
            following: Following::new(shards),
            clients: (0..CLIENTS).map(|_| Client::new()).collect(),
            book: Book::new(hold_above),
            bounds: Bounds::default(),
            looked_at: Uptime(0),
            orders: 0,
            plans: BTreeMap::new(),
            tally: Tally { lives: 1, ..Tally::default() },
        }
    }

    /// From an empty disk to the last check.
    pub(crate) fn run(mut self) -> Tally {
        self.start();
        for _ in 0..STEPS {
            self.step();
            self.maybe_break();
        }
        self.mend_all();
        self.settle();
        self.stop();
        self.disks.iter().for_each(Disk::restart);
        self.tally.digest = self.digest();
        self.tally.overlapped += self.overlapped();
        self.count();
        self.tally
    }

    /// What came of it, in numbers.
    fn count(&mut self) {
        self.tally.answers = self.book.answers;
        self.tally.shares = self.book.shares;
        self.tally.credited = self.following.ledger.accounts().records();
        let known = self.book.envelopes();
        self.tally.envelopes = u64::try_from(known.len()).unwrap();
        let sum =
            |of: fn(&Holds) -> usize| known.iter().map(|known| of(&known.holds)).sum::<usize>();
        self.tally.withheld = u64::try_from(sum(Holds::told)).unwrap();
        self.tally.decided = u64::try_from(sum(Holds::decided)).unwrap();
        self.tally.guesses = known.iter().map(|known| known.rules.guesses()).sum();
        let wins = known.iter().map(|known| known.campaign.wins().count()).sum::<usize>();
        self.tally.wins = u64::try_from(wins).unwrap();
    }

    pub(crate) fn below(&self, end: usize) -> usize {
        usize::try_from(self.world.below(u64::try_from(end).unwrap())).unwrap()
    }

    /// Commits that went on beside the work of these shards.
    pub(crate) fn overlapped(&self) -> u64 {
        self.disks.iter().map(Disk::overlapped).sum()
    }

    pub(crate) fn start(&mut self) {
        while self.server.is_none() {
            let started = Server::start(&self.world, &self.disks, self.room, self.place.path());
            match started {
                Ok(server) => {
                    let uptime = self.world.uptime();
                    self.bounds.started(uptime, self.world.wall());
                    self.book.begun(self.bounds.earliest(uptime));
                    self.following.attend(&server);
                    self.server = Some(server);
                    self.tally.restarts += 1;
                }
                Err(refused) => self.mend(&refused.to_string()),
            }
        }
        self.disks.iter().for_each(Disk::mend_reads);
    }

    pub(crate) fn stop(&mut self) {
        self.following.die();
        if let Some(server) = self.server.take() {
            self.tally.checkpoints += server.checkpoints();
        }
    }

    fn step(&mut self) {
        self.book.now += 1;
        self.look_at_the_clock();
        match self.world.below(100) {
            0..49 => self.turn_a_shard(),
            49..80 => self.move_a_client(true),
            80..92 => {
                let shard = self.below(self.disks.len());
                for _ in 0..=self.world.below(8) {
                    self.server.as_mut().unwrap().write_checkpoint(shard);
                }
            }
            92..94 => self.follow(),
            _ => self.world.pass(self.world.below(4000)),
        }
    }

    /// Once a second somebody looks at the wall for the server.
    pub(crate) fn look_at_the_clock(&mut self) {
        let uptime = self.world.uptime();
        if uptime.0 >= self.looked_at.0 + 1000 {
            self.looked_at = uptime;
            self.server.as_ref().unwrap().look_at_the_wall(&self.world);
        }
        self.book.earliest = self.bounds.earliest(uptime);
        self.book.latest = self.bounds.latest(uptime);
    }

    fn turn_a_shard(&mut self) {
        self.turn(self.below(self.disks.len()));
    }

    pub(crate) fn turn(&mut self, shard: usize) {
        let turned = self.server.as_mut().unwrap().step(shard);
        if let Err(fatal) = turned {
            // What fails ends the process, whatever the others do.
            let why = fatal.to_string();
            let is_expected =
                why.contains("simulated disk error") || why.contains("simulated kill");
            assert!(is_expected, "{why}");
            self.stop();
            self.mend(&why);
            self.start();
        }
    }

    fn move_a_client(&mut self, asks: bool) {
        let mut client = std::mem::replace(&mut self.clients[0], Client::new());
        if asks {
            for _ in 0..=self.world.below(6) {
                if let Some(question) = self.some_question().filter(|_| client.has_room()) {
                    client.ask(question, &mut self.book);
                }
            }
        }
        self.exchange(&mut client);
        self.clients[0] = client;
        self.clients.rotate_left(1);
    }

    pub(crate) fn exchange(&mut self, client: &mut Client) {
        let (place, shards) = (self.place.path(), self.disks.len());
        client.exchange(&self.world, place, shards, &mut self.book);
    }

    /// The follower applies what is committed; perhaps the ledger fails under
    /// it, and another follower begins where the ledger is.
    fn follow(&mut self) {
        self.server.as_ref().unwrap().check_room();
        if let Err(obstacle) = self.following.step(&self.disks) {
            let why = obstacle.to_string();
            assert!(why.contains("simulated ledger error"), "the follower stops: {why}");
            self.tally.ledger_crashes += 1;
            self.following.attend(self.server.as_ref().unwrap());
        }
    }

    /// Every question is answered, and every sum is right.
    fn settle(&mut self) {
        self.until_quiet();
        self.rest();
        self.book.begin_settling();
        let ids: Vec<_> = self.book.envelopes().iter().map(questions_about).collect();
        for questions in ids.chunks(10) {
            for request in questions.iter().flatten() {
                self.clients[0].ask(*request, &mut self.book);
            }
            self.until_quiet();
        }
        self.book.settle();
        self.following.catch_up(&self.disks);
        self.settle_ledger();
    }

    /// What was told is credited, each share once; no money appears or goes.
    fn settle_ledger(&self) {
        let accounts = self.following.ledger.accounts();
        accounts.check();
        for known in self.book.envelopes() {
            let booked = accounts.of(known.id);
            let mut credited = BTreeMap::<(UserId, Fen), usize>::new();
            for credit in &booked.credits {
                *credited.entry(*credit).or_default() += 1;
            }
            for told in known.shares().chain(known.campaign.wins()) {
                let left = credited.get_mut(&told).filter(|left| **left > 0);
                *left.unwrap_or_else(|| panic!("{told:?} of {} is not credited", known.id)) -= 1;
            }
            if let Some(summary) = &known.summary {
                let claimed = usize::try_from(summary.claimed).unwrap();
                assert_eq!(booked.seats.len(), claimed, "{}", known.id);
            }
            let known_refund = known.refunded().filter(|refunded| *refunded > 0);
            let is_it = known_refund.is_none() || booked.refunded == known_refund;
            assert!(is_it, "{}: {known_refund:?}, {:?}", known.id, booked.refunded);
            known.settle_withheld(booked);
        }
    }

    /// What time decides is decided, so that nothing moves while it is looked at.
    fn rest(&mut self) {
        for _ in 0..RESTING_TURNS {
            self.book.now += 1;
            self.turn_a_shard();
        }
    }

    fn until_quiet(&mut self) {
        for _ in 0..PATIENCE {
            if self.clients.iter().all(Client::is_quiet) {
                return;
            }
            self.book.now += 1;
            self.look_at_the_clock();
            self.turn_a_shard();
            self.move_a_client(false);
        }
        panic!("somebody waits for an answer for ever");
    }

    /// The meaning of all disks together; a second look finds the same.
    pub(crate) fn digest(&self) -> u64 {
        let shards = self.disks.len();
        let of = |(shard, disk): (usize, &Disk)| {
            let look = || {
                let copy = disk.fork();
                copy.mend();
                let found = recover(&copy, identity(shard, shards), self.room, self.world.wall());
                found.unwrap().0.digest()
            };
            let digest = look();
            assert_eq!(digest, look(), "a replay decides nothing");
            digest
        };
        self.disks.iter().enumerate().map(of).fold(0, u64::wrapping_add)
    }
}

/// Everything that there is to see of an envelope.
fn questions_about(known: &Envelope) -> Vec<Request> {
    let envelope: EnvelopeId = known.id;
    let page = usize::try_from(DETAIL_ROWS_MAX).unwrap();
    let pages = (0..known.order.shares).step_by(page);
    let rows = pages.map(|from| Request::Detail { envelope, from, rows_max: u32::MAX });
    let status = known.is_campaign().then_some(Request::CampaignStatus { campaign: envelope });
    rows.chain([Request::Show { envelope }]).chain(status).collect()
}
