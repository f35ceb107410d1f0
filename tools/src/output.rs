//! One result, in either form: words for people, one JSON object for programs.

use serde::Serialize;

/// Which form is wanted.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    /// One JSON object instead of text.
    pub(crate) json: bool,
}

impl Output {
    /// Prints the value as JSON, or the words.
    pub(crate) fn print(self, value: &impl Serialize, words: impl FnOnce() -> String) {
        if self.json {
            self.json_only(value);
        } else {
            println!("{}", words());
        }
    }

    /// Prints the value if JSON is wanted.
    pub(crate) fn json_only(self, value: &impl Serialize) {
        if self.json {
            let text = serde_json::to_string(value).unwrap_or_else(|error| {
                format!("{{\"error\":\"cannot write JSON: {error}\"}}") // no such value exists here
            });
            println!("{text}");
        }
    }
}

/// An id, user, order or payment number as JSON carries it: a decimal string,
/// because 64 bits do not survive the readers that keep numbers as doubles.
pub(crate) fn id(number: impl std::fmt::Display) -> String {
    number.to_string()
}
