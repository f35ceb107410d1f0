//! What one medium does to a journal: each fault on its own, by its number.

use hongbao::limits::PAGE_BYTES;

use super::written::{BYTES, SEGMENT_BYTES, SEGMENTS, Written};

const SECTOR_BYTES: usize = 512;
const SECTORS: usize = BYTES / SECTOR_BYTES;
const PAGES: usize = BYTES / PAGE_BYTES;

/// One fault.
pub enum Fault {
    /// Other bytes at some offsets, counted over all segments end to end.
    Bytes(Vec<(usize, Vec<u8>)>),
    /// A file that ends too early.
    Cut { segment: usize, length: usize },
}

/// A kind of fault and how many of it there are.
pub struct Family {
    pub name: &'static str,
    pub count: usize,
    /// The fault of a number; `None` where it would change nothing.
    pub fault: fn(&Written, usize) -> Option<Fault>,
}

/// All of them. What is numbered by a pair of places has a number for each pair.
pub fn families(written: &Written) -> Vec<Family> {
    let of = |name, count, fault| Family { name, count, fault };
    let older = written.older.len();
    vec![
        of("bits flipped", BYTES * 8, flipped),
        of("sectors zeroed", SECTORS, |w, n| zeroed(w, n * SECTOR_BYTES, SECTOR_BYTES)),
        of("pages zeroed", PAGES, |w, n| zeroed(w, n * PAGE_BYTES, PAGE_BYTES)),
        of("batches lost", written.batches().len(), lost),
        of("sectors stale", SECTORS * older, |w, n| stale(w, n, SECTOR_BYTES)),
        of("pages stale", PAGES * older, |w, n| stale(w, n, PAGE_BYTES)),
        of("sectors swapped", SECTORS * SECTORS, |w, n| swapped(w, n, SECTOR_BYTES)),
        of("pages swapped", PAGES * PAGES, |w, n| swapped(w, n, PAGE_BYTES)),
        of("sectors misdirected", SECTORS * SECTORS, |w, n| misdirected(w, n, SECTOR_BYTES)),
        of("pages misdirected", PAGES * PAGES, |w, n| misdirected(w, n, PAGE_BYTES)),
        of("files cut", SEGMENTS * SEGMENT_BYTES, cut),
    ]
}

#[expect(clippy::unnecessary_wraps, reason = "a fault like the others")]
fn flipped(written: &Written, bit: usize) -> Option<Fault> {
    let byte = written.at(bit / 8, 1)[0] ^ 1 << (bit % 8);
    Some(Fault::Bytes(vec![(bit / 8, vec![byte])]))
}

/// Other bytes in a place, if they are others.
fn instead(written: &Written, offset: usize, bytes: &[u8]) -> Option<Fault> {
    let other = written.at(offset, bytes.len()) != bytes;
    other.then(|| Fault::Bytes(vec![(offset, bytes.to_vec())]))
}

fn zeroed(written: &Written, offset: usize, length: usize) -> Option<Fault> {
    instead(written, offset, &vec![0; length])
}

/// A write that was acknowledged and never happened.
fn lost(written: &Written, number: usize) -> Option<Fault> {
    let (from, to) = written.batches()[number];
    zeroed(written, from, to - from)
}

/// What the same place held at an earlier moment.
fn stale(written: &Written, number: usize, length: usize) -> Option<Fault> {
    let places = BYTES / length;
    let (moment, offset) = (&written.older[number / places], number % places * length);
    let segment = moment.get(offset / SEGMENT_BYTES)?; // not made yet
    instead(written, offset, &segment[offset % SEGMENT_BYTES..][..length])
}

fn swapped(written: &Written, number: usize, length: usize) -> Option<Fault> {
    let places = BYTES / length;
    let (one, other) = (number / places * length, number % places * length);
    let (at_one, at_other) = (written.at(one, length), written.at(other, length));
    let both = || vec![(one, at_other.to_vec()), (other, at_one.to_vec())];
    (one < other && at_one != at_other).then(|| Fault::Bytes(both()))
}

/// What was to be written to one place was written to another.
fn misdirected(written: &Written, number: usize, length: usize) -> Option<Fault> {
    let places = BYTES / length;
    let (from, to) = (number / places * length, number % places * length);
    instead(written, to, written.at(from, length))
}

#[expect(clippy::unnecessary_wraps, reason = "a fault like the others")]
fn cut(_written: &Written, number: usize) -> Option<Fault> {
    Some(Fault::Cut { segment: number / SEGMENT_BYTES, length: number % SEGMENT_BYTES })
}
