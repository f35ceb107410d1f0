//! The mesh: requests on their way to the shard that owns them, and their
//! replies on the way back, a batch at a time.
//!
//! A parcel belongs to one pair of shards and goes back and forth between
//! them: filled with requests by one, with replies by the other. There are so
//! many and no more, so the queues cannot overflow and nothing is allocated.
//! A push costs one parcel, not one request, and the bell is rung only for a
//! shard that sleeps.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::bell::Bell;
use super::campaigns::Crowd;
use crate::journal::{Committed, Position};
use crate::limits::{
    PARCEL_ATTACHED_BYTES, PARCEL_REPLY_BYTES, PARCEL_REQUESTS, PARCELS_PER_PAIR_MIN,
    PARCELS_PER_SHARD,
};
use crate::net::Asked;
use crate::planted::{Bug, is_planted};
use crate::wire::{Op, ReplyWriter, Request, reply_bytes_max};

/// Requests of one shard's connections for another shard, and its replies.
pub(super) struct Parcel {
    /// The requests, in order.
    pub(super) asked: Vec<Asked>,
    /// What is attached to them.
    pub(super) attached: Vec<u8>,
    /// Their replies, in the same order, each a whole frame.
    replies: Vec<u8>,
    /// What the replies may take at most.
    promised: usize,
}

impl Parcel {
    fn empty() -> Self {
        Self {
            asked: Vec::with_capacity(PARCEL_REQUESTS),
            attached: Vec::with_capacity(PARCEL_ATTACHED_BYTES),
            replies: Vec::with_capacity(PARCEL_REPLY_BYTES),
            promised: 0,
        }
    }

    fn has_room(&self, asked: &Asked) -> bool {
        self.asked.len() < PARCEL_REQUESTS
            && self.promised + reply_bytes_max(asked.op) <= PARCEL_REPLY_BYTES
            && self.attached.len() + attached_bytes(asked) <= PARCEL_ATTACHED_BYTES
    }

    /// Puts in a request for which there is room; `attached` is where it has
    /// come with what is attached to it.
    fn put(&mut self, asked: &Asked, attached: &[u8]) {
        self.promised += reply_bytes_max(asked.op);
        self.asked.push(*asked);
        if Op::attaches(asked.op) {
            self.take_along(attached);
        }
    }

    /// Takes along what is attached to the last request.
    #[cold]
    fn take_along(&mut self, attached: &[u8]) {
        let last = self.asked.last_mut().and_then(|asked| asked.request.as_mut().ok());
        if let Some(bytes) = last.and_then(Request::attached_mut) {
            bytes.take_along(attached, &mut self.attached);
        }
    }

    /// The place for the reply to the next request.
    #[inline]
    pub(super) fn reply(&mut self, asked: &Asked) -> ReplyWriter<'_> {
        ReplyWriter::new(&mut self.replies, asked.op, asked.tag)
    }

    /// Every request with its reply.
    pub(super) fn answers(&self) -> impl Iterator<Item = (&Asked, &[u8])> {
        let mut rest = &self.replies[..];
        self.asked.iter().map_while(move |asked| {
            // Every reply begins with its length.
            let length = u16::from_le_bytes(*rest.first_chunk()?);
            let (reply, after) = rest.split_at_checked(length.into())?;
            rest = after;
            Some((asked, reply))
        })
    }

    fn clear(&mut self) {
        self.asked.clear();
        self.attached.clear();
        self.replies.clear();
        self.promised = 0;
    }
}

/// How many bytes are attached to a request.
#[inline]
fn attached_bytes(asked: &Asked) -> usize {
    if !Op::attaches(asked.op) {
        return 0;
    }
    let attached = asked.request.as_ref().ok().and_then(Request::attached);
    attached.map_or(0, |attached| attached.bytes.into())
}

type Lane = Arc<ArrayQueue<Parcel>>;

/// What one shard shares with another.
struct Peer {
    /// Our parcels that are here and empty.
    free: Vec<Parcel>,
    /// The one being filled.
    open: Option<Parcel>,
    /// How many of ours are not here.
    away: usize,
    to: Lane,
    returned: Lane,
    from: Lane,
    back: Lane,
    /// Their parcels, answered since the last commit was begun.
    answered: Vec<Parcel>,
    /// Their parcels whose commit is under way.
    sealed: Vec<Parcel>,
    bell: Arc<Bell>,
}

/// One shard's end of the mesh.
pub struct Mesh {
    own: usize,
    /// By shard; the entry of our own is `None`.
    peers: Vec<Option<Peer>>,
    /// What all shards know of the campaigns.
    crowd: Arc<Crowd>,
    /// The highest position that an answered parcel reveals.
    revealed: Position,
    /// The highest that a sealed one reveals.
    sealed_reveals: Position,
}

/// Parcels from one shard to another, full, away and empty ones together.
fn parcels_per_pair(shards: usize) -> usize {
    (PARCELS_PER_SHARD / shards.saturating_sub(1).max(1)).max(PARCELS_PER_PAIR_MIN)
}

/// The lanes of all ordered pairs: requests go, and come back as replies.
fn lanes(shards: usize) -> Vec<Vec<Lane>> {
    let lane = |_| Arc::new(ArrayQueue::new(parcels_per_pair(shards)));
    (0..shards).map(|_| (0..shards).map(lane).collect()).collect()
}

impl Mesh {
    /// The ends of a mesh between as many shards as there are bells.
    pub fn between(bells: &[Arc<Bell>]) -> Vec<Self> {
        let shards = bells.len();
        let (asking, answering) = (lanes(shards), lanes(shards));
        let parcels = parcels_per_pair(shards);
        let crowd = Arc::new(Crowd::between(shards));
        let peer = |own: usize, other: usize| {
            (own != other).then(|| Peer {
                free: (0..parcels).map(|_| Parcel::empty()).collect(),
                open: None,
                away: 0,
                to: Arc::clone(&asking[own][other]),
                returned: Arc::clone(&answering[other][own]),
                from: Arc::clone(&asking[other][own]),
                back: Arc::clone(&answering[own][other]),
                answered: Vec::with_capacity(parcels),
                sealed: Vec::with_capacity(parcels),
                bell: Arc::clone(&bells[other]),
            })
        };
        (0..shards)
            .map(|own| Self {
                own,
                peers: (0..shards).map(|other| peer(own, other)).collect(),
                crowd: Arc::clone(&crowd),
                revealed: Position::default(),
                sealed_reveals: Position::default(),
            })
            .collect()
    }

    /// The bytes that [`Mesh::between`] reserves for so many shards.
    pub fn memory_bytes(shards: usize) -> usize {
        let asked = PARCEL_REQUESTS * size_of::<Asked>() + PARCEL_ATTACHED_BYTES;
        let parcel = asked + PARCEL_REPLY_BYTES;
        shards * shards.saturating_sub(1) * parcels_per_pair(shards) * parcel
            + Crowd::memory_bytes(shards)
    }

    /// What all shards know of the campaigns.
    pub(super) fn crowd(&self) -> Arc<Crowd> {
        Arc::clone(&self.crowd)
    }

    /// How many shards there are.
    #[inline]
    pub(super) fn shards(&self) -> usize {
        self.peers.len()
    }

    /// Which of them this is.
    pub(super) fn own(&self) -> usize {
        self.own
    }

    /// The shard of a partition.
    #[inline]
    pub(super) fn owner(&self, partition: u8) -> usize {
        usize::from(partition) % self.peers.len()
    }

    /// Whether this shard owns it.
    #[inline]
    pub(super) fn is_own(&self, partition: u8) -> bool {
        self.peers.len() == 1 || self.owner(partition) == self.own
    }

    /// Puts a request, and what is attached to it, into a parcel for its owner;
    /// false when all parcels to it are away.
    pub(super) fn carry(&mut self, owner: usize, asked: &Asked, attached: &[u8]) -> bool {
        let Some(Some(peer)) = self.peers.get_mut(owner) else { return false };
        if peer.open.as_ref().is_some_and(|open| !open.has_room(asked)) {
            peer.send();
        }
        if peer.open.is_none() {
            peer.open = peer.free.pop();
        }
        let Some(open) = &mut peer.open else { return false };
        open.put(asked, attached);
        true
    }

    /// Sends every parcel that was begun.
    pub(super) fn send(&mut self) {
        self.peers.iter_mut().flatten().for_each(Peer::send);
    }

    /// The next parcel of requests that a peer has sent, and the peer.
    pub(super) fn next_asked(&mut self) -> Option<(usize, Parcel)> {
        let mut peers = self.peers.iter().enumerate();
        peers.find_map(|(shard, peer)| Some((shard, peer.as_ref()?.from.pop()?)))
    }

    /// Holds an answered parcel, which reveals our state up to `reveals`.
    pub(super) fn hold(&mut self, shard: usize, parcel: Parcel, reveals: Position) {
        self.revealed = self.revealed.max(reveals);
        if let Some(Some(peer)) = self.peers.get_mut(shard) {
            peer.answered.push(parcel);
        }
    }

    /// The parcels answered until now wait for the commit that comes next.
    pub(super) fn seal(&mut self) {
        self.sealed_reveals = self.sealed_reveals.max(self.revealed);
        for peer in self.peers.iter_mut().flatten() {
            peer.sealed.append(&mut peer.answered);
        }
    }

    /// Sends the sealed parcels back. `committed` must cover what they reveal.
    pub(super) fn release(&mut self, committed: Committed) {
        assert!(committed.upto() >= self.sealed_reveals, "a reply would leave before its commit");
        for peer in self.peers.iter_mut().flatten() {
            let any = !peer.sealed.is_empty();
            for parcel in peer.sealed.drain(..) {
                // The lane is as long as there are parcels: this never fails.
                let _ = peer.back.push(parcel);
            }
            if any {
                peer.bell.ring_if_asleep();
            }
        }
    }

    /// The next of our parcels that has come back with replies, and its peer.
    pub(super) fn next_answered(&mut self) -> Option<(usize, Parcel)> {
        let mut peers = self.peers.iter_mut().enumerate();
        peers.find_map(|(shard, peer)| {
            let peer = peer.as_mut()?;
            let parcel = peer.returned.pop()?;
            peer.away -= 1;
            Some((shard, parcel))
        })
    }

    /// Takes a parcel back whose replies were taken out.
    pub(super) fn reuse(&mut self, shard: usize, mut parcel: Parcel) {
        parcel.clear();
        if let Some(Some(peer)) = self.peers.get_mut(shard) {
            peer.free.push(parcel);
        }
    }

    /// Whether something has come for us.
    pub(super) fn has_arrivals(&self) -> bool {
        let mut peers = self.peers.iter().flatten();
        peers.any(|peer| !peer.from.is_empty() || !peer.returned.is_empty())
    }

    /// Whether requests of ours are with other shards.
    pub(super) fn has_parcels_away(&self) -> bool {
        self.peers.iter().flatten().any(|peer| peer.away > 0 || peer.open.is_some())
    }
}

impl Peer {
    fn send(&mut self) {
        let Some(parcel) = self.open.take() else { return };
        self.away += 1;
        if is_planted(Bug::ParcelDropped) && parcel.asked.len().is_multiple_of(5) {
            return;
        }
        // The lane is as long as there are parcels: this never fails.
        let _ = self.to.push(parcel);
        self.bell.ring_if_asleep();
    }
}
