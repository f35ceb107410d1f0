//! Terms and evidence on the command line: their flags, `hb terms` and
//! `hb ticket`.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::target::Target;
use anyhow::Result;
use clap::Args;
use hongbao::payment_keys;
use hongbao::units::{EnvelopeId, Place, Point, UnixSeconds, UserId};
use hongbao::wire::{Evidence, Password, Tags, Terms, Ticket, TicketKeys};
use serde_json::{Value, json};

use crate::args::{PairArgs, envelope, user};
use crate::calls::moment;
use crate::exit::Usage;
use crate::output::{Output, id};

/// The flags of `hb send` about who may claim, when and where, and about what
/// lies in the envelope beside the money.
#[derive(Args)]
#[command(next_help_heading = "Terms")]
pub(crate) struct TermsArgs {
    /// Only these users may claim
    #[arg(long, value_name = "USER,…", value_delimiter = ',', value_parser = user)]
    named: Vec<UserId>,
    /// Only whoever says this may claim
    #[arg(long, value_name = "WORD")]
    password: Option<String>,
    /// Nobody can claim before this moment: 2027-02-06T20:00:00Z, or Unix seconds
    #[arg(long, value_name = "TIME", value_parser = time)]
    not_before: Option<UnixSeconds>,
    /// Nobody can claim from this moment on
    #[arg(long, value_name = "TIME", value_parser = time)]
    not_after: Option<UnixSeconds>,
    /// The sender may not claim
    #[arg(long)]
    not_sender: bool,
    /// This user must take a share before anybody else can
    #[arg(long, value_name = "USER", value_parser = user)]
    seed_user: Option<UserId>,
    /// A claim needs a ticket of the group's gateway
    #[arg(long)]
    with_ticket: bool,
    /// Only within so many metres of a point: 39.9087,116.3975,500
    #[arg(long, value_name = "LAT,LON,METRES", value_parser = place, allow_negative_numbers = true)]
    place: Option<Place>,
    /// Tell who got what only once the envelope is over
    #[arg(long)]
    hidden: bool,
    /// What everybody is told
    #[arg(long, value_name = "TEXT")]
    greeting: Option<String>,
    /// The number of the picture on it
    #[arg(long, value_name = "NUMBER")]
    cover: Option<u64>,
    /// A reference for whoever has a share
    #[arg(long, value_name = "TEXT")]
    coupon: Option<String>,
    /// Another
    #[arg(long, value_name = "TEXT")]
    photo: Option<String>,
    /// Only users of this grade or a better one may claim: 1 to 255, see `hb risk`
    #[arg(long, value_name = "GRADE", default_value_t = 0, hide_default_value = true)]
    grade_min: u8,
}

impl TermsArgs {
    /// Their bytes; none where no flag was given.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        let mut named = self.named.clone();
        named.sort_unstable();
        named.dedup();
        let named: Vec<[u8; 8]> = named.iter().map(|user| user.0.to_le_bytes()).collect();
        let text = |text: &'_ Option<String>| text.clone().unwrap_or_default().into_bytes();
        let (greeting, coupon) = (text(&self.greeting), text(&self.coupon));
        let photo = text(&self.photo);
        let terms = Terms {
            not_before: self.not_before,
            not_after: self.not_after,
            not_sender: self.not_sender,
            named: &named,
            seed_user: self.seed_user,
            is_hidden: self.hidden,
            wants_ticket: self.with_ticket,
            place: self.place,
            password: self.password.as_ref().map(|word| Password::Said(word.as_bytes())),
            greeting: &greeting,
            cover: self.cover,
            coupon: &coupon,
            photo: &photo,
            grade_min: self.grade_min,
        };
        let bytes = terms.to_bytes();
        if Terms::read(&bytes) == Some(terms) && self.password.as_deref() != Some("") {
            return Ok(bytes);
        }
        Err(Usage(
            "the terms are too long or impossible: a password has 1 to 64 bytes, a greeting up \
             to 600, a reference up to 256, all together 2048; --not-before is before \
             --not-after, and --seed-user is one of --named"
                .into(),
        )
        .into())
    }
}

/// `hb claim`.
#[derive(Args)]
pub(crate) struct ClaimArgs {
    #[command(flatten)]
    pub(crate) pair: PairArgs,
    /// What the claimer says
    #[arg(long, value_name = "WORD")]
    password: Option<String>,
    /// Where the claimer is: 39.9087,116.3975
    #[arg(long, value_name = "LAT,LON", value_parser = point, allow_negative_numbers = true)]
    position: Option<Point>,
    /// The ticket, as `hb ticket` printed it
    #[arg(long, value_name = "HEX", value_parser = ticket_bytes)]
    ticket: Option<Ticket>,
    #[command(flatten)]
    tags: TagArgs,
}

/// From where somebody asks, as a gateway tells it.
#[derive(Args)]
pub(crate) struct TagArgs {
    /// The tag of the device: any number that the gateway knows it by
    #[arg(long, value_name = "NUMBER")]
    device: Option<u64>,
    /// The tag of the address
    #[arg(long, value_name = "NUMBER")]
    address: Option<u64>,
}

impl TagArgs {
    pub(crate) fn tags(&self) -> Tags {
        Tags { device: self.device, address: self.address }
    }
}

impl ClaimArgs {
    /// What the claimer shows.
    pub(crate) fn evidence(&self) -> Evidence<'_> {
        let password = self.password.as_ref().map(String::as_bytes);
        let tags = self.tags.tags();
        Evidence { ticket: self.ticket, position: self.position, password, tags }
    }
}

/// `hb ticket`.
#[derive(Args)]
pub(crate) struct TicketArgs {
    /// The envelope's number, as `hb send` printed it
    #[arg(value_parser = envelope)]
    envelope: EnvelopeId,
    /// The user who belongs to the group
    #[arg(value_parser = user)]
    user: UserId,
    /// The file with the key, as the server's `ticket_keys`
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// Which key of the file; wanted where it has several
    #[arg(long)]
    key_id: Option<u32>,
    /// How long it is good: 90s, 30m, 24h
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    good_for: Duration,
}

/// `hb ticket`: what a gateway does for a user who is in the group.
pub(crate) fn ticket(target: &Target, args: &TicketArgs, output: Output) -> Result<()> {
    let (keys, ids) =
        payment_keys::read_keys(&args.key_file).map_err(|error| Usage(error.to_string()))?;
    let key_id = one_of(&ids, args.key_id)?;
    let cell = target.connect()?.hello().cell;
    let until = SystemTime::now() + args.good_for;
    let not_after = seconds(until).map_err(Usage)?;
    let whose = (args.envelope, args.user);
    let ticket = TicketKeys::from(keys).ticket(key_id, cell, whose, not_after);
    let ticket = ticket.ok_or_else(|| no_such_key(key_id, &ids))?;
    let text = hex::encode(ticket.to_bytes());
    let json = json!({
        "envelope": id(args.envelope), "user": id(args.user), "key_id": key_id,
        "not_after": not_after, "ticket": text,
    });
    output.print(&json, || text.clone());
    Ok(())
}

/// The key that was asked for, or the only one.
pub(crate) fn one_of(ids: &[u32], wanted: Option<u32>) -> Result<u32> {
    match (wanted, ids) {
        (Some(wanted), _) => Ok(wanted),
        (None, &[only]) => Ok(only),
        (None, _) => Err(Usage(format!("{ids:?} are in the file: pick one with --key-id")).into()),
    }
}

/// A key that is not in its file.
pub(crate) fn no_such_key(key_id: u32, ids: &[u32]) -> Usage {
    Usage(format!("key {key_id} is not in the file: it has {ids:?}"))
}

/// `hb terms`.
pub(crate) fn show(target: &Target, pair: &PairArgs, output: Output) -> Result<()> {
    let told = target.connect()?.terms(pair.envelope, pair.user)?;
    let terms = told.terms();
    output.print(&terms_json(pair, &terms), || terms_words(pair, &terms));
    Ok(())
}

fn names(terms: &Terms<'_>) -> Vec<String> {
    terms.named.iter().map(|name| u64::from_le_bytes(*name).to_string()).collect()
}

fn text(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned())
}

fn terms_json(pair: &PairArgs, terms: &Terms<'_>) -> Value {
    let place = terms.place.map(|place| {
        json!({
            "latitude_e7": place.centre.latitude(), "longitude_e7": place.centre.longitude(),
            "radius_m": place.radius_m,
        })
    });
    json!({
        "envelope": id(pair.envelope), "not_before": terms.not_before,
        "not_after": terms.not_after, "not_sender": terms.not_sender, "named": names(terms),
        "seed_user": terms.seed_user.map(id), "hidden": terms.is_hidden,
        "with_ticket": terms.wants_ticket, "place": place,
        "password": terms.password.is_some(), "greeting": text(terms.greeting),
        "cover": terms.cover, "coupon": text(terms.coupon), "photo": text(terms.photo),
        "grade_min": terms.grade_min,
    })
}

fn terms_words(pair: &PairArgs, terms: &Terms<'_>) -> String {
    let named = (!terms.named.is_empty()).then(|| names(terms).join(", "));
    let lines = [
        ("greeting", text(terms.greeting)),
        ("cover", terms.cover.map(|number| number.to_string())),
        ("not before", terms.not_before.map(moment)),
        ("not after", terms.not_after.map(moment)),
        ("sender", terms.not_sender.then(|| "may not claim".into())),
        ("only for", named),
        ("first", terms.seed_user.map(|user| format!("user {user}"))),
        ("rows", terms.is_hidden.then(|| "told once it is over".into())),
        ("ticket", terms.wants_ticket.then(|| "wanted".into())),
        ("place", terms.place.map(place_words)),
        ("password", terms.password.map(|_| "wanted".into())),
        ("coupon", text(terms.coupon)),
        ("photo", text(terms.photo)),
        ("grade", (terms.grade_min > 0).then(|| format!("{} or better", terms.grade_min))),
    ];
    let said = lines.into_iter().filter_map(|(what, told)| Some((what, told?)));
    let mut words = format!("envelope {}", pair.envelope);
    let bare = words.len();
    for (what, told) in said {
        let _ = write!(words, "\n  {what:<11} {told}"); // a String takes all
    }
    if words.len() == bare {
        words.push_str(": no terms");
    }
    words
}

fn place_words(place: Place) -> String {
    let (north, east) = (place.centre.latitude(), place.centre.longitude());
    format!("within {} m of {},{}", place.radius_m, degrees(north), degrees(east))
}

/// Units of 1e-7 degrees as one reads them.
fn degrees(units: i32) -> String {
    let sign = if units < 0 { "-" } else { "" };
    let (whole, rest) = (units.unsigned_abs() / 10_000_000, units.unsigned_abs() % 10_000_000);
    format!("{sign}{whole}.{rest:07}")
}

/// Degrees with up to seven digits behind the point, exactly.
fn units(text: &str) -> Option<i32> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(whole) || !plain(rest) || rest.len() > 7 {
        return None;
    }
    let rest: i32 = format!("{rest:0<7}").parse().ok()?;
    whole.parse::<i32>().ok()?.checked_mul(10_000_000)?.checked_add(rest)?.checked_mul(sign)
}

fn point(text: &str) -> Result<Point, String> {
    let parsed = || {
        let (latitude, longitude) = text.split_once(',')?;
        Point::new(units(latitude.trim())?, units(longitude.trim())?)
    };
    parsed().ok_or_else(|| "a point is two numbers in degrees, such as 39.9087,116.3975".into())
}

fn place(text: &str) -> Result<Place, String> {
    let parsed = || {
        let (centre, radius_m) = text.rsplit_once(',')?;
        Place::new(point(centre).ok()?, radius_m.trim().parse().ok()?)
    };
    parsed().ok_or_else(|| {
        "a place is a point and a radius in metres, such as 39.9087,116.3975,500".into()
    })
}

fn time(text: &str) -> Result<UnixSeconds, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let at = humantime::parse_rfc3339_weak(text);
    seconds(at.map_err(|_| "a time is such as 2027-02-06T20:00:00Z, or Unix seconds")?)
}

fn seconds(at: SystemTime) -> Result<UnixSeconds, String> {
    let since = at.duration_since(UNIX_EPOCH).map_err(|_| "times begin in 1970")?;
    u32::try_from(since.as_secs()).map_err(|_| "times end in 2106".into())
}

fn ticket_bytes(text: &str) -> Result<Ticket, String> {
    let mut bytes = [0; 40];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| "a ticket is 80 hex digits")?;
    Ok(Ticket::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degrees_are_exact_in_both_directions() {
        for (text, wanted) in [
            ("39.9087", 399_087_000),
            ("-0.0000001", -1),
            ("180", 1_800_000_000),
            ("-90.0", -900_000_000),
        ] {
            assert_eq!(units(text), Some(wanted), "{text}");
            assert_eq!(units(&degrees(wanted)), Some(wanted), "{text}");
        }
        for wrong in ["", "-", ".5", "1.", "1.12345678", "1e3", "+1", "--1", "999"] {
            assert_eq!(units(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn places_and_times_are_read_or_refused_with_an_example() {
        assert!(place("39.9087,116.3975,500").is_ok() && point("-90,-180").is_ok());
        assert!(place("39.9087,116.3975").unwrap_err().contains("500"));
        assert!(point("91,0").is_err() && place("0,0,0").is_err());
        assert_eq!(time("1970-01-02T00:00:00Z"), Ok(86_400));
        assert_eq!(time("7"), Ok(7));
        assert!(time("tomorrow").unwrap_err().contains("2027"));
    }
}
