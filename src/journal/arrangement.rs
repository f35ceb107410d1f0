//! How the data is arranged for a number of shards, and how a new arrangement
//! takes the place of the old one.
//!
//! An arrangement is a directory with one directory a shard. It gets its name
//! only when it is whole, so a crash at any moment leaves the old one or the
//! new one; nothing of the old is ever written. Nothing here knows what is in
//! a checkpoint.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::{CheckpointFailed, CheckpointInfo, CheckpointStart, write_checkpoint};
use super::directory::Directory;
use super::read_only::JournalFiles;
use super::{Identity, Position, files};
use crate::units::{Cell, Time};

/// A finished arrangement. The data directory stays locked as long as it, or a
/// storage on it, lives.
#[derive(Clone, Debug)]
pub struct Arrangement {
    directory: Directory,
    number: u32,
    shards: u16,
    path: PathBuf,
}

/// Why an arrangement cannot be used or built.
#[derive(Debug, thiserror::Error)]
pub enum ArrangementError {
    /// A shard's directory is missing.
    #[error("{path}: this shard's directory is missing; put it back from where it went")]
    MissingShard {
        /// The directory.
        path: String,
    },
    /// Data from before there were arrangements.
    #[error(
        "{path}: this data was written by an earlier hongbao, before shards were arranged; start \
         that one, or use another data directory"
    )]
    OldLayout {
        /// The old directory.
        path: String,
    },
    /// A checkpoint of the new arrangement could not be written.
    #[error("the data cannot be arranged for another number of shards: {0}")]
    Checkpoint(#[from] CheckpointFailed),
    /// A shard of the new arrangement has not got its checkpoint.
    #[error("{path}: this shard of the new arrangement has no checkpoint; nothing was changed")]
    Unfinished {
        /// The shard's directory.
        path: String,
    },
    /// The disk failed.
    #[error("{path}: {source}; check the disk and the permissions of the data directory")]
    Io {
        /// The file.
        path: String,
        /// What failed.
        source: io::Error,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> ArrangementError + '_ {
    move |source| ArrangementError::Io { path: path.display().to_string(), source }
}

/// The highest finished arrangement of a data directory, with its path.
pub(super) fn newest(data: &Path) -> io::Result<Option<(u32, PathBuf)>> {
    let numbers = files::arrangements(data)?;
    Ok(numbers.last().map(|number| (*number, files::arrangement_path(data, *number))))
}

impl Arrangement {
    /// The arrangement in use: the finished one with the highest number. `None`
    /// in a new directory. Nothing is changed.
    pub fn current(directory: &Directory) -> Result<Option<Self>, ArrangementError> {
        let data = directory.path();
        let Some((number, path)) = newest(data).map_err(io_error(data))? else {
            return match files::shards(data).map_err(io_error(data))?.first() {
                None => Ok(None),
                Some(shard) => {
                    let path = files::shard_path(data, *shard).display().to_string();
                    Err(ArrangementError::OldLayout { path })
                }
            };
        };
        let found = files::shards(&path).map_err(io_error(&path))?;
        let shards = found.last().map_or(1, |last| last.saturating_add(1));
        if let Some(gone) = (0..shards).find(|shard| !found.contains(shard)) {
            let path = files::shard_path(&path, gone).display().to_string();
            return Err(ArrangementError::MissingShard { path });
        }
        Ok(Some(Self { directory: directory.clone(), number, shards, path }))
    }

    /// The arrangement in use, or in a new directory the first, for `shards`.
    pub fn current_or_first(directory: &Directory, shards: u16) -> Result<Self, ArrangementError> {
        match Self::current(directory)? {
            Some(current) => Ok(current),
            None => Building::begin(directory, 1, 0, shards)?.publish(),
        }
    }

    /// Begins the next arrangement, for another number of shards. Its shards'
    /// state comes from [`Arrangement::source`] of all shards of this one.
    pub fn build_next(&self, cell: Cell, shards: u16) -> Result<Building, ArrangementError> {
        Building::begin(&self.directory, self.number.saturating_add(1), cell, shards)
    }

    /// Its number, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// For how many shards it is.
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of a shard.
    pub fn shard_path(&self, shard: u16) -> PathBuf {
        files::shard_path(&self.path, shard)
    }

    /// The data directory it lies in.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// A shard's checkpoints and segments, to be read and never written.
    pub fn source(&self, shard: u16) -> JournalFiles {
        let failure = self.directory.failure();
        JournalFiles::new(self.shard_path(shard), self.founded(), Some(Arc::clone(failure)))
    }

    /// Whether every shard of it has begun with a checkpoint.
    pub(super) fn founded(&self) -> bool {
        self.number > 1
    }

    /// Removes what a crash may have left beside this arrangement: older ones,
    /// and one that was not finished. Called when every shard is recovered.
    pub fn settle(&self) -> Result<(), ArrangementError> {
        let data = self.directory.path();
        let older = files::arrangements(data).map_err(io_error(data))?;
        let older = older.into_iter().filter(|number| *number < self.number);
        let mut paths: Vec<PathBuf> = older.map(|n| files::arrangement_path(data, n)).collect();
        let unfinished = files::unfinished_arrangements(data).map_err(io_error(data))?;
        paths.extend(unfinished.into_iter().map(|n| files::unfinished_arrangement_path(data, n)));
        for path in &paths {
            fs::remove_dir_all(path).map_err(io_error(path))?;
        }
        if paths.is_empty() {
            return Ok(());
        }
        files::sync_directory(data).map_err(io_error(data))
    }
}

/// An arrangement that is being built, under its unfinished name. Dropped
/// without [`Building::commit`], it is removed.
#[derive(Debug)]
pub struct Building {
    directory: Directory,
    number: u32,
    cell: Cell,
    shards: u16,
    path: PathBuf,
}

impl Building {
    fn begin(
        directory: &Directory,
        number: u32,
        cell: Cell,
        shards: u16,
    ) -> Result<Self, ArrangementError> {
        let path = files::unfinished_arrangement_path(directory.path(), number);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error(&path)(error));
            }
            _ => {}
        }
        let this = Self { directory: directory.clone(), number, cell, shards, path };
        for shard in 0..shards {
            let path = files::shard_path(&this.path, shard);
            fs::create_dir_all(&path).map_err(io_error(&path))?;
        }
        Ok(this)
    }

    /// For how many shards it is.
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// Writes the whole state of a shard. `last_time` is the greatest
    /// [`super::Recovered::last_time`] of the old shards. Shards may be written
    /// from several threads.
    pub fn write_shard<T: AsRef<[u8]>>(
        &self,
        shard: u16,
        last_time: Time,
        slices: impl IntoIterator<Item = T>,
    ) -> Result<CheckpointInfo, CheckpointFailed> {
        let identity = Identity { cell: self.cell, shard, shards: self.shards };
        let start = CheckpointStart::founding(self.number, last_time);
        let path = files::shard_path(&self.path, shard);
        write_checkpoint(&path, identity, start, Position(0), slices)
    }

    /// The new arrangement gets its name, which is the moment from which it is
    /// the one in use. The old one stays until [`Arrangement::settle`].
    pub fn commit(self) -> Result<Arrangement, ArrangementError> {
        for shard in 0..self.shards {
            let path = files::shard_path(&self.path, shard);
            if files::checkpoints(&path).map_err(io_error(&path))?.is_empty() {
                let path = path.display().to_string();
                return Err(ArrangementError::Unfinished { path });
            }
        }
        self.publish()
    }

    fn publish(self) -> Result<Arrangement, ArrangementError> {
        for shard in 0..self.shards {
            let path = files::shard_path(&self.path, shard);
            files::sync_directory(&path).map_err(io_error(&path))?;
        }
        files::sync_directory(&self.path).map_err(io_error(&self.path))?;
        let data = self.directory.path();
        let path = files::arrangement_path(data, self.number);
        fs::rename(&self.path, &path).map_err(io_error(&path))?;
        files::sync_directory(data).map_err(io_error(data))?;
        let (directory, number, shards) = (self.directory.clone(), self.number, self.shards);
        Ok(Arrangement { directory, number, shards, path })
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path); // gone already, or for the next start
    }
}
