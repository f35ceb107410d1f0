//! How far the recovery is, in words: for `/readyz`, for the terminal and for
//! the supervisor's status line.
//!
//! Rate and remaining time are pure functions of two samples and the time
//! between them; nothing here reads a clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::view::RecoveryView;
use crate::shard::{Board, Phase};

/// How far back the rate looks: long enough to be calm, short enough to show
/// that a disk has slowed down.
const WINDOW: Duration = Duration::from_secs(5);

/// The least time between two samples that are kept.
const SPACING: Duration = Duration::from_millis(200);

/// Watches boards while they recover and says how far they are.
#[derive(Debug)]
pub struct Progress {
    boards: Vec<Arc<Board>>,
    samples: VecDeque<Sample>,
}

#[derive(Clone, Debug)]
struct Sample {
    at: Instant,
    shards: Vec<RecoveryView>,
}

/// How fast a shard recovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    records_per_s: u64,
    bytes_per_s: u64,
}

impl Progress {
    /// Of these shards, by their number.
    pub fn of(boards: Vec<Arc<Board>>) -> Self {
        Self { boards, samples: VecDeque::new() }
    }

    /// Keeps a sample for the rate. Call it now and then while shards recover;
    /// [`Progress::line`] and [`Progress::reasons`] do it by themselves.
    pub fn sample(&mut self, now: Instant) {
        let due = |last: &Sample| now.saturating_duration_since(last.at) >= SPACING;
        if !self.samples.back().is_none_or(due) {
            return;
        }
        // One sample older than the window stays: the rate is over at least it.
        while self.samples.get(1).is_some_and(|next| now.duration_since(next.at) >= WINDOW) {
            self.samples.pop_front();
        }
        let sample = self.read(now);
        self.samples.push_back(sample);
    }

    fn read(&self, at: Instant) -> Sample {
        let shards = self.boards.iter().map(|board| RecoveryView::of(board)).collect();
        Sample { at, shards }
    }

    /// Why the server is not ready: a line for every shard that is not. Empty
    /// once all are.
    pub fn reasons(&mut self, now: Instant) -> Vec<String> {
        self.sample(now);
        let latest = self.read(now);
        let mut lines = Vec::new();
        for (shard, board) in self.boards.iter().enumerate() {
            let words = match board.phase() {
                Phase::Ready => continue,
                Phase::Starting => "waiting to recover".to_owned(),
                Phase::Recovering => recovering(&latest.shards[shard], self.pace(shard, &latest)),
                Phase::Draining => "draining".to_owned(),
                Phase::Ended => "ended".to_owned(),
            };
            lines.push(format!("shard {shard}: {words}"));
        }
        lines
    }

    /// The whole recovery in one line, such as `2 of 4 shards recovering,
    /// 43 % (2.1 GB of 4.9 GB), 5.2 M records/s, 8 s left`.
    pub fn line(&mut self, now: Instant) -> String {
        self.sample(now);
        let latest = self.read(now);
        let busy = |phase| matches!(phase, Phase::Starting | Phase::Recovering);
        let (all, left) = (self.boards.len(), self.count(busy));
        if left == 0 {
            let ready = self.count(|phase| phase == Phase::Ready);
            return format!("{ready} of {all} shards ready");
        }
        let sum = latest.shards.iter().fold(RecoveryView::default(), RecoveryView::plus);
        let paces: Vec<_> = (0..all).map(|shard| self.pace(shard, &latest)).collect();
        let records_per_s = paces.iter().flatten().map(|pace| pace.records_per_s).sum();
        let bytes_per_s = paces.iter().flatten().map(|pace| pace.bytes_per_s).sum();
        let known = paces.iter().any(Option::is_some);
        let pace = known.then_some(Pace { records_per_s, bytes_per_s });
        // The slowest shard decides when all are there.
        let slowest = latest.shards.iter().zip(&paces).filter_map(|(s, p)| seconds_left(s, *p));
        format!("{left} of {all} shards {}", told(&sum, pace, slowest.max()))
    }

    fn count(&self, wanted: impl Fn(Phase) -> bool) -> usize {
        self.boards.iter().filter(|board| wanted(board.phase())).count()
    }

    fn pace(&self, shard: usize, latest: &Sample) -> Option<Pace> {
        let first = self.samples.front()?;
        let elapsed = latest.at.saturating_duration_since(first.at);
        pace(&first.shards[shard], &latest.shards[shard], elapsed)
    }
}

impl RecoveryView {
    fn plus(self, other: &Self) -> Self {
        Self {
            bytes_all: self.bytes_all.saturating_add(other.bytes_all),
            bytes: self.bytes.saturating_add(other.bytes),
            records: self.records.saturating_add(other.records),
        }
    }
}

/// The pace between two samples; none from samples that are too close.
fn pace(then: &RecoveryView, now: &RecoveryView, elapsed: Duration) -> Option<Pace> {
    let per_second = |count: u64| {
        let rate = u128::from(count) * 1000 / elapsed.as_millis();
        u64::try_from(rate).unwrap_or(u64::MAX)
    };
    (elapsed >= SPACING).then(|| Pace {
        records_per_s: per_second(now.records.saturating_sub(then.records)),
        bytes_per_s: per_second(now.bytes.saturating_sub(then.bytes)),
    })
}

fn seconds_left(view: &RecoveryView, pace: Option<Pace>) -> Option<u64> {
    let rate = pace?.bytes_per_s;
    let left = view.bytes_all.saturating_sub(view.bytes);
    (rate > 0 && left > 0).then(|| left.div_ceil(rate))
}

fn recovering(view: &RecoveryView, pace: Option<Pace>) -> String {
    told(view, pace, seconds_left(view, pace))
}

fn told(view: &RecoveryView, pace: Option<Pace>, seconds_left: Option<u64>) -> String {
    if view.bytes_all == 0 {
        return "recovering, looking at what there is".to_owned();
    }
    let percent = u128::from(view.bytes.min(view.bytes_all)) * 100 / u128::from(view.bytes_all);
    let (done, all) = (short(view.bytes), short(view.bytes_all));
    let speed = match pace {
        _ if view.bytes >= view.bytes_all => ", finishing".to_owned(),
        None => String::new(),
        Some(Pace { bytes_per_s: 0, .. }) => ", nothing read lately".to_owned(),
        Some(pace) => format!(", {} records/s", short(pace.records_per_s).trim_end()),
    };
    let left = seconds_left.map_or_else(String::new, |s| format!(", {} left", duration(s)));
    format!("recovering, {percent} % ({done}B of {all}B){speed}{left}")
}

/// A count as `5.2 M` or `250 `, ready for a unit such as `B` to follow.
fn short(count: u64) -> String {
    let scale = [(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (1000, "k")];
    match scale.into_iter().find(|(one, _)| count >= *one) {
        Some((one, letter)) => {
            let tenths = count / (one / 10);
            format!("{}.{} {letter}", tenths / 10, tenths % 10)
        }
        None => format!("{count} "),
    }
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::net::Waker;

    fn view(bytes_all: u64, bytes: u64, records: u64) -> RecoveryView {
        RecoveryView { bytes_all, bytes, records }
    }

    fn board(phase: Phase) -> Arc<Board> {
        let board = Board::new(Waker::new().unwrap());
        board.enter(phase);
        Arc::new(board)
    }

    fn show(board: &Board, view: RecoveryView) {
        board.recovery_bytes.store(view.bytes_all, Ordering::Relaxed);
        board.recovered_bytes.store(view.bytes, Ordering::Relaxed);
        board.recovered_records.store(view.records, Ordering::Relaxed);
    }

    #[test]
    fn rate_and_rest_come_from_two_samples_and_the_time_between_them() {
        let then = view(4_900_000_000, 1_400_000_000, 10_000_000);
        let now = view(4_900_000_000, 2_107_000_000, 20_400_000);
        let found = pace(&then, &now, Duration::from_secs(2));
        assert_eq!(found, Some(Pace { records_per_s: 5_200_000, bytes_per_s: 353_500_000 }));
        assert_eq!(seconds_left(&now, found), Some(8));
        assert_eq!(
            recovering(&now, found),
            "recovering, 43 % (2.1 GB of 4.9 GB), 5.2 M records/s, 8 s left"
        );
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        assert_eq!(recovering(&view(0, 0, 0), None), "recovering, looking at what there is");
        assert_eq!(recovering(&view(1000, 250, 3), None), "recovering, 25 % (250 B of 1.0 kB)");
        assert_eq!(pace(&view(9, 1, 1), &view(9, 2, 2), Duration::from_millis(1)), None);
        let still = pace(&view(9, 1, 1), &view(9, 1, 1), Duration::from_secs(1));
        assert_eq!(seconds_left(&view(9, 1, 1), still), None);
        assert!(recovering(&view(9, 1, 1), still).ends_with("nothing read lately"));
        assert!(recovering(&view(9, 9, 1), still).ends_with("100 % (9 B of 9 B), finishing"));
    }

    #[test]
    fn the_rate_looks_back_over_its_window_and_no_further() {
        let board = board(Phase::Recovering);
        let mut progress = Progress::of(vec![Arc::clone(&board)]);
        let start = Instant::now();
        // Fast for ten seconds, then at a tenth of it for ten.
        for second in 0..=20 {
            let done = if second < 10 { second * 1000 } else { 10_000 + (second - 10) * 100 };
            show(&board, view(100_000, done, done));
            progress.sample(start + Duration::from_secs(second));
        }
        let told = progress.reasons(start + Duration::from_secs(20));
        assert!(told[0].contains(", 100 records/s, 14 min left"), "{told:?}");
        assert!(progress.samples.len() <= 8, "{}", progress.samples.len());
    }

    #[test]
    fn every_shard_that_is_not_ready_gives_its_reason() {
        let boards = vec![
            board(Phase::Ready),
            board(Phase::Starting),
            board(Phase::Recovering),
            board(Phase::Draining),
            board(Phase::Ended),
        ];
        let reasons = Progress::of(boards).reasons(Instant::now());
        assert_eq!(
            reasons,
            [
                "shard 1: waiting to recover",
                "shard 2: recovering, looking at what there is",
                "shard 3: draining",
                "shard 4: ended"
            ]
        );
    }

    #[test]
    fn the_slowest_shard_decides_when_all_are_there() {
        let boards = vec![board(Phase::Recovering), board(Phase::Recovering)];
        let mut progress = Progress::of(boards.clone());
        let start = Instant::now();
        for board in &boards {
            show(board, view(1_000_000, 0, 0));
        }
        progress.sample(start);
        show(&boards[0], view(1_000_000, 900_000, 9000));
        show(&boards[1], view(1_000_000, 100_000, 1000));
        assert_eq!(
            progress.line(start + Duration::from_secs(1)),
            "2 of 2 shards recovering, 50 % (1.0 MB of 2.0 MB), 10.0 k records/s, 9 s left"
        );
        for board in &boards {
            board.enter(Phase::Ready);
        }
        assert_eq!(progress.line(start + Duration::from_secs(2)), "2 of 2 shards ready");
    }
}
