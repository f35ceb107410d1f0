//! A client of a whole server: a connection to each shard, opened when the
//! first request for it comes, and how they are had again when one breaks.

use std::thread::sleep;
use std::time::Duration;

use super::address::Address;
use super::connection::{Connection, Settings};
use super::error::ClientError;
use super::routes::{partition, shard_addresses};
use crate::wire::{Hello, Reply, Request};

/// How a shard is reached.
enum Route {
    /// Nothing was asked of it yet.
    Untried(Address),
    /// Over its own connection.
    Own(Box<Connection>),
    /// Over the first connection: it is that shard's, or the shard's own port
    /// cannot be reached. The server hands such requests on by itself.
    First,
}

/// A connected client.
pub struct Client {
    first: Connection,
    settings: Settings,
    /// One for each shard, rebuilt with every hello of the first connection.
    routes: Vec<Route>,
}

impl Client {
    /// Connects and says hello.
    pub fn connect(address: &Address) -> Result<Self, ClientError> {
        Self::connect_with(address, Settings::default())
    }

    /// Connects and says hello, with the caller's patience.
    pub fn connect_with(address: &Address, settings: Settings) -> Result<Self, ClientError> {
        let first = Connection::connect(address, settings.clone())?;
        let routes = routes_of(&first);
        Ok(Self { first, settings, routes })
    }

    /// Leaves all connections and makes the first one new; another server may
    /// listen by now, with another number of shards. What was submitted and
    /// not received is forgotten: the caller submits it again, which is safe
    /// because every operation is idempotent, but a shake: again, it is another try.
    pub fn reconnect(&mut self) -> Result<(), ClientError> {
        self.routes.clear();
        self.first.reconnect()?;
        self.routes = routes_of(&self.first);
        Ok(())
    }

    /// The facts of the connected server.
    pub fn hello(&self) -> &Hello {
        self.first.hello()
    }

    /// Where the server is.
    pub fn address(&self) -> &Address {
        self.first.address()
    }

    /// How many submitted requests wait for their reply, on all connections.
    pub fn waiting(&self) -> usize {
        let own = self.routes.iter().map(|route| match route {
            Route::Own(connection) => connection.waiting(),
            Route::Untried(_) | Route::First => 0,
        });
        self.first.waiting() + own.sum::<usize>()
    }

    /// [`Connection::submit`] on the first connection, whoever owns the request.
    pub fn submit(&mut self, request: &Request) -> u64 {
        self.first.submit(request)
    }

    /// [`Connection::submit_with`] on the first connection.
    pub fn submit_with(&mut self, request: &Request, beside: &[u8]) -> u64 {
        self.first.submit_with(request, beside)
    }

    /// [`Connection::flush`] on the first connection.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        self.first.flush()
    }

    /// [`Connection::receive`] on the first connection.
    pub fn receive(&mut self) -> Result<Reply, ClientError> {
        self.first.receive()
    }

    /// The connection to the shard that owns this request: on it the request
    /// saves a hop. A shard whose own port does not answer, or answers for
    /// another server, is reached over the first connection.
    pub fn connection_of(&mut self, request: &Request) -> &mut Connection {
        let owner = partition(request).map(|partition| self.first.hello().owner(partition));
        let Some(route) = owner.and_then(|owner| self.routes.get_mut(owner)) else {
            return &mut self.first;
        };
        if let Route::Untried(address) = route {
            let own = Connection::connect(address, self.settings.clone()).ok();
            let same = own.filter(|own| own.hello() == self.first.hello());
            *route = same.map_or(Route::First, |own| Route::Own(Box::new(own)));
        }
        match route {
            Route::Own(connection) => connection,
            Route::Untried(_) | Route::First => &mut self.first,
        }
    }

    /// One request, one answer, from the shard that owns it. When a connection
    /// breaks, this reconnects and sends the same request again, some times,
    /// with growing pauses. That is safe because every operation is
    /// idempotent: a claim repeated after an unknown outcome tells the same
    /// amount, a send the same envelope.
    pub fn call(&mut self, request: &Request) -> Result<Reply, ClientError> {
        self.call_with(request, &[])
    }

    /// How often a call is made, and how long it rests after the first time.
    pub(super) fn patience(&self) -> (u32, Duration) {
        (self.settings.tries, self.settings.first_pause)
    }

    /// [`Client::call`] of a request that is not the same when it is sent again: when
    /// the connection breaks, the caller has the next word.
    pub(super) fn try_once(
        &mut self,
        request: &Request,
        beside: &[u8],
    ) -> Result<Reply, ClientError> {
        match self.waiting() {
            0 => self.connection_of(request).call_once(request, beside),
            waiting => Err(ClientError::RepliesWaiting(waiting)),
        }
    }

    /// [`Client::call`] of a request with the bytes of terms or evidence.
    pub fn call_with(&mut self, request: &Request, beside: &[u8]) -> Result<Reply, ClientError> {
        match self.waiting() {
            0 => {}
            waiting => return Err(ClientError::RepliesWaiting(waiting)),
        }
        let mut result = self.connection_of(request).call_once(request, beside);
        let mut pause = self.settings.first_pause;
        for _ in 1..self.settings.tries {
            match &result {
                Err(error) if error.is_broken_connection() => sleep(pause),
                _ => return result,
            }
            pause *= 2;
            result = match self.reconnect() {
                Ok(()) => self.connection_of(request).call_once(request, beside),
                Err(error) => Err(error),
            };
        }
        result
    }
}

fn routes_of(first: &Connection) -> Vec<Route> {
    let route = |address| {
        if address == *first.address() { Route::First } else { Route::Untried(address) }
    };
    shard_addresses(first.address(), first.hello()).into_iter().map(route).collect()
}
