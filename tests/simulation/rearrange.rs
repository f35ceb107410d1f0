//! Another number of shards at a restart: every new shard is made of what all
//! old ones have, and whatever breaks on the way, the old arrangement is there
//! or the new one.

use hongbao::journal::simulated::Disk;
use hongbao::journal::{CheckpointStart, Position, Recovering, RecoveryError, Replica};
use hongbao::units::{Durability, Time};

use crate::ledger::Fate;
use crate::life::Life;
use crate::server::{Restored, SEGMENT_BYTES, identity};

/// What became of an attempt.
type Built = Result<(Vec<Disk>, Vec<Position>), RecoveryError>;

impl Life {
    /// The server ends somehow, and the next start is for another number.
    pub(crate) fn rearrange(&mut self) {
        self.break_off();
        let next = 1 + self.below(3);
        if next != self.disks.len() {
            self.arrange_for(next);
        }
        self.start();
    }

    fn arrange_for(&mut self, next: usize) {
        if self.world.one_in(10) {
            let disk = &self.disks[self.below(self.disks.len())];
            disk.fail_read(1 + self.world.below(8));
        }
        let stage = self.world.below(8);
        let built = self.build(next, stage == 0);
        self.disks.iter().for_each(Disk::mend_reads);
        match built {
            Err(refused) => {
                let why = refused.to_string();
                let is_unread = why.contains("simulated read error");
                // One shard may have no room for what all have.
                assert!(is_unread || why.contains("tables are"), "not rearranged: {refused}");
                self.tally.unread += u64::from(is_unread);
                self.tally.half_rearranged += 1;
            }
            Ok((disks, ends)) if stage > 0 => self.publish(disks, &ends, stage == 1),
            Ok(_) => self.tally.half_rearranged += 1, // a crash before all was written
        }
    }

    /// The ledger takes all of the old journals; then the new ones are in use,
    /// unless something breaks between.
    fn publish(&mut self, disks: Vec<Disk>, ends: &[Position], breaks: bool) {
        if self.world.one_in(8) {
            let fate = if self.world.one_in(2) { Fate::Fails } else { Fate::Unheard };
            self.following.ledger.accounts().fate = fate;
        }
        self.disks.iter().for_each(Disk::sync_all); // as the ledger's reader does
        let finished = self.following.finish(&self.disks, ends, disks.len());
        self.following.ledger.accounts().fate = Fate::Happens;
        if finished.is_err() || breaks {
            self.tally.half_rearranged += 1;
            return;
        }
        let before = self.digest();
        self.tally.overlapped += self.overlapped();
        self.disks = disks;
        self.following.rearranged(self.disks.len());
        assert_eq!(self.digest(), before, "the shards together know the same");
        self.tally.rearranged += 1;
    }

    /// The disks of an arrangement for `next` shards, perhaps not all of them.
    fn build(&self, next: usize, breaks: bool) -> Built {
        let count = if breaks { self.below(next) } else { next };
        let (mut disks, mut ends) = (Vec::new(), Vec::new());
        for shard in 0..count {
            let (disk, found) = self.build_shard(shard, next)?;
            (disks, ends) = (disks.into_iter().chain([disk]).collect(), found);
        }
        Ok((disks, ends))
    }

    fn build_shard(
        &self,
        shard: usize,
        next: usize,
    ) -> Result<(Disk, Vec<Position>), RecoveryError> {
        let ours = identity(shard, next);
        let mut restored = Restored::new(self.room, ours);
        let (mut last_time, mut ends) = (Time(0), Vec::new());
        for (from, disk) in self.disks.iter().enumerate() {
            let identity = identity(from, self.disks.len());
            let recovering = Recovering::open(disk.storage(), identity, Durability::Sync)?;
            let recovered = recovering.read(&mut restored, &|_| {})?;
            last_time = last_time.max(recovered.last_time);
            ends.push(recovered.end);
        }
        let unsound = |misfit| RecoveryError::Unsound { place: "all disks".to_owned(), misfit };
        restored.finish().map_err(unsound)?;
        let mut engine = restored.engine();
        let mut cursor = engine.begin_image();
        let mut slices = Vec::new();
        let mut slice = Vec::new();
        while engine.next_slice(&mut cursor, 0, &mut slice) {
            slices.push(std::mem::take(&mut slice));
        }
        engine.end_image(cursor);
        let slices: Vec<&[u8]> = slices.iter().map(Vec::as_slice).collect();
        let start = CheckpointStart::founding(self.following.arrangement() + 1, last_time);
        let disk = Disk::founded(ours, SEGMENT_BYTES, start, &slices);
        disk.overlap_syncs();
        Ok((disk, ends))
    }
}
