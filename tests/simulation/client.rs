//! A client that pipelines, vanishes, and asks again.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use hongbao::net::simulated::World;
use hongbao::units::{Time, UserId};
use hongbao::wire::{Request, decode_reply, encode_with};

use crate::book::Book;
use crate::server::door;

/// Requests that may be without an answer at a time.
const OUTSTANDING_MAX: usize = 48;

/// What is asked: a request, and the terms or the evidence beside it.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) request: Request,
    pub(crate) beside: Vec<u8>,
}

impl From<Request> for Question {
    fn from(request: Request) -> Self {
        Self { request, beside: Vec::new() }
    }
}

/// A question, and when it was asked.
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) beside: Vec<u8>,
    pub(crate) at: u64,
    /// The earliest that it can have been for the server.
    pub(crate) earliest: Time,
}

impl Asked {
    /// Who claims, or looks whether there is something to claim.
    pub(crate) fn user(&self) -> Option<UserId> {
        match self.request {
            Request::Claim { user, .. }
            | Request::ClaimWith { user, .. }
            | Request::ShakeWith { user, .. }
            | Request::Grab { user, .. } => Some(user),
            _ => None,
        }
    }
}

/// One connection to some shard.
pub(crate) struct Client {
    stream: Option<UnixStream>,
    outstanding: BTreeMap<u64, Asked>,
    unsent: Vec<u8>,
    unread: Vec<u8>,
    next_tag: u64,
}

impl Client {
    pub(crate) fn new() -> Self {
        let outstanding = BTreeMap::new();
        Self { stream: None, outstanding, unsent: vec![], unread: vec![], next_tag: 1 }
    }

    /// Hangs up without a word: what was asked may have been done or not, and
    /// proves nothing.
    pub(crate) fn vanish(&mut self) {
        self.stream = None;
        self.unsent.clear();
        self.unread.clear();
        self.outstanding.clear();
    }

    pub(crate) fn has_room(&self) -> bool {
        self.outstanding.len() < OUTSTANDING_MAX
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// Puts a request on its way, at any door.
    pub(crate) fn ask(&mut self, question: impl Into<Question>, book: &mut Book) {
        let question = question.into();
        book.asking(&question);
        let tag = self.next_tag;
        self.next_tag += 1;
        let Question { request, beside } = question;
        encode_with(&mut self.unsent, tag, 0, &request, &beside);
        let (at, earliest) = (book.now, book.earliest);
        self.outstanding.insert(tag, Asked { request, beside, at, earliest });
    }

    /// Moves bytes both ways and notes every answer.
    pub(crate) fn exchange(&mut self, world: &World, place: &Path, shards: usize, book: &mut Book) {
        if self.stream.is_none() {
            let shard = usize::try_from(world.below(u64::try_from(shards).unwrap())).unwrap();
            let Ok(stream) = UnixStream::connect(door(place, shard)) else { return };
            stream.set_nonblocking(true).unwrap();
            self.stream = Some(stream);
        }
        if !self.write(world) || !self.read(book) {
            self.vanish();
        }
    }

    /// Some bytes go, not always whole frames. False if the line is dead.
    fn write(&mut self, world: &World) -> bool {
        let all = self.unsent.len();
        let some = if world.one_in(6) { all / 2 } else { all };
        if some == 0 {
            return true;
        }
        match self.stream.as_mut().unwrap().write(&self.unsent[..some]) {
            Ok(count) => {
                self.unsent.drain(..count);
                true
            }
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    /// Whatever has arrived counts, also what came before the line died.
    fn read(&mut self, book: &mut Book) -> bool {
        let mut piece = [0; 8192];
        let is_alive = loop {
            match self.stream.as_mut().unwrap().read(&mut piece) {
                Ok(0) => break false,
                Ok(count) => self.unread.extend_from_slice(&piece[..count]),
                Err(error) => break error.kind() == ErrorKind::WouldBlock,
            }
        };
        let mut at = 0;
        while let Some((bytes, reply)) = decode_reply(&self.unread[at..]).unwrap() {
            at += bytes;
            let asked = self.outstanding.remove(&reply.tag).expect("an answer to a question");
            book.answered(&asked, &reply);
        }
        self.unread.drain(..at);
        is_alive
    }
}
