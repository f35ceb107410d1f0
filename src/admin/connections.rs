//! The connections of the admin port: so many, each for so long, whatever comes
//! over them. Who holds them keeps others waiting, and nothing else of the server.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

/// Connections at the same time: fewer than the descriptors that a server keeps
/// spare for them.
const CONNECTIONS_MAX: usize = 64;

/// How long one lives: the slowest answer takes half of it, and a scraper that
/// keeps its connection makes a new one.
const LIFETIME: Duration = Duration::from_secs(60);

/// How long a failed accept (no descriptors left) waits for its next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The port.
pub(super) struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    lifetime: Duration,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener) -> Self {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Self { listener, places, lifetime: LIFETIME }
    }
}

/// A connection and its place.
pub(super) struct Placed {
    stream: TcpStream,
    ends: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Listener for Bounded {
    type Io = Placed;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Placed, SocketAddr) {
        loop {
            let place = Arc::clone(&self.places).acquire_owned().await;
            match (place, self.listener.accept().await) {
                (Ok(place), Ok((stream, address))) => {
                    let ends = Box::pin(sleep(self.lifetime));
                    return (Placed { stream, ends, _place: place }, address);
                }
                _ => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl AsyncRead for Placed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ends.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Placed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.ends.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use tokio::runtime::Builder;

    /// A port with two places, and who connects to it.
    async fn port(lifetime: Duration) -> (Bounded, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Bounded { listener, places: Arc::new(Semaphore::new(2)), lifetime }, address)
    }

    #[test]
    fn whoever_finds_no_place_waits_for_one() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut port, address) = port(LIFETIME).await;
            let clients = [(); 3].map(|()| std::net::TcpStream::connect(address).unwrap());
            let (first, _second) = (port.accept().await.0, port.accept().await.0);
            let none = tokio::time::timeout(Duration::from_millis(50), port.accept()).await;
            assert!(none.is_err(), "there are two places");
            drop(first);
            tokio::time::timeout(LIFETIME, port.accept()).await.unwrap();
            drop(clients);
        });
    }

    #[test]
    fn a_connection_ends_however_slowly_it_asks() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (port, address) = runtime.block_on(port(Duration::from_millis(100)));
        std::thread::spawn(move || {
            runtime.block_on(async { axum::serve(port, axum::Router::new()).await }).unwrap();
        });
        let mut slow = std::net::TcpStream::connect(address).unwrap();
        slow.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let began = std::time::Instant::now();
        let is_later = |kind| matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        loop {
            assert!(began.elapsed() < Duration::from_secs(20), "it is never ended");
            if io::Write::write_all(&mut slow, b"G").is_err() {
                break;
            }
            match slow.read(&mut [0; 64]) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if is_later(error.kind()) => {}
                Err(_) => break,
            }
        }
    }
}
