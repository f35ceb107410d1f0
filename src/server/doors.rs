//! The listening sockets of all shards, bound before the data directory is
//! touched: one port that all share, and one for each shard alone; the same
//! again for TLS, where it is wanted.

use std::net::SocketAddr;

use super::refusal::StartError;
use crate::config::{Config, MaybeListen};
use crate::net::{BoundListener, Listener};

/// Where one kind of connection comes in.
struct Way {
    /// One for each shard, all on the same port.
    shared: Vec<BoundListener>,
    /// Each shard's own; empty where there is only one shard.
    own: Vec<BoundListener>,
}

impl Way {
    /// `first`: the port of the first shard alone; 0 lets the kernel choose.
    fn bind(listen: SocketAddr, first: u16, shards: u16) -> Result<Self, StartError> {
        check_own_ports(listen.port(), first, shards)?;
        let shared = BoundListener::shared_tcp(listen, shards)?;
        let port = |shard: u16| if first == 0 { 0 } else { first.saturating_add(shard) };
        let own = (0..shards)
            .filter(|_| shards > 1)
            .map(|shard| BoundListener::tcp(SocketAddr::new(listen.ip(), port(shard))));
        Ok(Self { shared, own: own.collect::<Result<_, _>>()? })
    }

    fn secured(self) -> Self {
        let secured =
            |doors: Vec<BoundListener>| doors.into_iter().map(BoundListener::secured).collect();
        Self { shared: secured(self.shared), own: secured(self.own) }
    }

    fn address(&self) -> SocketAddr {
        // There is at least one shard.
        self.shared.first().map_or(SocketAddr::from(([0, 0, 0, 0], 0)), BoundListener::address)
    }

    fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.shared.iter().chain(&self.own).map(BoundListener::address)
    }

    fn ports(&self) -> Vec<u16> {
        let own = if self.own.is_empty() { &self.shared } else { &self.own };
        own.iter().map(|door| door.address().port()).collect()
    }
}

/// The sockets of a server.
pub(super) struct Doors {
    plain: Way,
    tls: Option<Way>,
}

impl Doors {
    pub(super) fn bind(config: &Config, shards: u16) -> Result<Self, StartError> {
        let first = config.shard_port_first;
        let plain = Way::bind(config.listen, first, shards)?;
        let tls = match config.tls_listen {
            MaybeListen::Nowhere => None,
            MaybeListen::At(listen) => {
                // Behind those without TLS.
                let first = if first == 0 { 0 } else { first.saturating_add(shards) };
                let tls = Way::bind(listen, first, shards)?.secured();
                check_apart(&plain, &tls)?;
                Some(tls)
            }
        };
        if let Some(path) = &config.unix {
            Listener::check_unix(path)?;
        }
        Ok(Self { plain, tls })
    }

    /// The address that all shards share.
    pub(super) fn address(&self) -> SocketAddr {
        self.plain.address()
    }

    /// The same for TLS.
    pub(super) fn tls_address(&self) -> Option<SocketAddr> {
        self.tls.as_ref().map(Way::address)
    }

    /// The address of each shard alone, if there are several.
    pub(super) fn own(&self) -> impl Iterator<Item = SocketAddr> {
        self.plain.own.iter().map(BoundListener::address)
    }

    /// The same for TLS.
    pub(super) fn tls_own(&self) -> impl Iterator<Item = SocketAddr> {
        self.tls.iter().flat_map(|way| &way.own).map(BoundListener::address)
    }

    /// The port of each shard, as `hello` tells it.
    pub(super) fn ports(&self) -> Vec<u16> {
        self.plain.ports()
    }

    /// The same for TLS.
    pub(super) fn tls_ports(&self) -> Vec<u16> {
        self.tls.as_ref().map(Way::ports).unwrap_or_default()
    }

    /// What each shard listens on.
    pub(super) fn of_shards(self) -> Vec<Vec<BoundListener>> {
        let mut doors: Vec<_> = self.plain.shared.iter().map(|_| Vec::new()).collect();
        for way in [Some(self.plain), self.tls].into_iter().flatten() {
            for kind in [way.shared, way.own] {
                doors.iter_mut().zip(kind).for_each(|(doors, door)| doors.push(door));
            }
        }
        doors
    }
}

/// The same of two ways: nobody could tell what is spoken at a port of both.
fn check_apart(plain: &Way, tls: &Way) -> Result<(), StartError> {
    let is_anywhere = |address: SocketAddr| address.ip().is_unspecified();
    for one in tls.addresses() {
        let clashes = |other: SocketAddr| {
            let alike = one.ip() == other.ip() || is_anywhere(one) || is_anywhere(other);
            one.port() == other.port() && alike
        };
        if plain.addresses().any(clashes) {
            return Err(StartError::TlsPort(one));
        }
    }
    Ok(())
}

/// Two sockets may be bound to one port and only one may listen, which would
/// be known too late.
fn check_own_ports(shared: u16, first: u16, shards: u16) -> Result<(), StartError> {
    let last = first.checked_add(shards.saturating_sub(1));
    let fits = last.is_some_and(|last| !(first..=last).contains(&shared));
    if shards == 1 || first == 0 || fits {
        return Ok(());
    }
    Err(StartError::ShardPorts { shards, first, shared })
}
