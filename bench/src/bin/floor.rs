//! The floor: the shard's loop with frames answered from nothing: no state, no
//! journal. What hongbao reaches is quoted as a ratio to it.

use std::net::SocketAddr;

use anyhow::Result;
use clap::Parser;
use hongbao::journal::{Committed, Position};
use hongbao::limits::PROTOCOL_VERSION;
use hongbao::net::{BoundListener, Inbox, Net, NetSettings, Waker};
use hongbao::wire::{Request, Status};

/// Answers every frame at once, as a floor for figures of hongbao
#[derive(Parser)]
struct Cli {
    /// TCP address to serve on
    #[arg(long, default_value = "127.0.0.1:7879")]
    listen: SocketAddr,
}

fn main() -> Result<()> {
    let bound = BoundListener::tcp(Cli::parse().listen)?;
    let address = bound.address();
    let settings = NetSettings::open(1024);
    let mut net = Net::new(vec![bound.listen()?], settings, Waker::new()?)?;
    // Said only now: whoever reads the line may connect at once.
    println!("floor on {address}");
    let mut inbox = Inbox::new();
    let mut envelopes = 0;
    loop {
        net.wait(None)?;
        while net.fill(&mut inbox)? {
            for asked in inbox.asked() {
                let reply = net.reply(asked, Position::default());
                match asked.request {
                    Ok(Request::Hello { .. }) => {
                        reply.hello(PROTOCOL_VERSION, 1, 1, &[address.port()]);
                    }
                    Ok(Request::Send(_)) => {
                        envelopes += 1;
                        reply.number(Status::Ok, 0, envelopes);
                    }
                    _ => reply.number(Status::Ok, 0, 1),
                }
            }
        }
        net.seal();
        net.release(&Committed::nothing())?;
    }
}
