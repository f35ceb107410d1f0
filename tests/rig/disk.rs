//! A small real file system whose disk can be filled, cut off and healed.
//!
//! An ext4 or XFS in an image on a loop device; the image lies on a tmpfs, so
//! nothing is worn and the device can be made to fail: pages of the image that
//! are holes cannot be written once the tmpfs is full.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::until;

/// A disk; unmounted when it goes, also in a panic. Processes that use it must
/// go before it.
pub struct Disk {
    under: tempfile::TempDir,
    at: PathBuf,
    image: PathBuf,
    options: &'static str,
}

impl Disk {
    /// An ext4 of `mib` MiB, made with these further words for mkfs; `None`, with
    /// a line that says why, where this machine has no right or no means.
    pub fn made(mib: u64, mkfs: &[&str]) -> Option<Self> {
        let words = [&["-q", "-m", "0", "-b", "4096"], mkfs].concat();
        Self::with(mib, "ext4", &words, "loop,errors=remount-ro")
    }

    /// An XFS, as small as one can be.
    pub fn xfs() -> Option<Self> {
        Self::with(320, "xfs", &["-q"], "loop")
    }

    fn with(mib: u64, kind: &str, words: &[&str], options: &'static str) -> Option<Self> {
        let under = tempfile::tempdir().unwrap();
        let (at, image) = (under.path().join("mounted"), under.path().join("image"));
        let disk = Self { under, at, image, options };
        if !run("mount", &["-t", "tmpfs", "-o", &size(mib + 8), "none"], &[disk.under.path()]) {
            println!("skipped: no right to mount a file system here");
            return None;
        }
        fs::create_dir(&disk.at).unwrap();
        File::create(&disk.image).unwrap().set_len(mib << 20).unwrap();
        if !run(&format!("mkfs.{kind}"), words, &[&disk.image]) || !disk.mount_at(&disk.at) {
            println!("skipped: no {kind} on a loop device here (mkfs.{kind} and a kernel with it)");
            return None;
        }
        let _ = fs::remove_dir(disk.at.join("lost+found")); // a shard may be mounted here
        Some(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    fn mount_at(&self, at: &Path) -> bool {
        run("mount", &["-o", self.options], &[&self.image, at])
    }

    /// Mounts it somewhere else.
    pub fn move_to(&mut self, at: PathBuf) {
        self.unmount();
        assert!(self.mount_at(&at));
        self.at = at;
    }

    fn unmount(&self) {
        // A process that has just ended may hold it for some milliseconds more.
        until("the disk is unmounted", Duration::from_secs(5), || run("umount", &[], &[&self.at]));
    }

    /// Unmounts and mounts it: nothing is left of the page cache.
    pub fn remount(&self) {
        self.unmount();
        assert!(self.mount_at(&self.at));
    }

    /// Power fails, as far as the file system knows: from this moment on it
    /// writes nothing, not even its own log, and what was not synced is lost when
    /// it is mounted again. False where nobody can ask for that.
    pub fn cut(&self) -> bool {
        run("xfs_io", &["-x", "-c", "shutdown"], &[&self.at]) // the same request for ext4
    }

    /// Makes ext4 find an error, on which it turns read-only; false where the
    /// kernel cannot be asked to.
    pub fn turn_read_only(&self) -> bool {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let at = self.at.to_str().unwrap();
        let of_us = |line: &&str| line.split(' ').nth(1) == Some(at);
        let device = mounts.lines().find(of_us).and_then(|line| line.split(' ').next()).unwrap();
        let name = device.trim_start_matches("/dev/");
        fs::write(format!("/sys/fs/ext4/{name}/trigger_fs_error"), "a test").is_ok()
    }

    /// From now on only `pages` pages can be written that hold nothing yet but
    /// zeros; any other write of such a page fails. Nobody may write meanwhile.
    /// False where the image cannot be made to do that.
    pub fn break_after(&self, pages: u64) -> bool {
        self.settle_metadata();
        if !run("fallocate", &["--dig-holes"], &[&self.image]) {
            return false;
        }
        let now = rustix::fs::statvfs(self.under.path()).unwrap();
        let used = (now.f_blocks - now.f_bfree) * now.f_frsize;
        self.resize(&format!("size={}", used + pages * 4096))
    }

    /// Every inode of the file system has been used once, so that its pages are
    /// no holes and only what is in files can fail.
    fn settle_metadata(&self) {
        let names = (0..).map(|n| self.at.join(format!("inode-{n}")));
        let made: Vec<_> = names.take_while(|name| File::create(name).is_ok()).collect();
        for name in made {
            fs::remove_file(name).unwrap();
        }
        rustix::fs::sync();
    }

    /// Every page can be written again.
    pub fn heal(&self) {
        assert!(self.resize("size=50%"));
    }

    fn resize(&self, size: &str) -> bool {
        run("mount", &["-o", &format!("remount,{size}")], &[self.under.path()])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for at in [self.at.as_path(), self.under.path()] {
            run("umount", &["-l"], &[at]);
        }
    }
}

fn size(mib: u64) -> String {
    format!("size={mib}m")
}

fn run(program: &str, words: &[&str], paths: &[&Path]) -> bool {
    let mut command = Command::new(program);
    command.args(words).args(paths).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A file that takes every byte that is free, and every byte that gets free.
pub struct Filler {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Filler {
    pub fn on(disk: &Disk) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let (path, stopped) = (disk.path().join("filler"), Arc::clone(&stop));
        let fill = move || {
            let mut file = File::create(&path).unwrap();
            while !stopped.load(Ordering::Acquire) {
                if file.write_all(&[0; 4096]).is_err() {
                    std::thread::sleep(Duration::from_millis(1)); // full, for now
                }
            }
            fs::remove_file(&path).unwrap();
        };
        Self { stop, thread: Some(std::thread::spawn(fill)) }
    }
}

impl Drop for Filler {
    /// Gives everything back.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}
