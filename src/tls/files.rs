//! Certificates and keys from PEM files, and what may be wrong with them.
//!
//! A certificate is public; the file of its key is not, and only its owner may
//! touch it. Nothing of a key is ever shown.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use crate::private_file::{self, PrivateFileError};

/// Why there is no TLS; one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate cannot be read.
    #[error("{key}: cannot read {path}: {cause}; give the path of an existing PEM file")]
    Unreadable {
        /// The setting.
        key: &'static str,
        /// Its file.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// A key cannot be read, or others could.
    #[error("{0}: {1}")]
    Private(&'static str, #[source] PrivateFileError),
    /// A file without a certificate, or with something that is none.
    #[error("{key}: there is no certificate in {path}: give a PEM file that has one")]
    NoCertificate {
        /// The setting.
        key: &'static str,
        /// Its file.
        path: PathBuf,
    },
    /// A certificate that does not hold now, or not for this.
    #[error(
        "{key}: the certificate in {path} is of no use here ({why}): give another, or renew it"
    )]
    Useless {
        /// The setting.
        key: &'static str,
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file without a private key.
    #[error("{key}: there is no private key in {path}: give the PEM file of the certificate's key")]
    NoKey {
        /// The setting.
        key: &'static str,
        /// Its file.
        path: PathBuf,
    },
    /// Two files that do not belong together, or that TLS 1.3 has no use for.
    #[error(
        "the key in {key} and the certificate in {certificate} do not go together ({cause}): give \
         those of one pair"
    )]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What the library said.
        cause: rustls::Error,
    },
    /// The library refuses all of it.
    #[error("TLS cannot be set up: {0}")]
    Other(String),
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Self::Other(error.to_string())
    }
}

/// What is computed with.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The certificates of a file, in its order.
fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = std::fs::read(path);
    let path = path.to_owned();
    let pem = pem.map_err(|cause| TlsError::Unreadable { key, path: path.clone(), cause })?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.unwrap_or_default();
    if found.is_empty() { Err(TlsError::NoCertificate { key, path }) } else { Ok(found) }
}

/// An end's own certificate, with those of its issuers behind it, and its key.
pub(super) struct Own {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Own {
    /// Reads both files; `usage` is what the certificate must be good for now.
    pub(super) fn read(
        (certificate_key, certificate): (&'static str, &Path),
        (key, path): (&'static str, &Path),
        usage: KeyUsage,
    ) -> Result<Self, TlsError> {
        let chain = certificates(certificate_key, certificate)?;
        let pem = private_file::read(path).map_err(|error| TlsError::Private(key, error))?;
        let secret = PrivateKeyDer::from_pem_slice(pem.as_bytes());
        let secret = secret.map_err(|_| TlsError::NoKey { key, path: path.to_owned() })?;
        let why = chain.first().and_then(|own| why_useless(own, usage));
        match why {
            Some(why) => {
                let path = certificate.to_owned();
                Err(TlsError::Useless { key: certificate_key, path, why })
            }
            None => Ok(Self { chain, key: secret }),
        }
    }
}

/// The issuers that are believed.
pub(super) fn roots(key: &'static str, path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(key, path)? {
        let useless = |why| TlsError::Useless { key, path: path.to_owned(), why };
        if let Some(why) = why_out_of_time(&certificate) {
            return Err(useless(why));
        }
        roots.add(certificate).map_err(|error| useless(error.to_string()))?;
    }
    Ok(roots)
}

/// What a certificate lacks to be used by its owner. Asked without any issuer
/// that is believed, a good one is refused for just that, after everything of
/// its own was looked at.
fn judge(certificate: &CertificateDer<'_>, usage: KeyUsage) -> webpki::Error {
    let parsed = match EndEntityCert::try_from(certificate) {
        Ok(parsed) => parsed,
        Err(error) => return error,
    };
    let algorithms = webpki::ALL_VERIFICATION_ALGS;
    let now = UnixTime::now();
    match parsed.verify_for_usage(algorithms, &[], &[], now, usage, None, None) {
        Ok(_) => webpki::Error::UnknownIssuer,
        Err(error) => error,
    }
}

fn why_useless(certificate: &CertificateDer<'_>, usage: KeyUsage) -> Option<String> {
    match judge(certificate, usage) {
        // Whoever signs for himself is his own issuer, and others may believe it.
        webpki::Error::UnknownIssuer | webpki::Error::CaUsedAsEndEntity => None,
        why => Some(said(&why)),
    }
}

/// An issuer is no end of a chain, so of what is said of it only its time counts.
fn why_out_of_time(certificate: &CertificateDer<'_>) -> Option<String> {
    let why = judge(certificate, KeyUsage::server_auth());
    let is_time = matches!(
        why,
        webpki::Error::CertExpired { .. }
            | webpki::Error::CertNotValidYet { .. }
            | webpki::Error::InvalidCertValidity
    );
    is_time.then(|| said(&why))
}

fn said(why: &webpki::Error) -> String {
    match why {
        webpki::Error::CertExpired { .. } => "it has expired".to_owned(),
        webpki::Error::CertNotValidYet { .. } => "its time has not come yet".to_owned(),
        why => why.to_string(),
    }
}
