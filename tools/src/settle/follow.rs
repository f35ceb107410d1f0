//! One shard's stream into the books, for ever: connect, book, acknowledge;
//! when the server goes, come again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hongbao::access::Identity;
use hongbao::follow::settle::{
    Ask, Content, Ending, Moved, Push, Start, SubscriberName, Subscription, SubscriptionError,
};
use serde_json::json;

use super::books::Books;
use super::{FollowArgs, Which, pause, resolve};
use crate::exit::{AuditFailed, Usage};
use crate::output::Output;
use crate::progress::Progress;
use crate::target::Target;

/// How often the line of progress is looked after.
const LOOK: Duration = Duration::from_millis(50);

/// Movements of one transaction: its sync is paid once for so many.
const GROUP: usize = 4096;

/// What all threads share.
struct Plan {
    identity: Option<Arc<Identity>>,
    address: SocketAddr,
    name: SubscriberName,
    window: u32,
    once: bool,
    books: PathBuf,
    /// Booked by this run, and seen again.
    new: AtomicU64,
    again: AtomicU64,
}

/// Why a stream was left.
enum Left {
    /// `--once`, and everything is booked.
    Done,
    /// The server is away; it is tried again.
    Away(SubscriptionError),
}

/// `hb settle follow`.
pub(super) fn run(target: &Target, args: &FollowArgs, output: Output) -> Result<()> {
    if args.name.content() != Content::Movements {
        let words =
            format!("{}: names that begin with risk- are those of risk services", args.name);
        return Err(Usage(words).into());
    }
    let plan = Plan {
        identity: target.identity.clone(),
        address: resolve(&args.from)?,
        name: args.name.clone(),
        window: args.window,
        once: args.once,
        books: args.into.join(format!("{}.books", args.name)),
        new: AtomicU64::new(0),
        again: AtomicU64::new(0),
    };
    std::fs::create_dir_all(&args.into)
        .with_context(|| format!("creating {}", args.into.display()))?;
    Books::open(&plan.books)?; // the schema is there before threads meet it
    let shards = match args.shard {
        Which::One(shard) => shard..shard.saturating_add(1),
        Which::All => 0..plan.shards()?,
    };
    let followed = thread::scope(|scope| {
        let each = shards.map(|shard| {
            scope.spawn({
                let plan = &plan;
                move || plan.follow(shard)
            })
        });
        plan.watch(each.collect())
    });
    followed?;
    plan.tell(output)
}

impl Plan {
    /// How many shards the server has.
    fn shards(&self) -> Result<u16> {
        loop {
            match self.subscribe(&self.ask(0, Start::LeftOff)) {
                Ok(stream) => return Ok(stream.accepted().shards),
                Err(error) => pause(error, self.address)?,
            }
        }
    }

    fn subscribe(&self, ask: &Ask) -> Result<Subscription, SubscriptionError> {
        Subscription::open_as(self.identity.as_deref(), self.address, ask)
    }

    fn ask(&self, shard: u16, start: Start) -> Ask {
        Ask { name: self.name.clone(), shard, start, window: self.window }
    }

    fn follow(&self, shard: u16) -> Result<()> {
        let mut books = Books::open(&self.books)?;
        loop {
            match self.stream(shard, &mut books)? {
                Left::Done => return Ok(()),
                Left::Away(error) => pause(error, self.address)?,
            }
        }
    }

    /// One connection, until it ends.
    fn stream(&self, shard: u16, books: &mut Books) -> Result<Left> {
        let mut stream = match self.open(shard, books)? {
            Ok(stream) => stream,
            Err(error) => return Ok(Left::Away(error)),
        };
        let accepted = *stream.accepted();
        books.check_cell(accepted.cell)?;
        if self.once && accepted.start.position >= accepted.committed {
            return Ok(Left::Done);
        }
        let half = usize::try_from(self.window.min(accepted.window) / 2)?;
        let mut group: Vec<Moved> = Vec::new();
        loop {
            let push = match stream.wait() {
                Ok(push) => push,
                Err(error) => return Ok(Left::Away(error)),
            };
            let border = match push {
                Push::Movements(moved) => {
                    group.extend(moved);
                    None
                }
                Push::Border { cursor, .. } => Some(cursor),
                Push::News(_) => return Ok(Left::Away(SubscriptionError::Foreign)),
            };
            let is_full = group.len() >= GROUP || group.len() * 64 >= half;
            let answered = match border {
                None if !is_full => continue,
                None => {
                    self.book(books, &mut group, None)?;
                    stream.take()
                }
                Some(cursor) => {
                    self.book(books, &mut group, Some(&cursor))?;
                    stream.acknowledge(cursor) // only now: it is durable here
                }
            };
            if let Err(error) = answered {
                return Ok(Left::Away(error));
            }
            if self.once && border.is_some_and(|cursor| cursor.position >= accepted.committed) {
                return Ok(Left::Done);
            }
        }
    }

    /// Goes on after the cursor of the books; where the server has another
    /// arrangement since, where it knows that we left off.
    fn open(&self, shard: u16, books: &Books) -> Result<Result<Subscription, SubscriptionError>> {
        let start = books.cursor(shard)?.map_or(Start::LeftOff, Start::After);
        let opened = self.subscribe(&self.ask(shard, start));
        if let Err(SubscriptionError::Ended(Ending::OtherArrangement(_))) = opened {
            return Ok(self.subscribe(&self.ask(shard, Start::LeftOff)));
        }
        Ok(opened)
    }

    fn book(
        &self,
        books: &mut Books,
        group: &mut Vec<Moved>,
        border: Option<&hongbao::follow::ledger::Cursor>,
    ) -> Result<()> {
        let new = books.book(group, border)?;
        let again = u64::try_from(group.len())?.saturating_sub(new);
        self.new.fetch_add(new, Ordering::Relaxed);
        self.again.fetch_add(again, Ordering::Relaxed);
        group.clear();
        Ok(())
    }

    /// Shows how far it is until the threads have ended.
    fn watch(&self, threads: Vec<ScopedJoinHandle<'_, Result<()>>>) -> Result<()> {
        let mut progress = Progress::start();
        while threads.iter().any(|thread| !thread.is_finished()) {
            if threads.iter().any(ScopedJoinHandle::is_finished) && !self.once {
                break; // one has failed, and the others would go on for ever
            }
            if progress.is_due(Instant::now()) {
                let (new, again) = self.booked();
                progress.show(format!("{new} movements booked, {again} seen again"));
            }
            thread::sleep(LOOK);
        }
        let (ended, others): (Vec<_>, Vec<_>) =
            threads.into_iter().partition(ScopedJoinHandle::is_finished);
        for thread in ended {
            if let Err(error) = thread.join().unwrap_or_else(|_| bail!("a thread has panicked")) {
                if !others.is_empty() {
                    // They only end with the process; what is booked is durable.
                    eprintln!("hb: {error:#}");
                    std::process::exit(3);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn booked(&self) -> (u64, u64) {
        (self.new.load(Ordering::Relaxed), self.again.load(Ordering::Relaxed))
    }

    /// What the books hold now, and whether they balance.
    fn tell(&self, output: Output) -> Result<()> {
        let (sums, (new, again)) = (Books::open(&self.books)?.sums()?, self.booked());
        let told = json!({
            "books": shown(&self.books), "new": new, "seen_again": again,
            "movements": sums.movements, "accounts": sums.accounts, "sum_fen": sums.sum,
        });
        output.print(&told, || {
            format!(
                "{new} movements booked, {again} seen again\n{}: {} movements, {} accounts, their \
                 sum is {}",
                shown(&self.books),
                sums.movements,
                sums.accounts,
                sums.sum
            )
        });
        if sums.sum != 0 {
            let words = format!("{}: the accounts do not balance", shown(&self.books));
            return Err(AuditFailed(words).into());
        }
        Ok(())
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
