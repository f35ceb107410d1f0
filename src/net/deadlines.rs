//! How long a connection may take for anything, and the sweep that finds those
//! that take longer: a few slots at a time, by the stamp of the turn.
//!
//! Nothing here reads a clock, and a net whose connections owe nothing sweeps
//! once around and then no more.

use std::time::Duration;

use super::connection::{Connection, Ending};
use crate::units::Stamp;

/// Between two steps of a sweep, in microseconds.
const STEP_US: u32 = 50_000;

/// Slots that a step looks at, at least; of more connections so many more that
/// a sweep has about twenty steps.
const STEP_SLOTS: u32 = 256;
const STEPS: u32 = 20;

/// What a connection may take, each in milliseconds; 0 is for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deadlines {
    /// From its beginning until it has proved who it is.
    pub handshake_ms: u32,
    /// From the first byte of a frame to the last; over TLS, of a record as well.
    pub frame_ms: u32,
    /// Between two reads of what it was answered.
    pub write_ms: u32,
    /// Between two requests.
    pub idle_ms: u32,
}

/// What is to be done about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It owes nothing.
    Quiet,
    /// It owes something and has time left.
    Owes,
    /// Its time is over.
    Over(Ending),
}

impl Deadlines {
    /// Looks at one connection.
    pub(super) fn look(&self, connection: &Connection, now: Stamp) -> Look {
        if connection.socket.is_none() {
            return Look::Quiet;
        }
        let reads = connection.ending.is_none() && !connection.parked;
        // One that was given up only waits for its send to come back.
        let is_held = connection.sending && !connection.ending.is_some_and(Ending::gives_up);
        let is_quiet = !connection.sending && connection.promised == 0;
        let owed = [
            (is_held, self.write_ms, connection.sending_since, Ending::SlowReader),
            (
                reads && connection.is_stranger(),
                self.handshake_ms,
                connection.opened_at,
                Ending::LateHandshake,
            ),
            (
                reads && connection.has_begun(),
                self.frame_ms,
                connection.begun_at,
                Ending::LateFrame,
            ),
            (reads && is_quiet, self.idle_ms, connection.heard_at, Ending::Idle),
        ];
        let mut look = Look::Quiet;
        for (owes, within_ms, since, ending) in owed {
            if owes && within_ms > 0 {
                if now.0.saturating_sub(since.0) >= u64::from(within_ms) * 1000 {
                    return Look::Over(ending);
                }
                look = Look::Owes;
            }
        }
        look
    }
}

/// Where a sweep is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    /// When the next step is due.
    next: Stamp,
    /// The slot that it begins with.
    from: u32,
    /// Slots in a row that owed nothing; a whole round of them ends the sweep.
    quiet: u32,
    slots: u32,
}

impl Sweep {
    /// A sweep over so many slots that nobody has used yet.
    pub(super) fn new(slots: u32) -> Self {
        Self { next: Stamp(0), from: 0, quiet: slots, slots }
    }

    /// Something has happened, so somebody may owe something.
    #[inline]
    pub(super) fn stir(&mut self) {
        self.quiet = 0;
    }

    fn is_over(&self) -> bool {
        self.quiet >= self.slots
    }

    /// How long a wait may sleep; `None` is for ever.
    pub(super) fn sleep_at_most(&self, now: Stamp) -> Option<Duration> {
        let wait_us = self.next.0.saturating_sub(now.0);
        (!self.is_over()).then(|| Duration::from_micros(wait_us))
    }

    /// The slots to look at now.
    pub(super) fn step(&mut self, now: Stamp) -> std::ops::Range<u32> {
        if self.is_over() || now.0 < self.next.0 {
            return 0..0;
        }
        self.next = Stamp(now.0 + u64::from(STEP_US));
        let from = if self.from < self.slots { self.from } else { 0 };
        let count = STEP_SLOTS.max(self.slots / STEPS);
        self.from = from.saturating_add(count).min(self.slots);
        from..self.from
    }

    /// What was seen at one slot.
    pub(super) fn saw(&mut self, look: Look) {
        match look {
            Look::Quiet => self.quiet = self.quiet.saturating_add(1),
            Look::Owes | Look::Over(_) => self.quiet = 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Deadlines =
        Deadlines { handshake_ms: 1000, frame_ms: 2000, write_ms: 3000, idle_ms: 4000 };

    /// A connection of which everything began at the stamp 0.
    fn connection() -> Connection {
        let mut connection = Connection::vacant();
        connection.socket = Some(std::fs::File::open("/dev/null").unwrap().into());
        connection.allowed = crate::wire::Operations::EVERYTHING;
        connection
    }

    fn look(deadlines: Deadlines, connection: &Connection, ms: u64) -> Look {
        deadlines.look(connection, Stamp(ms * 1000))
    }

    #[test]
    fn each_deadline_ends_what_it_is_about_and_at_its_time() {
        let mut stranger = connection();
        stranger.allowed = crate::wire::Operations::NOTHING;
        let mut begun = connection();
        begun.carry.push(1);
        let mut sending = connection();
        sending.sending = true;
        for (connection, at_ms, ending) in [
            (stranger, 1000, Ending::LateHandshake),
            (begun, 2000, Ending::LateFrame),
            (sending, 3000, Ending::SlowReader),
            (connection(), 4000, Ending::Idle),
        ] {
            assert_eq!(look(ALL, &connection, at_ms - 1), Look::Owes, "{ending:?}");
            assert_eq!(look(ALL, &connection, at_ms), Look::Over(ending));
            assert_eq!(look(Deadlines::default(), &connection, 1 << 40), Look::Quiet);
        }
    }

    #[test]
    fn a_vacant_slot_and_a_paused_connection_owe_nothing() {
        assert_eq!(look(ALL, &Connection::vacant(), 1 << 30), Look::Quiet);
        let mut paused = connection();
        paused.carry.push(1);
        paused.parked = true;
        assert_eq!(look(ALL, &paused, 1 << 30), Look::Quiet);
        let mut asked = connection();
        asked.promised = 24;
        assert_eq!(look(ALL, &asked, 1 << 30), Look::Quiet, "it waits for us");
    }

    #[test]
    fn an_ending_connection_is_still_held_to_take_its_replies() {
        let mut ending = connection();
        ending.ending = Some(Ending::BrokenStream);
        assert_eq!(look(ALL, &ending, 1 << 30), Look::Quiet);
        ending.sending = true;
        assert_eq!(look(ALL, &ending, 3000), Look::Over(Ending::SlowReader));
        ending.ending = Some(Ending::SlowReader);
        assert_eq!(look(ALL, &ending, 3000), Look::Quiet, "it is ended once");
    }

    #[test]
    fn a_sweep_sees_every_slot_and_ends_when_nobody_owes() {
        for slots in [1, 100, 256, 257, 1000, 65_536] {
            let mut sweep = Sweep::new(slots);
            assert_eq!(sweep.sleep_at_most(Stamp(0)), None, "nothing has happened");
            sweep.stir();
            let (mut seen, mut now) = (vec![0; usize::try_from(slots).unwrap()], Stamp(0));
            while let Some(sleep) = sweep.sleep_at_most(now) {
                now.0 += u64::try_from(sleep.as_micros()).unwrap();
                for slot in sweep.step(now) {
                    seen[usize::try_from(slot).unwrap()] += 1;
                    sweep.saw(Look::Quiet);
                }
            }
            assert!(seen.iter().all(|&count| count >= 1), "{slots}");
            assert!(now.0 <= 21 * 50_000, "{slots}: {now:?}");
        }
    }

    #[test]
    fn somebody_who_owes_keeps_the_sweep_awake() {
        let mut sweep = Sweep::new(10);
        sweep.stir();
        for turn in 0..100 {
            for slot in sweep.step(Stamp(turn * 50_000)) {
                sweep.saw(if slot == 3 { Look::Owes } else { Look::Quiet });
            }
        }
        assert!(sweep.sleep_at_most(Stamp(0)).is_some());
    }
}
