//! Yuan as people write them ↔ fen, exactly; no floating point anywhere.

use hongbao::units::Fen;

/// Reads `88`, `88.8` or `88.00`.
pub(crate) fn parse_yuan(text: &str) -> Result<Fen, String> {
    let wrong = || format!("`{text}` is no amount: write yuan with at most two decimals, as 88.00");
    let (yuan, cents) = text.split_once('.').unwrap_or((text, "00"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(yuan) || !digits(cents) || cents.len() > 2 {
        return Err(wrong());
    }
    let yuan: Fen = yuan.parse().map_err(|_| wrong())?;
    let fen: Fen = format!("{cents:0<2}").parse().map_err(|_| wrong())?;
    yuan.checked_mul(100).and_then(|whole| whole.checked_add(fen)).ok_or_else(wrong)
}

/// Shows fen as `88.00 yuan`.
pub(crate) fn yuan(fen: Fen) -> String {
    format!("{}.{:02} yuan", fen / 100, fen % 100)
}

/// The same for a sum over many envelopes.
pub(crate) fn yuan_sum(fen: u128) -> String {
    format!("{}.{:02} yuan", fen / 100, fen % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_to_the_fen() {
        for (text, fen) in [("88.00", 8800), ("88", 8800), ("0.01", 1), ("1.5", 150), ("0", 0)] {
            assert_eq!(parse_yuan(text), Ok(fen), "{text}");
        }
        assert_eq!(parse_yuan("184467440737095516.15"), Ok(u64::MAX));
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", ".", "1.", ".5", "-1", "+1", "1.005", "1,5", "1e3", "ten", "１"] {
            assert!(parse_yuan(text).is_err(), "{text}");
        }
        assert!(parse_yuan("184467440737095516.16").is_err());
    }

    #[test]
    fn fen_are_shown_as_yuan() {
        assert_eq!([yuan(0), yuan(1), yuan(8805)], ["0.00 yuan", "0.01 yuan", "88.05 yuan"]);
    }
}
