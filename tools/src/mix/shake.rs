//! The mix `shake`: a crowd that shakes for the prizes of one campaign.

use hongbao::units::{EnvelopeId, UserId};
use hongbao::wire::Request;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Answer, Mix, Run};

/// How many different users shake.
const USERS: u64 = 100_000_000;

/// Every request is a shake by some user of the crowd.
pub(crate) struct Shake {
    campaign: EnvelopeId,
    draws: ChaCha8Rng,
    run: Run,
}

impl Shake {
    /// A crowd on this campaign.
    pub(crate) fn new(campaign: EnvelopeId, seed: u64, run: Run) -> Self {
        Self { campaign, draws: ChaCha8Rng::seed_from_u64(seed), run }
    }

    fn user(&mut self) -> UserId {
        self.run.user(self.draws.random_range(0..USERS))
    }
}

impl Mix for Shake {
    #[inline]
    fn next(&mut self) -> Option<(Request, u32)> {
        let user = self.user();
        Some((Request::Shake { campaign: self.campaign, user }, 0))
    }

    #[inline]
    fn answered(&mut self, _: u32, _: Answer) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_the_stream() {
        let stream = |seed| {
            let mut shake = Shake::new(EnvelopeId(5), seed, Run(7));
            (0..100).map(|_| shake.next().unwrap().0).collect::<Vec<_>>()
        };
        assert_eq!(stream(1), stream(1));
        assert_ne!(stream(1), stream(2));
    }
}
