//! What belongs to a request and is too long to lie in it.

/// Bytes of any length that belong to a request and lie beside it: from the
/// decoder in its frame, then wherever the request is taken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// Where they begin.
    pub at: u16,
    /// How many they are.
    pub bytes: u16,
}

impl Attached {
    /// The bytes, out of those among which they lie.
    pub fn of(self, beside: &[u8]) -> &[u8] {
        let at = usize::from(self.at);
        beside.get(at..at + usize::from(self.bytes)).unwrap_or_default()
    }

    /// Takes the bytes along: appends them to others, among which they lie from
    /// now on. There must be room, and fewer than 64 KiB before them.
    pub fn take_along(&mut self, from: &[u8], to: &mut Vec<u8>) {
        let at = u16::try_from(to.len()).unwrap_or(u16::MAX);
        to.extend_from_slice(self.of(from));
        self.at = at;
    }
}
