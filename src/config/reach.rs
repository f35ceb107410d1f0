//! Who can reach a server, and how long they may take: which of these settings
//! fit together.

use super::checks::within;
use super::{Config, ConfigError, MaybeListen};
use crate::net::Deadlines;

impl Config {
    /// How long connections may take for what.
    pub fn deadlines(&self) -> Deadlines {
        Deadlines {
            handshake_ms: self.handshake_ms,
            frame_ms: self.frame_ms,
            write_ms: self.write_ms,
            idle_ms: self.idle_s.saturating_mul(1000),
        }
    }

    /// Checks the bounds of connections, and that nobody unknown can reach what
    /// moves money.
    pub(super) fn check_reach(&self) -> Result<(), ConfigError> {
        within("handshake_ms", self.handshake_ms.into(), 10..=600_000)?;
        within("frame_ms", self.frame_ms.into(), 0..=3_600_000)?;
        within("write_ms", self.write_ms.into(), 0..=3_600_000)?;
        within("idle_s", self.idle_s.into(), 0..=1_000_000)?;
        within("strangers_max", self.strangers_max.into(), 1..=65_536)?;
        within("strangers_per_address_max", self.strangers_per_address_max.into(), 1..=65_536)?;
        self.check_tls()?;
        if self.keys.is_some() {
            return Ok(());
        }
        exposed("listen", MaybeListen::At(self.listen))?;
        exposed("tls_listen", self.tls_listen)?;
        exposed("settlement", self.settlement)
    }

    /// Checks that the settings of TLS are all there, or none.
    fn check_tls(&self) -> Result<(), ConfigError> {
        let is_served = self.tls_listen != MaybeListen::Nowhere;
        let files = [
            ("tls_certificate", self.tls_certificate.is_some(), true),
            ("tls_key", self.tls_key.is_some(), true),
            ("tls_client_ca", self.tls_client_ca.is_some(), false),
        ];
        for (file, is_given, is_needed) in files {
            if is_given && !is_served {
                let what = "set --tls-listen to the address that it is for, or leave it out";
                return Err(ConfigError::Alone { key: file, missing: "tls_listen", what });
            }
            if is_served && is_needed && !is_given {
                let what = "give the PEM files of a certificate and of its key (docs/SECURITY.md)";
                return Err(ConfigError::Alone { key: "tls_listen", missing: file, what });
            }
        }
        if self.tls_client_ca.is_some() && self.keys.is_none() {
            let what = "a certificate says who somebody is, and the files in --keys what he may do";
            return Err(ConfigError::Alone { key: "tls_client_ca", missing: "keys", what });
        }
        Ok(())
    }
}

fn exposed(key: &'static str, place: MaybeListen) -> Result<(), ConfigError> {
    match place {
        MaybeListen::At(address) if !address.ip().to_canonical().is_loopback() => {
            Err(ConfigError::Exposed { key, address })
        }
        MaybeListen::At(_) | MaybeListen::Nowhere => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(listen: &str, settlement: &str, keys: Option<&str>) -> Result<(), String> {
        let config = Config {
            listen: listen.parse().unwrap(),
            settlement: settlement.parse().unwrap(),
            keys: keys.map(Into::into),
            ..Config::default()
        };
        config.check().map_err(|error| error.to_string())
    }

    #[test]
    fn beyond_loopback_there_must_be_keys() {
        for inside in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(at(inside, "none", None), Ok(()));
            assert_eq!(at("127.0.0.1:1", inside, None), Ok(()));
        }
        for outside in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[2001:db8::1]:1"] {
            for (listen, settlement, key) in
                [(outside, "none", "listen"), ("127.0.0.1:1", outside, "settlement")]
            {
                let told = at(listen, settlement, None).unwrap_err();
                assert!(told.contains("--keys") && told.contains(key), "{told}");
                assert_eq!(at(listen, settlement, Some("keys")), Ok(()));
            }
        }
    }

    #[test]
    fn the_settings_of_tls_are_there_together_or_not_at_all() {
        let whole = Config {
            tls_listen: "127.0.0.1:1".parse().unwrap(),
            tls_certificate: Some("server.pem".into()),
            tls_key: Some("server.key".into()),
            ..Config::default()
        };
        let keyed = Config {
            tls_client_ca: Some("ca.pem".into()),
            keys: Some("keys".into()),
            ..whole.clone()
        };
        for good in [&whole, &keyed] {
            good.check().unwrap();
        }
        let nowhere = MaybeListen::Nowhere;
        for (wrong, told) in [
            (Config { tls_certificate: None, ..whole.clone() }, "tls_certificate is not"),
            (Config { tls_key: None, ..whole.clone() }, "tls_key is not"),
            (Config { tls_listen: nowhere, ..whole.clone() }, "--tls-listen"),
            (Config { tls_client_ca: Some("a".into()), ..Config::default() }, "--tls-listen"),
            (Config { keys: None, ..keyed }, "keys is not"),
            (Config { tls_listen: "0.0.0.0:1".parse().unwrap(), ..whole }, "--keys"),
        ] {
            let error = wrong.check().unwrap_err().to_string();
            assert!(error.contains(told) && !error.contains('\n'), "{told}: {error}");
        }
    }
}
