//! What followers tell of their cursors, for operators' eyes: `hb journal stat`
//! shows it without asking anybody. The truth about a cursor is where its
//! follower keeps it, with what it derived; nothing decides by this.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Position;
use super::inspect::FollowerReport;

const DIRECTORY: &str = "followers";
const SUFFIX: &str = ".cursor";

const HEADING: &str = "# for `hb journal stat`; written now and then, nothing reads it to decide\n";

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

/// What every follower has told about one shard; what cannot be read is passed
/// over.
pub(super) fn told_cursors(data: &Path, arrangement: u32, shard: u16) -> Vec<FollowerReport> {
    let entries = fs::read_dir(data.join(DIRECTORY)).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> =
        names.filter_map(|name| name.strip_suffix(SUFFIX).map(str::to_owned)).collect();
    names.sort();
    let begin = format!("arrangement {arrangement} shard {shard} position ");
    let told = |name: String| {
        let text = fs::read_to_string(path(data, &name)).ok()?;
        let cursor = text.lines().find_map(|line| line.strip_prefix(&begin)?.parse().ok())?;
        Some(FollowerReport { name, cursor: Position(cursor) })
    };
    names.into_iter().filter_map(told).collect()
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
}
