//! A shake whose answer is lost: whoever says what it knows is told the win, and
//! does not win in its stead once more.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hongbao::client::{Client, Shaken, Wins};
use hongbao::units::UserId;
use hongbao::wire::{ReplyBody, Slot, Status, decode_reply};

use crate::crowd::{sponsored, wait_for};
use crate::rig::{address, connect};
use crate::start;

const USER: UserId = UserId(5);

/// A line to a server that breaks, once, in the place of the first answer that
/// tells an amount.
fn breaking_line(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let line = listener.local_addr().unwrap();
    let has_broken = Arc::new(AtomicBool::new(false));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, has_broken) = (client.unwrap(), Arc::clone(&has_broken));
            let server = TcpStream::connect(server).unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            std::thread::spawn(move || answer(server, client, &has_broken));
        }
    });
    line
}

/// Hands answers on, frame by frame.
fn answer(mut from: TcpStream, mut to: TcpStream, has_broken: &AtomicBool) {
    let (mut unread, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = from.read(&mut piece) {
        unread.extend_from_slice(&piece[..count]);
        while let Some((bytes, reply)) = decode_reply(&unread).unwrap() {
            let is_win = reply.status == Status::Ok && matches!(reply.body, ReplyBody::Amount(_));
            if is_win && !has_broken.swap(true, Ordering::SeqCst) {
                let _ = to.shutdown(Shutdown::Both);
                let _ = from.shutdown(Shutdown::Both);
                return;
            }
            if to.write_all(&unread[..bytes]).is_err() {
                return; // the client has gone
            }
            unread.drain(..bytes);
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

#[test]
fn a_win_whose_answer_was_lost_is_told_and_not_won_again() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), 1);
    let mut direct = connect(&server);
    // A slot a second: the same user may soon win again.
    let slots = |now| (0..60).map(|n| Slot { start: now + n, length_s: 1, quota: 5 }).collect();
    let (campaign, _) = sponsored(&mut direct, 1, &[(500, 300)], slots, 2);
    let line = breaking_line(server.address());
    let mut client = Client::connect(&address(&line.to_string())).unwrap();
    let mut shake = |known| {
        let mut told = Shaken::Lost { fallback: 0 };
        wait_for("it has won", || {
            told = client.shake_for_next(campaign, USER, known).unwrap();
            !matches!(told, Shaken::Lost { .. } | Shaken::CapReached { .. })
        });
        told
    };
    assert_eq!(shake(0), Shaken::WonBefore { amount: 500, count: 1 }, "nobody had heard of it");
    assert_eq!(direct.campaign_wins(campaign, USER).unwrap(), Wins { count: 1, last: 500 });
    assert_eq!(shake(1), Shaken::Won { amount: 500, kind: 0 });
    assert_eq!(direct.campaign_wins(campaign, USER).unwrap(), Wins { count: 2, last: 500 });
    assert_eq!(direct.campaign_status(campaign).unwrap().head.won, 2);
}

#[test]
fn a_shake_is_not_made_again_by_itself() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), 1);
    let mut direct = connect(&server);
    let slots = |now| vec![Slot { start: now, length_s: 600, quota: 300 }];
    let (campaign, _) = sponsored(&mut direct, 1, &[(500, 300)], slots, 3);
    let line = breaking_line(server.address());
    let mut client = Client::connect(&address(&line.to_string())).unwrap();
    wait_for("the line breaks", || match client.shake(campaign, USER) {
        Ok(told) => {
            assert!(matches!(told, Shaken::Lost { .. }), "{told:?} came through");
            false
        }
        Err(error) => error.is_broken_connection(),
    });
    assert_eq!(client.campaign_wins(campaign, USER).unwrap(), Wins { count: 1, last: 500 });
}
