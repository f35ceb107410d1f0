//! Commit and reveal: anyone can check that no amount was chosen afterwards.
//!
//! When an envelope is ordered, a hash over its seed, its terms and a number of
//! the sender's is told: the commitment. When no share can be drawn any more the
//! seed is shown, and from it follow the commitment and every amount. Receipts
//! chain the claims onto the commitment, so that one hash stands for all of
//! them. Nothing here knows of an engine or a server.
//!
//! ```text
//! commitment = SHA-256("hongbao seed 1" | envelope u64 | seed 2 × u64 | nonce u32
//!                      | total u64 | shares u32 | share_max u32 | split u8)
//! receipt 0  = commitment
//! receipt k  = SHA-256("hongbao receipt 1" | receipt k−1 | rank u32 | user u64
//!                      | amount u32 | at u32), where rank = k−1
//! ```
//!
//! All numbers are little endian, without padding.

use sha2::{Digest, Sha256};

use super::campaign::prizes;
use super::split;
use crate::units::{EnvelopeId, Fen, Seed, Split};
use crate::wire::{Prize, Row};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// What a sender ordered, as far as the draws follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Which envelope.
    pub envelope: EnvelopeId,
    /// The sender's part of the commitment.
    pub nonce: u32,
    /// The money, in fen.
    pub total: Fen,
    /// Into how many shares it is cut.
    pub shares: u32,
    /// The sender's cap of one share, in fen; 0 is none.
    pub share_max: u32,
    /// The rule of the cut.
    pub split: Split,
}

/// What does not hold, of an envelope that was revealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfaithful {
    /// The total cannot be cut into the shares.
    #[error("so much money cannot be cut into so many shares; ask for the summary again")]
    Terms,
    /// Seed, nonce and terms do not give the commitment.
    #[error("the seed is not the one that was committed to")]
    Commitment,
    /// There are more claims than shares.
    #[error("there are more claims than shares")]
    Rows,
    /// A claim has another amount than the draw of its rank.
    #[error("the claim of rank {rank} is {found} fen, but its draw is {drawn} fen")]
    Amount {
        /// Which claim, from 0.
        rank: u32,
        /// What the seed gives.
        drawn: Fen,
        /// What the claim says.
        found: Fen,
    },
}

/// The hash that is told before any draw.
pub fn commitment(terms: &Terms, seed: Seed) -> Hash {
    let mut hash = Sha256::new();
    hash.update(b"hongbao seed 1");
    hash.update(terms.envelope.0.to_le_bytes());
    for half in seed.0 {
        hash.update(half.to_le_bytes());
    }
    hash.update(terms.nonce.to_le_bytes());
    hash.update(terms.total.to_le_bytes());
    hash.update(terms.shares.to_le_bytes());
    hash.update(terms.share_max.to_le_bytes());
    hash.update([terms.split.code()]);
    hash.finalize().into()
}

/// The receipt of a claim: it stands for this claim and, by the receipt before
/// it, for all earlier ones.
pub fn receipt(before: &Hash, rank: u32, row: &Row) -> Hash {
    let mut hash = Sha256::new();
    hash.update(b"hongbao receipt 1");
    hash.update(before);
    hash.update(rank.to_le_bytes());
    hash.update(row.user.0.to_le_bytes());
    hash.update(row.amount.to_le_bytes());
    hash.update(row.at.to_le_bytes());
    hash.finalize().into()
}

/// Computes the commitment and the amount of every claim again; `rows` are all
/// claims from rank 0 on. Gives the last receipt, or the first thing that does
/// not hold.
pub fn verify(
    terms: &Terms,
    seed: Seed,
    committed: &Hash,
    rows: impl IntoIterator<Item = Row>,
) -> Result<Hash, Unfaithful> {
    let &Terms { split, shares, share_max, .. } = terms;
    verify_with(terms, seed, committed, rows, |rank, left| {
        split::draw(split, seed, rank, left, shares.saturating_sub(rank), share_max)
    })
}

/// Like [`verify`], of a campaign: what was won follows from the seed and the
/// kinds of prizes of its plan.
pub fn verify_prizes(
    terms: &Terms,
    seed: Seed,
    committed: &Hash,
    prizes: &[Prize],
    rows: impl IntoIterator<Item = Row>,
) -> Result<Hash, Unfaithful> {
    verify_with(terms, seed, committed, rows, |rank, _| {
        prizes::amount(prizes, seed, terms.shares, rank)
    })
}

fn verify_with(
    terms: &Terms,
    seed: Seed,
    committed: &Hash,
    rows: impl IntoIterator<Item = Row>,
    draw: impl Fn(u32, Fen) -> Fen,
) -> Result<Hash, Unfaithful> {
    if !split::feasible(terms.total, terms.shares, terms.share_max) {
        return Err(Unfaithful::Terms);
    }
    if commitment(terms, seed) != *committed {
        return Err(Unfaithful::Commitment);
    }
    let (mut left, mut last) = (terms.total, *committed);
    for (rank, row) in (0..).zip(rows) {
        if rank >= terms.shares {
            return Err(Unfaithful::Rows);
        }
        let drawn = draw(rank, left);
        let found = Fen::from(row.amount);
        if drawn != found {
            return Err(Unfaithful::Amount { rank, drawn, found });
        }
        left = left.saturating_sub(drawn);
        last = receipt(&last, rank, &row);
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::UserId;

    const TERMS: Terms = Terms {
        envelope: EnvelopeId(0x0102_0304_0506_0708),
        nonce: 9,
        total: 1000,
        shares: 3,
        share_max: 0,
        split: Split::DoubleMean,
    };
    const SEED: Seed = Seed([1, 2]);

    fn hex(hash: &Hash) -> String {
        hash.map(|byte| format!("{byte:02x}")).concat()
    }

    /// The bytes were put together and hashed by `sha256sum`, not by this code.
    #[test]
    fn commitments_and_receipts_are_part_of_the_format() {
        let committed = commitment(&TERMS, SEED);
        assert_eq!(
            hex(&committed),
            "1e6e928b896c3aabea44eb4900b501b9fc55a58a0b552464e0674a8cd12a346f"
        );
        let row = Row { user: UserId(5), amount: 300, at: 7 };
        assert_eq!(
            hex(&receipt(&committed, 0, &row)),
            "ca9ae05d7cb601a258d82bd31fb67be0dff2a8cfc481d094fc7f7a4304987935"
        );
    }

    #[test]
    fn every_term_is_committed_to() {
        let committed = commitment(&TERMS, SEED);
        let others = [
            Terms { envelope: EnvelopeId(1), ..TERMS },
            Terms { nonce: 8, ..TERMS },
            Terms { total: 1001, ..TERMS },
            Terms { shares: 4, ..TERMS },
            Terms { share_max: 999, ..TERMS },
            Terms { split: Split::Equal, ..TERMS },
        ];
        for terms in others {
            assert_eq!(verify(&terms, SEED, &committed, []), Err(Unfaithful::Commitment));
        }
        for seed in [Seed([2, 1]), Seed([1, 3]), Seed([0, 2])] {
            assert_eq!(verify(&TERMS, seed, &committed, []), Err(Unfaithful::Commitment));
        }
        let impossible = Terms { total: 2, ..TERMS };
        assert_eq!(verify(&impossible, SEED, &committed, []), Err(Unfaithful::Terms));
    }

    #[test]
    fn wins_of_a_campaign_are_the_prizes_that_its_seed_says() {
        let prizes = [Prize { amount: 700, count: 1 }, Prize { amount: 150, count: 2 }];
        let terms = Terms { split: Split::Prizes, ..TERMS };
        let committed = commitment(&terms, SEED);
        let amounts = [0, 1, 2].map(|rank| prizes::amount(&prizes, SEED, 3, rank));
        assert_eq!(amounts.iter().sum::<Fen>(), 1000);
        let mut rows = amounts.map(|fen| {
            let amount = u32::try_from(fen).unwrap();
            Row { user: UserId(fen), amount, at: 7 }
        });
        let mut last = committed;
        for (rank, row) in (0..).zip(&rows) {
            last = receipt(&last, rank, row);
        }
        assert_eq!(verify_prizes(&terms, SEED, &committed, &prizes, rows), Ok(last));
        rows[1].amount += 1;
        let (drawn, found) = (amounts[1], amounts[1] + 1);
        assert_eq!(
            verify_prizes(&terms, SEED, &committed, &prizes, rows),
            Err(Unfaithful::Amount { rank: 1, drawn, found })
        );
    }
}
