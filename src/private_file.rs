//! Files that hold a secret: only their owner may touch them.
//!
//! Never says what is in one.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Permission bits of anybody but the owner.
const OTHERS: u32 = 0o077;

/// Those with which somebody else could put files into a directory.
const OTHERS_WRITE: u32 = 0o022;

/// Why a secret is not read; one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// It cannot be read.
    #[error("cannot read {0}: {1}; give the path of an existing file")]
    Unreadable(PathBuf, io::Error),
    /// Others than its owner could read it, or change it.
    #[error("{0} is open to other users: run `chmod 600 {0}`")]
    Open(PathBuf),
    /// The same of a directory.
    #[error("other users may put files into {0}: run `chmod 700 {0}`")]
    OpenDirectory(PathBuf),
}

/// The text of a file that only its owner may use. The open file is asked, so
/// it is the one that is read.
pub fn read(path: &Path) -> Result<String, PrivateFileError> {
    let unreadable = |error| PrivateFileError::Unreadable(path.to_owned(), error);
    let mut file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.mode() & OTHERS != 0 {
        return Err(PrivateFileError::Open(path.to_owned()));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// The files in a directory that only its owner may change, by name; hidden
/// ones are left out.
pub fn list(directory: &Path) -> Result<Vec<PathBuf>, PrivateFileError> {
    let unreadable = |error| PrivateFileError::Unreadable(directory.to_owned(), error);
    let mode = std::fs::metadata(directory).map_err(unreadable)?.mode();
    if mode & OTHERS_WRITE != 0 {
        return Err(PrivateFileError::OpenDirectory(directory.to_owned()));
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
        if !is_hidden {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_others_could_touch_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, "xyzzy").unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602, 0o644, 0o610, 0o777] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let told = read(&path).unwrap_err().to_string();
            assert!(told.contains("chmod 600") && !told.contains("xyzzy"), "{mode:o}: {told}");
        }
        for mode in [0o600, 0o400] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path).unwrap(), "xyzzy");
        }
        assert!(read(&directory.path().join("none")).unwrap_err().to_string().contains("none"));
    }

    #[test]
    fn a_directory_that_others_could_fill_is_not_listed() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b", "a", ".hidden"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o770)).unwrap();
        let told = list(directory.path()).unwrap_err().to_string();
        assert!(told.contains("chmod 700"), "{told}");
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let found = list(directory.path()).unwrap();
        assert_eq!(found, [directory.path().join("a"), directory.path().join("b")]);
    }
}
