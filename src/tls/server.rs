//! The server's end: its certificate, and whose certificates it believes.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ServerConfig, ServerConnection};
use webpki::KeyUsage;

use super::files::{Own, TlsError, provider, roots};
use super::session::{Session, TlsBroken};

/// Begins sessions at the server's end.
#[derive(Clone)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    wants_certificates: bool,
}

impl Acceptor {
    /// The server of this certificate and key. With `client_ca`, every client
    /// must show a certificate that one of its issuers has signed.
    pub fn read(
        certificate: &Path,
        key: &Path,
        client_ca: Option<&Path>,
    ) -> Result<Self, TlsError> {
        let usage = KeyUsage::server_auth();
        let own = Own::read(("tls_certificate", certificate), ("tls_key", key), usage)?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(roots("tls_client_ca", path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                let verifier = verifier.build().map_err(|e| TlsError::Other(e.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(own.chain, own.key).map_err(|cause| {
            TlsError::Pair { certificate: certificate.to_owned(), key: key.to_owned(), cause }
        })?;
        // Every connection proves anew who it is; and shards share no table of
        // sessions, which would have a lock.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config), wants_certificates: client_ca.is_some() })
    }

    /// Whether clients must show a certificate.
    pub fn wants_certificates(&self) -> bool {
        self.wants_certificates
    }

    /// The server's end of a connection that has come.
    pub fn session(&self) -> Result<Session, TlsBroken> {
        let connection = ServerConnection::new(Arc::clone(&self.config))?;
        Ok(Session::new(connection.into()))
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acceptor") // it holds a key
    }
}
