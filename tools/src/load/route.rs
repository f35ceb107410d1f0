//! Which connections take a request: those of its owner, of somebody else on
//! purpose, or any.

use clap::ValueEnum;
use hongbao::client::{Address, partition, shard_addresses};
use hongbao::units::{PARTITIONS, UserId};
use hongbao::wire::{Hello, Request};
use serde::Serialize;

/// On whose connection a request is put.
#[derive(Clone, Copy, Debug, ValueEnum, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Through {
    /// The shard that owns it
    Owner,
    /// Another shard on purpose, so that every request crosses between shards
    Wrong,
    /// Whichever comes next, as a client does that knows nothing of shards
    Any,
}

/// The groups of connections, and which of them takes a request.
pub(super) struct Routes {
    /// Where each group connects to.
    pub(super) groups: Vec<Vec<Address>>,
    /// The group of each partition.
    by_partition: Vec<usize>,
}

impl Routes {
    /// The routes to a server that was reached at `address`, for `conns`
    /// connections.
    pub(super) fn new(address: &Address, hello: &Hello, through: Through, conns: usize) -> Self {
        let mut shards = shard_addresses(address, hello);
        shards.truncate(conns.max(1));
        let groups: Vec<Vec<Address>> = match through {
            Through::Any => vec![shards],
            Through::Owner | Through::Wrong => shards.into_iter().map(|one| vec![one]).collect(),
        };
        let group_of = |partition: u16| {
            let owner = hello.owner(u8::try_from(partition).unwrap_or(0));
            let aside = usize::from(through == Through::Wrong);
            (owner + aside) % hello.shards() % groups.len()
        };
        let by_partition = (0..PARTITIONS).map(group_of).collect();
        Self { groups, by_partition }
    }

    /// The group that takes a request.
    #[inline]
    pub(super) fn group_of(&self, request: &Request) -> usize {
        if self.groups.len() == 1 {
            return 0;
        }
        if let Request::Shake { user, .. } = request {
            return spread(*user, self.groups.len()); // every shard draws for itself
        }
        partition(request).map_or(0, |partition| self.by_partition[usize::from(partition)])
    }
}

/// Users are drawn, so they are spread evenly.
fn spread(user: UserId, groups: usize) -> usize {
    usize::try_from(user.0).unwrap_or(0) % groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use hongbao::units::EnvelopeId;

    fn routes(ports: &[u16], through: Through, conns: usize) -> Routes {
        let ports = ports.to_vec();
        let hello = Hello { version: 1, frame_bytes_max: 4096, cell: 1, durability: 0, ports };
        Routes::new(&"box:1".parse().unwrap(), &hello, through, conns)
    }

    fn groups(routes: &Routes) -> Vec<usize> {
        let show = |partition| Request::Show { envelope: EnvelopeId::new(1, partition, 0, 0) };
        [0, 1, 2, 3].map(show).iter().map(|request| routes.group_of(request)).collect()
    }

    #[test]
    fn a_request_goes_to_its_owner_or_never_to_its_owner() {
        assert_eq!(groups(&routes(&[1, 2, 3], Through::Owner, 64)), [0, 1, 2, 0]);
        assert_eq!(groups(&routes(&[1, 2, 3], Through::Wrong, 64)), [1, 2, 0, 1]);
    }

    #[test]
    fn any_connection_takes_any_request_and_they_are_spread_over_the_shards() {
        let any = routes(&[1, 2, 3], Through::Any, 64);
        assert_eq!((groups(&any), any.groups.len(), any.groups[0].len()), (vec![0; 4], 1, 3));
    }

    #[test]
    fn with_one_shard_or_one_connection_all_ways_are_the_same() {
        for through in [Through::Owner, Through::Wrong, Through::Any] {
            assert_eq!(groups(&routes(&[1], through, 64)), [0; 4]);
            assert_eq!(groups(&routes(&[1, 2], through, 1)), [0; 4]);
        }
    }
}
