//! A world on one thread, for tests: its sockets are real ones, looked at
//! without waiting, and its clocks are numbers that a simulator moves.
//!
//! What a shard notices of its sockets, in which order and in which pieces, is
//! drawn from a seed, so that the same seed gives the same run.

use std::cell::RefCell;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};

use super::buffers::{BUFFER_BYTES, BUFFERS, Lent, ReceiveBuffers};
use super::kernel::{Completion, Kernel};
use crate::engine::mix;
use crate::units::{Stamp, Time, Uptime};

#[derive(Debug)]
struct State {
    stamp: Stamp,
    wall: Time,
    draws: u64,
}

/// The clocks and the chance of one simulated world, shared by all its shards.
#[derive(Clone, Debug)]
pub struct World {
    state: Rc<RefCell<State>>,
}

impl World {
    /// A world in which chance comes from `seed`, at this time of day.
    pub fn new(seed: u64, wall: Time) -> Self {
        Self { state: Rc::new(RefCell::new(State { stamp: Stamp(1), wall, draws: mix(seed) })) }
    }

    /// Time passes.
    pub fn pass(&self, us: u64) {
        let mut state = self.state.borrow_mut();
        let before_ms = state.stamp.0 / 1000;
        state.stamp.0 += us;
        state.wall.0 += state.stamp.0 / 1000 - before_ms;
    }

    /// How long the machine has been up.
    pub fn uptime(&self) -> Uptime {
        Uptime(self.state.borrow().stamp.0 / 1000)
    }

    /// Somebody sets the wall clock.
    pub fn set_wall(&self, wall: Time) {
        self.state.borrow_mut().wall = wall;
    }

    /// The wall clock as it stands.
    pub fn wall(&self) -> Time {
        self.state.borrow().wall
    }

    /// A number below `end`, which is not 0.
    pub fn below(&self, end: u64) -> u64 {
        let mut state = self.state.borrow_mut();
        state.draws = state.draws.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(state.draws) % end
    }

    fn index_below(&self, end: usize) -> usize {
        usize::try_from(self.below(u64::try_from(end).unwrap_or(u64::MAX))).unwrap_or(0)
    }

    /// Once in `n` times.
    pub fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What a shard has asked for and not been told the end of.
#[derive(Debug)]
enum Work {
    Accept { index: u32, listener: OwnedFd },
    Receive { index: u32, socket: OwnedFd, once: bool },
    Send { index: u32, socket: OwnedFd, bytes: Vec<u8>, from: usize, sent: usize },
    Watch { bell: OwnedFd },
    StopReceiving { index: u32 },
    StopAccepting { index: u32 },
}

/// One shard's sockets in a [`World`].
#[derive(Debug)]
pub struct SimulatedKernel {
    world: World,
    buffers: Vec<Vec<u8>>,
    free: Vec<u16>,
    queued: Vec<Work>,
    begun: Vec<Work>,
    /// What was stopped, to be told.
    stopped: Vec<Completion>,
}

impl SimulatedKernel {
    /// Without any work yet.
    pub fn new(world: World) -> Self {
        Self {
            world,
            buffers: (0..BUFFERS).map(|_| Vec::new()).collect(),
            free: (0..BUFFERS).collect(),
            queued: Vec::new(),
            begun: Vec::new(),
            stopped: Vec::new(),
        }
    }

    fn begin(&mut self, work: Work) {
        match work {
            Work::StopReceiving { index: stopped } => {
                let is_it =
                    |w: &Work| matches!(w, Work::Receive { index, .. } if *index == stopped);
                if let Some(at) = self.begun.iter().position(is_it) {
                    self.begun.remove(at);
                    let data = Err(io::Error::from_raw_os_error(libc::ECANCELED));
                    let told = Completion::Received { connection: stopped, data, more: false };
                    self.stopped.push(told);
                }
            }
            Work::StopAccepting { index: stopped } => {
                self.begun
                    .retain(|w| !matches!(w, Work::Accept { index, .. } if *index == stopped));
            }
            work => self.begun.push(work),
        }
    }

    /// Does a part of one piece of work, if the world lets it: what to tell,
    /// and the work if it goes on.
    fn advance(&mut self, work: Work) -> (Option<Completion>, Option<Work>) {
        match work {
            Work::Accept { index, listener } => {
                let told = match accept_with(&listener, SocketFlags::CLOEXEC) {
                    Err(rustix::io::Errno::AGAIN) => None,
                    socket => Some(socket.map_err(io::Error::from)),
                };
                let told =
                    told.map(|socket| Completion::Accepted { listener: index, socket, more: true });
                (told, Some(Work::Accept { index, listener }))
            }
            Work::Receive { index, socket, once } => self.receive_some(index, socket, once),
            Work::Send { index, socket, bytes, from, sent } => {
                self.send_some(index, socket, bytes, from, sent)
            }
            Work::Watch { bell } => {
                let mut polled = [PollFd::new(&bell, PollFlags::IN)];
                let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                let rung = poll(&mut polled, Some(&now)).is_ok_and(|count| count > 0);
                (rung.then_some(Completion::Woken { more: true }), Some(Work::Watch { bell }))
            }
            stop => (None, Some(stop)),
        }
    }

    fn receive_some(
        &mut self,
        index: u32,
        socket: OwnedFd,
        once: bool,
    ) -> (Option<Completion>, Option<Work>) {
        let told = |data, more| Some(Completion::Received { connection: index, data, more });
        let Some(id) = self.free.pop() else {
            return (told(Err(io::Error::from_raw_os_error(libc::ENOBUFS)), false), None);
        };
        // Most pieces are as the sender made them; some are cut anywhere.
        let room = match self.world.below(8) {
            0 => 1 + self.world.index_below(80),
            1 => 1 + self.world.index_below(4000),
            _ => BUFFER_BYTES,
        };
        let buffer = &mut self.buffers[usize::from(id)];
        buffer.resize(room, 0);
        let received = recv(&socket, &mut buffer[..], RecvFlags::DONTWAIT);
        if !matches!(received, Ok((1.., _))) {
            self.free.push(id);
        }
        match received {
            Ok((0, _)) => (told(Ok(None), false), None),
            Ok((bytes, _)) => {
                let data = Ok(Some(ReceiveBuffers::take(id, bytes)));
                let goes_on = (!once).then_some(Work::Receive { index, socket, once });
                (told(data, goes_on.is_some()), goes_on)
            }
            Err(rustix::io::Errno::AGAIN) => (None, Some(Work::Receive { index, socket, once })),
            Err(error) => (told(Err(error.into()), false), None),
        }
    }

    fn send_some(
        &mut self,
        index: u32,
        socket: OwnedFd,
        bytes: Vec<u8>,
        from: usize,
        mut sent: usize,
    ) -> (Option<Completion>, Option<Work>) {
        let rest = &bytes[from + sent..];
        // Some sends end early, as they may.
        let is_short = rest.len() > 1 && self.world.one_in(16);
        let count = if is_short { 1 + self.world.index_below(rest.len()) } else { rest.len() };
        let outcome = send(&socket, &rest[..count], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        let outcome = match outcome {
            Ok(count) => {
                sent += count;
                let ends = is_short || from + sent == bytes.len();
                ends.then_some(Ok(sent))
            }
            Err(rustix::io::Errno::AGAIN) => None,
            Err(error) => Some(Err(io::Error::from(error))),
        };
        match outcome {
            Some(sent) => (Some(Completion::Sent { connection: index, bytes, sent }), None),
            None => (None, Some(Work::Send { index, socket, bytes, from, sent })),
        }
    }
}

impl Kernel for SimulatedKernel {
    fn stamp(&self) -> Stamp {
        self.world.state.borrow().stamp
    }

    fn uptime(&self) -> Uptime {
        self.world.uptime()
    }

    fn accept(&mut self, index: u32, listener: BorrowedFd<'_>) -> io::Result<()> {
        let listener = listener.try_clone_to_owned()?;
        rustix::io::ioctl_fionbio(&listener, true)?;
        self.queued.push(Work::Accept { index, listener });
        Ok(())
    }

    fn receive(&mut self, index: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        let socket = socket.try_clone_to_owned()?;
        self.queued.push(Work::Receive { index, socket, once: false });
        Ok(())
    }

    fn receive_once(&mut self, index: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        let socket = socket.try_clone_to_owned()?;
        self.queued.push(Work::Receive { index, socket, once: true });
        Ok(())
    }

    fn stop_receiving(&mut self, index: u32) -> io::Result<()> {
        self.queued.push(Work::StopReceiving { index });
        Ok(())
    }

    fn stop_accepting(&mut self, index: u32) -> io::Result<()> {
        self.queued.push(Work::StopAccepting { index });
        Ok(())
    }

    fn watch(&mut self, bell: BorrowedFd<'_>) -> io::Result<()> {
        self.queued.push(Work::Watch { bell: bell.try_clone_to_owned()? });
        Ok(())
    }

    fn send(
        &mut self,
        index: u32,
        socket: BorrowedFd<'_>,
        bytes: Vec<u8>,
        from: usize,
    ) -> io::Result<()> {
        let socket = socket.try_clone_to_owned()?;
        self.queued.push(Work::Send { index, socket, bytes, from, sent: 0 });
        Ok(())
    }

    fn submit(&mut self) -> io::Result<()> {
        for work in std::mem::take(&mut self.queued) {
            self.begin(work);
        }
        Ok(())
    }

    fn has_unsubmitted(&mut self) -> bool {
        !self.queued.is_empty()
    }

    fn collect(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Nobody sleeps here: the simulator turns whom it likes.
    fn submit_and_wait(&mut self, _timeout: Option<Duration>) -> io::Result<()> {
        self.submit()
    }

    fn reap(&mut self, out: &mut Vec<Completion>) {
        out.append(&mut self.stopped);
        let mut begun = std::mem::take(&mut self.begun);
        if !begun.is_empty() {
            let first = self.world.index_below(begun.len());
            begun.rotate_left(first);
        }
        for work in begun {
            // Some of it takes until another time.
            if out.len() == out.capacity() || self.world.one_in(4) {
                self.begun.push(work);
                continue;
            }
            let (told, goes_on) = self.advance(work);
            out.extend(told);
            self.begun.extend(goes_on);
        }
    }

    fn bytes(&self, lent: &Lent) -> &[u8] {
        let (id, bytes) = lent.place();
        &self.buffers[usize::from(id)][..bytes]
    }

    fn give_back(&mut self, lent: Lent) {
        self.free.push(lent.place().0);
    }
}
