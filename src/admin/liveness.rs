//! Does every shard still turn?
//!
//! An idle shard sleeps without using the processor, so that its turns stand
//! still proves nothing; it is nudged, and then it must turn. A shard that
//! recovers may do so for long and is not judged. Time is an argument: whoever
//! asks decides how to wait between two looks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::shard::{Board, Phase};

/// How long a nudged shard may take to turn. A turn takes some milliseconds;
/// a disk that needs a second for one sync is what liveness is to find.
const TURN_WITHIN: Duration = Duration::from_secs(1);

/// A look at all shards, begun with a nudge.
#[derive(Debug)]
pub struct Check {
    /// Shards that have not turned since the nudge, with their turns then.
    standing: Vec<(usize, u64)>,
    recovering: usize,
    until: Instant,
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// The shards that did not turn.
    pub standing: Vec<usize>,
    /// How many shards were not judged because they start or recover.
    pub recovering: usize,
}

impl Liveness {
    /// Whether every judged shard turned.
    pub fn is_alive(&self) -> bool {
        self.standing.is_empty()
    }

    /// The answer in words, a line each.
    pub fn words(&self) -> String {
        let within = TURN_WITHIN.as_secs();
        let line = |shard: &usize| {
            format!("shard {shard}: was nudged and has not turned within {within} s")
        };
        let lines: Vec<_> = self.standing.iter().map(line).collect();
        match (lines.is_empty(), self.recovering) {
            (false, _) => lines.join("\n"),
            (true, 0) => "alive: every shard turns".to_owned(),
            (true, n) => format!("alive: {n} recovering, which is not judged; the others turn"),
        }
    }
}

fn is_judged(board: &Board) -> bool {
    matches!(board.phase(), Phase::Ready | Phase::Draining)
}

impl Check {
    /// Notes the turns of every shard that should turn, and nudges it.
    pub fn begin(boards: &[Arc<Board>], now: Instant) -> Self {
        let judged = boards.iter().enumerate().filter(|(_, board)| is_judged(board));
        let standing = judged.map(|(shard, board)| (shard, board.counters().turns)).collect();
        let recovering = boards
            .iter()
            .filter(|board| matches!(board.phase(), Phase::Starting | Phase::Recovering))
            .count();
        let check = Self { standing, recovering, until: now + TURN_WITHIN };
        check.nudge(boards);
        check
    }

    /// Looks again: an answer, or `None` as long as it may still come.
    pub fn poll(&mut self, boards: &[Arc<Board>], now: Instant) -> Option<Liveness> {
        self.standing.retain(|&(shard, turns)| {
            let board = &boards[shard];
            is_judged(board) && board.counters().turns == turns
        });
        if !self.standing.is_empty() && now < self.until {
            // Again, because a turn does not show its counters while somebody
            // reads them, and this was a read.
            self.nudge(boards);
            return None;
        }
        let standing = self.standing.iter().map(|&(shard, _)| shard).collect();
        Some(Liveness { standing, recovering: self.recovering })
    }

    fn nudge(&self, boards: &[Arc<Board>]) {
        for &(shard, _) in &self.standing {
            boards[shard].nudge();
        }
    }
}

/// The pauses between two looks: short at first, because a shard turns within
/// a millisecond, and longer where it does not.
pub(super) fn pauses() -> impl Iterator<Item = Duration> {
    let longer = |pause: &Duration| Some((*pause * 2).min(Duration::from_millis(50)));
    std::iter::successors(Some(Duration::from_micros(500)), longer)
}

/// Checks on this thread, which sleeps meanwhile.
pub(super) fn check_now(boards: &[Arc<Board>]) -> Liveness {
    let mut check = Check::begin(boards, Instant::now());
    for pause in pauses() {
        std::thread::sleep(pause);
        if let Some(found) = check.poll(boards, Instant::now()) {
            return found;
        }
    }
    unreachable!("the pauses have no end")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Waker;

    fn board(phase: Phase) -> Arc<Board> {
        let board = Board::new(Waker::new().unwrap());
        board.enter(phase);
        Arc::new(board)
    }

    #[test]
    fn a_shard_that_stands_still_is_named_only_after_a_second() {
        let boards = [board(Phase::Recovering), board(Phase::Ready)];
        let now = Instant::now();
        let mut check = Check::begin(&boards, now);
        assert_eq!(check.poll(&boards, now + Duration::from_millis(999)), None);
        let found = check.poll(&boards, now + TURN_WITHIN).unwrap();
        assert_eq!(found, Liveness { standing: vec![1], recovering: 1 });
        assert!(found.words().starts_with("shard 1: "), "{}", found.words());
    }

    #[test]
    fn shards_that_recover_or_have_ended_are_not_judged() {
        let boards = [board(Phase::Starting), board(Phase::Recovering), board(Phase::Ended)];
        let now = Instant::now();
        let found = Check::begin(&boards, now).poll(&boards, now).unwrap();
        assert!(found.is_alive() && found.words().contains("2 recovering"), "{found:?}");
    }

    #[test]
    fn a_shard_that_ends_during_the_check_is_let_go() {
        let boards = [board(Phase::Draining)];
        let now = Instant::now();
        let mut check = Check::begin(&boards, now);
        boards[0].enter(Phase::Ended);
        assert!(check.poll(&boards, now).unwrap().is_alive());
    }
}
