//! One end of a TLS connection: bytes of the socket in, plain bytes out, and
//! the way back.
//!
//! Knows no socket: whoever has one moves the bytes. What it keeps is bounded:
//! one record that is not whole yet, and a handshake of a bounded length.

use std::io::{self, Read, Write};

use rustls::Connection;
use rustls::pki_types::ServerName;
use webpki::EndEntityCert;

use crate::access::PrincipalName;
use crate::limits::TLS_HANDSHAKE_BYTES_MAX;

/// Plain bytes of one record: what the protocol allows.
const RECORD_BYTES: usize = 16 * 1024;

/// What stands before each record: its kind, a version, its length.
const HEAD_BYTES: usize = 5;

/// Why a TLS connection cannot go on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TlsBroken {
    /// The two ends do not agree, or somebody has changed bytes on the way.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// Nobody needs so long a handshake.
    #[error("the handshake is longer than {TLS_HANDSHAKE_BYTES_MAX} bytes")]
    Long,
}

/// One end of a TLS connection.
pub struct Session {
    connection: Connection,
    border: Border,
    /// Bytes that the handshake may still take.
    handshake_left: usize,
    /// The other end has said that it says no more.
    is_closed: bool,
    /// This end has said so, or must not say anything any more.
    is_done: bool,
    is_silent: bool,
}

impl Session {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            border: Border::default(),
            handshake_left: TLS_HANDSHAKE_BYTES_MAX,
            is_closed: false,
            is_done: false,
            is_silent: false,
        }
    }

    /// Whether the handshake has ended.
    pub fn is_shaken(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// Whether a record has begun and its rest has not come yet.
    pub fn has_begun(&self) -> bool {
        self.border.is_within()
    }

    /// Whether the other end has closed its side, in a way that nobody else
    /// could have made up.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Takes in what was received and puts what it says behind `plain`. Returns
    /// how much was taken: not all, where some plain bytes have come or the
    /// handshake has ended before. After an error there may still be something
    /// to say, namely why.
    pub fn decrypt(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> Result<usize, TlsBroken> {
        let (had, was_shaken) = (plain.len(), self.is_shaken());
        let mut taken = 0;
        while taken < bytes.len() && plain.len() == had && self.is_shaken() == was_shaken {
            let mut rest = &bytes[taken..];
            let more = self.connection.read_tls(&mut rest).map_err(|error| of_io(&error))?;
            if self.is_closed || more == 0 {
                return Ok(bytes.len()); // what comes behind the end means nothing
            }
            let rest = &bytes[taken..];
            taken += more;
            self.border.pass(&rest[..more]);
            if !was_shaken {
                let left = self.handshake_left.checked_sub(more);
                self.handshake_left = left.ok_or(TlsBroken::Long)?;
            }
            self.take_plain(plain)?;
        }
        Ok(taken)
    }

    fn take_plain(&mut self, plain: &mut Vec<u8>) -> Result<(), TlsBroken> {
        let state = self.connection.process_new_packets()?;
        self.is_closed = state.peer_has_closed();
        let from = plain.len();
        plain.resize(from + state.plaintext_bytes_to_read(), 0);
        self.connection.reader().read_exact(&mut plain[from..]).map_err(|error| of_io(&error))
    }

    /// Whether this end has something to say of its own: a part of the
    /// handshake, an alert, its farewell.
    pub fn has_words(&self) -> bool {
        self.connection.wants_write() && !self.is_silent
    }

    /// Puts what this end has to say, and then `plain`, behind `out` as records.
    pub fn encrypt(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), TlsBroken> {
        if self.is_silent {
            return Ok(());
        }
        self.say(out)?;
        for part in plain.chunks(RECORD_BYTES) {
            self.connection.writer().write_all(part).map_err(|error| of_io(&error))?;
            self.say(out)?;
        }
        Ok(())
    }

    fn say(&mut self, out: &mut Vec<u8>) -> Result<(), TlsBroken> {
        while self.connection.wants_write() {
            self.connection.write_tls(out).map_err(|error| of_io(&error))?;
        }
        Ok(())
    }

    /// Says, once, that nothing more will be said; whether it was that once.
    pub fn say_farewell(&mut self) -> bool {
        if self.is_done || self.is_silent || !self.is_shaken() {
            return false;
        }
        self.is_done = true;
        self.connection.send_close_notify();
        true
    }

    /// Says nothing any more, not even what is waiting: nobody listens.
    pub fn fall_silent(&mut self) {
        self.is_silent = true;
    }

    /// The principal whom the other end's certificate names, which was verified
    /// if there is one: it must have one DNS name and no more, or it could be
    /// two people's.
    pub fn principal(&self) -> Option<PrincipalName> {
        let certificate = self.connection.peer_certificates()?.first()?;
        let certificate = EndEntityCert::try_from(certificate).ok()?;
        let mut names = certificate.valid_dns_names();
        let (Some(name), None) = (names.next(), names.next()) else { return None };
        let about = ServerName::try_from(name).ok()?;
        certificate.verify_is_valid_for_subject_name(&about).ok()?;
        name.parse().ok()
    }
}

/// The library reads from and writes to memory, so these are its own refusals.
fn of_io(error: &io::Error) -> TlsBroken {
    TlsBroken::Tls(rustls::Error::General(error.to_string()))
}

/// Where a stream stands between its records.
#[derive(Debug, Default)]
struct Border {
    head: [u8; HEAD_BYTES],
    /// Bytes of the head that are known.
    known: usize,
    /// Bytes of the record that have not come.
    left: usize,
}

impl Border {
    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let count = if self.left > 0 {
                let count = self.left.min(bytes.len());
                self.left -= count;
                count
            } else {
                self.pass_head(bytes)
            };
            bytes = &bytes[count..];
        }
    }

    fn pass_head(&mut self, bytes: &[u8]) -> usize {
        let count = (HEAD_BYTES - self.known).min(bytes.len());
        self.head[self.known..self.known + count].copy_from_slice(&bytes[..count]);
        self.known += count;
        if self.known == HEAD_BYTES {
            self.left = u16::from_be_bytes([self.head[3], self.head[4]]).into();
            self.known = 0;
        }
        count
    }

    fn is_within(&self) -> bool {
        self.known > 0 || self.left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_border_is_found_wherever_a_stream_of_records_is_cut() {
        let mut stream = Vec::new();
        let mut borders = vec![0];
        for length in [0u16, 1, 2, 300, 5] {
            stream.extend_from_slice(&[23, 3, 3]);
            stream.extend_from_slice(&length.to_be_bytes());
            stream.resize(stream.len() + usize::from(length), 0xff);
            borders.push(stream.len());
        }
        for cut in 0..=stream.len() {
            let mut border = Border::default();
            border.pass(&stream[..cut]);
            assert_eq!(border.is_within(), !borders.contains(&cut), "cut at {cut}");
            border.pass(&stream[cut..]);
            assert!(!border.is_within());
        }
    }
}
