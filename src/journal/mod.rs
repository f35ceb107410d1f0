//! journal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Position(pub u64);
pub struct Committed {
    upto: Position,
}
impl Committed {
    pub fn upto(&self) -> Position {
        self.upto
    }
    pub fn nothing() -> Self {
        Self { upto: Position(0) }
    }
}
