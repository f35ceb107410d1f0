//! What breaks, and what an operator does about it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use hongbao::journal::RecoveryError;
use hongbao::journal::simulated::{Disk, Tearing};
use hongbao::limits::PAGE_BYTES;
use hongbao::units::Time;

use crate::ledger::Fate;
use crate::life::{CLIENTS, Life};
use crate::server::{identity, recover};

const SECTOR_BYTES: usize = 512;

impl Life {
    pub(crate) fn maybe_break(&mut self) {
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
            15 | 48 => self.jump_the_clock(),
            16..20 => self.world.pass(self.world.below(3_000_000)),
            20..24 => {
                let client = self.below(CLIENTS);
                self.clients[client].vanish();
                self.tally.vanished += 1;
            }
            24..27 => self.damage(),
            27..29 => self.fail_a_read(),
            29 => self.slow_a_disk(),
            30 => self.disks.iter().for_each(|disk| disk.slow_down(None)),
            31..38 => self.fail_the_ledger(),
            38..42 => self.damage_what_is_followed(),
            42..45 if self.is_roomy => self.rearrange(),
            45..47 => self.rush(),
            47 => self.accept_the_wall(),
            49..52 => {
                let syncs = 1 + self.world.below(30);
                self.disks[self.below(self.disks.len())].kill_in_sync(syncs);
            }
            _ => {}
        }
    }

    /// What an operator does about a server that has ended, or does not start.
    pub(crate) fn mend(&mut self, why: &str) {
        if why.contains("no space") {
            self.make_room();
        } else if why.contains("simulated read error") {
            self.tally.unread += 1;
        } else if why.contains("simulated kill in a sync") {
            self.tally.killed_in_syncs += 1;
            self.fail_an_early_sync();
        } else {
            assert!(why.contains("simulated disk error"), "it ends: {why}");
            self.tally.failed_syncs += 1;
        }
        self.disks.iter().for_each(Disk::restart);
    }

    pub(crate) fn mend_all(&mut self) {
        for disk in &self.disks {
            disk.mend();
            disk.slow_down(None);
        }
        self.following.ledger.accounts().fate = Fate::Happens;
    }

    fn make_room(&self) {
        self.disks.iter().for_each(|disk| disk.segments_max(None));
    }

    fn cut_the_power(&mut self) {
        self.lose_power();
        self.start();
    }

    fn lose_power(&mut self) {
        self.stop();
        let tearing = if self.world.one_in(2) { Tearing::Pages } else { Tearing::Sectors };
        self.disks.iter().for_each(|disk| disk.crash(self.world.below(u64::MAX), tearing));
        self.tally.power_cuts += 1;
    }

    fn kill(&mut self) {
        self.end();
        self.start();
    }

    fn end(&mut self) {
        self.stop();
        self.disks.iter().for_each(Disk::restart);
        self.tally.kills += 1;
    }

    /// The server ends, one way or another.
    pub(crate) fn break_off(&mut self) {
        if self.world.one_in(2) { self.lose_power() } else { self.end() }
    }

    /// Somebody sets the clock on the wall: ahead, a little or far back, or
    /// right again.
    fn jump_the_clock(&mut self) {
        let wall = self.world.wall().0;
        let jumped = match self.world.below(4) {
            0 => wall + self.world.below(6 * 3_600_000),
            1 => wall - self.world.below(2 * 86_400_000),
            2 => wall - self.world.below(5000),
            _ => self.bounds.latest(self.world.uptime()).0,
        };
        self.world.set_wall(Time(jumped));
        self.tally.clock_jumps += 1;
        let is_refused = self.server.as_ref().unwrap().look_at_the_wall(&self.world);
        self.tally.walls_refused += u64::from(is_refused);
    }

    /// An operator says that the wall is right, whatever it shows.
    fn accept_the_wall(&mut self) {
        self.server.as_ref().unwrap().accept_the_wall(&self.world);
        self.bounds.accepted(self.world.uptime(), self.world.wall());
        self.tally.walls_accepted += 1;
    }

    /// From now on every sync of a disk takes long.
    fn slow_a_disk(&mut self) {
        let (world, us) = (self.world.clone(), 1 + self.world.below(30_000));
        let disk = &self.disks[self.below(self.disks.len())];
        disk.slow_down(Some(Rc::new(move || world.pass(us))));
        self.tally.slow_disks += 1;
    }

    fn fail_the_ledger(&self) {
        let fate = if self.world.one_in(2) { Fate::Fails } else { Fate::Unheard };
        self.following.ledger.accounts().fate = fate;
    }

    /// A read fails in a start: it is refused, or comes to the same.
    fn fail_a_read(&mut self) {
        self.end();
        let shard = self.below(self.disks.len());
        let (copy, sound) = (self.healthy(shard), self.healthy(shard));
        let number = 1 + self.world.below(24);
        copy.fail_read(number);
        match self.look(&copy, shard) {
            Err(refused) => {
                let why = refused.to_string();
                assert!(why.contains("simulated read error"), "another reason: {why}");
                self.tally.unread += 1;
            }
            Ok(digest) => assert_eq!(digest, self.look(&sound, shard).unwrap(), "a wrong answer"),
        }
        self.disks[shard].fail_read(number);
        self.start();
    }

    /// One of the first syncs to come fails: often one of a start, which syncs what it
    /// has read and what it has cut before it goes on.
    fn fail_an_early_sync(&mut self) {
        if self.world.one_in(2) {
            let syncs = 1 + self.world.below(4);
            self.disks[self.below(self.disks.len())].fail_sync(syncs);
        }
    }

    /// A copy of a disk, on which nothing is about to fail.
    fn healthy(&self, shard: usize) -> Disk {
        let copy = self.disks[shard].fork();
        copy.mend();
        copy
    }

    /// What a start finds on a disk.
    fn look(&self, disk: &Disk, shard: usize) -> Result<u64, RecoveryError> {
        let identity = identity(shard, self.disks.len());
        let found = recover(disk, identity, self.room, self.world.wall());
        found.map(|(engine, ..)| engine.digest())
    }

    /// Bytes that are known to be committed change on a copy of a disk: its
    /// start refuses, or nobody needs them and the state is the same.
    fn damage(&mut self) {
        self.end();
        let shard = self.below(self.disks.len());
        let copy = self.healthy(shard);
        if self.spoil_one_file(&copy) {
            self.tally.damaged += 1;
            let found = catch_unwind(AssertUnwindSafe(|| self.look(&copy, shard)));
            match found.expect("it never panics") {
                Err(_) => self.tally.refused += 1,
                Ok(digest) => {
                    let sound = self.look(&self.healthy(shard), shard).unwrap();
                    assert_eq!(digest, sound, "silent damage");
                }
            }
        }
        self.start();
    }

    /// Damages a segment whose records are known to be committed, or the newest
    /// checkpoint; false where there is none.
    fn spoil_one_file(&self, disk: &Disk) -> bool {
        let damage = self.some_damage();
        if self.world.one_in(4)
            && let Some(&number) = disk.checkpoints().last()
        {
            disk.alter_checkpoint(number, |bytes| damage.spoil(bytes));
            return true;
        }
        let sequences: Vec<_> = disk.contents().into_keys().collect();
        // The last one with records is open, and its end may be torn.
        let [committed @ .., _, _] = &sequences[..] else { return false };
        let found = committed.get(self.below(committed.len().max(1)));
        if let Some(&sequence) = found {
            disk.alter(sequence, |bytes| damage.spoil(bytes));
        }
        found.is_some()
    }

    fn some_damage(&self) -> Damage {
        let [way, first, second] = [6, u64::MAX, u64::MAX].map(|end| self.world.below(end));
        Damage { way, first, second }
    }

    /// A file that the follower needs cannot be read, or is not what was
    /// written: the follower stops, or did not need it.
    fn damage_what_is_followed(&mut self) {
        let damage = self.some_damage();
        let (number, is_unreadable) = (self.below(usize::MAX), self.world.one_in(2));
        let damage = (!is_unreadable).then_some(damage);
        let stopped = self.following.meets_damage(&self.disks, number, damage);
        let Some(stopped) = stopped else { return };
        self.tally.unread += u64::from(is_unreadable && stopped);
        self.tally.damaged += u64::from(!is_unreadable);
        self.tally.refused += u64::from(!is_unreadable && stopped);
    }
}

/// A bit flips; a sector or a page is lost, or holds what another one should.
#[derive(Clone, Copy)]
pub(crate) struct Damage {
    way: u64,
    first: u64,
    second: u64,
}

impl Damage {
    pub(crate) fn spoil(self, bytes: &mut [u8]) {
        let Self { way, first, second } = self;
        let narrow = |number| usize::try_from(number).unwrap();
        let place = |number: u64, end: usize| narrow(number % u64::try_from(end).unwrap());
        let length = bytes.len();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
        let unit = if way < 4 { SECTOR_BYTES } else { PAGE_BYTES };
        let part = |number: u64| {
            let from = place(number, used) / unit * unit;
            from..(from + unit).min(length)
        };
        match way {
            0 | 1 => bytes[place(first, used)] ^= 1 << (second % 8),
            2 | 4 => bytes[part(first)].fill(0),
            _ => {
                let other = bytes[part(second)].to_vec();
                let into = &mut bytes[part(first)];
                let count = into.len().min(other.len());
                into[..count].copy_from_slice(&other[..count]);
            }
        }
    }
}
