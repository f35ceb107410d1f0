//! Who owns a request, and where its owner listens.
//!
//! Pure functions; this room never connects.

use super::address::Address;
use crate::engine::partition_of;
use crate::units::EnvelopeId;
use crate::wire::{Hello, Request};

/// The partition that a request belongs to: that of its envelope, for a new
/// envelope that of its sender. `None` where any shard can answer by itself.
#[inline]
pub fn partition(request: &Request) -> Option<u8> {
    match request {
        Request::Hello { .. } => None,
        Request::Send(order) | Request::SendWith { order, .. } => Some(partition_of(order.sender)),
        about => about.envelope().map(EnvelopeId::partition),
    }
}

/// Where each shard listens, in the order of the shards, as seen by a client
/// that reached the server at `address`. One address, if that is all there is
/// to choose from: one shard, a unix socket, or a shard without TCP.
pub fn shard_addresses(address: &Address, hello: &Hello) -> Vec<Address> {
    let own: Option<Vec<Address>> =
        hello.ports.iter().map(|port| address.with_port(*port).filter(|_| *port != 0)).collect();
    match own {
        Some(own) if own.len() > 1 => own,
        _ => vec![address.clone()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Split, UserId};
    use crate::wire::SendOrder;

    fn hello(ports: &[u16]) -> Hello {
        Hello { version: 1, frame_bytes_max: 4096, cell: 1, durability: 0, ports: ports.to_vec() }
    }

    #[test]
    fn a_partition_belongs_to_the_shard_of_its_remainder() {
        let three = hello(&[7, 8, 9]);
        assert_eq!([0, 1, 2, 3, 255].map(|partition| three.owner(partition)), [0, 1, 2, 0, 0]);
        assert_eq!(hello(&[]).owner(255), 0);
    }

    #[test]
    fn an_order_goes_where_its_envelope_will_live() {
        let order = SendOrder {
            nonce: 0,
            source: crate::units::MoneySource::Vouched,
            sender: UserId(77),
            order: 1,
            payment: 1,
            total: 1,
            shares: 1,
            lifetime_s: 1,
            share_max: 0,
            split: Split::Equal,
        };
        let home = partition_of(UserId(77));
        assert_eq!(partition(&Request::Send(order)), Some(home));
        let envelope = EnvelopeId::new(1, home, 5, 1);
        assert_eq!(partition(&Request::Show { envelope }), Some(home));
        assert_eq!(partition(&Request::Hello { version: 1 }), None);
    }

    #[test]
    fn shards_are_found_on_the_host_that_answered() {
        let address: Address = "box:7".parse().unwrap();
        let shown = |hello: &Hello, address: &Address| -> Vec<String> {
            shard_addresses(address, hello).iter().map(ToString::to_string).collect()
        };
        assert_eq!(shown(&hello(&[7, 8]), &address), ["box:7", "box:8"]);
        assert_eq!(shown(&hello(&[7000]), &address), ["box:7"], "one shard may be behind a tunnel");
        assert_eq!(shown(&hello(&[7, 0]), &address), ["box:7"]);
        assert_eq!(shown(&hello(&[7, 8]), &"unix:/s".parse().unwrap()), ["unix:/s"]);
    }
}
