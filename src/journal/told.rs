//! The files of followers' cursors in the data directory; `hb journal stat` shows
//! them without asking anybody.
//!
//! A follower that keeps its cursor elsewhere, with what it derived, only tells it
//! here ([`tell_cursors`]); nothing decides by that. One whose books are far away
//! has its cursor here and nowhere else ([`KeptCursors`]).

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Position;
use super::inspect::FollowerReport;

const DIRECTORY: &str = "followers";
const SUFFIX: &str = ".cursor";

const HEADING: &str = "# for `hb journal stat`; written now and then, nothing reads it to decide\n";

const KEPT_HEADING: &str = "# how far this subscriber has booked; removed, it is forgotten\n";

fn path(data: &Path, follower: &str) -> PathBuf {
    data.join(DIRECTORY).join(format!("{follower}{SUFFIX}"))
}

/// Tells how far `follower` is, each shard's number with its cursor. The file is
/// replaced whole; it need not survive a power cut.
pub fn tell_cursors(
    data: &Path,
    follower: &str,
    arrangement: u32,
    cursors: impl IntoIterator<Item = (u16, Position)>,
) -> io::Result<()> {
    let lines = cursors.into_iter().map(|(shard, cursor)| {
        format!("arrangement {arrangement} shard {shard} position {cursor}\n")
    });
    let text: String = std::iter::once(HEADING.to_owned()).chain(lines).collect();
    let path = path(data, follower);
    let unfinished = path.with_extension("tmp");
    fs::create_dir_all(data.join(DIRECTORY))?;
    fs::File::create(&unfinished)?.write_all(text.as_bytes())?;
    fs::rename(unfinished, path)
}

/// A file of cursors that something decides by: it is replaced whole and durably.
/// Its lines begin as those that are only told.
#[derive(Clone, Debug)]
pub struct KeptCursors {
    data: PathBuf,
    name: String,
}

impl KeptCursors {
    /// Of this follower.
    pub fn of(data: &Path, name: &str) -> Self {
        Self { data: data.to_owned(), name: name.to_owned() }
    }

    /// Those of all followers whose names begin with `prefix`.
    pub fn list(data: &Path, prefix: &str) -> io::Result<Vec<Self>> {
        let names = names(data)?.into_iter().filter(|name| name.starts_with(prefix));
        Ok(names.map(|name| Self::of(data, &name)).collect())
    }

    /// The follower.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        path(&self.data, &self.name)
    }

    /// What it holds.
    pub fn read(&self) -> io::Result<String> {
        fs::read_to_string(self.path())
    }

    /// Replaces it; durable when this returns.
    pub fn write(&self, lines: &str) -> io::Result<()> {
        let directory = self.data.join(DIRECTORY);
        if !directory.is_dir() {
            fs::create_dir_all(&directory)?;
            fs::File::open(&self.data)?.sync_all()?;
        }
        let unfinished = self.path().with_extension("tmp");
        let mut file = fs::File::create(&unfinished)?;
        file.write_all(KEPT_HEADING.as_bytes())?;
        file.write_all(lines.as_bytes())?;
        file.sync_all()?;
        fs::rename(unfinished, self.path())?;
        fs::File::open(directory)?.sync_all()
    }

    /// Removes it durably; whether it was there.
    pub fn remove(&self) -> io::Result<bool> {
        match fs::remove_file(self.path()) {
            Ok(()) => fs::File::open(self.data.join(DIRECTORY))?.sync_all().map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Who has a file here, in order.
fn names(data: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(data.join(DIRECTORY)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().into_string().unwrap_or_default();
        names.extend(name.strip_suffix(SUFFIX).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// What every follower has told about one shard; what cannot be read is passed
/// over.
pub(super) fn told_cursors(data: &Path, arrangement: u32, shard: u16) -> Vec<FollowerReport> {
    let begin = format!("arrangement {arrangement} shard {shard} position ");
    let told = |name: String| {
        let text = fs::read_to_string(path(data, &name)).ok()?;
        let cursor = text.lines().find_map(|line| first(line.strip_prefix(&begin)?))?;
        Some(FollowerReport { name, cursor: Position(cursor) })
    };
    names(data).unwrap_or_default().into_iter().filter_map(told).collect()
}

/// The number at the front of `text`.
fn first(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_shown_for_its_shard_and_arrangement_only() {
        let data = tempfile::tempdir().unwrap();
        assert!(told_cursors(data.path(), 1, 0).is_empty());
        let cursors = [(0, Position(4096)), (1, Position(8192))];
        tell_cursors(data.path(), "ledger", 3, cursors).unwrap();
        tell_cursors(data.path(), "ledger", 3, cursors).unwrap();
        let shown = told_cursors(data.path(), 3, 1);
        let report = FollowerReport { name: "ledger".to_owned(), cursor: Position(8192) };
        assert_eq!(shown, [report]);
        assert!(told_cursors(data.path(), 2, 1).is_empty());
        assert!(told_cursors(data.path(), 3, 11).is_empty());
    }

    #[test]
    fn what_is_kept_is_listed_replaced_and_removed() {
        let data = tempfile::tempdir().unwrap();
        let kept = KeptCursors::of(data.path(), "settle-a");
        assert!(KeptCursors::list(data.path(), "settle-").unwrap().is_empty());
        assert!(!kept.remove().unwrap() && kept.read().is_err());
        kept.write("one\n").unwrap();
        kept.write("two\n").unwrap();
        assert_eq!(kept.read().unwrap(), format!("{KEPT_HEADING}two\n"));
        assert_eq!(kept.path(), data.path().join("followers/settle-a.cursor"));
        KeptCursors::of(data.path(), "ledger").write("").unwrap();
        let listed = KeptCursors::list(data.path(), "settle-").unwrap();
        assert_eq!(listed.iter().map(KeptCursors::name).collect::<Vec<_>>(), ["settle-a"]);
        assert!(kept.remove().unwrap() && !kept.remove().unwrap());
        assert!(KeptCursors::list(data.path(), "settle-").unwrap().is_empty());
    }

    #[test]
    fn a_directory_that_cannot_be_read_is_an_error_and_not_an_empty_one() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join(DIRECTORY), "a file").unwrap();
        assert!(KeptCursors::list(data.path(), "").is_err());
        assert!(KeptCursors::of(data.path(), "x").remove().is_err());
    }
}
