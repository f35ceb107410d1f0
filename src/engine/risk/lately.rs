//! What happened of late that rules of risk count and no envelope has with its time:
//! wins that came from a device or an address, and wrong guesses.
//!
//! It decides nothing while the server runs; shards count in tables that they share.
//! But those tables are memory, so what they count must be found again at a start:
//! wins of users in the claims, and these here, in images and in the records after
//! them. The oldest go when their time is over, and where there are more than there is
//! room for; then a window may begin a start with too little, and never with too much.

use std::collections::VecDeque;

use super::super::Record;
use super::super::words::{high, index, low, pair};
use crate::units::{EnvelopeId, UnixSeconds, UserId};
use crate::wire::Tags;

/// Words in an image: envelope, user, `at | what, tags`, and two numbers.
pub(super) const RECENT_WORDS: usize = 5;

/// What it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecentStep {
    /// A share was won from here: the tags of device and address.
    Won(Option<u64>, Option<u64>),
    /// A word was wrong, after so many at the same envelope.
    Guessed(u32),
}

/// Something that happened. In the order of time; no two are the same, for a user
/// wins once of an envelope, or once in a slot, and wrong guesses are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Recent {
    /// When.
    pub at: UnixSeconds,
    /// At which envelope.
    pub envelope: EnvelopeId,
    /// Who did it.
    pub user: UserId,
    /// What.
    pub what: RecentStep,
}

impl Recent {
    /// What a record says, if it is of this kind.
    pub(in super::super) fn of(record: &Record) -> Option<Self> {
        match *record {
            Record::Tagged(tagged) => {
                let Tags { device, address } = tagged.tags;
                let what = RecentStep::Won(device, address);
                Some(Self { at: tagged.at, envelope: tagged.envelope, user: tagged.user, what })
            }
            Record::Guessed(guessed) => {
                let what = RecentStep::Guessed(guessed.guesses);
                Some(Self { at: guessed.at, envelope: guessed.envelope, user: guessed.user, what })
            }
            _ => None,
        }
    }

    pub(super) fn words(&self) -> [u64; RECENT_WORDS] {
        let (kind, numbers) = match self.what {
            RecentStep::Won(device, address) => {
                let said = u32::from(device.is_some()) | u32::from(address.is_some()) << 1;
                (said, [device.unwrap_or(0), address.unwrap_or(0)])
            }
            RecentStep::Guessed(guesses) => (GUESSED, [guesses.into(), 0]),
        };
        [self.envelope.0, self.user.0, pair(self.at, kind), numbers[0], numbers[1]]
    }

    pub(super) fn of_words(words: [u64; RECENT_WORDS]) -> Option<Self> {
        let [envelope, user, head, one, other] = words;
        let what = match high(head) {
            GUESSED => RecentStep::Guessed(u32::try_from(one).ok()?),
            said @ 1..=3 => {
                RecentStep::Won((said & 1 != 0).then_some(one), (said & 2 != 0).then_some(other))
            }
            _ => return None,
        };
        let (envelope, user) = (EnvelopeId(envelope), UserId(user));
        Some(Self { at: low(head), envelope, user, what })
    }
}

/// In the place of the tags that were said: a wrong guess.
const GUESSED: u32 = 4;

/// The newest of them, in the order in which they came.
pub(in super::super) struct Lately {
    all: VecDeque<Recent>,
    /// How many came before the first that is here.
    gone: u64,
    max: usize,
    kept_s: u32,
}

impl Lately {
    pub(super) fn bytes(max: u32) -> usize {
        index(max).saturating_mul(size_of::<Recent>())
    }

    pub(super) fn new(max: u32, kept_s: u32) -> Self {
        let max = index(max);
        Self { all: VecDeque::with_capacity(max), gone: 0, max, kept_s }
    }

    /// One more; those whose time is over go, and the oldest where it is full.
    pub(super) fn push(&mut self, recent: Recent) {
        if self.max == 0 {
            return;
        }
        let is_over = |old: &Recent| old.at.saturating_add(self.kept_s) < recent.at;
        while self.all.front().is_some_and(is_over) || self.all.len() >= self.max {
            self.all.pop_front();
            self.gone += 1;
        }
        self.all.push_back(recent);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Recent> + '_ {
        self.all.iter().copied()
    }

    /// Those from a number on, counted from the first that ever came, and the number
    /// of the first of these.
    pub(super) fn from(&self, number: u64) -> (u64, impl ExactSizeIterator<Item = &Recent>) {
        let first = number.max(self.gone);
        let passed = usize::try_from(first - self.gone).unwrap_or(usize::MAX);
        (first, self.all.range(passed.min(self.all.len())..))
    }
}

/// What images and records say while an engine is restored: some of it twice.
#[derive(Default)]
pub(in super::super) struct Gathered(Vec<Recent>);

impl Gathered {
    /// Takes one for a memory of so many; without any it takes none.
    pub(super) fn take(&mut self, recent: Recent, max: u32) {
        if max == 0 {
            return;
        }
        self.0.push(recent);
        if self.0.len() >= 2 * index(max) + 1024 {
            self.settle(max);
        }
    }

    /// The newest, in order, each once.
    fn settle(&mut self, max: u32) {
        self.0.sort_unstable();
        self.0.dedup();
        let oldest = self.0.len().saturating_sub(index(max));
        self.0.drain(..oldest);
    }

    /// All of it goes to where it is remembered.
    pub(super) fn give(mut self, lately: &mut Lately, max: u32) {
        self.settle(max);
        self.0.into_iter().for_each(|recent| lately.push(recent));
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::mix;
    use super::*;

    fn guess(number: u32, at: UnixSeconds) -> Recent {
        let what = RecentStep::Guessed(number);
        Recent { at, envelope: EnvelopeId(5), user: UserId(6), what }
    }

    #[test]
    fn the_newest_stay_as_in_a_plain_list() {
        let (mut lately, mut twin) = (Lately::new(50, 10), Vec::<Recent>::new());
        let (capacity, mut at) = (lately.all.capacity(), 100);
        for step in 0..2000_u32 {
            at += u32::from(mix(step.into()).is_multiple_of(9)) * (step % 7);
            let recent = guess(step, at);
            lately.push(recent);
            twin.push(recent);
            twin.retain(|old| old.at + 10 >= at);
            twin.drain(..twin.len().saturating_sub(50));
            assert!(lately.iter().eq(twin.iter().copied()), "step {step}");
            let number = u64::from(step / 2);
            let (first, rest) = lately.from(number);
            let of_twin = twin.iter().filter(|one| one.what >= RecentStep::Guessed(step / 2));
            assert!(rest.eq(of_twin) && first >= number, "step {step}");
        }
        assert_eq!(lately.all.capacity(), capacity);
    }

    #[test]
    fn what_was_gathered_twice_is_there_once_and_in_order() {
        let mut gathered = Gathered::default();
        for round in 0..5_u32 {
            // Each round says half of the last one again.
            for n in round * 500..round * 500 + 1000 {
                gathered.take(guess(n, n / 9), 700);
                assert!(gathered.0.len() < 2 * 700 + 1024, "it is settled in time");
            }
            assert!(round == 0 || gathered.0.len() > 700, "and not at every step");
        }
        let mut lately = Lately::new(700, u32::MAX);
        gathered.give(&mut lately, 700);
        assert!(lately.iter().eq((2300..3000).map(|n| guess(n, n / 9))));
        let mut nothing = Gathered::default();
        nothing.take(guess(1, 1), 0);
        assert!(nothing.0.is_empty());
    }

    #[test]
    fn words_of_an_image_come_back() {
        let won = [(Some(0), None), (None, Some(7)), (Some(u64::MAX), Some(1))];
        let won = won.map(|(device, address)| RecentStep::Won(device, address));
        for what in won.into_iter().chain([RecentStep::Guessed(u32::MAX)]) {
            let recent = Recent { at: 9, envelope: EnvelopeId(1), user: UserId(2), what };
            assert_eq!(Recent::of_words(recent.words()), Some(recent));
        }
        for wrong in [0, 5] {
            assert_eq!(Recent::of_words([1, 2, pair(3, wrong), 0, 0]), None);
        }
    }
}
