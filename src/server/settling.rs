//! The settlement stream's place in a server: what subscribers need is held from
//! before the doors open, whether or not anybody listens.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::books::followees;
use super::refusal::StartError;
use crate::access::Keyring;
use crate::config::{Config, MaybeListen};
use crate::follow::settle::{BoundSettlement, Settlement, Subscribers};
use crate::journal::{Arrangement, Position};
use crate::shard::Followed;
use crate::units::{Cell, Durability};

/// A killed server's sockets go some milliseconds late; whoever restarts it at
/// once meets its own port in use.
const BIND_TRIES: u32 = 50;
const BIND_PAUSE: Duration = Duration::from_millis(20);

/// The stream before it is served.
pub(super) struct Settling {
    bound: Option<BoundSettlement>,
    cell: Cell,
    durability: Durability,
    followed: Vec<Arc<Followed>>,
}

/// The port, if there is to be one; bound before anything on disk is touched.
pub(super) fn bind(config: &Config) -> Result<Option<BoundSettlement>, StartError> {
    let MaybeListen::At(listen) = config.settlement else { return Ok(None) };
    let mut tries = 1;
    loop {
        match BoundSettlement::bind(listen) {
            Ok(bound) => return Ok(Some(bound)),
            Err(error) if error.kind() != io::ErrorKind::AddrInUse || tries == BIND_TRIES => {
                return Err(StartError::SettlementPort(listen, error));
            }
            Err(_) => std::thread::sleep(BIND_PAUSE),
        }
        tries += 1;
    }
}

impl Settling {
    pub(super) fn new(
        bound: Option<BoundSettlement>,
        config: &Config,
        keyring: Option<Arc<Keyring>>,
        followed: Vec<Arc<Followed>>,
    ) -> Self {
        let bound = bound.map(|bound| bound.with_keys(keyring));
        Self { bound, cell: config.cell, durability: config.durability, followed }
    }

    /// The arrangement `old` is given up, whose journals have ended at `ends`:
    /// every subscriber must have all of it.
    pub(super) fn check_consumed(
        &self,
        old: &Arrangement,
        ends: &[Position],
    ) -> Result<(), StartError> {
        let ended: Vec<_> = ends.iter().map(|end| Followed::ended(*end)).collect();
        let ended = followees(self.cell, old, &ended, self.durability);
        Ok(Subscribers::check_consumed(old.directory().path(), &ended)?)
    }

    /// Holds the journals for the subscribers and begins to serve them; lines for
    /// the operator come back.
    pub(super) fn start(
        self,
        arrangement: &Arrangement,
    ) -> Result<(Option<Settlement>, Vec<String>), StartError> {
        let followees = followees(self.cell, arrangement, &self.followed, self.durability);
        let directory = arrangement.directory().clone();
        let subscribers = Arc::new(Subscribers::load(directory.path(), followees)?);
        let mut facts = Vec::new();
        if let Some(bound) = &self.bound {
            facts.push(format!("settlement  {} (tcp)", bound.address()));
            facts.extend(bound.warning());
        }
        for (name, behind) in subscribers.behind() {
            facts.push(format!("subscriber  {name}, {behind} bytes of journal are held for it"));
        }
        let start = |bound: BoundSettlement| bound.start(subscribers, directory);
        Ok((self.bound.map(start).transpose()?, facts))
    }
}
