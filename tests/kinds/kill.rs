//! SIGKILL under envelopes of every kind: what was told holds, is repeated as it
//! was, and nothing that was counted begins anew.
//! `KIND_KILLS=100 cargo test --release --test kinds kill` for more.

use std::path::Path;
use std::time::Duration;

use hongbao::audit::{Settings, audit};
use hongbao::client::{Client, ClientError};
use hongbao::units::{EnvelopeId, UserId};
use hongbao::wire::{Evidence, Mark, RateLimit, ReplyBody, Resolution, Status, ToldTerms};

use crate::kind::{Cast, GRADE, GUESSED, HELD_FEN, Kind, Said, now, try_claim};
use crate::rig::{Process, address, key_file};

const ACTORS: u64 = 3;
const GUESSES_MAX: u32 = 3;

/// Whoever has won so often in the window is given nothing more.
const WINS_MAX: u32 = 5;

/// What may be told of a held share from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Waits,
    Released,
    Rejected,
    /// The word about it was cut off.
    Unsure,
}

/// One envelope, and what was told of it.
struct Told {
    kind: Kind,
    cast: Cast,
    envelope: EnvelopeId,
    terms: Option<ToldTerms>,
    given: Vec<(UserId, ReplyBody)>,
    hold: Option<Hold>,
    /// Wrong guesses of the second member: those told, and whether one was cut off.
    guesses: u32,
    guess_cut_off: bool,
    /// All that may be guessed was guessed.
    is_shut: bool,
}

/// Somebody who orders and claims; what was told stays over all kills.
struct Actor {
    number: u64,
    orders: u64,
    told: Vec<Told>,
    /// What one user was given who claims everywhere, and how often that may have
    /// been without a word.
    wins: u32,
    wins_cut_off: u32,
    is_denied: bool,
}

impl Actor {
    fn new(number: u64) -> Self {
        let (told, wins, wins_cut_off) = (Vec::new(), 0, 0);
        Self { number, orders: 0, told, wins, wins_cut_off, is_denied: false }
    }

    fn greedy(&self) -> UserId {
        UserId(1 + self.number)
    }

    /// Until the server is gone.
    fn run(&mut self, server: &str) {
        let Ok(mut client) = Client::connect(&address(server)) else { return };
        if self.win_once(&mut client).is_none() {
            return;
        }
        while self.one(&mut client).is_some() {}
    }

    fn some_envelope(&mut self, client: &mut Client, kind: Kind) -> Option<&mut Told> {
        self.orders += 1;
        let first = 1000 + (self.number << 40 | self.orders << 4);
        let cast = Cast::of(1_000_000 + self.number, first, (now() - 1, now() + 3000));
        let order = kind.order(&cast, self.orders, 4, 3600);
        let envelope = answered(client.send_with(&order, &kind.terms(&cast)))?.envelope;
        self.told.push(Told {
            kind,
            cast,
            envelope,
            terms: None,
            given: Vec::new(),
            hold: None,
            guesses: 0,
            guess_cut_off: false,
            is_shut: false,
        });
        self.told.last_mut()
    }

    /// The one who claims everywhere claims once more.
    fn win_once(&mut self, client: &mut Client) -> Option<()> {
        let user = self.greedy();
        let envelope = self.some_envelope(client, Kind::Equal)?.envelope;
        let Some(told) = try_claim(client, envelope, user, &Evidence::default()) else {
            self.wins_cut_off += 1;
            return None;
        };
        self.heard_of_greed(&told);
        if told.0 == Status::Ok {
            self.told.last_mut().unwrap().given.push((user, told.2));
        }
        Some(())
    }

    fn heard_of_greed(&mut self, told: &Said) {
        match told.0 {
            Status::Ok => {
                assert!(!self.is_denied, "{} wins again", self.greedy());
                self.wins += 1;
                assert!(self.wins <= WINS_MAX, "{} wins", self.wins);
            }
            Status::Withheld => {
                let wins = self.wins + self.wins_cut_off;
                assert!(wins >= WINS_MAX, "{wins} wins are not too many");
                self.is_denied = true;
            }
            _ => panic!("{told:?}"),
        }
    }

    /// An envelope of the next kind, with all that is told of it.
    fn one(&mut self, client: &mut Client) -> Option<()> {
        let kinds = u64::try_from(Kind::ALL.len()).unwrap();
        let kind = Kind::ALL[usize::try_from(self.orders % kinds).unwrap()];
        let way = self.orders / kinds % 3;
        self.some_envelope(client, kind)?.go_on(client, way)
    }
}

fn answered<T>(result: Result<T, ClientError>) -> Option<T> {
    match result {
        Err(ClientError::Refused(told)) if told.status != Status::Unavailable => panic!("{told:?}"),
        other => other.ok(),
    }
}

impl Told {
    fn go_on(&mut self, client: &mut Client, way: u64) -> Option<()> {
        self.refuses(client)?;
        let user = self.cast.members[0];
        let evidence = self.kind.evidence(self.envelope, user);
        let told = try_claim(client, self.envelope, user, &evidence)?;
        if self.kind == Kind::Held {
            assert_eq!(told, WITHHELD, "{:?}", self.kind);
            return self.resolve(client, way);
        }
        assert_eq!((told.0, told.1), (Status::Ok, 0), "{:?}", self.kind);
        self.given.push((user, told.2));
        self.terms = Some(answered(client.terms(self.envelope, user))?);
        Some(())
    }

    /// Whoever must be kept out is; a wrong guess counts, also one that is cut off.
    fn refuses(&mut self, client: &mut Client) -> Option<()> {
        if self.kind == Kind::Graded {
            answered(client.risk_mark(self.cast.outsider, Mark::Grade(GRADE - 1)))?;
        }
        for refusal in self.kind.refusals(self.envelope, &self.cast) {
            let is_guess = refusal.told == GUESSED;
            self.guess_cut_off |= is_guess;
            let told = try_claim(client, self.envelope, refusal.user, &refusal.evidence)?;
            self.guess_cut_off &= !is_guess;
            let (status, detail) = refusal.told;
            assert_eq!(told, (status, detail, ReplyBody::None), "{:?}", self.kind);
            self.guesses += u32::from(is_guess);
        }
        Some(())
    }

    fn resolve(&mut self, client: &mut Client, way: u64) -> Option<()> {
        let (resolution, done) = match way {
            0 => (Resolution::Release, Hold::Released),
            1 => (Resolution::Reject, Hold::Rejected),
            _ => {
                self.hold = Some(Hold::Waits);
                return Some(());
            }
        };
        self.hold = Some(Hold::Unsure);
        let decided = client.risk_resolve(self.envelope, self.cast.members[0], resolution);
        assert_eq!(answered(decided)?.amount, HELD_FEN);
        self.hold = Some(done);
        Some(())
    }

    /// The server still says what it said.
    fn verify(&mut self, client: &mut Client) {
        let envelope = self.envelope;
        for (user, amount) in &self.given {
            let repeated = (Status::AlreadyClaimed, 0, amount.clone());
            for evidence in [Evidence::default(), self.kind.evidence(envelope, *user)] {
                let told = try_claim(client, envelope, *user, &evidence);
                assert_eq!(told.as_ref(), Some(&repeated), "{:?}, {user}", self.kind);
            }
        }
        if let Some(terms) = &self.terms {
            let user = self.cast.members[0];
            assert_eq!(client.terms(envelope, user).unwrap(), *terms, "{:?}", self.kind);
        }
        if let Some(hold) = self.hold {
            self.verify_hold(client, hold);
        }
        if self.guesses > 0 || self.guess_cut_off {
            self.guess_on(client);
        } else if self.kind != Kind::Fission {
            self.refuses(client).expect("the server answers");
        }
        let summary = client.show(envelope).unwrap();
        assert!(summary.left + summary.refunded <= summary.total, "{summary:?}");
    }

    fn verify_hold(&self, client: &mut Client, hold: Hold) {
        let (envelope, user) = (self.envelope, self.cast.members[0]);
        let told = try_claim(client, envelope, user, &Evidence::default()).unwrap();
        let given = (Status::AlreadyClaimed, 0, ReplyBody::Amount(HELD_FEN));
        match hold {
            Hold::Released => assert_eq!(told, given),
            Hold::Waits | Hold::Rejected => assert_eq!(told, WITHHELD, "{hold:?}"),
            Hold::Unsure => assert!(told == given || told == WITHHELD, "{told:?}"),
        }
        let kept = client.risk_holds(Some(user)).unwrap();
        let own = kept.iter().find(|one| one.envelope == envelope);
        let amount = own.map(|own| u64::from(own.amount));
        assert!(hold != Hold::Waits || amount == Some(HELD_FEN), "{kept:?}");
    }

    /// The second member guesses until it may not, and then the right word is
    /// refused too: the kill has forgotten none of its guesses.
    fn guess_on(&mut self, client: &mut Client) {
        let (envelope, user) = (self.envelope, self.cast.members[1]);
        let evidence = self.kind.evidence(envelope, user);
        let wrong = Evidence { password: Some(b"no"), ..evidence };
        let (mut told, mut more) = (GUESSED, 0);
        while told == GUESSED {
            let said = try_claim(client, envelope, user, &wrong).unwrap();
            told = (said.0, said.1);
            more += u32::from(told == GUESSED);
        }
        let limit = (Status::RateLimited, RateLimit::UserGuesses.code());
        assert_eq!(told, limit, "{:?}", self.kind);
        let right = try_claim(client, envelope, user, &evidence).unwrap();
        assert_eq!((right.0, right.1), limit, "{:?}", self.kind);
        let guesses = self.guesses + more;
        let unsure = u32::from(self.guess_cut_off);
        let fits = guesses <= GUESSES_MAX && guesses + unsure >= GUESSES_MAX;
        assert!(fits, "{:?}: {} and {more} guesses, {unsure} unsure", self.kind, self.guesses);
        assert!(!self.is_shut || more == 0, "it was shut");
        (self.guesses, self.is_shut) = (guesses, true);
    }
}

const WITHHELD: Said = (Status::Withheld, 0, ReplyBody::None);

/// A checkpoint a second, so that all of it comes out of images too.
fn serve(data: &Path, keys: &Path, shards: &str) -> Process {
    let (keys, held_above) = (keys.display().to_string(), (HELD_FEN - 1).to_string());
    let flags = [
        "--shards",
        shards,
        "--ticket-keys",
        &keys,
        "--password-keys",
        &keys,
        "--guesses-per-user-max",
        "3",
        "--risk-users-max",
        "20000",
        "--risk-hold-above-fen",
        &held_above,
        "--risk-deny-wins",
        "5",
        "--risk-window-s",
        "36000",
        "--risk-holds-max",
        "20000",
        "--checkpoint-interval-s",
        "1",
        "--envelopes-max",
        "200000",
    ];
    Process::start(data, &flags)
}

#[test]
fn what_was_told_of_envelopes_of_every_kind_holds_over_sigkill() {
    let kills = std::env::var("KIND_KILLS").map_or(8, |text| text.parse().expect("a number"));
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (data, keys) = (place.path().join("data"), key_file(place.path(), &[1, 2]));
    let mut actors: Vec<Actor> = (0..ACTORS).map(Actor::new).collect();
    for round in 0..kills {
        // Another number of shards now and then.
        let shards = if round % 4 == 3 { "1" } else { "2" };
        let mut server = serve(&data, &keys, shards);
        let mut client = server.connect();
        for actor in &mut actors {
            actor.told.iter_mut().rev().take(60).for_each(|told| told.verify(&mut client));
            let wins = client.risk_explain(actor.greedy()).unwrap().wins;
            assert!(wins >= actor.wins.min(WINS_MAX), "{wins} of {} wins", actor.wins);
        }
        std::thread::scope(|scope| {
            for actor in &mut actors {
                let address = server.address.clone();
                scope.spawn(move || actor.run(&address));
            }
            std::thread::sleep(Duration::from_millis(100 + round * 131 % 400));
            server.kill();
        });
        let settings = Settings { online: false, draws: true, utc_offset_min: 0 };
        let report = audit(&data, None, settings, &mut |_| {}).expect("clean after the kill");
        assert!(report.balance.is_even());
    }
    let server = serve(&data, &keys, "2");
    let mut client = server.connect();
    for actor in &mut actors {
        actor.told.iter_mut().for_each(|told| told.verify(&mut client));
        actor.win_once(&mut client).expect("the server answers");
        assert!(kills < 8 || actor.is_denied, "{} wins only", actor.wins);
    }
    assert!(server.terminate().0.success());
    let told = actors.iter().flat_map(|actor| &actor.told);
    let given: usize = told.clone().map(|told| told.given.len()).sum();
    println!("{kills} kills, {} envelopes, {given} shares told, none lost", told.clone().count());
    for kind in Kind::ALL {
        let count = told.clone().filter(|told| told.kind == kind).count();
        assert!(count > 3, "{kind:?} came {count} times only");
    }
}
