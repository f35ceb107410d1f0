//! One seed's run: what happens, in which order, and what breaks.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use hongbao::journal::RecoveryError;
use hongbao::journal::simulated::{Disk, Tearing};
use hongbao::net::simulated::World;
use hongbao::units::{EnvelopeId, MoneySource, Split, Time, UserId};
use hongbao::wire::{Payment, Request, SendOrder};
use tempfile::TempDir;

use crate::book::Book;
use crate::client::Client;
use crate::server::{CELL, KEY_ID, Server, disks, keys, recover};

const STEPS: u64 = 16_000;
const CLIENTS: usize = 5;
const USERS: u64 = 60;
const SENDERS: u64 = 10;

/// Steps until everything outstanding must have been answered.
const PATIENCE: u64 = 20_000;

const SECTOR_BYTES: usize = 512;

/// What happened in some lives.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    lives: u64,
    answers: u64,
    shares: u64,
    envelopes: u64,
    power_cuts: u64,
    kills: u64,
    failed_syncs: u64,
    full_disks: u64,
    checkpoints: u64,
    clock_jumps: u64,
    vanished: u64,
    /// Damage to committed bytes, and how much of it was refused; the rest lay
    /// where nobody needs it and changed nothing.
    damaged: u64,
    refused: u64,
    /// A hash over all states at the end.
    digest: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.lives += other.lives;
        self.answers += other.answers;
        self.shares += other.shares;
        self.envelopes += other.envelopes;
        self.power_cuts += other.power_cuts;
        self.kills += other.kills;
        self.failed_syncs += other.failed_syncs;
        self.full_disks += other.full_disks;
        self.checkpoints += other.checkpoints;
        self.clock_jumps += other.clock_jumps;
        self.vanished += other.vanished;
        self.damaged += other.damaged;
        self.refused += other.refused;
        self.digest = self.digest.wrapping_add(other.digest);
    }

    /// Whether every kind of fault came, and enough of the rest.
    pub(crate) fn has_seen_everything(&self) -> bool {
        let restarts = self.power_cuts + self.kills + self.failed_syncs;
        let rare = [self.full_disks, self.checkpoints, self.clock_jumps, self.vanished];
        let each = [self.power_cuts, self.kills, self.failed_syncs, self.refused];
        self.answers >= 1_000_000
            && restarts >= 2000
            && rare.into_iter().chain(each).all(|count| count >= 50)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lives, answers, shares, envelopes, power_cuts, kills, .. } = self;
        let Self { failed_syncs, full_disks, checkpoints, clock_jumps, vanished, .. } = self;
        let Self { damaged, refused, digest, .. } = self;
        write!(
            f,
            "{lives} lives, {answers} answers, {shares} shares of {envelopes} envelopes; \
             {power_cuts} power cuts, {kills} kills, {failed_syncs} failed syncs, {full_disks} \
             full disks, {clock_jumps} clock jumps, {vanished} clients vanished, {checkpoints} \
             checkpoints; damaged {damaged} times, {refused} refused; digest {digest:016x}"
        )
    }
}

/// A world, a server in it, and its clients.
pub(crate) struct Life {
    world: World,
    disks: Vec<Disk>,
    place: TempDir,
    server: Option<Server>,
    clients: Vec<Client>,
    book: Book,
    orders: u64,
    tally: Tally,
}

impl Life {
    pub(crate) fn new(seed: u64) -> Self {
        let world = World::new(seed, Time(1_700_000_000_000));
        let shards = u16::try_from(1 + seed % 3).unwrap();
        Self {
            disks: disks(shards),
            world,
            place: tempfile::tempdir().unwrap(),
            server: None,
            clients: (0..CLIENTS).map(|_| Client::new()).collect(),
            book: Book::default(),
            orders: 0,
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
        self.disks.iter().for_each(Disk::mend);
        self.settle();
        self.stop();
        self.disks.iter().for_each(Disk::restart);
        self.tally.digest = self.digest();
        self.tally.answers = self.book.answers;
        self.tally.shares = self.book.shares;
        self.tally.envelopes = u64::try_from(self.book.envelopes().len()).unwrap();
        self.tally
    }

    fn below(&self, end: usize) -> usize {
        usize::try_from(self.world.below(u64::try_from(end).unwrap())).unwrap()
    }

    fn start(&mut self) {
        while self.server.is_none() {
            match Server::start(&self.world, &self.disks, self.place.path()) {
                Ok(server) => self.server = Some(server),
                Err(refused) => self.mend(&refused.to_string()),
            }
        }
    }

    /// What an operator does about a start that was refused.
    fn mend(&mut self, refused: &str) {
        if refused.contains("no space") {
            self.make_room();
        } else {
            assert!(refused.contains("simulated disk error"), "no start: {refused}");
            self.tally.failed_syncs += 1;
        }
        self.disks.iter().for_each(Disk::restart);
    }

    fn make_room(&self) {
        self.disks.iter().for_each(|disk| disk.segments_max(None));
    }

    fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            self.tally.checkpoints += server.checkpoints();
        }
    }

    fn step(&mut self) {
        self.book.now += 1;
        self.book.wall = self.world.wall();
        self.book.latest = self.book.latest.max(self.book.wall);
        match self.world.below(100) {
            0..50 => self.turn_a_shard(),
            50..82 => self.move_a_client(true),
            82..94 => {
                let shard = self.below(self.disks.len());
                self.server.as_mut().unwrap().write_checkpoint(shard);
            }
            _ => self.world.pass(self.world.below(4000)),
        }
    }

    fn turn_a_shard(&mut self) {
        let shard = self.below(self.disks.len());
        let turned = self.server.as_mut().unwrap().step(shard);
        if let Err(fatal) = turned {
            // A failed sync ends the process, whatever the others do.
            assert!(fatal.to_string().contains("simulated disk error"), "{fatal}");
            self.tally.failed_syncs += 1;
            self.stop();
            self.disks.iter().for_each(Disk::restart);
            self.start();
        }
    }

    fn move_a_client(&mut self, asks: bool) {
        let mut client = std::mem::replace(&mut self.clients[0], Client::new());
        if asks {
            for _ in 0..=self.world.below(6) {
                if let Some(request) = self.some_request().filter(|_| client.has_room()) {
                    self.book.asking(&request);
                    client.ask(request, &self.book);
                }
            }
        }
        let (place, shards) = (self.place.path(), self.disks.len());
        client.exchange(&self.world, place, shards, &mut self.book);
        self.clients[0] = client;
        self.clients.rotate_left(1);
    }

    fn some_request(&mut self) -> Option<Request> {
        let kind = self.world.below(100);
        if kind < 8 || self.book.envelopes().is_empty() {
            return Some(Request::Send(self.new_order()));
        }
        if kind < 13 {
            return self.old_order().map(Request::Send);
        }
        let known = self.book.envelopes();
        // Mostly the young ones, or everything is sold out.
        let back = if self.world.one_in(8) { known.len() } else { known.len().min(12) };
        let found = &known[known.len() - 1 - self.below(back)];
        let (envelope, order) = (found.id, found.order);
        let user = UserId(1 + self.world.below(USERS));
        let sender = if self.world.one_in(5) { user } else { order.sender };
        Some(match kind {
            13..72 => Request::Claim { envelope, user },
            72..80 => Request::Grab { envelope, user },
            80..84 => Request::Show { envelope },
            84..89 => Request::Detail { envelope, from: 0, rows_max: u32::MAX },
            89..91 => Request::Cancel { envelope, sender },
            91..96 => self.fund(envelope, &order),
            96..98 => Request::Void { envelope, sender },
            _ => Request::Reveal { envelope },
        })
    }

    fn fund(&self, envelope: EnvelopeId, order: &SendOrder) -> Request {
        let payment = if self.world.one_in(6) { 77 } else { order.order | 1 << 40 };
        let amount = if self.world.one_in(8) { order.total + 1 } else { order.total };
        let seal = keys().seal(KEY_ID, CELL, &Payment { envelope, payment, amount }).unwrap();
        Request::Fund { envelope, payment, amount, key_id: KEY_ID, seal }
    }

    fn new_order(&mut self) -> SendOrder {
        self.orders += 1;
        let world = &self.world;
        let shares = if world.one_in(12) { 1 + world.below(200) } else { 1 + world.below(8) };
        let total = shares * (1 + world.below(900));
        let split = Split::from_code(u8::try_from(world.below(3)).unwrap()).unwrap();
        let capped = total.div_ceil(shares) + world.below(500);
        let share_max = if world.one_in(4) { u32::try_from(capped).unwrap() } else { 0 };
        let lifetime = if world.one_in(3) { 1 + world.below(5) } else { 1 + world.below(80_000) };
        let pays_later = world.one_in(4);
        SendOrder {
            nonce: self.world.wall().seconds(),
            source: if pays_later { MoneySource::Payment } else { MoneySource::Vouched },
            sender: UserId(1 + world.below(SENDERS)),
            order: self.orders,
            payment: 0,
            total,
            shares: u32::try_from(shares).unwrap(),
            lifetime_s: u32::try_from(lifetime).unwrap(),
            share_max,
            split,
        }
    }

    /// The same order again, or another one under its number.
    fn old_order(&self) -> Option<SendOrder> {
        let order = self.book.some_order(self.world.below(u64::MAX))?;
        let total = if self.world.one_in(5) { order.total + 1 } else { order.total };
        let fits = order.share_max == 0 || total <= u64::from(order.shares * order.share_max);
        Some(SendOrder { total: if fits { total } else { order.total }, ..order })
    }

    fn maybe_break(&mut self) {
        match self.world.below(3000) {
            0..3 => self.cut_the_power(),
            3..5 => self.kill(),
            5..8 => {
                let syncs = 1 + self.world.below(30);
                self.disks[self.below(self.disks.len())].fail_sync(syncs);
            }
            8..10 => {
                let disk = &self.disks[self.below(self.disks.len())];
                disk.segments_max(Some(disk.contents().len()));
                self.tally.full_disks += 1;
            }
            10..14 => self.make_room(),
            14 => {
                let shard = self.below(self.disks.len());
                self.server.as_mut().unwrap().fail_checkpoint(shard);
            }
            15 => self.jump_the_clock(),
            16..20 => self.world.pass(self.world.below(3_000_000)),
            20..24 => {
                let client = self.below(CLIENTS);
                self.clients[client].vanish();
                self.tally.vanished += 1;
            }
            24..28 => self.damage(),
            _ => {}
        }
    }

    fn cut_the_power(&mut self) {
        self.stop();
        let tearing = if self.world.one_in(2) { Tearing::Pages } else { Tearing::Sectors };
        self.disks.iter().for_each(|disk| disk.crash(self.world.below(u64::MAX), tearing));
        self.tally.power_cuts += 1;
        self.start();
    }

    fn kill(&mut self) {
        self.stop();
        self.disks.iter().for_each(Disk::restart);
        self.tally.kills += 1;
        self.start();
    }

    fn jump_the_clock(&mut self) {
        let ms = self.world.below(2 * 86_400_000);
        let wall = self.world.wall().0;
        let jumped = if self.world.one_in(2) { wall + ms / 8 } else { wall - ms };
        self.world.set_wall(Time(jumped));
        self.book.jumped_at = self.book.now;
        self.tally.clock_jumps += 1;
    }

    /// Bytes that are known to be committed change on a copy of a disk: its
    /// start refuses, or nobody needs them and the state is the same.
    fn damage(&mut self) {
        self.kill();
        self.stop();
        let shard = self.below(self.disks.len());
        let shards = u16::try_from(self.disks.len()).unwrap();
        let number = u16::try_from(shard).unwrap();
        let copy = self.disks[shard].fork();
        let sequences: Vec<_> = copy.contents().into_keys().collect();
        // The last one with records is open, and its end may be torn.
        if let [committed @ .., _, _] = &sequences[..]
            && let Some(&sequence) = committed.get(self.below(committed.len().max(1)))
        {
            let (way, first, second) =
                (self.world.below(4), self.world.below(u64::MAX), self.world.below(u64::MAX));
            copy.alter(sequence, |bytes| spoil(bytes, way, first, second));
            self.tally.damaged += 1;
            let open = |disk: &Disk| -> Result<u64, RecoveryError> {
                recover(disk, number, shards, self.world.wall()).map(|(engine, ..)| engine.digest())
            };
            let found = catch_unwind(AssertUnwindSafe(|| open(&copy))).expect("it never panics");
            match found {
                Err(_) => self.tally.refused += 1,
                Ok(digest) => {
                    assert_eq!(digest, open(&self.disks[shard].fork()).unwrap(), "silent damage");
                }
            }
        }
        self.start();
    }

    /// Every question is answered, and every sum is right.
    fn settle(&mut self) {
        self.until_quiet();
        self.book.begin_settling();
        let ids: Vec<EnvelopeId> = self.book.envelopes().iter().map(|one| one.id).collect();
        for ids in ids.chunks(10) {
            for &envelope in ids {
                let rows = Request::Detail { envelope, from: 0, rows_max: u32::MAX };
                for request in [rows, Request::Show { envelope }] {
                    self.clients[0].ask(request, &self.book);
                }
            }
            self.until_quiet();
        }
        self.book.settle();
    }

    fn until_quiet(&mut self) {
        for _ in 0..PATIENCE {
            if self.clients.iter().all(Client::is_quiet) {
                return;
            }
            self.book.now += 1;
            self.turn_a_shard();
            self.move_a_client(false);
        }
        panic!("somebody waits for an answer for ever");
    }

    /// The meaning of all disks together; a second look finds the same.
    fn digest(&self) -> u64 {
        let shards = u16::try_from(self.disks.len()).unwrap();
        let of = |(shard, disk): (u16, &Disk)| {
            let look = || {
                let copy = disk.fork();
                recover(&copy, shard, shards, self.world.wall()).unwrap().0.digest()
            };
            let digest = look();
            assert_eq!(digest, look(), "a replay decides nothing");
            digest
        };
        (0..shards).zip(&self.disks).map(of).fold(0, u64::wrapping_add)
    }
}

/// A bit flips; a sector is lost, or holds what another one should.
fn spoil(bytes: &mut [u8], way: u64, first: u64, second: u64) {
    let place =
        |number: u64, end: usize| usize::try_from(number % u64::try_from(end).unwrap()).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    let sector = |number: u64| {
        let from = place(number, used) / SECTOR_BYTES * SECTOR_BYTES;
        from..from + SECTOR_BYTES
    };
    match way {
        0 | 1 => bytes[place(first, used)] ^= 1 << (second % 8),
        2 => bytes[sector(first)].fill(0),
        _ => {
            let other = bytes[sector(second)].to_vec();
            bytes[sector(first)].copy_from_slice(&other);
        }
    }
}
