//! What a record tells a risk service: what was held and what became of it, what was
//! not given, what was said of users.
//!
//! Pure, like `movement`: a record says all that there is to say.

use crate::engine::Record;
use crate::units::{EnvelopeId, UnixSeconds, UserId};
use crate::wire::{Resolution, ResolvedBy, RiskRule};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewsOf {
    /// A share was won and is held.
    Held {
        /// How much, in fen.
        amount: u32,
        /// By which rule.
        rule: RiskRule,
        /// When time decides.
        until: UnixSeconds,
    },
    /// A share was not given, or a guess not taken.
    Denied {
        /// How much, in fen.
        amount: u32,
        /// By which rule.
        rule: RiskRule,
    },
    /// A held share was released or rejected.
    Resolved {
        /// How much, in fen.
        amount: u32,
        /// Which.
        resolution: Resolution,
        /// By a word or by time.
        by: ResolvedBy,
    },
    /// This is known of the user from now on.
    Marked {
        /// The grade; 0 none.
        grade: u8,
        /// 1 deny, 2 watch.
        lists: u8,
    },
}

/// One thing that a risk service hears of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// Of which envelope; of a mark, an id that no envelope has.
    pub envelope: EnvelopeId,
    /// Whose share it is or would have been, or who was marked.
    pub user: UserId,
    /// When.
    pub at: UnixSeconds,
    /// What.
    pub what: NewsOf,
}

impl News {
    /// What a record tells, if it does.
    pub fn of(record: &Record) -> Option<Self> {
        let (user, at, what) = match *record {
            Record::Held(h) => {
                let (amount, rule, until) = (h.claimed.amount, h.rule, h.until);
                (h.claimed.user, h.claimed.at, NewsOf::Held { amount, rule, until })
            }
            Record::Denied(d) => (d.user, d.at, NewsOf::Denied { amount: d.amount, rule: d.rule }),
            Record::Resolved(r) => {
                let (amount, resolution, by) = (r.amount, r.resolution, r.by);
                (r.user, r.at, NewsOf::Resolved { amount, resolution, by })
            }
            Record::Marked(m) => {
                let (grade, lists) = (m.standing.grade, m.standing.lists());
                (m.user, m.standing.at, NewsOf::Marked { grade, lists })
            }
            _ => return None,
        };
        Some(Self { envelope: record.envelope(), user, at, what })
    }
}
