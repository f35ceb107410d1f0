//! The admin port: which path tells what, on a thread of its own.
//!
//! Bound before anything on disk is touched, so that a port in use refuses the
//! start early; served from before the recovery, so that its progress can be
//! seen. Whoever changes something shows a token; on loopback anybody may read.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use parking_lot::Mutex;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex as AsyncMutex, oneshot};

use super::clock;
use super::connections::Bounded;
use super::ledger;
use super::liveness::{Check, Liveness, pauses};
use super::metrics::openmetrics;
use super::progress::Progress;
use super::status::Status;
use super::token::Token;
use super::view::{ServerFacts, ShardView, View};
use crate::follow::Desk as LedgerDesk;
use crate::follow::ledger::Accounts;
use crate::net::both;
use crate::shard::{Board, Chronometer, Phase};
use crate::units::Time;

/// The kernel frees the listener of a killed `io_uring` process some
/// milliseconds late; whoever restarts it at once meets its own port in use.
const BIND_TRIES: u32 = 50;
const BIND_PAUSE: Duration = Duration::from_millis(20);

/// How often the recovery's progress is sampled, for its rate.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);

/// How long answers under way may still take when the admin port ends.
const END_PATIENCE: Duration = Duration::from_millis(250);

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const PATHS: &str = "\
GET  /livez    200 while every shard turns
GET  /readyz   200 when every shard answers, else the reasons
GET  /metrics  OpenMetrics
GET  /status   the same as JSON
GET  /ledger   the follower of the ledger; under /ledger/ its accounts: balance, sent,
               received, days, envelope; POST deposit, withdraw, retry, skip
GET  /clock    the time of the server against the clock on the wall; POST /clock/accept
               follows the wall wherever it is
POST /drain    no new work, everything acknowledged durable, then the end
POST wants the token of the server: Authorization: Bearer TOKEN
";

/// Where the admin port is.
#[derive(Clone, Copy, Debug)]
pub struct AdminSettings {
    /// Its address; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// The core its thread is pinned to, off the shards' cores.
    pub core: Option<usize>,
}

/// What is watched, and what a drain does.
pub struct Watched {
    /// Every shard, by its number.
    pub boards: Vec<Arc<Board>>,
    /// What does not change.
    pub facts: ServerFacts,
    /// Where the ledger is asked, if there is one.
    pub ledger: Option<LedgerDesk<dyn Accounts>>,
    /// The time of the shards.
    pub clock: Arc<Chronometer>,
    /// Begins a drain and returns at once.
    pub drain: Box<dyn Fn() + Send + Sync>,
    /// What whoever changes something must show, and beyond loopback everybody;
    /// none asks nobody.
    pub token: Option<Token>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// Why there is no admin port.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Somebody else has the port.
    #[error(
        "the admin port {0} is in use by another process; stop it or choose another with --admin \
         (`none` to do without)"
    )]
    PortInUse(SocketAddr),
    /// The address cannot be bound for another reason.
    #[error(
        "cannot listen on the admin port {0}: {1}; choose an address of this machine with --admin"
    )]
    Bind(SocketAddr, io::Error),
    /// The core to pin to is not there.
    #[error("core {0} is not available to this process; choose another for the admin thread")]
    Core(usize),
    /// The operating system refused something basic.
    #[error("the control plane cannot start: {0}")]
    System(#[from] io::Error),
}

/// A bound admin port that does not answer yet.
#[derive(Debug)]
pub struct BoundAdmin {
    listener: TcpListener,
    address: SocketAddr,
    core: Option<usize>,
}

impl BoundAdmin {
    /// Binds the port. A port in use is tried again for a moment.
    pub fn bind(settings: AdminSettings) -> Result<Self, AdminError> {
        let AdminSettings { listen, core } = settings;
        if let Some(core) = core {
            let available = sched_getaffinity(None).map_err(io::Error::from)?;
            if core >= CpuSet::MAX_CPU || !available.is_set(core) {
                return Err(AdminError::Core(core));
            }
        }
        let mut tries = 1;
        let listener = loop {
            match TcpListener::bind(listen) {
                Ok(listener) => break listener,
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                    return Err(AdminError::Bind(listen, error));
                }
                Err(_) if tries == BIND_TRIES => return Err(AdminError::PortInUse(listen)),
                Err(_) => std::thread::sleep(BIND_PAUSE),
            }
            tries += 1;
        };
        let address = listener.local_addr()?;
        Ok(Self { listener, address, core })
    }

    /// The address, with the port that the kernel chose for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A line for the operator if this port can be reached from elsewhere.
    pub fn warning(&self) -> Option<String> {
        (!self.address.ip().is_loopback()).then(|| {
            format!(
                "warning     the admin port {} is not on loopback: it wants the token of everybody, \
                 which whoever listens on the way can read",
                self.address
            )
        })
    }

    /// Begins to answer, on a thread of its own.
    pub fn start(self, watched: Watched) -> Result<Admin, AdminError> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        self.listener.set_nonblocking(true)?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(self.listener)?
        };
        let desk = Arc::new(Desk::of(watched, self.address.ip().is_loopback()));
        let (stop, stopped) = oneshot::channel();
        let core = self.core;
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
            pin(core);
            serve(&runtime, listener, desk, stopped);
        })?;
        Ok(Admin { address: self.address, stop: Some(stop), thread: Some(thread) })
    }
}

/// The running admin port. It ends when this is dropped.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn pin(core: Option<usize>) {
    if let Some(core) = core {
        let mut set = CpuSet::new();
        set.set(core);
        // It was available a moment ago; unpinned it is merely less tidy.
        let _ = sched_setaffinity(None, &set);
    }
}

fn serve(
    runtime: &Runtime,
    listener: tokio::net::TcpListener,
    desk: Arc<Desk>,
    stopped: oneshot::Receiver<()>,
) {
    runtime.block_on(async {
        let sampling = tokio::spawn(sample(Arc::clone(&desk)));
        let (ending, ended) = oneshot::channel::<()>();
        let serving =
            axum::serve(Bounded::new(listener), routes(desk)).with_graceful_shutdown(async {
                let _ = ended.await;
            });
        let serving = tokio::spawn(serving.into_future());
        let _ = stopped.await; // an error is the drop of `Admin`, which is the sign
        drop(ending);
        sampling.abort();
        let _ = tokio::time::timeout(END_PATIENCE, serving).await;
    });
}

/// Samples the recovery until it is over, and then wakes no more.
async fn sample(desk: Arc<Desk>) {
    let busy = |board: &Arc<Board>| matches!(board.phase(), Phase::Starting | Phase::Recovering);
    while desk.boards.iter().any(busy) {
        desk.progress.lock().sample(Instant::now());
        tokio::time::sleep(SAMPLE_EVERY).await;
    }
}

fn routes(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/status", get(status))
        .route("/drain", post(drain))
        .nest("/clock", clock::routes())
        .nest("/ledger", ledger::routes())
        .method_not_allowed_fallback(async || {
            (StatusCode::METHOD_NOT_ALLOWED, format!("not with this method; there are\n{PATHS}"))
        })
        .fallback(async || (StatusCode::NOT_FOUND, format!("no such path; there are\n{PATHS}")))
        .layer(from_fn_with_state(Arc::clone(&desk), guard))
        .with_state(desk)
}

/// Lets a request through to its path, if whoever asks may ask for it.
async fn guard(State(desk): Asked, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD) && desk.reads_are_open;
    let is_shown = |token: &Token| token.is_shown(request.headers());
    if reads || desk.token.as_ref().is_none_or(is_shown) {
        return next.run(request).await;
    }
    let words = "this wants the token of the server, which is in admin.token in its data \
                 directory: give `hb` that directory with --data, or the file with --token-file\n";
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], words).into_response()
}

/// What the routes share.
pub(super) struct Desk {
    pub(super) ledger: Option<LedgerDesk<dyn Accounts>>,
    pub(super) clock: Arc<Chronometer>,
    boards: Vec<Arc<Board>>,
    pub(super) facts: Arc<ServerFacts>,
    drain: Box<dyn Fn() + Send + Sync>,
    token: Option<Token>,
    /// Whether anybody may read, because nobody from elsewhere can.
    reads_are_open: bool,
    /// A drain was asked for here.
    draining: AtomicBool,
    progress: Mutex<Progress>,
    /// The last liveness check, and when it was finished. Whoever comes while
    /// one is under way waits for its answer instead of nudging again.
    checked: AsyncMutex<Option<(Instant, Liveness)>>,
}

impl Desk {
    fn of(watched: Watched, reads_are_open: bool) -> Self {
        let Watched { boards, facts, ledger, clock, drain, token } = watched;
        Self {
            ledger,
            clock,
            facts: Arc::new(facts),
            drain,
            token,
            reads_are_open,
            draining: AtomicBool::new(false),
            progress: Mutex::new(Progress::of(boards.clone())),
            checked: AsyncMutex::new(None),
            boards,
        }
    }

    pub(super) fn boards(&self) -> &[Arc<Board>] {
        &self.boards
    }

    /// Why new work is not taken; empty is ready.
    fn reasons(&self) -> Vec<String> {
        let mut reasons = self.progress.lock().reasons(Instant::now());
        if self.draining.load(Ordering::Acquire) {
            reasons.insert(0, "draining: asked for by POST /drain".to_owned());
        }
        reasons
    }

    fn view(&self) -> View {
        let shards: Vec<_> = self.boards.iter().map(|board| ShardView::of(board)).collect();
        let draining = self.draining.load(Ordering::Acquire)
            || shards.iter().any(|shard| shard.phase == Phase::Draining);
        let facts = Arc::clone(&self.facts);
        let (uptime, now) = both();
        let clock = self.clock.standing(uptime, now);
        let ledger = self.ledger.as_ref().map(|desk| desk.board().report(now));
        View { facts, now, clock, draining, reasons: self.reasons(), shards, ledger }
    }

    async fn liveness(&self) -> Liveness {
        let asked = Instant::now();
        let mut checked = self.checked.lock().await;
        if let Some((finished, found)) = checked.as_ref()
            && *finished >= asked
        {
            return found.clone();
        }
        let found = self.check().await;
        *checked = Some((Instant::now(), found.clone()));
        found
    }

    async fn check(&self) -> Liveness {
        let mut check = Check::begin(&self.boards, Instant::now());
        for pause in pauses() {
            if let Some(found) = check.poll(&self.boards, Instant::now()) {
                return found;
            }
            tokio::time::sleep(pause).await;
        }
        unreachable!("the pauses have no end")
    }
}

/// The wall clock; the control plane may read it whenever it is asked.
pub(super) fn wall() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

pub(super) type Asked = State<Arc<Desk>>;

fn health(is_well: bool, lines: &str) -> Response {
    let code = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, format!("{lines}\n")).into_response()
}

async fn livez(State(desk): Asked) -> Response {
    let found = desk.liveness().await;
    health(found.is_alive(), &found.words())
}

async fn readyz(State(desk): Asked) -> Response {
    let reasons = desk.reasons();
    if reasons.is_empty() { health(true, "ready") } else { health(false, &reasons.join("\n")) }
}

async fn metrics(State(desk): Asked) -> Response {
    ([(header::CONTENT_TYPE, OPENMETRICS)], openmetrics(desk.view())).into_response()
}

async fn status(State(desk): Asked) -> Response {
    match serde_json::to_string(&Status::of(&desk.view())) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Whether a page in an operator's browser may have made this request: it can
/// post to loopback. Browsers say where a post comes from, tools do not.
pub(super) fn is_from_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site")
}

async fn drain(State(desk): Asked, headers: HeaderMap) -> Response {
    if is_from_browser(&headers) {
        return (StatusCode::FORBIDDEN, "a browser may not drain; use `hb drain`\n")
            .into_response();
    }
    let words = if desk.draining.swap(true, Ordering::AcqRel) {
        "draining already\n"
    } else {
        (desk.drain)();
        "draining: no new work; the process ends when everything acknowledged is durable\n"
    };
    (StatusCode::ACCEPTED, words).into_response()
}
