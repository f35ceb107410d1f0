//! engine.
mod decision;
pub use decision::*;
