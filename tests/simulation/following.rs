//! The real follower of the journals, on its way to a simulated ledger.
//!
//! It reads files, so whatever is committed on the disks in memory is mirrored
//! into files of a directory in memory first: bytes that are committed, and no
//! others.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hongbao::follow::ledger::{Ledger, Verdict};
use hongbao::follow::{
    Followee, Follower, FollowerBoard, Obstacle, Open, Tell, desk, follow_to_end,
};
use hongbao::journal::simulated::Disk;
use hongbao::journal::{Arrangement, Directory, Position, Sequence};
use hongbao::shard::{Cover, Covers, Followed, Sleeper};
use hongbao::units::Durability;
use tempfile::TempDir;

use crate::faults::Damage;
use crate::ledger::{Accounts, SimulatedLedger};
use crate::server::{SEGMENT_BYTES, Server, identity};

const PAGE_BYTES: u64 = 4096;

/// Where a segment's first byte lies in the journal, as its header says.
fn base_of(segment: &[u8]) -> u64 {
    u64::from_le_bytes(segment[16..24].try_into().unwrap())
}

/// A directory that costs no disk, where there is one.
fn in_memory() -> TempDir {
    let shared = Path::new("/dev/shm");
    let made = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
    made.unwrap()
}

/// What follows the journals, and what it knows.
pub(crate) struct Following {
    /// Gone with us.
    _place: TempDir,
    directory: Directory,
    arrangement: Arrangement,
    pub(crate) ledger: SimulatedLedger,
    follower: Option<Follower<dyn Ledger>>,
    followed: Vec<Arc<Followed>>,
    /// Up to where each shard's files are there.
    mirrored: Vec<u64>,
    files: BTreeMap<(usize, Sequence), File>,
}

impl Following {
    pub(crate) fn new(shards: usize) -> Self {
        let place = in_memory();
        let narrow = u16::try_from(shards).unwrap();
        let directory = Directory::open(&place.path().join("data"), SEGMENT_BYTES, narrow).unwrap();
        let arrangement = Arrangement::current_or_first(&directory, narrow).unwrap();
        Self {
            _place: place,
            directory,
            arrangement,
            ledger: SimulatedLedger::default(),
            follower: None,
            followed: Vec::new(),
            mirrored: vec![0; shards],
            files: BTreeMap::new(),
        }
    }

    /// The number of the arrangement that is followed.
    pub(crate) fn arrangement(&self) -> u32 {
        self.arrangement.number()
    }

    /// The follower dies; what it has told the ledger is there.
    pub(crate) fn die(&mut self) {
        self.follower = None;
    }

    /// Begins again with a server that was just started.
    pub(crate) fn attend(&mut self, server: &Server) {
        self.followed = server.followed();
        let follower = self.begin(&self.ledger, &self.followed, telling(server.covers()));
        self.follower = Some(follower);
    }

    fn begin(
        &self,
        ledger: &SimulatedLedger,
        followed: &[Arc<Followed>],
        tell: Tell,
    ) -> Follower<dyn Ledger> {
        let ledger = ledger.clone();
        let open: Open<dyn Ledger> = Box::new(move || Ok(Box::new(ledger.clone())));
        let board = FollowerBoard::new(followed.to_vec());
        let (_, requests) = desk(board, Arc::<Sleeper>::default());
        let followees = self.followees(followed, Durability::Sync);
        Follower::new(open, followees, tell, requests, self.directory.path().to_owned())
    }

    fn followees(&self, followed: &[Arc<Followed>], durability: Durability) -> Vec<Followee> {
        let shards = followed.len();
        let of = |(shard, followed): (usize, &Arc<Followed>)| Followee {
            files: self.arrangement.source(u16::try_from(shard).unwrap()),
            identity: identity(shard, shards),
            arrangement: self.arrangement.number(),
            followed: Arc::clone(followed),
            durability,
        };
        followed.iter().enumerate().map(of).collect()
    }

    /// One transaction of each shard that has something to apply.
    pub(crate) fn step(&mut self, disks: &[Disk]) -> Result<u64, Obstacle> {
        self.mirror_committed(disks);
        self.follower.as_mut().map_or(Ok(0), Follower::step)
    }

    pub(crate) fn mirror_committed(&mut self, disks: &[Disk]) {
        for (shard, disk) in disks.iter().enumerate() {
            let upto = self.followed[shard].committed().0;
            disk.each_segment(|sequence, _, durable| self.mirror(shard, sequence, durable, upto));
            self.mirrored[shard] = self.mirrored[shard].max(upto);
            self.tidy(shard, disk);
        }
    }

    /// Everything that is committed is applied; the ledger is as it would be
    /// after the last record.
    pub(crate) fn catch_up(&mut self, disks: &[Disk]) {
        while self.step(disks).expect("nothing is in the way") > 0 {}
    }

    /// The journals have ended here, and another number of shards comes: the
    /// ledger takes all of them first.
    pub(crate) fn finish(
        &mut self,
        disks: &[Disk],
        ends: &[Position],
        next: usize,
    ) -> Result<(), Obstacle> {
        for (shard, (disk, end)) in disks.iter().zip(ends).enumerate() {
            disk.each_segment(|sequence, live, _| self.mirror(shard, sequence, live, end.0));
            self.mirrored[shard] = self.mirrored[shard].max(end.0);
        }
        let ended: Vec<_> = ends.iter().map(|end| Followed::ended(*end)).collect();
        let old = self.followees(&ended, Durability::Os);
        follow_to_end(&mut self.ledger, &old, u16::try_from(next).unwrap())
    }

    /// The next arrangement is the one in use.
    pub(crate) fn rearranged(&mut self, shards: usize) {
        let old = self.arrangement.path().to_owned();
        let name = format!("arrangement-{:06}", self.arrangement.number() + 1);
        for shard in 0..shards {
            let path = self.directory.path().join(&name).join(format!("shard-{shard:03}"));
            fs::create_dir_all(path).unwrap();
        }
        self.arrangement = Arrangement::current(&self.directory).unwrap().unwrap();
        fs::remove_dir_all(old).unwrap();
        self.mirrored = vec![0; shards];
        (self.files, self.followed) = (BTreeMap::new(), Vec::new());
    }

    /// Puts what is new of a segment below `upto` into its file.
    fn mirror(&mut self, shard: usize, sequence: Sequence, bytes: &[u8], upto: u64) {
        let base = base_of(bytes);
        let end = base + u64::try_from(bytes.len()).unwrap();
        if base >= upto || end <= self.mirrored[shard] {
            return;
        }
        let path = self.path(shard, sequence);
        let file = self.files.entry((shard, sequence)).or_insert_with(|| {
            let file = File::create(path).unwrap();
            file.set_len(end - base).unwrap();
            file.write_all_at(&bytes[..usize::try_from(PAGE_BYTES).unwrap()], 0).unwrap();
            file
        });
        let from = self.mirrored[shard].saturating_sub(base) / PAGE_BYTES * PAGE_BYTES;
        let until = (upto.min(end) - base).next_multiple_of(PAGE_BYTES);
        let narrow = |offset| usize::try_from(offset).unwrap();
        file.write_all_at(&bytes[narrow(from)..narrow(until)], from).unwrap();
    }

    /// What the disk has freed goes here too.
    fn tidy(&mut self, shard: usize, disk: &Disk) {
        let mut first = Sequence::MAX;
        disk.each_segment(|sequence, _, _| first = first.min(sequence));
        let freed: Vec<_> = self.files.range((shard, 0)..(shard, first)).map(|(k, _)| *k).collect();
        for key @ (shard, sequence) in freed {
            fs::remove_file(self.path(shard, sequence)).unwrap();
            self.files.remove(&key);
        }
    }

    fn path(&self, shard: usize, sequence: Sequence) -> PathBuf {
        let directory = self.arrangement.shard_path(u16::try_from(shard).unwrap());
        directory.join(format!("{sequence:010}.seg"))
    }

    /// Files that hold something that the ledger has not applied yet.
    fn unread(&self) -> Vec<(usize, Sequence)> {
        let is_unread = |key: &&(usize, Sequence)| {
            let passed = self.followed[key.0].passed().0;
            let bytes = fs::read(self.path(key.0, key.1)).unwrap();
            let base = base_of(&bytes);
            base + u64::try_from(bytes.len()).unwrap() > passed && base < self.mirrored[key.0]
        };
        self.files.keys().filter(is_unread).copied().collect()
    }

    /// A file that a follower still needs is changed or cannot be read: another
    /// follower, on a copy of the ledger, stops, or comes to what ours will.
    /// Says whether it stopped.
    pub(crate) fn meets_damage(
        &mut self,
        disks: &[Disk],
        number: usize,
        damage: Option<Damage>,
    ) -> Option<bool> {
        self.mirror_committed(disks);
        let unread = self.unread();
        let &(shard, sequence) = unread.get(number % unread.len().max(1))?;
        let sound = self.applied_by_another().expect("nothing is in the way");
        let path = self.path(shard, sequence);
        let found = match damage {
            Some(damage) => self.applied_with(shard, &path, damage),
            None => self.applied_without(&path),
        };
        if let Some(found) = &found {
            assert!(*found == sound, "the ledger has something else");
        }
        Some(found.is_none())
    }

    /// What another follower makes of a file whose committed bytes are changed.
    fn applied_with(&self, shard: usize, path: &Path, damage: Damage) -> Option<Accounts> {
        let whole = fs::read(path).unwrap();
        let committed = self.mirrored[shard].saturating_sub(base_of(&whole));
        let used = whole.len().min(usize::try_from(committed).unwrap());
        let mut bytes = whole.clone();
        damage.spoil(&mut bytes[..used]);
        fs::write(path, bytes).unwrap();
        let found = self.applied_by_another();
        fs::write(path, whole).unwrap();
        found
    }

    /// The same of one that cannot be read. Ours may have it open, so it goes
    /// aside and comes back.
    fn applied_without(&self, path: &Path) -> Option<Accounts> {
        let aside = path.with_extension("aside");
        fs::rename(path, &aside).unwrap();
        fs::create_dir(path).unwrap(); // a read of it fails
        let found = self.applied_by_another();
        fs::remove_dir(path).unwrap();
        fs::rename(aside, path).unwrap();
        found
    }

    /// What another follower makes of the files on a copy of the ledger; `None`
    /// if the files stop it.
    fn applied_by_another(&self) -> Option<Accounts> {
        let ledger = self.ledger.copy();
        let committed = self.followed.iter().map(|followed| Followed::ended(followed.committed()));
        let followed: Vec<_> = committed.collect();
        let ignored: Tell = Box::new(|_, waiting| waiting.clear());
        let mut another = self.begin(&ledger, &followed, ignored);
        loop {
            match another.step() {
                Ok(0) => return Some(ledger.accounts().clone()),
                Ok(_) => {}
                Err(Obstacle::Journal(_)) => return None,
                Err(other) => panic!("another obstacle than the file: {other}"),
            }
        }
    }
}

/// Verdicts go into the shards' queues, as far as there is room.
fn telling(covers: Vec<Covers>) -> Tell {
    Box::new(move |shard, waiting: &mut VecDeque<Verdict>| {
        let covers = &covers[usize::from(shard)];
        while let Some(Verdict { envelope, covered }) = waiting.front().copied() {
            if covers.push(Cover { envelope, covered }).is_err() {
                break;
            }
            waiting.pop_front();
        }
    })
}
