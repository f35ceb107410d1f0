//! Who subscribes, how far each one's books are, and what is held back for them.
//!
//! A subscriber is a file of the data directory, so it holds the journal whether
//! or not it is connected, and whether or not anybody listens. The hold follows
//! what is durable in the file, never what is only in memory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::ending::Ending;
use super::frames::{Ask, Start};
use super::name::{Content, SubscriberName};
use crate::engine::Record;
use crate::follow::lane::{Followee, chain_end};
use crate::follow::ledger::Cursor;
use crate::follow::movement::Movement;
use crate::follow::news::News;
use crate::follow::rearrange::beginning;
use crate::journal::{DirectoryError, DirectoryHold, KeptCursors, Position, Tail, TailError};

/// Names at most: each is a file, and a few are in use.
const NAMES_MAX: usize = 64;

/// Followers' files of subscribers begin with this.
const PREFIX: &str = "settle-";

/// Records read at once where it is only looked for what would be sent.
const LOOK_RECORDS: usize = 10_000;

/// Why a start is refused for the sake of a subscriber.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// Its file cannot be read or written.
    #[error("{0}: {1}")]
    Io(PathBuf, #[source] io::Error),
    /// Its file is none.
    #[error(
        "{0}: this is no subscriber's file of this data directory: {1}; put the right one back, or \
         remove it to forget the subscriber"
    )]
    File(PathBuf, String),
    /// It has more than the journal.
    #[error(
        "subscriber {name} has booked shard {shard} up to position {position}, and the journal ends \
         at {end}: an older copy of the journal was put back; bring the two together that belong \
         together, or `hb settle forget {name} --data DIR`"
    )]
    Ahead {
        /// Who.
        name: SubscriberName,
        /// Of which shard.
        shard: u16,
        /// Its cursor.
        position: u64,
        /// Where the journal ends.
        end: u64,
    },
    /// It does not have everything, and the journal is to be given up.
    #[error(
        "subscriber {name} has booked shard {shard} of {shards} up to position {position} and there \
         is more after that: before the data is arranged for another number of shards it \
         must have all of it; start once more with shards = {shards} and let it catch up, or `hb \
         settle forget {name} --data DIR`"
    )]
    Behind {
        /// Who.
        name: SubscriberName,
        /// Of which shard.
        shard: u16,
        /// How many shards the data is arranged for.
        shards: u16,
        /// Its cursor.
        position: u64,
    },
    /// A server uses the directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] TailError),
}

/// One subscriber.
#[derive(Clone, Debug, Default)]
struct Subscriber {
    /// By shard; `None` where it has never subscribed and the beginning is gone.
    cursors: Vec<Option<Cursor>>,
    /// Which shards it is connected for.
    connected: Vec<bool>,
    /// By shard: the position in the file; nothing from there on is freed.
    durable: Vec<Option<u64>>,
    is_changed: bool,
}

/// All subscribers of the arrangement in use.
#[derive(Debug)]
pub struct Subscribers {
    data: PathBuf,
    followees: Vec<Followee>,
    /// Held while files are written, so that two writers do not mix.
    known: Mutex<BTreeMap<SubscriberName, Subscriber>>,
}

/// The files of the subscribers in `data`, with their cursors.
fn files(data: &Path) -> Result<Vec<(SubscriberName, Vec<Cursor>)>, SettleError> {
    let listed = KeptCursors::list(data, PREFIX);
    let names = listed.map_err(|error| SettleError::Io(data.to_owned(), error))?;
    let each = |file: KeptCursors| {
        let path = file.path();
        let wrong = |reason: String| SettleError::File(path.clone(), reason);
        let name = file.name().strip_prefix(PREFIX).unwrap_or_default().parse().map_err(wrong)?;
        let text = file.read().map_err(|error| SettleError::Io(path.clone(), error))?;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let cursors = lines
            .map(|line| line_cursor(line).ok_or_else(|| wrong(format!("`{line}` is no cursor"))));
        Ok((name, cursors.collect::<Result<_, _>>()?))
    };
    names.into_iter().map(each).collect()
}

fn line(cursor: &Cursor) -> String {
    let Cursor { arrangement, shard, position, batch, checksum, epoch, time_ms } = cursor;
    format!(
        "arrangement {arrangement} shard {shard} position {position} batch {batch} checksum \
         {checksum} epoch {epoch} time_ms {time_ms}\n"
    )
}

fn line_cursor(line: &str) -> Option<Cursor> {
    fn field<T: std::str::FromStr>(
        words: &mut std::str::SplitAsciiWhitespace,
        name: &str,
    ) -> Option<T> {
        (words.next()? == name).then(|| words.next()?.parse().ok())?
    }
    let words = &mut line.split_ascii_whitespace();
    let cursor = Cursor {
        arrangement: field(words, "arrangement")?,
        shard: field(words, "shard")?,
        position: field(words, "position")?,
        batch: field(words, "batch")?,
        checksum: field(words, "checksum")?,
        epoch: field(words, "epoch")?,
        time_ms: field(words, "time_ms")?,
    };
    words.next().is_none().then_some(cursor)
}

fn file(data: &Path, name: &SubscriberName) -> KeptCursors {
    KeptCursors::of(data, &format!("{PREFIX}{name}"))
}

/// Removes the file of a subscriber from a data directory that no server uses;
/// whether there was one.
pub fn forget_offline(data: &Path, name: &SubscriberName) -> Result<bool, SettleError> {
    let file = file(data, name);
    if !file.path().exists() {
        return Ok(false);
    }
    let _hold = DirectoryHold::take(data)?;
    file.remove().map_err(|error| SettleError::Io(file.path(), error))
}

impl Subscriber {
    fn new(cursors: Vec<Option<Cursor>>) -> Self {
        let shards = cursors.len();
        let durable = cursors.iter().map(|cursor| cursor.map(|cursor| cursor.position)).collect();
        Self { cursors, connected: vec![false; shards], durable, is_changed: true }
    }

    fn text(&self) -> String {
        self.cursors.iter().flatten().map(line).collect()
    }

    fn is_connected(&self) -> bool {
        self.connected.contains(&true)
    }
}

impl Subscribers {
    /// The subscribers of a data directory whose shards are `followees`. From
    /// here on the journal is held back for them.
    pub fn load(data: &Path, followees: Vec<Followee>) -> Result<Self, SettleError> {
        let mut known = BTreeMap::new();
        for (name, cursors) in files(data)? {
            let subscriber = place(&name, &cursors, &followees, data)?;
            known.insert(name, subscriber);
        }
        let this = Self { data: data.to_owned(), followees, known: Mutex::new(known) };
        this.flush()?;
        this.hold(&this.known.lock());
        Ok(this)
    }

    /// An arrangement is given up whose journals, `old`, have ended: whether
    /// every subscriber has all of it that it is sent.
    pub fn check_consumed(data: &Path, old: &[Followee]) -> Result<(), SettleError> {
        let shards = u16::try_from(old.len()).unwrap_or(u16::MAX);
        for (name, cursors) in files(data)? {
            let subscriber = place(&name, &cursors, old, data)?;
            for (followee, cursor) in old.iter().zip(&subscriber.cursors) {
                let Some(cursor) = cursor else { continue }; // never subscribed
                if has_more(followee, cursor, name.content())? {
                    let (shard, position) = (cursor.shard, cursor.position);
                    return Err(SettleError::Behind { name, shard, shards, position });
                }
            }
        }
        Ok(())
    }

    /// The shards.
    pub(super) fn followees(&self) -> &[Followee] {
        &self.followees
    }

    /// The names, each with how many bytes of journal it has not booked.
    pub fn behind(&self) -> Vec<(SubscriberName, u64)> {
        let known = self.known.lock();
        let behind = |subscriber: &Subscriber| {
            let each = subscriber.cursors.iter().zip(&self.followees);
            each.filter_map(|(cursor, followee)| {
                let committed = followee.followed.committed().0;
                cursor.map(|cursor| committed.saturating_sub(cursor.position))
            })
            .sum()
        };
        known.iter().map(|(name, subscriber)| (name.clone(), behind(subscriber))).collect()
    }

    /// Somebody subscribes; where its stream begins. From now on the shard is
    /// its, until [`Self::leave`].
    pub(super) fn join(&self, ask: &Ask) -> Result<Cursor, Ending> {
        let shards = u32::try_from(self.followees.len()).unwrap_or(u32::MAX);
        let at = usize::from(ask.shard);
        let followee = self.followees.get(at).ok_or(Ending::UnknownShard(shards))?;
        let mut known = self.known.lock();
        let is_new = !known.contains_key(&ask.name);
        if is_new && known.len() >= NAMES_MAX {
            return Err(Ending::Full(u32::try_from(NAMES_MAX).unwrap_or(u32::MAX)));
        }
        let before = known.get(&ask.name);
        if before.is_some_and(|subscriber| subscriber.connected.get(at) == Some(&true)) {
            return Err(Ending::InUse);
        }
        let kept = before.and_then(|subscriber| subscriber.cursors.get(at).copied().flatten());
        let first = beginning(followee.arrangement, ask.shard);
        let start = match ask.start {
            Start::LeftOff => kept.unwrap_or(first),
            Start::Beginning => first,
            Start::After(cursor) => cursor,
        };
        self.hold_everything(); // while it is looked whether it is there
        if let Err(ending) = check_start(followee, &start, ask.start) {
            self.hold(&known);
            return Err(ending);
        }
        let subscriber = known.entry(ask.name.clone()).or_insert_with(|| self.newcomer());
        if let (Some(cursor), Some(connected)) =
            (subscriber.cursors.get_mut(at), subscriber.connected.get_mut(at))
        {
            subscriber.is_changed |= *cursor != Some(start);
            *cursor = Some(start);
            *connected = true;
        }
        let written = self.write_changed(&mut known);
        self.hold(&known);
        if let Err(error) = written {
            eprintln!("hongbao: settlement stream: {error}");
            part(&mut known, &ask.name, ask.shard);
            return Err(Ending::Unreadable);
        }
        Ok(start)
    }

    /// A connection has ended.
    pub(super) fn leave(&self, name: &SubscriberName, shard: u16) {
        part(&mut self.known.lock(), name, shard);
    }

    /// Everything before `cursor` is in the subscriber's books. It is kept
    /// durably with the next [`Self::flush`].
    pub(super) fn acknowledge(&self, name: &SubscriberName, cursor: Cursor) {
        let mut known = self.known.lock();
        let Some(subscriber) = known.get_mut(name) else { return };
        if let Some(kept) = subscriber.cursors.get_mut(usize::from(cursor.shard)) {
            *kept = Some(cursor);
            subscriber.is_changed = true;
        }
    }

    /// Writes what has changed, and then gives up what was held for it.
    pub fn flush(&self) -> Result<(), SettleError> {
        self.write_changed(&mut self.known.lock())
    }

    fn write_changed(
        &self,
        known: &mut BTreeMap<SubscriberName, Subscriber>,
    ) -> Result<(), SettleError> {
        if known.values().all(|subscriber| !subscriber.is_changed) {
            return Ok(());
        }
        let mut written = Ok(());
        for (name, subscriber) in known.iter_mut().filter(|(_, one)| one.is_changed) {
            let file = file(&self.data, name);
            if let Err(error) = file.write(&subscriber.text()) {
                written = Err(SettleError::Io(file.path(), error));
                continue;
            }
            subscriber.is_changed = false;
            let positions = subscriber.cursors.iter().map(|cursor| cursor.map(|c| c.position));
            subscriber.durable = positions.collect();
        }
        self.hold(known);
        written
    }

    /// Nobody of this name will come again: its hold is given up.
    pub(super) fn forget(&self, name: &SubscriberName) -> Result<(), Ending> {
        let mut known = self.known.lock();
        let subscriber = known.get(name).ok_or(Ending::Unknown)?;
        if subscriber.is_connected() {
            return Err(Ending::InUse);
        }
        file(&self.data, name).remove().map_err(|_| Ending::Unreadable)?;
        known.remove(name);
        self.hold(&known);
        Ok(())
    }

    fn hold_everything(&self) {
        self.followees.iter().for_each(|followee| followee.followed.hold(Some(Position(0))));
    }

    /// Each shard keeps what any subscriber's file still needs.
    fn hold(&self, known: &BTreeMap<SubscriberName, Subscriber>) {
        for (at, followee) in self.followees.iter().enumerate() {
            let needed = known.values().filter_map(|one| one.durable.get(at).copied().flatten());
            followee.followed.hold(needed.min().map(Position));
        }
    }

    /// A subscriber that has booked nothing: held back for from the beginning,
    /// where that is still there.
    fn newcomer(&self) -> Subscriber {
        let first = |followee: &Followee| {
            let first = beginning(followee.arrangement, followee.identity.shard);
            check(followee, &first).is_ok().then_some(first)
        };
        Subscriber::new(self.followees.iter().map(first).collect())
    }
}

fn part(known: &mut BTreeMap<SubscriberName, Subscriber>, name: &SubscriberName, shard: u16) {
    let connected = known.get_mut(name).map(|subscriber| &mut subscriber.connected);
    if let Some(connected) = connected.and_then(|all| all.get_mut(usize::from(shard))) {
        *connected = false;
    }
}

fn check(followee: &Followee, cursor: &Cursor) -> Result<(), TailError> {
    let mut tail = Tail::new(followee.files.clone(), followee.identity, chain_end(cursor));
    tail.check(followee.followed.committed())
}

/// Whether a stream can begin there.
fn check_start(followee: &Followee, cursor: &Cursor, asked: Start) -> Result<(), Ending> {
    if cursor.arrangement != followee.arrangement {
        return Err(Ending::OtherArrangement(followee.arrangement));
    }
    let end = followee.followed.committed().0;
    if cursor.shard != followee.identity.shard {
        return Err(Ending::NotABorder(cursor.position));
    }
    if cursor.position > end {
        return Err(Ending::Ahead(end));
    }
    match (check(followee, cursor), asked) {
        (Ok(()), _) => Ok(()),
        (Err(TailError::Shortened { first, .. }), _) => Err(Ending::Freed(first.0)),
        (Err(TailError::NotSynced(_)), _) => Err(Ending::Unreadable),
        (Err(_), Start::After(_)) => Err(Ending::NotABorder(cursor.position)),
        (Err(error), _) => {
            eprintln!("hongbao: settlement stream: {error}");
            Err(Ending::Unreadable)
        }
    }
}

/// A subscriber's cursors in the arrangement of `followees`: those of its file,
/// or, if the arrangement before was all booked, the beginning.
fn place(
    name: &SubscriberName,
    cursors: &[Cursor],
    followees: &[Followee],
    data: &Path,
) -> Result<Subscriber, SettleError> {
    let current = followees.first().map_or(1, |followee| followee.arrangement);
    let is_known = |cursor: &Cursor| {
        cursor.arrangement == current || cursor.arrangement.checked_add(1) == Some(current)
    };
    if let Some(foreign) = cursors.iter().find(|cursor| !is_known(cursor)) {
        let reason = format!("it is of arrangement {}, not {current}", foreign.arrangement);
        return Err(SettleError::File(file(data, name).path(), reason));
    }
    let follows = cursors.iter().all(|cursor| cursor.arrangement != current);
    let mut placed = Vec::new();
    for followee in followees {
        let shard = followee.identity.shard;
        let own = |cursor: &&Cursor| cursor.arrangement == current && cursor.shard == shard;
        let cursor = match cursors.iter().find(own) {
            Some(cursor) => Some(*cursor),
            None => follows.then(|| beginning(current, shard)),
        };
        let (position, end) = (cursor.map_or(0, |c| c.position), followee.followed.committed().0);
        if position > end {
            return Err(SettleError::Ahead { name: name.clone(), shard, position, end });
        }
        placed.push(cursor);
    }
    Ok(Subscriber::new(placed))
}

fn has_more(followee: &Followee, cursor: &Cursor, content: Content) -> Result<bool, SettleError> {
    let is_sent = |record: &Record| match content {
        Content::Movements => Movement::of(record).is_some(),
        Content::News => News::of(record).is_some(),
    };
    let end = followee.followed.committed();
    let mut tail = Tail::new(followee.files.clone(), followee.identity, chain_end(cursor));
    let mut found = false;
    while tail.end().position < end && !found {
        let before = tail.end();
        tail.read(end, LOOK_RECORDS, &mut |_, _, record| found |= is_sent(&record))?;
        if tail.end() == before {
            break; // the rest is no whole batch: it was never committed
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_back_and_a_torn_one_is_not() {
        let cursor = Cursor {
            arrangement: 3,
            shard: 7,
            position: 8192,
            batch: 4,
            checksum: u32::MAX,
            epoch: 2,
            time_ms: 1_700_000_000_123,
        };
        let text = line(&cursor);
        assert_eq!(line_cursor(&text), Some(cursor));
        for end in 0..text.trim_end().len() {
            assert_ne!(line_cursor(&text[..end]), Some(cursor), "{end}");
        }
        assert_eq!(line_cursor(&(text + "more")), None);
    }
}
