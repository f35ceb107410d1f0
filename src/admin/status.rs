//! `/status`: a view of the server as one JSON object, for people and for
//! `hb stats`.
//!
//! The names of the fields are a promise. Fields may be added; a reader leaves
//! out what it does not know, and what is missing reads as zero.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::view::{ShardView, View, found_name, op_name, phase_name, status_name};
use crate::engine::Totals;
use crate::journal::JournalStats;
use crate::net::NetCounters;
use crate::shard::{CheckpointCounters, Histogram, ShardCounters, Standing, TableFill};
use crate::units::Time;

/// Makes the shapes; all of them can be written, read, and left out.
macro_rules! shapes {
    ($( $(#[doc = $doc:literal])+ $name:ident { $( $(#[doc = $field_doc:literal])+ $field:ident: $kind:ty, )* } )*) => {
        $(
            $(#[doc = $doc])+
            #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
            #[serde(default)]
            pub struct $name { $( $(#[doc = $field_doc])+ pub $field: $kind, )* }
        )*
    };
}

shapes! {
    /// The whole server.
    Status {
        /// Of the server binary.
        version: String,
        /// The first byte of its envelope ids.
        cell: u8,
        /// `sync` or `os`.
        durability: String,
        /// Where clients reach it.
        listen: Vec<String>,
        /// The data directory.
        data: String,
        /// When the process began to start, in milliseconds since the epoch.
        started_at_ms: u64,
        /// When this was read.
        now_ms: u64,
        /// Whether new work is taken.
        ready: bool,
        /// Whether a drain has begun.
        draining: bool,
        /// Why it is not ready, a line each.
        reasons: Vec<String>,
        /// What it was sized for.
        capacity: CapacityStatus,
        /// The money of all shards.
        money: MoneyStatus,
        /// Every shard, by its number.
        shards: Vec<ShardStatus>,
        /// The follower of the ledger; `none` is its state where there is none.
        ledger: FollowerStatus,
        /// The time of the shards against the clock on the wall.
        clock: ClockStatus,
    }

    /// How the time of the shards stands to the clock on the wall.
    ClockStatus {
        /// `agrees`; `follows`, a millisecond a second; `refused`: the wall was set
        /// too far away; or `stands` until the wall has caught up.
        state: String,
        /// By how much the wall is ahead of time.
        wall_ahead_ms: i64,
        /// The time of the shards, in milliseconds since the epoch.
        time_ms: u64,
    }

    /// How a follower is.
    FollowerStatus {
        /// `none`, `starting`, `running`, `waiting`, `poisoned` or `ended`.
        state: String,
        /// Why it waits or has stopped.
        reason: Option<String>,
        /// The record it has stopped before.
        record: Option<RecordName>,
        /// How far it is, by shard.
        cursors: Vec<CursorStatus>,
        /// Committed bytes of journal that are not applied.
        lag_bytes: u64,
        /// For how long the oldest of them has been committed.
        lag_ms: u64,
        /// Records applied since the start.
        records: u64,
        /// Records per transaction.
        transaction_records: Distribution,
        /// Time of a transaction, in microseconds.
        transaction_us: Distribution,
    }

    /// The name of a record.
    RecordName {
        /// The arrangement of shards it was written in.
        arrangement: u32,
        /// Its shard.
        shard: u16,
        /// Where its batch begins.
        batch: u64,
        /// Its place in the batch.
        index: u32,
    }

    /// Where a follower would go on.
    CursorStatus {
        /// The arrangement of shards.
        arrangement: u32,
        /// The shard.
        shard: u16,
        /// Everything before this is applied.
        position: u64,
        /// When the last applied batch was committed, in milliseconds since the
        /// epoch.
        time_ms: u64,
    }

    /// What the server was sized for.
    CapacityStatus {
        /// Envelopes that the tables hold.
        envelopes_max: u64,
        /// Bytes of the tables.
        table_bytes: u64,
        /// Connections at the same time.
        connections_max: u64,
    }

    /// Money in fen, whole; `funded = claimed + held + refunded + left`.
    MoneyStatus {
        /// Put in.
        funded_fen: u128,
        /// Claimed.
        claimed_fen: u128,
        /// Won, and held by a rule of risk.
        held_fen: u128,
        /// Given back to senders.
        refunded_fen: u128,
        /// May still be claimed.
        left_fen: u128,
        /// Payments that came too late and went to their senders' balances; never in
        /// an envelope, so in none of the others.
        returned_fen: u128,
    }

    /// One shard.
    ShardStatus {
        /// Its number.
        shard: u64,
        /// `starting`, `recovering`, `ready`, `draining` or `ended`.
        phase: String,
        /// What this start has read.
        recovery: RecoveryStatus,
        /// Turns of its loop.
        turns: u64,
        /// Envelopes ever funded.
        envelopes_funded: u64,
        /// Envelopes with shares to claim.
        envelopes_open: u64,
        /// Orders that wait for their money.
        envelopes_reserved: u64,
        /// Orders that were never paid.
        envelopes_voided: u64,
        /// Shares ever claimed.
        claims: u64,
        /// Its money.
        money: MoneyStatus,
        /// Answers by operation, then by status; only those that happened.
        answers: BTreeMap<String, BTreeMap<String, u64>>,
        /// Requests decoded.
        requests: u64,
        /// Requests that made no sense.
        bad_requests: u64,
        /// Requests from other shards' connections.
        carried_in: u64,
        /// Requests passed on to other shards.
        carried_out: u64,
        /// Requests refused unexecuted.
        refused: RefusedStatus,
        /// What is refused now: 0 nothing, 1 sends and lists, 2 looks as well,
        /// 3 claims as well.
        pressure: u8,
        /// Its connections.
        connections: ConnectionStatus,
        /// Its journal.
        journal: JournalStatus,
        /// Its checkpoints.
        checkpoint: CheckpointStatus,
        /// How full its tables are.
        tables: TableStatus,
        /// Records per commit.
        batch_records: Distribution,
        /// Time of a commit, in microseconds.
        commit_us: Distribution,
        /// From receipt to decision, in microseconds.
        queue_us: Distribution,
        /// From receipt to release of the reply, in microseconds.
        answer_us: Distribution,
    }

    /// How far a recovery is, or what it came to.
    RecoveryStatus {
        /// Bytes to read.
        bytes_all: u64,
        /// Bytes read.
        bytes: u64,
        /// Records applied and envelopes loaded.
        records: u64,
    }

    /// Requests refused, by reason.
    RefusedStatus {
        /// They had waited longer than their budget.
        late: u64,
        /// Too much work.
        pressure: u64,
        /// The queue to another shard was full.
        mesh: u64,
    }

    /// Connections.
    ConnectionStatus {
        /// Open now.
        open: u64,
        /// Accepted.
        accepted: u64,
        /// Closed because all slots were taken, or all of strangers.
        turned_away: u64,
        /// Users of this machine who may not use the unix socket.
        refused_users: u64,
        /// Closed because they did not read their replies.
        slow_readers: u64,
        /// Closed because they did not prove who they are.
        refused_handshakes: u64,
        /// Closed because they took too long to do so.
        late_handshakes: u64,
        /// Closed because they took too long to send the rest of a frame.
        late_frames: u64,
        /// Closed because they asked for nothing for too long.
        idle: u64,
        /// Closed because no frame border could be told.
        broken_streams: u64,
        /// Failed while receiving or sending.
        socket_failures: u64,
    }

    /// The journal since the start.
    JournalStatus {
        /// Records appended.
        records: u64,
        /// Batches with records.
        commits: u64,
        /// Empty batches.
        marks: u64,
        /// Bytes of headers and records.
        bytes: u64,
        /// Bytes of the pages that were synced.
        page_bytes: u64,
        /// Segments filled.
        segments_filled: u64,
    }

    /// Checkpoints.
    CheckpointStatus {
        /// Finished since the start.
        taken: u64,
        /// Failed since the start.
        failed: u64,
        /// When the newest valid one began, in milliseconds since the epoch.
        began_at_ms: Option<u64>,
        /// Its age.
        age_s: Option<u64>,
        /// Its size.
        bytes: u64,
        /// The journal position from which a restart replays.
        position: u64,
        /// Whether one is under way.
        under_way: bool,
    }

    /// How full the tables are.
    TableStatus {
        /// Envelopes that take a slot.
        envelopes: u64,
        /// How many may.
        envelopes_max: u64,
        /// Pages of 64 KiB in use.
        pages: u64,
        /// How many there are.
        pages_max: u64,
    }

    /// A histogram; percentiles are the upper ends of buckets, so they are
    /// never less than the true ones and less than twice as much.
    Distribution {
        /// How many values.
        count: u64,
        /// Their sum.
        sum: u64,
        /// Half of the values do not exceed it.
        p50: u64,
        /// 90 % of them.
        p90: u64,
        /// 99 % of them.
        p99: u64,
        /// 99.9 % of them.
        p999: u64,
        /// All of them.
        max: u64,
        /// Values by bucket; bucket `i` has those below `2^i` that no lower
        /// bucket has.
        buckets: Vec<u64>,
    }
}

impl ClockStatus {
    /// Of what a look at the wall has found.
    pub(super) fn of(standing: &Standing) -> Self {
        let Standing { found, ahead_ms, time } = *standing;
        Self { state: found_name(found).1.to_owned(), wall_ahead_ms: ahead_ms, time_ms: time.0 }
    }
}

impl Status {
    /// Of a view.
    pub fn of(view: &View) -> Self {
        let facts = &view.facts;
        let shards: Vec<_> = (0..)
            .zip(&view.shards)
            .map(|(n, shard)| ShardStatus::of(n, shard, view.clock.time))
            .collect();
        Self {
            version: facts.version.clone(),
            cell: facts.cell,
            durability: format!("{:?}", facts.durability).to_lowercase(),
            listen: facts.listen.clone(),
            data: facts.data.display().to_string(),
            started_at_ms: facts.started_at.0,
            now_ms: view.now.0,
            ready: view.is_ready(),
            draining: view.draining,
            reasons: view.reasons.clone(),
            capacity: CapacityStatus {
                envelopes_max: facts.envelopes_max,
                table_bytes: facts.table_bytes,
                connections_max: facts.connections_max,
            },
            ledger: FollowerStatus::of(view.ledger.as_ref()),
            clock: ClockStatus::of(&view.clock),
            money: shards.iter().fold(MoneyStatus::default(), |sum, s| sum.plus(&s.money)),
            shards,
        }
    }
}

impl MoneyStatus {
    fn of(totals: &Totals) -> Self {
        Self {
            funded_fen: totals.funded,
            claimed_fen: totals.claimed,
            held_fen: totals.held,
            refunded_fen: totals.refunded,
            left_fen: totals.left,
            returned_fen: totals.returned,
        }
    }

    fn plus(&self, other: &Self) -> Self {
        Self {
            funded_fen: self.funded_fen + other.funded_fen,
            claimed_fen: self.claimed_fen + other.claimed_fen,
            held_fen: self.held_fen + other.held_fen,
            refunded_fen: self.refunded_fen + other.refunded_fen,
            left_fen: self.left_fen + other.left_fen,
            returned_fen: self.returned_fen + other.returned_fen,
        }
    }
}

impl ShardStatus {
    fn of(shard: u64, view: &ShardView, now: Time) -> Self {
        let counters = &view.counters;
        Self {
            shard,
            phase: phase_name(view.phase).to_owned(),
            recovery: RecoveryStatus {
                bytes_all: view.recovery.bytes_all,
                bytes: view.recovery.bytes,
                records: view.recovery.records,
            },
            turns: counters.turns,
            envelopes_funded: counters.totals.envelopes,
            envelopes_open: counters.totals.open,
            envelopes_reserved: counters.totals.reserved,
            envelopes_voided: counters.totals.voided,
            claims: counters.totals.claims,
            money: MoneyStatus::of(&counters.totals),
            answers: answers(counters),
            requests: counters.net.requests,
            bad_requests: counters.net.bad_requests,
            carried_in: counters.carried_in,
            carried_out: counters.carried_out,
            refused: RefusedStatus {
                late: counters.refused_late,
                pressure: counters.refused_pressure,
                mesh: counters.refused_mesh,
            },
            pressure: counters.pressure,
            connections: (&counters.net).into(),
            journal: (&counters.journal).into(),
            checkpoint: CheckpointStatus::of(&counters.checkpoints, now),
            tables: (&counters.tables).into(),
            batch_records: (&counters.batch_records).into(),
            commit_us: (&counters.commit_us).into(),
            queue_us: (&counters.queue_us).into(),
            answer_us: (&counters.answer_us).into(),
        }
    }
}

fn answers(counters: &ShardCounters) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut answers = BTreeMap::new();
    for (op, statuses) in counters.answers.iter().enumerate() {
        for (status, &times) in statuses.iter().enumerate().filter(|(_, times)| **times > 0) {
            let of_op: &mut BTreeMap<_, _> = answers.entry(op_name(op)).or_default();
            of_op.insert(status_name(status), times);
        }
    }
    answers
}

impl CheckpointStatus {
    fn of(counters: &CheckpointCounters, now: Time) -> Self {
        let began_at_ms = (counters.began_at_ms > 0).then_some(counters.began_at_ms);
        Self {
            taken: counters.taken,
            failed: counters.failed,
            began_at_ms,
            age_s: began_at_ms.map(|began| now.0.saturating_sub(began) / 1000),
            bytes: counters.bytes,
            position: counters.position,
            under_way: counters.under_way,
        }
    }
}

impl From<&NetCounters> for ConnectionStatus {
    fn from(net: &NetCounters) -> Self {
        Self {
            open: net.connections,
            accepted: net.accepted,
            turned_away: net.turned_away,
            refused_users: net.refused_users,
            slow_readers: net.slow_readers,
            refused_handshakes: net.refused_handshakes,
            late_handshakes: net.late_handshakes,
            late_frames: net.late_frames,
            idle: net.idle,
            broken_streams: net.broken_streams,
            socket_failures: net.socket_failures,
        }
    }
}

impl From<&JournalStats> for JournalStatus {
    fn from(journal: &JournalStats) -> Self {
        Self {
            records: journal.records,
            commits: journal.commits,
            marks: journal.marks,
            bytes: journal.bytes,
            page_bytes: journal.page_bytes,
            segments_filled: journal.rolls,
        }
    }
}

impl From<&TableFill> for TableStatus {
    fn from(fill: &TableFill) -> Self {
        Self {
            envelopes: fill.envelopes,
            envelopes_max: fill.envelopes_max,
            pages: fill.pages,
            pages_max: fill.pages_max,
        }
    }
}

impl From<&Histogram> for Distribution {
    fn from(histogram: &Histogram) -> Self {
        let [p50, p90, p99, p999, max] =
            [500, 900, 990, 999, 1000].map(|permille| histogram.quantile(permille));
        let (count, sum) = (histogram.count(), histogram.sum);
        Self { count, sum, p50, p90, p99, p999, max, buckets: histogram.buckets.to_vec() }
    }
}
