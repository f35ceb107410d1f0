//! The floor still answers what the load asks of it.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use hongbao::client::Client;
use hongbao::units::{EnvelopeId, UserId};

#[test]
fn the_floor_answers_every_claim_with_a_share() {
    let mut floor = Command::new(env!("CARGO_BIN_EXE_floor"))
        .args(["--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(floor.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split_whitespace().last().unwrap().parse().unwrap();
    let mut client = Client::connect(&address).unwrap();
    for user in 0..100 {
        assert_eq!(client.claim(EnvelopeId(1), UserId(user)).unwrap().amount, 1);
    }
    floor.kill().unwrap();
    floor.wait().unwrap();
}
