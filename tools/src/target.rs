//! Which server a command talks to, and as whom.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use hongbao::access::{Identity, PrincipalName, read_identity};
use hongbao::client::{Address, Client, ClientError, Settings};
use hongbao::tls::Connector;

/// The flags for it, which every command takes.
#[derive(Args)]
pub(crate) struct TargetArgs {
    /// The server: `host:port` or `unix:/path`
    #[arg(long, global = true, env = "HONGBAO_ADDR", default_value = "127.0.0.1:7878")]
    addr: Address,
    /// The file with our key, where the server asks for one
    #[arg(long, global = true, value_name = "FILE", env = "HONGBAO_PRINCIPAL_KEY")]
    principal_key: Option<PathBuf>,
    /// Our name there; without it the key file's name, less `.toml`
    #[arg(long, global = true, value_name = "NAME", env = "HONGBAO_PRINCIPAL")]
    principal: Option<PrincipalName>,
    /// PEM file of the issuers we believe; with it TCP connections are TLS
    #[arg(long, global = true, value_name = "FILE", env = "HONGBAO_TLS_CA")]
    tls_ca: Option<PathBuf>,
    /// PEM file of the certificate that we show, where the server wants one
    #[arg(long, global = true, value_name = "FILE", env = "HONGBAO_TLS_CERT")]
    #[arg(requires = "tls_ca", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file of its private key, readable by its owner only
    #[arg(long, global = true, value_name = "FILE", env = "HONGBAO_TLS_CERT_KEY")]
    #[arg(requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

/// A server, and who we are to it.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) addr: Address,
    pub(crate) identity: Option<Arc<Identity>>,
    pub(crate) tls: Option<Connector>,
}

impl TargetArgs {
    /// Reads the key and the certificates, if there are some.
    pub(crate) fn target(&self) -> Result<Target> {
        let read = |path: &PathBuf| read_identity(path, self.principal.as_ref());
        let identity = self.principal_key.as_ref().map(read).transpose()?.map(Arc::new);
        let own = self.tls_cert.as_deref().zip(self.tls_key.as_deref());
        let tls = self.tls_ca.as_deref().map(|ca| Connector::read(ca, own)).transpose()?;
        Ok(Target { addr: self.addr.clone(), identity, tls })
    }
}

impl Target {
    /// A client of the server.
    pub(crate) fn connect(&self) -> Result<Client, ClientError> {
        let (identity, tls) = (self.identity.clone(), self.tls.clone());
        let settings = Settings { identity, tls, ..Settings::default() };
        Client::connect_with(&self.addr, settings)
    }
}
