//! Which server a command talks to, and as whom.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use hongbao::access::{Identity, PrincipalName, read_identity};
use hongbao::client::{Address, Client, ClientError, Settings};

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
}

/// A server, and who we are to it.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) addr: Address,
    pub(crate) identity: Option<Arc<Identity>>,
}

impl TargetArgs {
    /// Reads the key, if there is one.
    pub(crate) fn target(&self) -> Result<Target> {
        let read = |path: &PathBuf| read_identity(path, self.principal.as_ref());
        let identity = self.principal_key.as_ref().map(read).transpose()?.map(Arc::new);
        Ok(Target { addr: self.addr.clone(), identity })
    }
}

impl Target {
    /// A client of the server.
    pub(crate) fn connect(&self) -> Result<Client, ClientError> {
        let settings = Settings { identity: self.identity.clone(), ..Settings::default() };
        Client::connect_with(&self.addr, settings)
    }
}
