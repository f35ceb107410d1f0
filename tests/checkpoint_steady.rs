//! The shard's side of checkpoint writing allocates nothing and never waits,
//! and the executors of many shards fit into 8 MiB of locked memory.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed
#![allow(unsafe_code)] // a counting allocator cannot be written without

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use hongbao::journal::{
    Arrangement, CheckpointSettings, CheckpointStart, CheckpointWriter, Directory, Identity,
    MmapStorage, Position,
};
use hongbao::units::Time;

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it is; the counter is a
// plain cell of this thread that needs no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SEGMENT: usize = 64 << 10;

fn arrangement(path: &std::path::Path, shards: u16) -> Arrangement {
    let directory = Directory::open(path, SEGMENT, shards).unwrap();
    Arrangement::current_or_first(&directory, shards).unwrap()
}

/// One checkpoint of 30 MB; returns the longest call and the allocations.
fn checkpoint(writer: &mut CheckpointWriter) -> (Duration, u64) {
    let before = ALLOCATIONS.get();
    let mut longest = Duration::ZERO;
    let start = CheckpointStart::founding(1, Time(1));
    writer.begin(start);
    let mut left = 460;
    while left > 0 {
        let started = Instant::now();
        if let Some(mut buffer) = writer.buffer() {
            buffer.resize(66_000, 7);
            writer.put(buffer);
            left -= 1;
        }
        longest = longest.max(started.elapsed());
        if left % 64 == 0 {
            std::thread::yield_now();
        }
    }
    writer.finish(Position(0));
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match writer.poll() {
            Some(outcome) => {
                outcome.unwrap();
                return (longest, ALLOCATIONS.get() - before);
            }
            None => assert!(Instant::now() < deadline),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn handing_over_a_checkpoint_allocates_nothing() {
    let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let identity = Identity { cell: 1, shard: 0, shards: 1 };
    let settings = CheckpointSettings::default();
    let mut writer =
        CheckpointWriter::new(&arrangement(data.path(), 1), identity, settings).unwrap();
    checkpoint(&mut writer);
    let (longest, allocations) = checkpoint(&mut writer);
    println!("{allocations} allocations; the longest call took {longest:?}");
    assert_eq!(allocations, 0);
}

#[test]
fn sixteen_shards_start_with_8_mib_of_locked_memory() {
    let exe = std::env::current_exe().unwrap();
    let script = format!("ulimit -l 8192; exec {} --exact child_of_sixteen", exe.display());
    let mut command = std::process::Command::new("setpriv");
    command.args(["--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock", "sh", "-c", &script]);
    let Ok(output) = command.env("SIXTEEN", "1").output() else {
        println!("skipped: setpriv is not here");
        return;
    };
    let told = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    if told.contains("setpriv:") {
        println!("skipped: {told}");
        return;
    }
    assert!(output.status.success(), "{told}");
}

/// Not a test of its own: the child of the test above.
#[test]
fn child_of_sixteen() {
    if std::env::var_os("SIXTEEN").is_none() {
        return;
    }
    let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let arrangement = arrangement(data.path(), 16);
    let open = |shard| {
        let identity = Identity { cell: 1, shard, shards: 16 };
        let storage = MmapStorage::new(&arrangement, identity, SEGMENT, None).unwrap();
        let settings = CheckpointSettings::default();
        (storage, CheckpointWriter::new(&arrangement, identity, settings).unwrap())
    };
    let all: Vec<_> = (0..16).map(open).collect();
    assert_eq!(all.len(), 16);
}
