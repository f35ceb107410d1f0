//! The shard's `io_uring`, behind a safe face: what the kernel works on is owned
//! here until the kernel is done with it.
//!
//! Submits and reaps; decides nothing. With `net::buffers` this is the only
//! `unsafe` room of the network.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::buffers::{BUFFER_BYTES, BUFFERS, Lent, ReceiveBuffers};
use super::clocks;
use super::kernel::{Completion, Kernel};
use crate::units::{Stamp, Uptime};

const SUBMISSIONS: u32 = 1024;
const COMPLETIONS: u32 = 8192;
const BUFFER_GROUP: u16 = 0;

/// `IORING_ENTER_GETEVENTS`: run what has completed.
const GET_EVENTS: u32 = 1;

/// Why the kernel gives no ring, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum RingRefused {
    /// The system call is not there.
    #[error(
        "io_uring is not available: this kernel lacks it, or a seccomp filter hides it; \
         run Linux 6.1 or newer and allow io_uring_setup, io_uring_enter and \
         io_uring_register in the container's seccomp profile"
    )]
    Missing,
    /// `kernel.io_uring_disabled` is not 0.
    #[error(
        "io_uring is disabled by the sysctl kernel.io_uring_disabled = {0}; \
         run `sysctl kernel.io_uring_disabled=0`"
    )]
    Disabled(String),
    /// Refused with EPERM though the sysctl allows it.
    #[error(
        "io_uring is forbidden for this process, by seccomp or a security module; \
         allow io_uring_setup, io_uring_enter and io_uring_register for it"
    )]
    Forbidden,
    /// The flags or operations are too new for this kernel.
    #[error("this kernel's io_uring is too old; run Linux 6.1 or newer")]
    Old,
    /// Locked memory.
    #[error("io_uring may not lock enough memory; raise it with `ulimit -l 8192` or LimitMEMLOCK=")]
    Memory,
    /// Something else.
    #[error("io_uring could not be set up: {0}")]
    Other(io::Error),
}

impl RingRefused {
    fn of(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOSYS) => Self::Missing,
            Some(libc::EINVAL) => Self::Old,
            Some(libc::ENOMEM) => Self::Memory,
            Some(libc::EPERM | libc::EACCES) => {
                let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
                match sysctl.as_deref().map(str::trim) {
                    Ok(value) if value != "0" => Self::Disabled(value.to_owned()),
                    _ => Self::Forbidden,
                }
            }
            _ => Self::Other(error),
        }
    }
}

/// Asks the kernel for a ring like the shard's and gives it back: what would
/// refuse a start is known before anything is touched.
pub fn check() -> Result<(), RingRefused> {
    Uring::new(1).map(drop)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Accept,
    Receive,
    Send,
    Wake,
    Cancel,
}

fn user_data(kind: Kind, index: u32) -> u64 {
    let kind: u64 = match kind {
        Kind::Accept => 0,
        Kind::Receive => 1,
        Kind::Send => 2,
        Kind::Wake => 3,
        Kind::Cancel => 4,
    };
    kind << 32 | u64::from(index)
}

fn of_user_data(data: u64) -> (Kind, u32) {
    let kind = match data >> 32 {
        0 => Kind::Accept,
        1 => Kind::Receive,
        2 => Kind::Send,
        3 => Kind::Wake,
        _ => Kind::Cancel,
    };
    (kind, u32::try_from(data & 0xffff_ffff).unwrap_or(u32::MAX))
}

/// One `io_uring` with its receive buffers and the bytes it is sending.
pub struct Uring {
    /// `None` only while dropping, so that the ring goes before the memory.
    io: Option<IoUring>,
    buffers: ReceiveBuffers,
    sending: Box<[Option<Vec<u8>>]>,
    in_flight: usize,
}

impl Uring {
    /// A ring for `connections` connections, numbered from 0. It belongs to
    /// the thread that makes it.
    pub(super) fn new(connections: u32) -> Result<Self, RingRefused> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)
            .map_err(RingRefused::of)?;
        let mut buffers = ReceiveBuffers::new();
        let (address, submitter) = (buffers.entries_address(), uring.submitter());
        // SAFETY: the entries are page-aligned, hold BUFFERS entries, and are
        // freed only after the ring is gone (see `Drop`).
        let registered =
            unsafe { submitter.register_buf_ring_with_flags(address, BUFFERS, BUFFER_GROUP, 0) };
        if let Err(error) = registered {
            buffers.free();
            return Err(RingRefused::of(error));
        }
        buffers.hand_out_all();
        let sending = (0..connections).map(|_| None).collect();
        Ok(Self { io: Some(uring), buffers, sending, in_flight: 0 })
    }

    fn uring(&mut self) -> &mut IoUring {
        self.io.as_mut().expect("the ring lives until drop")
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: what the entry points to (send bytes, receive buffers)
            // is owned by `self` until its completion; file descriptors are
            // plain numbers that the kernel checks itself.
            let pushed = unsafe { self.uring().submission().push(entry) };
            if pushed.is_ok() {
                self.in_flight += 1;
                return Ok(());
            }
            match self.uring().submit() {
                Ok(_) => {}
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Kernel for Uring {
    fn stamp(&self) -> Stamp {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        Stamp(seconds * 1_000_000 + u64::try_from(now.tv_nsec / 1000).unwrap_or(0))
    }

    fn uptime(&self) -> Uptime {
        clocks::uptime()
    }

    fn accept(&mut self, index: u32, listener: BorrowedFd<'_>) -> io::Result<()> {
        let entry = opcode::AcceptMulti::new(types::Fd(listener.as_raw_fd()))
            .flags(libc::SOCK_CLOEXEC)
            .build();
        self.push(&entry.user_data(user_data(Kind::Accept, index)))
    }

    fn receive(&mut self, index: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        let entry = opcode::RecvMulti::new(types::Fd(socket.as_raw_fd()), BUFFER_GROUP).build();
        self.push(&entry.user_data(user_data(Kind::Receive, index)))
    }

    fn receive_once(&mut self, index: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        let length = u32::try_from(BUFFER_BYTES).unwrap_or(u32::MAX);
        let entry = opcode::Recv::new(types::Fd(socket.as_raw_fd()), std::ptr::null_mut(), length)
            .buf_group(BUFFER_GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        self.push(&entry.user_data(user_data(Kind::Receive, index)))
    }

    fn stop_receiving(&mut self, index: u32) -> io::Result<()> {
        let entry = opcode::AsyncCancel::new(user_data(Kind::Receive, index)).build();
        self.push(&entry.user_data(user_data(Kind::Cancel, index)))
    }

    fn stop_accepting(&mut self, index: u32) -> io::Result<()> {
        let entry = opcode::AsyncCancel::new(user_data(Kind::Accept, index)).build();
        self.push(&entry.user_data(user_data(Kind::Cancel, index)))
    }

    fn watch(&mut self, bell: BorrowedFd<'_>) -> io::Result<()> {
        let events = u32::try_from(libc::POLLIN).unwrap_or(1);
        let entry = opcode::PollAdd::new(types::Fd(bell.as_raw_fd()), events).multi(true).build();
        self.push(&entry.user_data(user_data(Kind::Wake, 0)))
    }

    fn send(
        &mut self,
        index: u32,
        socket: BorrowedFd<'_>,
        bytes: Vec<u8>,
        from: usize,
    ) -> io::Result<()> {
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        assert!(self.sending[place].is_none(), "one send per connection");
        let rest = &bytes[from..];
        let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(types::Fd(socket.as_raw_fd()), rest.as_ptr(), length)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build();
        // A `Vec` that moves keeps its heap bytes where they are, so the
        // pointer in the entry stays right.
        self.sending[place] = Some(bytes);
        self.push(&entry.user_data(user_data(Kind::Send, index)))
    }

    fn submit(&mut self) -> io::Result<()> {
        self.buffers.publish();
        match self.uring().submit() {
            Err(error) if !is_passing(&error) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn has_unsubmitted(&mut self) -> bool {
        !self.uring().submission().is_empty()
    }

    fn collect(&mut self) -> io::Result<()> {
        self.buffers.publish();
        let submitter = self.uring().submitter();
        // SAFETY: without an argument and a size the call reads no memory of
        // ours; it runs what has completed and returns at once.
        let done = unsafe { submitter.enter::<libc::sigset_t>(0, 0, GET_EVENTS, None) };
        match done {
            Err(error) if !is_passing(&error) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn submit_and_wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.buffers.publish();
        let done = match timeout {
            None => self.uring().submit_and_wait(1),
            Some(timeout) => {
                let time = types::Timespec::from(timeout);
                let arguments = types::SubmitArgs::new().timespec(&time);
                self.uring().submitter().submit_with_args(1, &arguments)
            }
        };
        match done {
            Err(error) if !is_passing(&error) => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn reap(&mut self, out: &mut Vec<Completion>) {
        let Self { io, sending, in_flight, .. } = self;
        let Some(uring) = io else { return };
        let room = out.capacity() - out.len();
        for entry in uring.completion().take(room) {
            if !cqueue::more(entry.flags()) {
                *in_flight -= 1;
            }
            out.extend(completion(&entry, sending));
        }
    }

    fn bytes(&self, lent: &Lent) -> &[u8] {
        self.buffers.bytes(lent)
    }

    fn give_back(&mut self, lent: Lent) {
        self.buffers.give_back(lent);
    }
}

/// Timed out, interrupted, short of memory for a moment, or completions must
/// be reaped first: the same call works again.
fn is_passing(error: &io::Error) -> bool {
    let passing = [libc::ETIME, libc::EINTR, libc::EBUSY, libc::EAGAIN];
    error.raw_os_error().is_some_and(|code| passing.contains(&code))
}

fn completion(entry: &cqueue::Entry, sending: &mut [Option<Vec<u8>>]) -> Option<Completion> {
    let (kind, index) = of_user_data(entry.user_data());
    let more = cqueue::more(entry.flags());
    let result = match entry.result() {
        n if n < 0 => Err(io::Error::from_raw_os_error(-n)),
        n => Ok(n),
    };
    Some(match kind {
        Kind::Accept => {
            let socket = result.map(owned_socket);
            Completion::Accepted { listener: index, socket, more }
        }
        Kind::Receive => {
            let data = result.map(|n| {
                let bytes = usize::try_from(n).unwrap_or(0);
                cqueue::buffer_select(entry.flags()).map(|id| ReceiveBuffers::take(id, bytes))
            });
            Completion::Received { connection: index, data, more }
        }
        Kind::Send => {
            let place = usize::try_from(index).unwrap_or(usize::MAX);
            let bytes = sending[place].take().expect("a send completes once");
            let sent = result.map(|n| usize::try_from(n).unwrap_or(0));
            Completion::Sent { connection: index, bytes, sent }
        }
        Kind::Wake => Completion::Woken { more },
        Kind::Cancel => return None,
    })
}

fn owned_socket(fd: RawFd) -> OwnedFd {
    // SAFETY: a successful accept gives a fresh descriptor that nobody else
    // knows; it is owned from here on.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

impl Drop for Uring {
    /// Ends what is in flight before the memory goes. If the kernel does not
    /// confirm it, the memory is leaked: a leak is harmless, a late write not.
    fn drop(&mut self) {
        let Some(mut uring) = self.io.take() else { return };
        let all = types::CancelBuilder::any();
        let timeout = types::Timespec::new().sec(1);
        let _ = uring.submitter().register_sync_cancel(Some(timeout), all);
        let soon = types::Timespec::new().nsec(10_000_000);
        for _ in 0..100 {
            for entry in uring.completion() {
                if !cqueue::more(entry.flags()) {
                    self.in_flight -= 1;
                }
                drop(completion(&entry, &mut self.sending));
            }
            if self.in_flight == 0 {
                break;
            }
            let arguments = types::SubmitArgs::new().timespec(&soon);
            let _ = uring.submitter().submit_with_args(1, &arguments);
        }
        drop(uring);
        if self.in_flight == 0 {
            self.buffers.free();
        } else {
            std::mem::forget(std::mem::take(&mut self.sending));
        }
    }
}
