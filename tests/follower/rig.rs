//! Journals that are written, and a follower that runs beside them.
#![allow(unreachable_pub)] // the tests see it as a module of their own

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hongbao::engine::Record;
use hongbao::follow::ledger::{Balance, Ledger, LedgerError, Verdict};
use hongbao::follow::{
    Desk, Followee, Follower, FollowerBoard, NotNow, Obstacle, Report, State, desk,
};
use hongbao::journal::{
    Arrangement, Directory, Identity, Journal, MmapStorage, Position, Recovering, inspect,
};
use hongbao::shard::{Followed, Outlook, Sleeper};
use hongbao::units::{Durability, Fen, Time, UserId};

const SMALL: usize = 64 << 10;
const NOW: Time = Time(1_700_000_000_000);
const PATIENCE: Duration = Duration::from_secs(30);

/// A generator for the tests' own choices (splitmix64); its seed is printed.
pub struct Choice(pub u64);

impl Choice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

pub fn wait_until(what: &str, is_so: impl FnMut() -> bool) {
    until(what, PATIENCE, is_so);
}

pub fn until(what: &str, patience: Duration, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

struct Writing {
    journal: Journal<MmapStorage>,
    followed: Arc<Followed>,
    outlook: Outlook,
}

/// The journals of some shards.
pub struct Writer {
    data: PathBuf,
    /// Where the follower tells its cursors, and the data of most journals.
    guard: tempfile::TempDir,
    arrangement: Arrangement,
    shards: Vec<Writing>,
    sleeper: Arc<Sleeper>,
}

impl Writer {
    pub fn new(shards: u16) -> Self {
        Self::with(shards, None)
    }

    /// One journal that is not synced, in this directory.
    pub fn unsynced(data: PathBuf) -> Self {
        Self::with(1, Some(data))
    }

    fn with(shards: u16, unsynced: Option<PathBuf>) -> Self {
        let guard = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let durability = if unsynced.is_some() { Durability::Os } else { Durability::Sync };
        let data = unsynced.unwrap_or_else(|| guard.path().join("data"));
        let directory = Directory::open(&data, SMALL, shards).unwrap();
        let arrangement = Arrangement::current_or_first(&directory, shards).unwrap();
        let sleeper = Arc::<Sleeper>::default();
        let written = (0..shards).map(|shard| {
            let identity = Identity { cell: 1, shard, shards };
            let storage = MmapStorage::new(&arrangement, identity, SMALL, None).unwrap();
            let recovering = Recovering::open(storage, identity, durability).unwrap();
            let (mut journal, _) = recovering.replay(NOW, |_| Ok(())).unwrap();
            let followed = Followed::by(Arc::clone(&sleeper));
            let outlook = Outlook::new(Arc::clone(&followed), Position(0));
            outlook.show(&journal.end_commit().unwrap());
            Writing { journal, followed, outlook }
        });
        let shards = written.collect();
        Self { data, guard, arrangement, shards, sleeper }
    }

    pub fn shards(&self) -> u16 {
        u16::try_from(self.shards.len()).unwrap()
    }

    /// Commits these as one batch, mostly; where the last batch begins.
    pub fn commit(&mut self, shard: u64, records: impl IntoIterator<Item = Record>) -> Position {
        let writing = &mut self.shards[usize::try_from(shard).unwrap()];
        for record in records {
            writing.journal.append(&record, NOW).unwrap();
        }
        let before = writing.followed.committed();
        writing.outlook.show(&writing.journal.commit(NOW).unwrap());
        Position(before.0.next_multiple_of(4096))
    }

    pub fn followed(&self, shard: u16) -> &Followed {
        &self.shards[usize::from(shard)].followed
    }

    pub fn directory(&self) -> &Directory {
        self.arrangement.directory()
    }

    pub fn followees(&self) -> Vec<Followee> {
        let of = |(writing, shard): (&Writing, u16)| Followee {
            files: self.arrangement.source(shard),
            identity: Identity { cell: 1, shard, shards: self.shards() },
            arrangement: 1,
            followed: Arc::clone(&writing.followed),
            durability: Durability::Os, // so that reading syncs
        };
        self.shards.iter().zip(0..).map(of).collect()
    }

    /// Every record as a walk through whole segments finds it.
    pub fn naive(&self, shard: u16) -> Vec<(u64, u32, Record)> {
        let (mut found, mut last, mut at) = (Vec::new(), (0, 0), None);
        let mut current = 0;
        inspect::each_record(&self.data, |_, batch, record| {
            // Shards come one after the other; batch numbers begin anew in each.
            if at.is_some_and(|at| batch.batch < at) {
                current += 1;
            }
            at = Some(batch.batch);
            let same = last.0 == batch.position.0 && current == shard;
            last = if same { (last.0, last.1 + 1) } else { (batch.position.0, 0) };
            if current == shard {
                found.push((last.0, last.1, *record));
            }
        })
        .unwrap();
        found
    }
}

/// A follower on its thread; dropped, it is stopped as a drain does.
pub struct Running {
    desk: Desk<dyn Ledger>,
    stop: Arc<AtomicBool>,
    sleeper: Arc<Sleeper>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub fn begin(writer: &Writer, disk: &super::Disk) -> Result<Self, Obstacle> {
        Self::telling(writer, disk, |_, waiting| waiting.clear())
    }

    pub fn telling(
        writer: &Writer,
        disk: &super::Disk,
        tell: impl FnMut(u16, &mut VecDeque<Verdict>) + Send + 'static,
    ) -> Result<Self, Obstacle> {
        let sleeper = Arc::clone(&writer.sleeper);
        let shown = writer.shards.iter().map(|writing| Arc::clone(&writing.followed)).collect();
        let (asking, requests) = desk(FollowerBoard::new(shown), Arc::clone(&sleeper));
        let disk = disk.clone();
        let open = Box::new(move || disk.open());
        let data = writer.guard.path().join("data");
        let mut follower = Follower::new(open, writer.followees(), Box::new(tell), requests, data);
        follower.begin()?;
        let stop = Arc::<AtomicBool>::default();
        let stopping = Arc::clone(&stop);
        let thread = std::thread::spawn(move || follower.run(&stopping));
        Ok(Self { desk: asking, stop, sleeper, thread: Some(thread) })
    }

    fn report(&self) -> Report {
        self.desk.board().report(NOW)
    }

    pub fn state(&self) -> State {
        self.report().state
    }

    pub fn is_running(&self) -> bool {
        self.state() == State::Running
    }

    pub fn lag_bytes(&self) -> u64 {
        self.report().lag_bytes
    }

    pub fn deposit(
        &self,
        user: UserId,
        amount: Fen,
        reference: u64,
    ) -> Result<Result<Balance, LedgerError>, NotNow> {
        let (reply, is_there) = sync_channel(1);
        self.desk.ask(
            move |ledger| ledger.deposit(user, amount, reference, 0),
            move |answer| drop(reply.send(answer)),
        )?;
        is_there.recv_timeout(PATIENCE).unwrap()
    }

    pub fn withdraw(
        &self,
        user: UserId,
        amount: Fen,
        reference: u64,
    ) -> Result<Result<Balance, LedgerError>, NotNow> {
        let (reply, is_there) = sync_channel(1);
        self.desk.ask_caught_up(
            move |ledger| ledger.withdraw(user, amount, reference, 0),
            move |answer| drop(reply.send(answer)),
        )?;
        is_there.recv_timeout(PATIENCE).unwrap()
    }

    pub fn retry(&self) -> Result<String, NotNow> {
        let (reply, is_there) = sync_channel(1);
        self.desk.retry(move |answer| drop(reply.send(answer)))?;
        is_there.recv_timeout(PATIENCE).unwrap()
    }

    pub fn skip(&self, reason: &str) -> Result<String, NotNow> {
        let (reply, is_there) = sync_channel(1);
        self.desk.skip(reason.to_owned(), move |answer| drop(reply.send(answer)))?;
        is_there.recv_timeout(PATIENCE).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.sleeper.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
