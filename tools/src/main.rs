//! `hb`: the command line of hongbao.

fn main() {}
