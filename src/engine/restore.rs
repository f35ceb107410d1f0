//! An engine from an image and the records after it.
//!
//! First the slices are loaded, then the records are applied, then everything
//! that is derived from envelopes is made, in one walk over the pages. Until
//! then nothing can be decided, so [`Restoring`] has no way to ask.

use std::hint::black_box;

use super::arena::{Arena, PAGE_WORDS};
use super::class::{Class, PageKey, SlotRef, row_words};
use super::cold::{COLD_WORDS, Cold};
use super::header::{HEADER_WORDS, Header, generation_in, is_free};
use super::risk::Gathered;
use super::slice::{BadImage, COUNTER_WORDS, Head, Kind, word_at};
use super::slots::{NO_LINK, POSITION_WORD, RUN_WORD, Slot, Vacancy};
use super::sound::is_sound;
use super::tail::{Tail, read_words};
use super::transition::came_to;
use super::words::{high, index, low, narrow};
use super::{Capacity, Engine, EnvelopeLimits, Issued, Misfit, Record, Recycled, Totals};
use crate::planted::{Bug, is_planted};
use crate::units::{Cell, EnvelopeId, EnvelopeState, Fen, PARTITIONS, Split, UnixSeconds, UserId};
use crate::wire::Row;

/// Records whose lines are loaded together, and orders that are entered
/// together.
const GROUP: usize = 32;

/// An engine that cannot decide yet.
pub struct Restoring {
    /// Only its pages, its archive and its counters are in use until the end.
    pub(super) engine: Engine,
    shard: u16,
    shards: u16,
    /// As of which position each arena page was copied; 0 if it was made from
    /// records.
    positions: Vec<u64>,
    /// Where the image of each partition began.
    pub(super) floors: Vec<u64>,
    /// The latest moment that was seen.
    seen: UnixSeconds,
    /// Whether shares were ever held, as far as this was loaded.
    pub(super) holds_seen: bool,
    /// What happened of late, as far as this was loaded.
    pub(super) gathered: Gathered,
    /// A large envelope whose claims are being loaded, and how many have come.
    loading: Option<(EnvelopeId, u32)>,
}

impl Restoring {
    /// Nothing yet. Only the partitions p with p mod `shards` = `shard` will be
    /// kept, of slices and records alike.
    pub fn new(
        cell: Cell,
        capacity: Capacity,
        limits: EnvelopeLimits,
        shard: u16,
        shards: u16,
    ) -> Self {
        let engine = Engine::new(cell, capacity, limits);
        let positions = vec![0; index(engine.slots.page_count())];
        let floors = vec![0; usize::from(PARTITIONS)];
        let (seen, holds_seen, gathered, loading) = (0, false, Gathered::default(), None);
        Self { engine, shard, shards, positions, floors, seen, holds_seen, gathered, loading }
    }

    pub(super) fn is_ours(&self, partition: u8) -> bool {
        u16::from(partition).checked_rem(self.shards).is_some_and(|owner| owner == self.shard)
    }

    /// Takes over a slice of an image, and says how many envelopes are in it.
    /// On `Err` it is incomplete; no bytes whatsoever make it panic.
    pub fn load(&mut self, slice: &[u8]) -> Result<u64, BadImage> {
        let (head, body) = Head::read(slice)?;
        if head.cell != self.engine.slots.cell() {
            return Err(BadImage::Cell(head.cell));
        }
        match head.kind {
            Kind::Counters => self.load_counters(&head, body),
            Kind::Page => self.load_page(&head, body),
            Kind::Large => self.load_large(&head, body),
            Kind::Rows => self.load_rows(&head, body),
            Kind::Campaign => self.load_campaign(&head, body),
            Kind::Holds => self.load_holds(&head, body),
            Kind::Standings => self.load_standings(&head, body),
            Kind::Recent => self.load_recent(&head, body),
        }
    }

    fn load_counters(&mut self, head: &Head, body: &[u8]) -> Result<u64, BadImage> {
        for entry in body.chunks(8 * COUNTER_WORDS) {
            let word = |n| word_at(entry, n).ok_or(BadImage::Torn);
            let partition = u8::try_from(low(word(0)?)).map_err(|_| BadImage::Torn)?;
            if !self.is_ours(partition) {
                continue;
            }
            let sum = |n| Ok(u128::from(word(n)?) | u128::from(word(n + 1)?) << 64);
            let (funded, claimed, returned): (u128, u128, u128) = (sum(3)?, sum(5)?, sum(8)?);
            let refunded = funded.checked_sub(claimed).ok_or(BadImage::Torn)?;
            let (envelopes, claims, voided) = (word(1)?, word(2)?, word(7)?);
            // Sums over all partitions must fit, too.
            if (funded | returned) >> 112 != 0 || (envelopes | claims | voided) >> 48 != 0 {
                return Err(BadImage::Torn);
            }
            self.engine.archived[usize::from(partition)] = Totals {
                envelopes,
                voided,
                claims,
                funded,
                claimed,
                refunded,
                returned,
                ..Totals::default()
            };
            self.engine.vacancies.raise_next_large(partition, high(word(0)?));
            self.floors[usize::from(partition)] = head.position;
        }
        Ok(0)
    }

    fn load_page(&mut self, head: &Head, body: &[u8]) -> Result<u64, BadImage> {
        let key = PageKey(u32::try_from(head.subject).map_err(|_| BadImage::Torn)?);
        if head.body_words != PAGE_WORDS || key.block(0).is_none() || key.class().is_large() {
            return Err(BadImage::Torn);
        }
        if !self.is_ours(key.partition()) {
            return Ok(0);
        }
        let page = self.new_page(key)?;
        self.positions[index(page)] = head.position;
        let words = self.engine.slots.arena.bytes_mut(Arena::page_at(page), PAGE_WORDS);
        words.copy_from_slice(body);
        let slots = (0..key.class().slots()).map(|slot| SlotRef::new(page, slot));
        let envelopes: Result<u64, BadImage> =
            slots.map(|slot| self.check(slot, key).map(u64::from)).sum();
        if envelopes.is_err() {
            // Nothing unsound stays, in case anybody goes on with it.
            self.engine.slots.arena.zero(Arena::page_at(page), PAGE_WORDS);
        }
        envelopes
    }

    fn new_page(&mut self, key: PageKey) -> Result<u32, BadImage> {
        if self.engine.slots.page(key).is_some() {
            return Err(BadImage::Repeated);
        }
        self.engine.slots.make_page(key).ok_or(BadImage::Full)
    }

    /// Whether a slot has an envelope, and that it is sound.
    fn check(&mut self, reference: SlotRef, key: PageKey) -> Result<bool, BadImage> {
        let slots = &self.engine.slots;
        if is_free(slots.first_word(reference)) {
            return Ok(false);
        }
        let generation = generation_in(slots.first_word(reference));
        let id = slots.id_of(reference, generation).unwrap_or_default();
        let slot = slots.at(reference).ok_or(BadImage::Unsound(id))?;
        let cold = slots.cold(reference).ok_or(BadImage::Unsound(id))?;
        let fits =
            slots.has_sound_tail(&slot) && is_sound(&slot.header, &cold, key, slots.tail(&slot));
        if !fits || !slots.rows_add_up(&slot, &cold) {
            return Err(BadImage::Unsound(id));
        }
        self.seen = self.seen.max(cold.created_at);
        if is_planted(Bug::GuessesForgotten) {
            self.engine.slots.forget_guessers(&slot);
        }
        Ok(true)
    }

    fn load_large(&mut self, head: &Head, body: &[u8]) -> Result<u64, BadImage> {
        let id = EnvelopeId(head.subject);
        if self.loading.is_some() {
            return Err(BadImage::Torn);
        }
        if !self.is_ours(id.partition()) {
            return Ok(0);
        }
        let words = || (0..).map_while(|n| word_at(body, n));
        let mut front = [0; HEADER_WORDS + COLD_WORDS];
        front.iter_mut().zip(words()).for_each(|(to, word)| *to = word);
        let tail_words: Vec<u64> = words().skip(front.len()).collect();
        if head.body_words != front.len() + tail_words.len() {
            return Err(BadImage::Torn);
        }
        let header = front.first_chunk().and_then(Header::load).ok_or(BadImage::Unsound(id))?;
        let cold = front.last_chunk().map(Cold::load).ok_or(BadImage::Unsound(id))?;
        let tail = tail_of(&header, &tail_words).ok_or(BadImage::Unsound(id))?;
        let vacancy = self.engine.slots.vacancy(id, header.shares, tail);
        let vacancy = vacancy.map_err(|misfit| match misfit {
            Misfit::Full => BadImage::Full,
            _ => BadImage::Unsound(id),
        })?;
        let key = vacancy.block.page_key(u32::from(id.partition()));
        let sound = is_sound(&header, &cold, key, tail);
        if !sound || !key.class().is_large() || header.generation != id.generation() {
            return Err(BadImage::Unsound(id));
        }
        self.put_large(&vacancy, &header, &cold, head.position)?;
        if let Some(slot) = self.engine.slots.get(id) {
            self.engine.slots.put_tail_words(&slot, &tail_words);
        }
        self.seen = self.seen.max(cold.created_at);
        self.loading = (header.claimed > 0).then_some((id, 0));
        Ok(1)
    }

    /// Puts a large envelope without its claims where its id says.
    fn put_large(
        &mut self,
        vacancy: &Vacancy,
        header: &Header,
        cold: &Cold,
        position: u64,
    ) -> Result<(), BadImage> {
        let key = vacancy.block.page_key(u32::from(vacancy.envelope.partition()));
        let page = vacancy.page.map_or_else(|| self.new_page(key), Ok)?;
        let slots = &mut self.engine.slots;
        let order = vacancy.run_order.ok_or(BadImage::Torn)?;
        let run = slots.make_run(order, header.shares).ok_or(BadImage::Full)?;
        let slot = SlotRef::new(page, vacancy.block.slot());
        let at = slots.place_of(slot);
        slots.arena.put_chunk(at, &header.words(NO_LINK));
        slots.arena.put_chunk(at + RUN_WORD, &[u64::from(run), position]);
        slots.arena.put_chunk(slot.cold_at(), &cold.words(NO_LINK));
        self.engine.vacancies.saw_large(vacancy);
        Ok(())
    }

    fn load_rows(&mut self, head: &Head, body: &[u8]) -> Result<u64, BadImage> {
        let id = EnvelopeId(head.subject);
        if !self.is_ours(id.partition()) {
            return Ok(0);
        }
        if self.loading != Some((id, head.first_rank)) {
            return Err(BadImage::Torn);
        }
        let slot = self.engine.slots.get(id).ok_or(BadImage::Torn)?;
        let upto = u64::from(head.first_rank) + u64::from(narrow(head.body_words / 2));
        if head.body_words == 0 || upto > u64::from(slot.header.claimed) {
            return Err(BadImage::Torn);
        }
        for (rank, row) in (head.first_rank..).zip(body.chunks(16)) {
            let word = |n| word_at(row, n).ok_or(BadImage::Torn);
            let (user, meta) = (UserId(word(0)?), word(1)?);
            let row = Row { user, amount: low(meta), at: high(meta) };
            self.engine.slots.seat_at(&slot, rank, row);
        }
        self.loading = Some((id, low(upto)));
        if low(upto) == slot.header.claimed {
            self.end_rows(id, &slot)?;
        }
        Ok(0)
    }

    fn end_rows(&mut self, id: EnvelopeId, slot: &Slot) -> Result<(), BadImage> {
        self.loading = None;
        let cold = self.engine.slots.cold(slot.reference()).ok_or(BadImage::Torn)?;
        if self.engine.slots.rows_add_up(slot, &cold) {
            return Ok(());
        }
        self.engine.slots.free(slot);
        Err(BadImage::Unsound(id))
    }

    /// Applies records, each with the position of its end, in the order of the
    /// journal. Of other partitions, and of pages that were copied later, they
    /// are skipped. The more at a time, the faster.
    pub fn apply<P>(&mut self, records: &[(P, Record)]) -> Result<(), (P, Misfit)>
    where
        P: Copy + Into<u64>,
    {
        for group in records.chunks(GROUP) {
            self.touch(group);
            for (end, record) in group {
                self.apply_one((*end).into(), record).map_err(|misfit| (*end, misfit))?;
            }
        }
        Ok(())
    }

    /// Loads the lines that a group needs, as the shard does it.
    fn touch<P>(&self, group: &[(P, Record)]) {
        let mut places = [0; GROUP];
        for (place, (_, record)) in places.iter_mut().zip(group) {
            *place = self.engine.slots.place(record.envelope());
        }
        let touch = |place: &usize| self.engine.slots.touch(*place);
        black_box(places.iter().fold(0, |seen, place| seen ^ touch(place)));
        let mut places = [[0; 4]; GROUP];
        for (places, (_, record)) in places.iter_mut().zip(group) {
            let slots = &self.engine.slots;
            *places = if let Record::Claimed(claimed) = record {
                slots.claim_places(claimed.envelope, claimed.user)
            } else {
                let slot = slots.get(record.envelope());
                [slot.map_or(0, |slot| slot.reference().cold_at()); 4]
            };
        }
        black_box(places.as_flattened().iter().fold(0, |seen, place| seen ^ touch(place)));
    }

    fn apply_one(&mut self, end: u64, record: &Record) -> Result<(), Misfit> {
        let id = record.envelope();
        // Parts and their order lie in one batch, so no image has one of them only.
        if let Record::TermsPart(part) = record {
            return self.engine.stage(part);
        }
        // Every shard has all marks, whichever was told.
        if let Record::Marked(_) = record {
            return self.mark_one(record);
        }
        if !self.is_ours(id.partition()) || end <= self.floors[usize::from(id.partition())] {
            return Ok(());
        }
        self.plan_one(end, record)?;
        self.hold_one(record);
        self.gather_one(record);
        // The archive is as of the beginning of the image, whenever the page
        // was copied.
        self.engine.archived[usize::from(id.partition())].note(record);
        if self.is_in_image(id, end) {
            // What was recycled before its page was copied is only known from here.
            if let Record::Recycled(recycled) = record {
                self.engine.archive(recycled);
            }
            return Ok(());
        }
        match record {
            Record::Issued(issued) => self.open(issued),
            Record::Claimed(claimed) => self.engine.slots.claim(claimed).map(|_| ()),
            Record::Held(held) => self.engine.slots.claim(&held.claimed).map(|_| ()),
            Record::Closed(closed) => self.engine.slots.close(closed).map(|_| ()),
            Record::Paid(paid) => self.engine.slots.pay(paid).map(|_| ()),
            Record::Voided(voided) => self.engine.slots.void(voided).map(|_| ()),
            Record::Returned(returned) => self.engine.slots.give_back(returned),
            Record::Guessed(guessed) => self.engine.slots.guess(guessed),
            // Staged or done above, or part of a plan.
            Record::TermsPart(_)
            | Record::Planned(_)
            | Record::Commanded(_)
            | Record::Resolved(_)
            | Record::Tagged(_)
            | Record::Denied(_)
            | Record::Marked(_) => Ok(()),
            Record::Recycled(recycled) => {
                let rejected = self.rejected_by(recycled);
                let slot = self.engine.slots.recyclable(recycled, rejected)?;
                self.engine.slots.free(&slot);
                self.engine.archive(recycled);
                Ok(())
            }
        }
    }

    /// What was rejected of an envelope that is recycled, by what the record says:
    /// its holds may have been forgotten before they were copied.
    fn rejected_by(&self, record: &Recycled) -> (u32, Fen) {
        let slots = &self.engine.slots;
        let found = slots.get(record.envelope).filter(|_| self.holds_seen);
        let sums = found.and_then(|slot| Some(came_to(&slot, &slots.cold(slot.reference())?)));
        sums.map_or((0, 0), |(rows, gone, _)| {
            (rows.saturating_sub(record.shares_claimed), gone.saturating_sub(record.claimed))
        })
    }

    fn open(&mut self, record: &Issued) -> Result<(), Misfit> {
        let engine = &mut self.engine;
        let terms = engine.staged.of(record).ok_or(Misfit::Contradiction(record.envelope))?;
        let (vacancy, tail) = engine.slots.vacancy_for(record, terms)?;
        let key = vacancy.block.page_key(u32::from(record.envelope.partition()));
        let made = || engine.slots.make_page(key).ok_or(Misfit::Full);
        let page = vacancy.page.map_or_else(made, Ok)?;
        engine.slots.open(&vacancy, page, record, (tail, terms)).ok_or(Misfit::Full)?;
        if key.class().is_large() {
            engine.vacancies.saw_large(&vacancy);
        }
        self.seen = self.seen.max(record.at);
        Ok(())
    }

    /// Whether the image of this envelope's page, or of a large envelope, was
    /// taken after a record.
    #[inline]
    fn is_in_image(&self, id: EnvelopeId, end: u64) -> bool {
        end <= self.copied_at(id) && !is_planted(Bug::ImageReplayed)
    }

    /// As of which position the page of this envelope, or a large envelope, was
    /// copied; 0 if it was made from records.
    #[inline]
    pub(super) fn copied_at(&self, id: EnvelopeId) -> u64 {
        let slots = &self.engine.slots;
        slots.locate(id).map_or(0, |(at, class)| {
            let of_page = || self.positions.get(at / PAGE_WORDS).copied().unwrap_or(0);
            if class.is_large() { slots.arena.word(at + POSITION_WORD) } else { of_page() }
        })
    }

    /// The engine, once everything was loaded and applied.
    pub fn finish(mut self) -> Result<Engine, Misfit> {
        if let Some((id, _)) = self.loading {
            return Err(Misfit::Contradiction(id));
        }
        let mut orders = NewOrders { group: [SlotRef(0); GROUP], count: 0 };
        for page in 0..self.engine.slots.page_count() {
            let key = self.engine.slots.key(page);
            self.engine.vacancies.saw_page(key);
            for slot in (0..key.class().slots()).map(|slot| SlotRef::new(page, slot)) {
                self.engine.derive(slot, key.class(), self.seen, &mut orders)?;
            }
        }
        orders.enter(&mut self.engine)?;
        self.engine.check_campaigns()?;
        self.engine.check_holds()?;
        self.engine.recall(self.gathered);
        self.engine.retained.sort();
        self.engine.retained_large.sort();
        for archived in &self.engine.archived {
            self.engine.totals.add(archived);
        }
        self.engine.touched = 0;
        Ok(self.engine)
    }
}

impl Engine {
    /// Makes of a slot what the tables have of it.
    fn derive(
        &mut self,
        reference: SlotRef,
        class: Class,
        seen: UnixSeconds,
        orders: &mut NewOrders,
    ) -> Result<(), Misfit> {
        let Some(slot) = self.slots.at(reference) else {
            self.vacancies.put(&mut self.slots, reference);
            return Ok(());
        };
        let Some(cold) = self.slots.cold(reference) else {
            return Ok(());
        };
        if self.live >= self.capacity.envelopes {
            return Err(Misfit::Full);
        }
        self.live += 1;
        self.totals.add(&sums_of(&slot, &cold));
        if class.is_large() {
            self.slots.arena.put(slot.at + POSITION_WORD, 0);
        }
        if slot.header.split == Split::Prizes {
            self.recount(reference, &slot)?;
        }
        if slot.header.is_live() {
            self.wheel.link(&mut self.slots, reference, slot.header.expires_at, seen);
        } else {
            self.slots.put_previous(reference, NO_LINK);
            let ended_at = self.slots.ended_at(&slot, &cold);
            self.retained_of(class).push(reference, ended_at);
        }
        if let Some(senders) = &mut self.senders {
            senders.keep(cold.sender, slot.header.is_live());
            if slot.header.state != EnvelopeState::Voided {
                senders.count_day(cold.sender, cold.total, cold.ordered_about());
            }
        }
        orders.add(self, reference)
    }
}

/// The tail of a large envelope, whose words these are; without terms there are
/// none.
fn tail_of(header: &Header, words: &[u64]) -> Option<Tail> {
    if !header.has_terms {
        return words.is_empty().then_some(Tail::NONE);
    }
    let tail = read_words(words, header.shares)?;
    (words.len() == row_words(tail.rows())).then_some(tail)
}

fn sums_of(slot: &Slot, cold: &Cold) -> Totals {
    let header = &slot.header;
    let (claims, claimed, funded) = came_to(slot, cold);
    Totals {
        envelopes: u64::from(header.is_paid()),
        open: u64::from(header.is_open()),
        reserved: u64::from(header.is_reserved()),
        claims: u64::from(claims),
        funded: u128::from(funded),
        claimed: u128::from(claimed),
        refunded: u128::from(header.refunded()),
        left: u128::from(header.left()),
        ..Totals::default()
    }
}

/// Orders that are entered into the index together, so that their cache misses
/// overlap.
struct NewOrders {
    group: [SlotRef; GROUP],
    count: usize,
}

impl NewOrders {
    fn add(&mut self, engine: &mut Engine, slot: SlotRef) -> Result<(), Misfit> {
        self.group[self.count] = slot;
        self.count += 1;
        if self.count == GROUP { self.enter(engine) } else { Ok(()) }
    }

    fn enter(&mut self, engine: &mut Engine) -> Result<(), Misfit> {
        let group = &self.group[..self.count];
        self.count = 0;
        let mut buckets = [0; GROUP];
        let mut seen = 0;
        for (bucket, &slot) in buckets.iter_mut().zip(group) {
            let (first, word) = engine.orders.touch_first(&engine.slots, slot);
            *bucket = first;
            seen ^= word;
        }
        black_box(seen);
        let chains = buckets[..group.len()].iter();
        let seen = chains.map(|&bucket| engine.orders.touch_chain(&engine.slots, bucket));
        black_box(seen.fold(0, |seen, word| seen ^ word));
        for &slot in group {
            if !engine.orders.insert(&engine.slots, slot) {
                let id = engine.slots.at(slot).map(|found| found.header.generation);
                let id = id.and_then(|generation| engine.slots.id_of(slot, generation));
                return Err(Misfit::Contradiction(id.unwrap_or_default()));
            }
        }
        Ok(())
    }
}
