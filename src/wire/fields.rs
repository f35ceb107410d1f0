//! Tagged fields: what a request may say or leave out.
//!
//! ```text
//! tag u8 | length u16 | so many bytes
//! ```
//!
//! They come in the order of their tags, each at most once, so that the same
//! meaning is always the same bytes.

/// The fields in some bytes, one after the other; ends with an `Err` where the
/// bytes are no fields.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    last_tag: u8,
}

/// Bytes that are no fields, or not in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl<'a> Fields<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, last_tag: 0 }
    }

    fn first(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        let (&[tag, l0, l1], rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
        let length = usize::from(u16::from_le_bytes([l0, l1]));
        let (field, rest) = rest.split_at_checked(length).ok_or(Malformed)?;
        if tag <= self.last_tag {
            return Err(Malformed);
        }
        (self.rest, self.last_tag) = (rest, tag);
        Ok((tag, field))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u8, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.first();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Appends a field.
pub(super) fn put(out: &mut Vec<u8>, tag: u8, field: &[u8]) {
    // Every field is bounded far below 16 bits by its own rule.
    let length = u16::try_from(field.len()).unwrap_or(u16::MAX);
    out.push(tag);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(field);
}

/// A field that says by its presence that something is so.
pub(super) fn flag(field: &[u8]) -> Result<bool, Malformed> {
    if field.is_empty() { Ok(true) } else { Err(Malformed) }
}

/// A field of exactly `N` bytes.
pub(super) fn exactly<const N: usize>(field: &[u8]) -> Result<[u8; N], Malformed> {
    field.try_into().map_err(|_| Malformed)
}

/// A field of some bytes; none is said by leaving it out.
pub(super) fn some(field: &[u8], bytes_max: usize) -> Result<&[u8], Malformed> {
    if (1..=bytes_max).contains(&field.len()) { Ok(field) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_in_order_and_a_cut_is_no_fields() {
        let mut bytes = Vec::new();
        put(&mut bytes, 1, b"");
        put(&mut bytes, 7, b"seven");
        let all: Vec<_> = Fields::of(&bytes).collect();
        assert_eq!(all, [Ok((1, &b""[..])), Ok((7, &b"seven"[..]))]);
        for cut in 1..bytes.len() {
            let whole = Fields::of(&bytes[..cut]).all(|field| field.is_ok());
            assert_eq!(whole, cut == 3, "cut at {cut}");
        }
        for tags in [[2, 2], [2, 1], [0, 1]] {
            let mut bytes = Vec::new();
            for tag in tags {
                put(&mut bytes, tag, b"x");
            }
            assert!(Fields::of(&bytes).any(|field| field.is_err()), "{tags:?}");
        }
    }
}
