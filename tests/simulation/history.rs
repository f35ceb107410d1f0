//! Whether what happened to one envelope can have happened one after the other.
//!
//! The ranks of the shares say in which order they were given; everything else
//! that was told says how many had been given by then. So every answer has a
//! place in the only order there can be, and there is such a history exactly
//! when nothing with a later place was told before something with an earlier
//! one was asked.

/// Before the envelope was paid.
pub(crate) const NOT_PAID: u64 = 0;

/// After its end.
pub(crate) const OVER: u64 = u64::MAX;

/// Where the share of a rank was given.
pub(crate) fn given(rank: u32) -> u64 {
    2 * u64::from(rank) + 2
}

/// Where so many shares had been given.
pub(crate) fn after(shares: u32) -> u64 {
    2 * u64::from(shares) + 1
}

/// Something that happened to an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Event {
    /// Its place in the order.
    pub(crate) place: u64,
    /// Not before it was asked for,
    pub(crate) asked: u64,
    /// and not after it was told; both are steps of the simulation.
    pub(crate) told: u64,
}

/// Two events that contradict each other: the first must have been before the
/// second and was asked for when that had been told.
pub(crate) fn contradiction(mut events: Vec<Event>) -> Option<(Event, Event)> {
    events.sort_unstable();
    let mut later: Option<Event> = None;
    for same in events.chunk_by(|a, b| a.place == b.place).rev() {
        let clash = same.iter().find(|event| later.is_some_and(|later| later.told < event.asked));
        if let Some(event) = clash {
            return Some((*event, later.unwrap()));
        }
        let earliest = same.iter().chain(later.as_ref()).min_by_key(|event| event.told);
        later = earliest.copied();
    }
    None
}

#[test]
fn a_history_that_no_single_thread_can_have_made_is_found() {
    let event = |place, asked, told| Event { place, asked, told };
    let sound = vec![
        event(given(0), 1, 9),
        event(given(1), 2, 4),
        event(after(1), 3, 5),
        event(after(1), 3, 8),
        event(OVER, 9, 11),
    ];
    assert_eq!(contradiction(sound.clone()), None);
    for wrong in [event(given(2), 12, 13), event(after(0), 10, 11), event(NOT_PAID, 5, 6)] {
        let with = sound.iter().copied().chain([wrong]).collect();
        assert!(contradiction(with).is_some(), "{wrong:?}");
    }
}
