//! Certificates for the tests of TLS: an issuer, and pairs that it has signed,
//! in PEM files as a server and a client want them.

use std::fs::Permissions;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hongbao::Config;
use hongbao::access::Identity;
use hongbao::client::{Address, Client, ClientError, Settings};
use hongbao::tls::{Connector, Session};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};

use super::principals::raw;

/// The last year of certificates that hold.
const YEAR: i32 = 2100;

/// Where tests connect to, as certificates name it.
pub const HOST: &str = "127.0.0.1";

/// One who signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: PathBuf,
    pub file: PathBuf,
}

/// A certificate and its key.
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

fn params(names: &[&str], until: i32) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params
}

fn put(path: PathBuf, pem: &str, mode: u32) -> PathBuf {
    std::fs::write(&path, pem).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

impl Authority {
    /// With its certificate in `NAME.pem`.
    pub fn new(directory: &Path, name: &str) -> Self {
        Self::until(directory, name, YEAR)
    }

    pub fn until(directory: &Path, name: &str, year: i32) -> Self {
        let mut params = params(&[], year);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let file = put(directory.join(name).with_extension("pem"), &pem, 0o644);
        Self { issuer: Issuer::new(params, key), directory: directory.to_owned(), file }
    }

    /// A pair in `NAME.pem` and `NAME.key`, for these DNS names and addresses.
    pub fn issue(&self, name: &str, names: &[&str]) -> Pair {
        self.sign(name, &params(names, YEAR))
    }

    /// One whose time was over at the beginning of this year.
    pub fn issue_until(&self, name: &str, names: &[&str], year: i32) -> Pair {
        self.sign(name, &params(names, year))
    }

    /// One that is good for clients only.
    pub fn issue_to_client(&self, name: &str, names: &[&str]) -> Pair {
        let mut params = params(names, YEAR);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(name, &params)
    }

    fn sign(&self, name: &str, params: &CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        let file = |kind| self.directory.join(name).with_extension(kind);
        Pair {
            certificate: put(file("pem"), &pem, 0o644),
            key: put(file("key"), &key.serialize_pem(), 0o600),
        }
    }

    /// One who believes this issuer, and shows a certificate of the other's.
    pub fn connector(&self, own: Option<&Pair>) -> Connector {
        let own = own.map(|pair| (&*pair.certificate, &*pair.key));
        Connector::read(&self.file, own).unwrap()
    }
}

impl Pair {
    /// A server that serves over TLS with it as well.
    pub fn secures(&self, config: Config) -> Config {
        Config {
            tls_listen: format!("{HOST}:0").parse().unwrap(),
            tls_certificate: Some(self.certificate.clone()),
            tls_key: Some(self.key.clone()),
            ..config
        }
    }

    /// The same as flags.
    pub fn flags(&self) -> Vec<String> {
        let [certificate, key] = [&self.certificate, &self.key].map(|path| path.display());
        vec![
            format!("--tls-listen={HOST}:0"),
            format!("--tls-certificate={certificate}"),
            format!("--tls-key={key}"),
        ]
    }
}

/// A client over TLS.
pub fn client_over(
    address: SocketAddr,
    tls: Connector,
    identity: Option<Identity>,
) -> Result<Client, ClientError> {
    let (identity, tls) = (identity.map(Into::into), Some(tls));
    let settings = Settings { identity, tls, ..Settings::default() };
    Client::connect_with(&Address::Tcp(address.to_string()), settings)
}

/// A connection whose bytes are in the test's hands, before any of them.
pub struct Bare {
    pub socket: TcpStream,
    pub session: Session,
    /// What has come, decrypted.
    pub plain: Vec<u8>,
}

impl Bare {
    pub fn connect(address: SocketAddr, tls: &Connector) -> Self {
        let session = tls.session(HOST).unwrap();
        Self { socket: raw(address), session, plain: Vec::new() }
    }

    /// With the handshake behind it.
    pub fn shaken(address: SocketAddr, tls: &Connector) -> Self {
        let mut bare = Self::connect(address, tls);
        bare.say(&[]);
        while !bare.session.is_shaken() {
            assert!(bare.hear(), "the server is gone");
        }
        bare.say(&[]);
        bare
    }

    /// The records of some plain bytes, with what the session has to say.
    pub fn records(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.session.encrypt(plain, &mut out).unwrap();
        out
    }

    pub fn say(&mut self, plain: &[u8]) {
        let out = self.records(plain);
        self.socket.write_all(&out).unwrap();
    }

    /// Whether something has come.
    pub fn hear(&mut self) -> bool {
        let mut bytes = [0; 16 << 10];
        // A read that has a timeout is not begun again by the kernel.
        let read = loop {
            match self.socket.read(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let count = read.unwrap_or(0);
        let mut taken = 0;
        while taken < count {
            taken += self.session.decrypt(&bytes[taken..count], &mut self.plain).unwrap();
        }
        count > 0
    }

    /// Waits for so many plain bytes, and takes them.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        while self.plain.len() < count {
            assert!(self.hear(), "the server is gone");
        }
        self.plain.drain(..count).collect()
    }
}
