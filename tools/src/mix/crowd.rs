//! The mixes `rush` and `hot`: a crowd of new users on given envelopes.
//!
//! Rush is many small envelopes, each claim on one drawn uniformly; hot is one
//! large envelope. When the shares are gone the crowd goes on asking.

use hongbao::units::EnvelopeId;
use hongbao::wire::Request;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Answer, Mix, Run, claim};

/// How many draws are made at a time. The ids of a million envelopes do not
/// fit the caches; loads that stand together are waited for together.
const DRAWN: usize = 64;

/// Every request is a claim by a user who was never seen before.
pub(crate) struct Crowd {
    envelopes: Vec<EnvelopeId>,
    draws: ChaCha8Rng,
    run: Run,
    next_user: u64,
    drawn: [EnvelopeId; DRAWN],
    /// The drawn ones from here on are not asked for yet.
    unused_from: usize,
}

impl Crowd {
    /// A crowd on these envelopes; its users are numbered from `users_from`.
    pub(crate) fn new(envelopes: Vec<EnvelopeId>, seed: u64, run: Run, users_from: u32) -> Self {
        Self {
            envelopes,
            draws: ChaCha8Rng::seed_from_u64(seed),
            run,
            next_user: users_from.into(),
            drawn: [EnvelopeId(0); DRAWN],
            unused_from: DRAWN,
        }
    }

    fn draw(&mut self) {
        let mut places = [0; DRAWN];
        for place in &mut places {
            *place = self.draws.random_range(0..self.envelopes.len());
        }
        for (drawn, place) in self.drawn.iter_mut().zip(places) {
            *drawn = self.envelopes[place];
        }
        self.unused_from = 0;
    }
}

impl Mix for Crowd {
    #[inline]
    fn next(&mut self) -> Option<(Request, u32)> {
        if self.envelopes.is_empty() {
            return None;
        }
        if self.unused_from == DRAWN {
            self.draw();
        }
        let envelope = self.drawn[self.unused_from];
        self.unused_from += 1;
        let user = self.run.user(self.next_user);
        self.next_user += 1;
        Some((claim(envelope, user), 0))
    }

    #[inline]
    fn answered(&mut self, _: u32, _: Answer) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(seed: u64) -> Vec<Request> {
        let envelopes = (1..=50).map(EnvelopeId).collect();
        let mut crowd = Crowd::new(envelopes, seed, Run(7), 0);
        (0..1000).map(|_| crowd.next().unwrap().0).collect()
    }

    #[test]
    fn a_seed_fixes_the_stream() {
        assert_eq!(stream(1), stream(1));
        assert_ne!(stream(1), stream(2));
    }

    #[test]
    fn every_claim_is_by_a_new_user() {
        let mut users: Vec<_> = stream(1)
            .into_iter()
            .map(|request| match request {
                Request::Claim { user, .. } => user,
                other => panic!("{other:?}"),
            })
            .collect();
        users.sort_unstable();
        users.dedup();
        assert_eq!(users.len(), 1000);
    }
}
