//! Settings from a file and from the environment.

use std::ffi::OsString;

use hongbao::config::{Given, Resolved};

/// A file's text and, behind a zero byte, lines of `NAME=value`: a
/// configuration that passes can be used, one that does not says why in a line.
pub fn configuration(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (file, environment) = text.split_once('\0').unwrap_or((&text, ""));
    let Ok(given) = toml::from_str::<Given>(file) else { return };
    let variable = |line: &str| {
        let (name, value) = line.split_once('=')?;
        Some((OsString::from(name), OsString::from(value)))
    };
    match Resolved::from_sources(given, None, environment.lines().filter_map(variable)) {
        Ok(resolved) => {
            let config = &resolved.config;
            assert!(config.segment_bytes() > 0 && config.table_bytes() > 0);
            config.check().expect("it was checked");
            assert!(!resolved.origins.is_empty());
        }
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
    }
}
