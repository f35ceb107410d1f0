//! A test double of the server: sockets and a naive model, enough to test the
//! client and `hb` against. It keeps nothing on disk and cuts every share the
//! same.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use hongbao::client::partition;
use hongbao::engine::commitment::{Terms, commitment};
use hongbao::engine::partition_of;
use hongbao::limits::DETAIL_ROWS_MAX;
use hongbao::units::{EnvelopeId, EnvelopeState, MoneySource, Seed, UserId};
use hongbao::wire::{
    BadRequest, Confirmed, Decoded, Denial, NotOpen, Ordered, Payment, PaymentKeys, ReplyWriter,
    Request, Reveal, Row, SendOrder, Status, Summary, decode_request,
};

/// The seed of every envelope; equal shares do not need one.
const SEED: Seed = Seed([3, 4]);

/// The key that a double believes, and its id.
pub(crate) const KEY: (u32, [u8; 32]) = (1, [7; 32]);

/// What a double does wrong on purpose.
#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Hangs up, once, after this many requests of a connection were done and
    /// before they are answered.
    pub hang_up_after: Option<u32>,
    /// Refuses every send as `Unavailable`.
    pub full: bool,
    /// Says this protocol version.
    pub version: Option<u32>,
    /// Reads and never answers.
    pub silent: bool,
    /// What its ledger says of an order from a balance, at the second look at
    /// the order; `None` says nothing.
    pub covers: Option<bool>,
    /// Tells ports of further shards on which nobody listens.
    pub closed_ports: bool,
}

struct Envelope {
    order: SendOrder,
    rows: Vec<Row>,
    refunded: u64,
    state: EnvelopeState,
    /// Its payment came too late and went back.
    returned: bool,
    /// How often it was looked at.
    looks: u32,
}

#[derive(Default)]
struct Model {
    faults: Faults,
    /// The ports that `hello` tells.
    ports: Vec<u16>,
    /// Requests that came to another shard than their owner.
    crossed: u64,
    owned: u64,
    envelopes: HashMap<u64, Envelope>,
    orders: HashMap<(u64, u64), u64>,
}

/// A running double with several shards.
pub(crate) struct Shards {
    pub addresses: Vec<SocketAddr>,
    model: Arc<Mutex<Model>>,
}

#[allow(dead_code, reason = "each test program uses what it needs of the double")]
impl Shards {
    /// How many requests about envelopes came to their owner, and how many to
    /// another shard.
    pub(crate) fn owned_and_crossed(&self) -> (u64, u64) {
        let model = self.model.lock().unwrap();
        (model.owned, model.crossed)
    }

    /// From now on only so many shards are told, and answer as such.
    pub(crate) fn shrink_to(&self, shards: usize) {
        self.model.lock().unwrap().ports.truncate(shards);
    }

    /// From now on every line is cut, once, at its next request.
    pub(crate) fn hang_up(&self) {
        self.model.lock().unwrap().faults.hang_up_after = Some(0);
    }
}

/// Starts a double; it lives until the test process ends.
pub(crate) fn start(faults: Faults) -> SocketAddr {
    start_shards(faults, 1).addresses[0]
}

/// Starts a double of a server with several shards.
pub(crate) fn start_shards(faults: Faults, shards: usize) -> Shards {
    let listeners: Vec<TcpListener> =
        (0..shards).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<SocketAddr> =
        listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
    let mut ports: Vec<u16> = addresses.iter().map(SocketAddr::port).collect();
    if faults.closed_ports {
        ports.extend([1, 1]);
    }
    let model = Arc::new(Mutex::new(Model { faults, ports, ..Model::default() }));
    for (shard, listener) in listeners.into_iter().enumerate() {
        let model = Arc::clone(&model);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let model = Arc::clone(&model);
                thread::spawn(move || serve(stream.unwrap(), shard, &model));
            }
        });
    }
    Shards { addresses, model }
}

fn serve(mut stream: TcpStream, shard: usize, model: &Mutex<Model>) {
    let (mut input, mut piece, mut done) = (Vec::new(), vec![0; 65536], 0);
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        input.extend_from_slice(&piece[..count]);
        let mut output = Vec::new();
        let mut at = 0;
        while let Decoded::Frame { bytes, op, tag, request, .. } = decode_request(&input[at..]) {
            let writer = ReplyWriter::new(&mut output, op, tag);
            model.lock().unwrap().answer(shard, writer, request.unwrap());
            (at, done) = (at + bytes, done + 1);
        }
        input.drain(..at);
        if model.lock().unwrap().hangs_up(done) {
            return;
        }
        if !model.lock().unwrap().faults.silent && stream.write_all(&output).is_err() {
            return;
        }
    }
}

impl Model {
    fn hangs_up(&mut self, done: u32) -> bool {
        let now = self.faults.hang_up_after.is_some_and(|after| done > after);
        if now {
            self.faults.hang_up_after = None;
        }
        now
    }

    fn answer(&mut self, shard: usize, writer: ReplyWriter<'_>, request: Request) {
        match partition(&request).map(|partition| usize::from(partition) % self.ports.len()) {
            Some(owner) if owner == shard => self.owned += 1,
            Some(_) => self.crossed += 1,
            None => {}
        }
        match request {
            Request::Hello { .. } => {
                writer.hello(self.faults.version.unwrap_or(1), 0, 1, &self.ports);
            }
            Request::Send(_) if self.faults.full => writer.bare(Status::Unavailable, 1000),
            Request::Send(order) => self.send(writer, order),
            Request::Grab { envelope, user } => self.look(writer, envelope, user, false),
            Request::Claim { envelope, user } => self.look(writer, envelope, user, true),
            Request::Show { envelope } => match self.envelopes.get_mut(&envelope.0) {
                Some(found) => {
                    found.look(self.faults.covers);
                    writer.summary(&found.summary());
                }
                None => writer.bare(Status::NotFound, 0),
            },
            Request::Detail { envelope, from, rows_max } => {
                self.detail(writer, envelope, from, rows_max);
            }
            Request::Cancel { envelope, sender } => self.cancel(writer, envelope, sender),
            Request::Fund { envelope, payment, amount, key_id, seal } => {
                let payment = Payment { envelope, payment, amount };
                let mut keys = PaymentKeys::default();
                keys.add(KEY.0, &KEY.1).unwrap();
                if keys.is_sealed(key_id, 0, &payment, &seal) {
                    self.fund(writer, &payment);
                } else {
                    writer.bare(Status::Denied, Denial::Seal.code());
                }
            }
            Request::Void { envelope, sender } => self.void(writer, envelope, sender),
            Request::SendWith { .. }
            | Request::ClaimWith { .. }
            | Request::ShakeWith { .. }
            | Request::Terms { .. } => {
                writer.bare(Status::BadRequest, BadRequest::UnknownOp.code()); // an older server
            }
            Request::Reveal { envelope } => match self.envelopes.get(&envelope.0) {
                Some(found) => writer.reveal(&found.reveal(envelope)),
                None => writer.bare(Status::NotFound, 0),
            },
            // It has no campaigns, and knows no risk.
            Request::Shake { .. }
            | Request::CampaignPlan { .. }
            | Request::CampaignCommand { .. }
            | Request::CampaignStatus { .. }
            | Request::CampaignWins { .. }
            | Request::RiskMark { .. }
            | Request::RiskExplain { .. }
            | Request::RiskHolds(_)
            | Request::RiskFeed { .. }
            | Request::RiskResolve { .. } => writer.bare(Status::NotFound, 0),
        }
    }

    fn send(&mut self, writer: ReplyWriter<'_>, order: SendOrder) {
        if let Some(&id) = self.orders.get(&(order.sender.0, order.order)) {
            let same = self.envelopes[&id].order == order;
            if !same {
                return writer.bare(Status::Conflict, 0);
            }
            return writer.ordered(1, &self.envelopes[&id].ordered(EnvelopeId(id)));
        }
        let slot = u32::try_from(self.envelopes.len()).unwrap();
        let id = EnvelopeId::new(0, partition_of(order.sender), slot, 1).0;
        self.orders.insert((order.sender.0, order.order), id);
        let state = match order.source {
            MoneySource::Vouched => EnvelopeState::Open,
            MoneySource::Balance | MoneySource::Payment => EnvelopeState::Reserved,
        };
        let envelope =
            Envelope { order, rows: vec![], refunded: 0, state, returned: false, looks: 0 };
        writer.ordered(0, &envelope.ordered(EnvelopeId(id)));
        self.envelopes.insert(id, envelope);
    }

    fn fund(&mut self, writer: ReplyWriter<'_>, payment: &Payment) {
        let Some(found) = self.envelopes.get_mut(&payment.envelope.0) else {
            return writer.bare(Status::NotFound, 0);
        };
        let (confirmed, amount) = match found.state {
            EnvelopeState::Reserved => {
                found.state = EnvelopeState::Open;
                (Confirmed::Opened, 0)
            }
            EnvelopeState::Voided if found.returned => (Confirmed::ReturnedBefore, payment.amount),
            EnvelopeState::Voided => {
                found.returned = true;
                (Confirmed::Returned, payment.amount)
            }
            _ => (Confirmed::OpenedBefore, 0),
        };
        writer.number(Status::Ok, confirmed.code(), amount);
    }

    fn void(&mut self, writer: ReplyWriter<'_>, id: EnvelopeId, sender: UserId) {
        match self.envelopes.get_mut(&id.0) {
            None => writer.bare(Status::NotFound, 0),
            Some(found) if found.order.sender != sender => writer.bare(Status::Denied, 0),
            Some(found) if found.state == EnvelopeState::Reserved => {
                found.state = EnvelopeState::Voided;
                writer.bare(Status::Ok, 0);
            }
            Some(found) if found.state == EnvelopeState::Voided => writer.bare(Status::Ok, 1),
            Some(_) => writer.bare(Status::Conflict, 0),
        }
    }

    fn look(&mut self, writer: ReplyWriter<'_>, id: EnvelopeId, user: UserId, claims: bool) {
        let Some(envelope) = self.envelopes.get_mut(&id.0) else {
            return writer.bare(Status::NotFound, 0);
        };
        if let Some(row) = envelope.rows.iter().find(|row| row.user == user) {
            return writer.number(Status::AlreadyClaimed, 0, row.amount.into());
        }
        match envelope.state {
            EnvelopeState::Open if claims => writer.number(Status::Ok, 0, envelope.claim(user)),
            EnvelopeState::Open => writer.number(Status::Ok, envelope.shares_left(), 0),
            EnvelopeState::Exhausted => writer.bare(Status::SoldOut, 0),
            EnvelopeState::Expired => writer.bare(Status::Expired, 0),
            shut => writer.bare(Status::NotOpen, not_open(shut).code()),
        }
    }

    fn detail(&self, writer: ReplyWriter<'_>, id: EnvelopeId, from: u32, rows_max: u32) {
        let Some(envelope) = self.envelopes.get(&id.0) else {
            return writer.bare(Status::NotFound, 0);
        };
        let claimed = u32::try_from(envelope.rows.len()).unwrap();
        let count = claimed.saturating_sub(from).min(rows_max).min(DETAIL_ROWS_MAX);
        let rows = envelope.rows.iter().skip(usize::try_from(from).unwrap()).copied();
        writer.detail(envelope.order.shares, claimed, from, count, rows);
    }

    fn cancel(&mut self, writer: ReplyWriter<'_>, id: EnvelopeId, sender: UserId) {
        match self.envelopes.get_mut(&id.0) {
            None => writer.bare(Status::NotFound, 0),
            Some(envelope) if envelope.order.sender != sender => writer.bare(Status::Denied, 0),
            Some(envelope) => match envelope.state {
                EnvelopeState::Exhausted => writer.bare(Status::SoldOut, 0),
                EnvelopeState::Cancelled => writer.number(Status::Ok, 1, envelope.refunded),
                EnvelopeState::Expired => writer.bare(Status::Expired, 0),
                shut @ (EnvelopeState::Reserved | EnvelopeState::Voided) => {
                    writer.bare(Status::NotOpen, not_open(shut).code());
                }
                EnvelopeState::Open => {
                    envelope.refunded = envelope.left();
                    envelope.state = EnvelopeState::Cancelled;
                    writer.number(Status::Ok, 0, envelope.refunded);
                }
            },
        }
    }
}

fn not_open(state: EnvelopeState) -> NotOpen {
    match state {
        EnvelopeState::Reserved => NotOpen::NotPaid,
        EnvelopeState::Voided => NotOpen::NeverPaid,
        _ => NotOpen::Cancelled,
    }
}

impl Envelope {
    fn ordered(&self, envelope: EnvelopeId) -> Ordered {
        Ordered { envelope, state: self.state, commitment: self.reveal(envelope).commitment }
    }

    fn reveal(&self, envelope: EnvelopeId) -> Reveal {
        let SendOrder { nonce, total, shares, share_max, split, .. } = self.order;
        let terms = Terms { envelope, nonce, total, shares, share_max, split };
        let is_live = matches!(self.state, EnvelopeState::Open | EnvelopeState::Reserved);
        let seed = (!is_live).then_some(SEED);
        Reveal { commitment: commitment(&terms, SEED), seed, nonce }
    }

    fn look(&mut self, covers: Option<bool>) {
        self.looks += 1;
        let waits = (self.state, self.order.source);
        if waits != (EnvelopeState::Reserved, MoneySource::Balance) || self.looks < 2 {
            return;
        }
        match covers {
            Some(true) => self.state = EnvelopeState::Open,
            Some(false) => self.state = EnvelopeState::Voided,
            None => {}
        }
    }

    fn luckiest(&self) -> Option<(UserId, u64)> {
        let best = self.rows.iter().rev().max_by_key(|row| row.amount);
        best.filter(|_| self.shares_left() == 0).map(|row| (row.user, row.amount.into()))
    }

    fn shares_left(&self) -> u32 {
        self.order.shares - u32::try_from(self.rows.len()).unwrap()
    }

    fn left(&self) -> u64 {
        let claimed: u64 = self.rows.iter().map(|row| u64::from(row.amount)).sum();
        self.order.total - claimed - self.refunded
    }

    fn claim(&mut self, user: UserId) -> u64 {
        let amount = self.left() / u64::from(self.shares_left());
        self.rows.push(Row { user, amount: u32::try_from(amount).unwrap(), at: 1 });
        if self.shares_left() == 0 {
            self.state = EnvelopeState::Exhausted;
        }
        amount
    }

    fn summary(&self) -> Summary {
        Summary {
            sender: self.order.sender,
            order: self.order.order,
            payment: self.order.payment,
            total: self.order.total,
            left: self.left(),
            refunded: self.refunded,
            shares: self.order.shares,
            claimed: u32::try_from(self.rows.len()).unwrap(),
            share_max: self.order.share_max,
            created_at: 1,
            expires_at: 1 + self.order.lifetime_s,
            state: self.state,
            split: self.order.split,
            source: self.order.source,
            luckiest: self.luckiest(),
        }
    }
}
