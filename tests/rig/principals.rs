//! Principals for the tests of who may do what: keys in files as a server wants
//! them, identities as a client has them.

use std::fs::Permissions;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hongbao::access::{Identity, Key, shake_hands};
use hongbao::client::{Address, Client, ClientError, Settings};

/// The secret of a key, made up from whose it is and its id.
fn secret(name: &str, id: u8) -> [u8; 32] {
    let mut secret = [id; 32];
    for (place, byte) in secret.iter_mut().zip(name.bytes()) {
        *place ^= byte;
    }
    secret
}

/// The secret as a file has it.
pub fn secret_text(name: &str, id: u8) -> String {
    hex::encode(secret(name, id))
}

/// Writes the file of one principal; `roles` as in TOML, without brackets.
pub fn put(directory: &Path, name: &str, roles: &str, ids: &[u8]) -> PathBuf {
    let key = |&id: &u8| format!("[[key]]\nid = {id}\nsecret = \"{}\"\n", secret_text(name, id));
    let text = format!("roles = [{roles}]\n") + &ids.iter().map(key).collect::<String>();
    let path = directory.join(name).with_extension("toml");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

/// A directory of keys: one principal for each role, called after it, and `all`
/// that has every role.
pub fn one_of_each(directory: &Path) -> PathBuf {
    let keys = directory.join("keys");
    std::fs::create_dir(&keys).unwrap();
    let roles = ["issuer", "claimer", "payer", "settler", "admin"];
    for role in roles {
        put(&keys, role, &format!("\"{role}\""), &[1]);
    }
    put(&keys, "all", &roles.map(|role| format!("\"{role}\"")).join(","), &[1, 2]);
    keys
}

/// A principal with one of its keys.
pub fn identity(name: &str, id: u8) -> Identity {
    let key = Key::new(&secret(name, id)).unwrap();
    Identity::new(name.parse().unwrap(), id.into(), key)
}

/// A client that is somebody.
pub fn client_of(address: SocketAddr, identity: Identity) -> Result<Client, ClientError> {
    let identity = Some(Arc::new(identity));
    Client::connect_with(
        &Address::Tcp(address.to_string()),
        Settings { identity, ..Settings::default() },
    )
}

/// A bare connection.
pub fn raw(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A bare connection of somebody.
pub fn raw_of(address: SocketAddr, name: &str) -> TcpStream {
    let mut stream = raw(address);
    shake_hands(&mut stream, &identity(name, 1)).unwrap();
    stream
}
