//! Whom a shard lets in: what is asked of a connection before it may ask for
//! anything, and how many there may be of each kind.
//!
//! Each shard has a gate of its own and counts its own connections. Without
//! keys everybody is let in as they come; a start beyond loopback is then
//! refused elsewhere.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rustix::net::sockopt;

use super::connection::Connection;
use super::intake::{Step, Stopped};
use super::listen::Door;
use crate::access::{Keyring, Pending, PrincipalName, PrincipalNumber};
use crate::limits::RETRY_AFTER_MS_MAX;
use crate::wire::{
    Challenge, Denial, Heard, Op, Operations, Proof, ReplyWriter, Said, Status, decode_stranger,
};

/// Who may come in.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Those who may connect by TCP; none asks nobody who they are.
    pub keyring: Option<Arc<Keyring>>,
    /// Users of this machine who may connect by the unix socket, besides root
    /// and the server's own; none asks nobody.
    pub uids: Option<Vec<u32>>,
    /// Connections at the same time that have not said who they are.
    pub strangers_max: u32,
    /// Those of one address; of IPv6, of one network of 64 bits.
    pub strangers_per_address_max: u32,
    /// Connections at the same time of one principal.
    pub per_principal_max: u32,
}

/// What is known of who is at the other end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Standing {
    /// Nothing was asked.
    #[default]
    Anybody,
    /// It has not proved anything yet.
    Stranger {
        /// Where it comes from.
        address: IpAddr,
        /// The handshake that it has begun.
        pending: Option<Pending>,
    },
    /// It has proved who it is.
    Known(PrincipalNumber),
}

/// Why a connection is closed as it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TurnedAway {
    /// There are too many of its kind.
    Full,
    /// A user of this machine who may not.
    Uid,
}

/// One shard's gate.
pub(super) struct Gate {
    entry: Entry,
    nonces: ChaCha12Rng,
    strangers: u32,
    by_address: HashMap<IpAddr, u32>,
    by_principal: Vec<u32>,
}

impl Gate {
    /// A gate nobody has passed. `seed` is from the operating system.
    pub(super) fn new(entry: Entry, seed: [u8; 32]) -> Self {
        let principals = entry.keyring.as_ref().map_or(0, |keyring| keyring.principals().len());
        let strangers = usize::try_from(entry.strangers_max).unwrap_or(0);
        Self {
            nonces: ChaCha12Rng::from_seed(seed),
            strangers: 0,
            // Twice as much as is ever in it, so that it never grows.
            by_address: HashMap::with_capacity(2 * strangers),
            by_principal: vec![0; principals],
            entry,
        }
    }

    /// Looks at a connection that has come.
    pub(super) fn admit(
        &mut self,
        socket: &impl AsFd,
        door: Door,
    ) -> Result<(Standing, Operations), TurnedAway> {
        if door == Door::Unix {
            return self.admit_user(socket);
        }
        // Over TLS everybody is a stranger until the handshake has ended.
        if self.entry.keyring.is_none() && door == Door::Tcp {
            return Ok((Standing::Anybody, Operations::EVERYTHING));
        }
        let peer = rustix::net::getpeername(socket).ok().flatten();
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        // Nobody is there any more.
        let address = network(peer.ok_or(TurnedAway::Full)?.ip());
        let of_address = self.by_address.get(&address).copied().unwrap_or(0);
        if self.strangers >= self.entry.strangers_max
            || of_address >= self.entry.strangers_per_address_max
        {
            return Err(TurnedAway::Full);
        }
        self.strangers += 1;
        self.by_address.insert(address, of_address + 1);
        Ok((Standing::Stranger { address, pending: None }, Operations::NOTHING))
    }

    /// The kernel says who is at the other end of a unix socket.
    fn admit_user(&self, socket: &impl AsFd) -> Result<(Standing, Operations), TurnedAway> {
        let Some(uids) = &self.entry.uids else {
            return Ok((Standing::Anybody, Operations::EVERYTHING));
        };
        let peer = sockopt::socket_peercred(socket).map_err(|_| TurnedAway::Uid)?.uid.as_raw();
        let own = rustix::process::geteuid().as_raw();
        if peer == 0 || peer == own || uids.contains(&peer) {
            Ok((Standing::Anybody, Operations::EVERYTHING))
        } else {
            Err(TurnedAway::Uid)
        }
    }

    /// Forgets a connection that is gone.
    pub(super) fn leave(&mut self, standing: Standing) {
        match standing {
            Standing::Anybody => {}
            Standing::Stranger { address, .. } => self.forget_stranger(address),
            Standing::Known(who) => {
                if let Some(count) = self.by_principal.get_mut(usize::from(who.0)) {
                    *count -= 1;
                }
            }
        }
    }

    fn forget_stranger(&mut self, address: IpAddr) {
        self.strangers -= 1;
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }

    /// Reads the frame at the front of what a stranger has sent, and answers it.
    #[cold]
    pub(super) fn hear(&mut self, connection: &mut Connection, stream: &[u8]) -> Step {
        match decode_stranger(stream) {
            Heard::Incomplete => Step::Incomplete,
            Heard::Broken(broken) => Step::Stop(Stopped::Broken(broken)),
            Heard::Frame { bytes, op, tag, said } => {
                let told = self.say(connection, tag, said);
                let Err((status, detail)) = told else { return Step::Took(bytes) };
                ReplyWriter::new(&mut connection.filling, op, tag).bare(status, detail);
                Step::Stop(Stopped::TurnedAway)
            }
        }
    }

    fn say(&mut self, connection: &mut Connection, tag: u64, said: Said) -> Result<(), No> {
        let Standing::Stranger { address, pending } = connection.standing else {
            return Err(denied(Denial::Stranger));
        };
        match (said, pending) {
            (Said::Challenge(challenge), None) => {
                self.answer(connection, address, tag, &challenge);
                Ok(())
            }
            (Said::Authenticate(proof), Some(pending)) => {
                self.let_in(connection, address, &pending, &proof)?;
                let reply = ReplyWriter::new(&mut connection.filling, Op::Authenticate.code(), tag);
                reply.bare(Status::Ok, 0);
                Ok(())
            }
            (Said::Nonsense(reason), _) => Err((Status::BadRequest, reason.code())),
            (Said::Challenge(_) | Said::Authenticate(_) | Said::Other, _) => {
                Err(denied(Denial::Stranger))
            }
        }
    }

    fn answer(
        &mut self,
        connection: &mut Connection,
        address: IpAddr,
        tag: u64,
        challenge: &Challenge,
    ) {
        let Some(keyring) = &self.entry.keyring else { return };
        let mut nonce = [0; 32];
        self.nonces.fill_bytes(&mut nonce);
        let (challenged, pending) = keyring.answer(challenge, nonce);
        connection.standing = Standing::Stranger { address, pending: Some(pending) };
        let reply = ReplyWriter::new(&mut connection.filling, Op::Challenge.code(), tag);
        reply.challenged(&challenged);
    }

    fn let_in(
        &mut self,
        connection: &mut Connection,
        address: IpAddr,
        pending: &Pending,
        proof: &Proof,
    ) -> Result<(), No> {
        let keyring = self.entry.keyring.as_ref();
        let known = keyring.and_then(|keyring| keyring.verify(pending, proof));
        self.know(connection, address, known.ok_or(denied(Denial::Proof))?)
    }

    /// Takes in one whose TLS handshake has ended; `named` is whom its verified
    /// certificate names. A principal is known by that; anybody else proves by
    /// a key who it is, where keys are asked for.
    #[cold]
    pub(super) fn welcome(
        &mut self,
        connection: &mut Connection,
        named: Option<&PrincipalName>,
    ) -> Result<(), No> {
        let Standing::Stranger { address, .. } = connection.standing else { return Ok(()) };
        let Some(keyring) = &self.entry.keyring else {
            self.forget_stranger(address);
            (connection.standing, connection.allowed) = (Standing::Anybody, Operations::EVERYTHING);
            return Ok(());
        };
        match named.and_then(|name| keyring.named(name)) {
            Some(who) => self.know(connection, address, who),
            None => Ok(()),
        }
    }

    /// From now on it is somebody, if there is a place for one more of it.
    fn know(
        &mut self,
        connection: &mut Connection,
        address: IpAddr,
        who: PrincipalNumber,
    ) -> Result<(), No> {
        let keyring = self.entry.keyring.as_ref().ok_or(denied(Denial::Proof))?;
        let allowed = keyring.roles(who).operations();
        let count = self.by_principal.get_mut(usize::from(who.0));
        let count = count.filter(|count| **count < self.entry.per_principal_max);
        *count.ok_or((Status::Overloaded, RETRY_AFTER_MS_MAX))? += 1;
        self.forget_stranger(address);
        connection.standing = Standing::Known(who);
        connection.allowed = allowed;
        Ok(())
    }
}

/// A refusal: status and detail.
pub(super) type No = (Status, u32);

fn denied(why: Denial) -> No {
    (Status::Denied, why.code())
}

/// What one user may have many of: an IPv4 address, or an IPv6 network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_addresses_of_one_ipv6_network_are_one() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), "10.0.0.1");
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
