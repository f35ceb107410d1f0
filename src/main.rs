//! The `hongbao` server binary.

fn main() {}
