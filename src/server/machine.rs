//! What the machine must give before anything is touched: a ring, locked
//! memory, cores, memory for the tables, descriptors.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::refusal::StartError;
use crate::config::{Config, Cores};
use crate::journal::check_memlock;
use crate::net::check_ring;
use crate::units::PARTITIONS;

/// Descriptors of a shard besides its connections: ring, bell, journal,
/// listeners.
const SPARE_DESCRIPTORS: u64 = 64;

/// Descriptors for the control plane's connections.
const ADMIN_DESCRIPTORS: u64 = 256;

/// Which thread runs where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    /// By shard; `None` leaves it to the scheduler.
    pub(super) shards: Vec<Option<usize>>,
    /// Of the background plane.
    pub(super) background: Option<usize>,
}

impl Placement {
    /// The placement that the configuration asks for on a machine with these
    /// cores.
    fn of(config: &Config, available: &[usize]) -> Result<Self, StartError> {
        let spared = available.len() > 2;
        let data = &available[..available.len() - usize::from(spared)];
        // More shards than partitions would own nothing.
        let data = &data[..data.len().min(PARTITIONS.into())];
        let whole = u16::try_from(data.len()).unwrap_or(u16::MAX);
        let wanted = config.shards.unwrap_or(whole);
        let unpinned = vec![None; wanted.into()];
        let shards = match &config.cores {
            Cores::Free => unpinned,
            Cores::Auto if usize::from(wanted) > data.len() => unpinned,
            Cores::Auto => data.iter().take(wanted.into()).copied().map(Some).collect(),
            Cores::Listed(cores) => {
                let shards = config.shards.map_or(cores.len(), usize::from);
                if shards != cores.len() || cores.is_empty() {
                    let shards = u16::try_from(shards).unwrap_or(u16::MAX);
                    return Err(StartError::CoresForShards { shards, cores: cores.len() });
                }
                let twice =
                    |(at, core)| cores.get(..at).is_some_and(|before| before.contains(core));
                if let Some((_, core)) = cores.iter().enumerate().find(|&one| twice(one)) {
                    return Err(StartError::CoreTwice(*core));
                }
                cores.iter().copied().map(Some).collect()
            }
        };
        let last = available.last().copied().filter(|_| spared && config.cores == Cores::Auto);
        let placement = Self { shards, background: config.background_core.or(last) };
        if placement.shards.len() > usize::from(PARTITIONS) {
            return Err(StartError::TooManyShards(placement.shards.len()));
        }
        let named = placement.shards.iter().flatten().chain(&placement.background);
        match named.copied().find(|core| !available.contains(core)) {
            Some(missing) => Err(StartError::Core(missing)),
            None => Ok(placement),
        }
    }

    /// How many shards there are.
    pub(super) fn count(&self) -> u16 {
        u16::try_from(self.shards.len()).unwrap_or(u16::MAX)
    }
}

/// Pins the calling thread.
pub(super) fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// Where the threads of this configuration run on this machine.
pub(super) fn place(config: &Config) -> Result<Placement, StartError> {
    let affinity = sched_getaffinity(None).map_err(io::Error::from)?;
    let available: Vec<usize> =
        (0..CpuSet::MAX_CPU).filter(|&core| affinity.is_set(core)).collect();
    Placement::of(config, &available)
}

/// Asks for everything and changes nothing but the soft limit of descriptors.
pub(super) fn check(config: &Config, shards: u16, table_bytes: usize) -> Result<(), StartError> {
    check_ring()?;
    check_memlock()?;
    check_memory(table_bytes)?;
    raise_descriptors(config, shards)
}

fn check_memory(table_bytes: usize) -> Result<(), StartError> {
    let mib = |bytes: u64| bytes >> 20;
    let needed = u64::try_from(table_bytes).unwrap_or(u64::MAX);
    let machine = rustix::system::sysinfo();
    let memory = u64::from(machine.mem_unit) * machine.totalram;
    if needed > memory {
        return Err(StartError::Memory { needed_mib: mib(needed), machine_mib: mib(memory) });
    }
    Ok(())
}

fn raise_descriptors(config: &Config, shards: u16) -> Result<(), StartError> {
    let each = u64::from(config.connections_max) + SPARE_DESCRIPTORS;
    let wanted = each * u64::from(shards) + ADMIN_DESCRIPTORS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).map_err(|_| StartError::Descriptors {
            wanted: config.connections_max,
            limit: limit.maximum.unwrap_or(u64::MAX),
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(
        shards: Option<u16>,
        cores: Cores,
        available: &[usize],
    ) -> (Vec<Option<usize>>, Option<usize>) {
        let config = Config { shards, cores, ..Config::default() };
        let placement = Placement::of(&config, available).unwrap();
        (placement.shards, placement.background)
    }

    #[test]
    fn by_default_each_core_has_a_shard_and_of_more_than_two_one_is_kept() {
        assert_eq!(placed(None, Cores::Auto, &[0]), (vec![Some(0)], None));
        assert_eq!(placed(None, Cores::Auto, &[0, 1]), (vec![Some(0), Some(1)], None));
        let three = (vec![Some(2), Some(4), Some(5)], Some(9));
        assert_eq!(placed(None, Cores::Auto, &[2, 4, 5, 9]), three);
    }

    #[test]
    fn more_shards_than_cores_are_not_pinned() {
        assert_eq!(placed(Some(3), Cores::Auto, &[0, 1]), (vec![None; 3], None));
        assert_eq!(placed(Some(1), Cores::Free, &[0, 1]), (vec![None], None));
    }

    #[test]
    fn listed_cores_must_be_there_and_as_many_as_shards() {
        assert_eq!(placed(None, Cores::Listed(vec![1, 0]), &[0, 1]).0, [Some(1), Some(0)]);
        let refused = |shards, cores: &[usize]| {
            let cores = Cores::Listed(cores.to_vec());
            Placement::of(&Config { shards, cores, ..Config::default() }, &[0, 1]).unwrap_err()
        };
        assert!(matches!(refused(None, &[7]), StartError::Core(7)));
        assert!(matches!(refused(None, &[1, 0, 1]), StartError::CoreTwice(1)));
        let fewer = refused(Some(3), &[0, 1]);
        assert!(matches!(fewer, StartError::CoresForShards { shards: 3, cores: 2 }));
    }
}
