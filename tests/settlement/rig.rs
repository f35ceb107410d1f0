//! Journals that are written, a settlement port beside them, and a receiver that
//! speaks bytes.
#![allow(unreachable_pub)] // the tests see it as a module of their own

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hongbao::engine::{Claimed, Issued, Record};
use hongbao::follow::Followee;
use hongbao::follow::ledger::Cursor;
use hongbao::follow::movement::{Movement, MovementId};
use hongbao::follow::settle::{
    Ask, BoundSettlement, Ending, Frame, Moved, Push, Settlement, Start, Subscribers, Subscription,
    SubscriptionError, decode, encode,
};
use hongbao::journal::{
    Arrangement, Directory, Identity, Journal, MmapStorage, Position, Recovering, inspect,
};
use hongbao::shard::{Followed, Outlook};
use hongbao::units::{Durability, EnvelopeId, MoneySource, Seed, Split, Time, UserId};

const SMALL: usize = 64 << 10;
const NOW: Time = Time(1_700_000_000_000);

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

struct Writing {
    journal: Journal<MmapStorage>,
    followed: Arc<Followed>,
    outlook: Outlook,
}

/// The journals of some shards.
pub struct Writer {
    guard: tempfile::TempDir,
    arrangement: Arrangement,
    shards: Vec<Writing>,
}

/// A record that moves money, or one that moves none.
pub fn some_record(choice: &mut Choice) -> Record {
    let envelope = EnvelopeId::new(1, 0, u32::try_from(choice.below(1000)).unwrap(), 1);
    let at = 1_700_000_000;
    if choice.below(5) > 0 {
        let (user, amount) =
            (UserId(choice.below(50)), 1 + u32::try_from(choice.below(99)).unwrap());
        return Record::Claimed(Claimed { envelope, user, amount, rank: 0, at });
    }
    let sources = [MoneySource::Vouched, MoneySource::Balance, MoneySource::Payment];
    let source = sources[usize::try_from(choice.below(3)).unwrap()]; // the last moves nothing
    Record::Issued(Issued {
        envelope,
        sender: UserId(choice.below(50)),
        order: choice.below(1000),
        payment: 0,
        total: 1 + choice.below(10_000),
        seed: Seed([1, 2]),
        nonce: 0,
        shares: 1,
        share_max: 0,
        lifetime_s: 60,
        pay_within_s: 60,
        at,
        split: Split::Equal,
        source,
        terms_parts: 0,
    })
}

impl Writer {
    pub fn new(shards: u16) -> Self {
        let guard = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let directory = Directory::open(&guard.path().join("data"), SMALL, shards).unwrap();
        let arrangement = Arrangement::current_or_first(&directory, shards).unwrap();
        let written = (0..shards).map(|shard| {
            let identity = Identity { cell: 1, shard, shards };
            let storage = MmapStorage::new(&arrangement, identity, SMALL, None).unwrap();
            let recovering = Recovering::open(storage, identity, Durability::Sync).unwrap();
            let (mut journal, _) = recovering.replay(NOW, |_| Ok(())).unwrap();
            let followed = Followed::by_nobody();
            let outlook = Outlook::new(Arc::clone(&followed), Position(0));
            outlook.show(&journal.end_commit().unwrap());
            Writing { journal, followed, outlook }
        });
        let shards = written.collect();
        Self { guard, arrangement, shards }
    }

    pub fn commit(&mut self, shard: u64, records: impl IntoIterator<Item = Record>) {
        let writing = &mut self.shards[usize::try_from(shard).unwrap()];
        for record in records {
            writing.journal.append(&record, NOW).unwrap();
        }
        writing.outlook.show(&writing.journal.commit(NOW).unwrap());
    }

    /// Some batches, of shards and sizes that `choice` chooses.
    pub fn commit_some(&mut self, choice: &mut Choice, batches: u64) {
        for _ in 0..batches {
            let shard = choice.below(u64::try_from(self.shards.len()).unwrap());
            let size = 1 + choice.below(120);
            let records: Vec<_> = (0..size).map(|_| some_record(choice)).collect();
            self.commit(shard, records);
        }
    }

    pub fn committed(&self, shard: u16) -> u64 {
        self.shards[usize::from(shard)].followed.committed().0
    }

    pub fn followees(&self) -> Vec<Followee> {
        let shards = u16::try_from(self.shards.len()).unwrap();
        let of = |(writing, shard): (&Writing, u16)| Followee {
            files: self.arrangement.source(shard),
            identity: Identity { cell: 1, shard, shards },
            arrangement: 1,
            followed: Arc::clone(&writing.followed),
            durability: Durability::Os, // so that reading syncs
        };
        self.shards.iter().zip(0..).map(of).collect()
    }

    pub fn data(&self) -> PathBuf {
        self.guard.path().join("data")
    }

    /// Every movement as a walk through whole segments finds it.
    pub fn naive(&self, shard: u16) -> Vec<Moved> {
        let (mut found, mut current, mut last, mut index) = (Vec::new(), 0, None, 0);
        inspect::each_record(&self.data(), |_, batch, record| {
            // Shards come one after the other; batch numbers begin anew in each.
            current += u16::from(last.is_some_and(|last| batch.batch < last));
            index = if last == Some(batch.batch) { index + 1 } else { 0 };
            last = Some(batch.batch);
            let id = MovementId { cell: 1, arrangement: 1, shard, batch: batch.position.0, index };
            let movement = Movement::of(record).filter(|_| current == shard);
            found.extend(movement.map(|movement| Moved { id, movement }));
        })
        .unwrap();
        found
    }

    /// Opens the settlement port on these journals, as a start does.
    pub fn serve(&self) -> Port {
        let subscribers = Arc::new(Subscribers::load(&self.data(), self.followees()).unwrap());
        let bound = BoundSettlement::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = bound.address();
        let settlement = bound.start(Arc::clone(&subscribers), ()).unwrap();
        Port { address, subscribers, _settlement: settlement }
    }
}

/// A served port; dropped, it ends as in a drain.
pub struct Port {
    pub address: SocketAddr,
    pub subscribers: Arc<Subscribers>,
    _settlement: Settlement,
}

pub fn ask(name: &str, shard: u16, start: Start, window: u32) -> Ask {
    Ask { name: name.parse().unwrap(), shard, start, window }
}

impl Port {
    pub fn subscribe(&self, ask: &Ask) -> Result<Subscription, SubscriptionError> {
        Subscription::open(self.address, ask)
    }

    pub fn ending(&self, ask: &Ask) -> Ending {
        match self.subscribe(ask) {
            Err(SubscriptionError::Ended(ending)) => ending,
            other => panic!("{other:?}"),
        }
    }

    pub fn raw(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket
    }
}

/// What comes until the border at `end`; every border is acknowledged, and told
/// with how many movements came before it.
pub fn take_until(stream: &mut Subscription, end: u64) -> (Vec<Moved>, Vec<(usize, Cursor)>) {
    let (mut taken, mut borders) = (Vec::new(), Vec::new());
    loop {
        match stream.wait().unwrap() {
            Push::Movements(moved) => {
                taken.extend(moved);
                stream.take().unwrap();
            }
            Push::News(told) => panic!("{told:?} to one who asks for movements"),
            Push::Border { cursor, .. } => {
                stream.acknowledge(cursor).unwrap();
                borders.push((taken.len(), cursor));
                if cursor.position == end {
                    return (taken, borders);
                }
            }
        }
    }
}

pub fn send(socket: &mut TcpStream, frame: &Frame) {
    let mut bytes = Vec::new();
    encode(frame, &mut bytes);
    socket.write_all(&bytes).unwrap();
}

/// The last frame before the server closes.
pub fn last_frame(socket: &mut TcpStream) -> Option<Frame> {
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).unwrap();
    let (mut rest, mut last) = (bytes.as_slice(), None);
    while let Some((frame, length)) = decode(rest, 0xffff).unwrap() {
        (last, rest) = (Some(frame), &rest[length..]);
    }
    assert!(rest.is_empty(), "the stream ends inside a frame");
    last
}
