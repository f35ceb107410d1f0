//! Who may come in: the keys of a configuration, read before anything on disk
//! is touched, and the token of the admin port.

use std::sync::Arc;

use super::refusal::StartError;
use crate::access::{Keyring, read_keyring};
use crate::admin::{Drawn, Token};
use crate::config::Config;
use crate::net::{Entry, NetSettings, TlsDoor};
use crate::tls::Acceptor;

/// The keys, if this server asks for any.
pub(super) fn keyring(config: &Config) -> Result<Option<Arc<Keyring>>, StartError> {
    let certificates = config.tls_client_ca.is_some();
    let read = |keys| read_keyring(keys, certificates);
    Ok(config.keys.as_deref().map(read).transpose()?.map(Arc::new))
}

/// The certificate and the key of the TLS doors, if there are to be some.
pub(super) fn acceptor(config: &Config) -> Result<Option<Acceptor>, StartError> {
    let (Some(certificate), Some(key)) = (&config.tls_certificate, &config.tls_key) else {
        return Ok(None);
    };
    Ok(Some(Acceptor::read(certificate, key, config.tls_client_ca.as_deref())?))
}

/// What each shard's net is told of it.
pub(super) fn net_settings(
    config: &Config,
    keyring: Option<Arc<Keyring>>,
    tls: Option<TlsDoor>,
) -> NetSettings {
    let any = |limit: u32| if limit == 0 { u32::MAX } else { limit };
    NetSettings {
        connections_max: config.connections_max,
        entry: Entry {
            keyring,
            uids: Some(config.unix_uids.0.clone()),
            strangers_max: config.strangers_max,
            strangers_per_address_max: config.strangers_per_address_max,
            per_principal_max: any(config.connections_per_principal_max),
        },
        deadlines: config.deadlines(),
        tls,
    }
}

/// The token of the admin port, if there is one; a drawn one is not written yet.
/// The data directory must be ours.
pub(super) fn token(
    config: &Config,
    has_admin: bool,
) -> Result<(Option<Token>, Option<Drawn>), StartError> {
    if !has_admin {
        return Ok((None, None));
    }
    let (token, drawn) = match &config.admin_token {
        Some(path) => (Token::read(path)?, None),
        None => Token::of_directory(&config.data)?,
    };
    Ok((Some(token), drawn))
}

/// A line for the operator about who may connect.
pub(super) fn fact(keyring: Option<&Keyring>, certificates: bool) -> String {
    let Some(keyring) = keyring else {
        return "access      whoever reaches the listening sockets; only users of this machine can"
            .to_owned();
    };
    let known = keyring.principals().iter();
    let known: Vec<String> =
        known.map(|principal| format!("{} ({})", principal.name, principal.roles)).collect();
    let how = if certificates { "key, over TLS by certificate" } else { "key" };
    format!("access      by {how}: {}", known.join(", "))
}
