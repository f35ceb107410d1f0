//! What refuses a start says so in one line, ends with another code than 0,
//! and has changed nothing on disk.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod rig;

use std::path::Path;

use rig::{Process, command, files, order};

/// Starts the binary, which must refuse; returns its one line.
fn refusal(data: &Path, flags: &[&str]) -> String {
    let before = files(data);
    let told = refused(data, flags);
    assert_eq!(files(data), before, "something changed on disk");
    told
}

fn refused(data: &Path, flags: &[&str]) -> String {
    let output = command(data, flags).output().unwrap();
    assert!(!output.status.success(), "it started");
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told.lines().count(), 1, "not one line: {told}");
    assert!(told.starts_with("hongbao: "), "{told}");
    told
}

/// A data directory with some claims in it, cleanly closed.
fn used(data: &Path) {
    let server = Process::start(data, &[]);
    let mut client = server.connect();
    let envelope = client.send(&order(7, 1, 500, 5)).unwrap().envelope;
    client.claim(envelope, hongbao::units::UserId(1)).unwrap();
    drop(client);
    let (status, told) = server.terminate();
    assert!(status.success(), "a drained server ends with 0");
    assert!(told.contains("drained"), "{told}");
}

fn first_segment(data: &Path) -> std::path::PathBuf {
    let mut segments: Vec<_> = files(data).into_iter().map(|(name, ..)| name).collect();
    segments.retain(|name| Path::new(name).extension().is_some_and(|e| e == "seg"));
    segments.sort();
    segments.first().expect("a used journal has a segment").into()
}

fn change_byte(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let server = Process::start(data.path(), &[]);
    // Not compared byte for byte: the first server is at work there.
    let told = refused(data.path(), &[]);
    assert!(told.contains(&server.id().to_string()), "names the holder: {told}");
    server.connect().hello();
}

#[test]
fn a_port_in_use_is_refused() {
    let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Process::start(data.path(), &[]);
    let told = refusal(other.path(), &["--listen", &server.address]);
    assert!(told.contains(&server.address) && told.contains("--listen"), "{told}");
    assert!(files(other.path()).is_empty());
}

#[test]
fn a_directory_that_cannot_be_made_is_refused() {
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("file"), "in the way").unwrap();
    let before = files(data.path());
    let told = refusal(&data.path().join("file").join("data"), &[]);
    assert!(told.contains("not writable"), "{told}");
    assert_eq!(files(data.path()), before);
}

#[test]
fn a_data_path_that_is_a_file_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("file");
    std::fs::write(&path, "in the way").unwrap();
    let output = command(&path, &[]).output().unwrap();
    assert!(!output.status.success());
    assert_eq!(std::fs::read(&path).unwrap(), b"in the way");
}

#[test]
fn a_damaged_segment_header_is_refused() {
    let data = tempfile::tempdir().unwrap();
    used(data.path());
    change_byte(&first_segment(data.path()), 40);
    let told = refusal(data.path(), &[]);
    assert!(told.contains(".seg"), "names the file: {told}");
}

#[test]
fn a_damaged_batch_is_refused_with_file_and_offset() {
    let data = tempfile::tempdir().unwrap();
    used(data.path());
    // The first batch after the header page: below what is known committed.
    change_byte(&first_segment(data.path()), 4096 + 20);
    let told = refusal(data.path(), &[]);
    assert!(told.contains(".seg") && told.contains("offset 4096"), "{told}");
    assert!(told.contains("journal verify"), "says what to do: {told}");
}

#[test]
fn another_format_version_is_refused() {
    let data = tempfile::tempdir().unwrap();
    used(data.path());
    change_byte(&first_segment(data.path()), 8);
    let told = refusal(data.path(), &[]);
    assert!(told.contains(".seg") && told.contains("version"), "{told}");
}

#[test]
fn a_unix_path_that_cannot_be_bound_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let long = data.path().join("s".repeat(120));
    let told = refusal(&data.path().join("data"), &["--unix", long.to_str().unwrap()]);
    assert!(told.contains("107 bytes") && told.contains("--unix"), "{told}");
    let nowhere = data.path().join("no").join("socket");
    let told = refusal(&data.path().join("data"), &["--unix", nowhere.to_str().unwrap()]);
    assert!(told.contains("does not exist"), "{told}");
    let file = data.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    let told = refusal(&data.path().join("data"), &["--unix", file.to_str().unwrap()]);
    assert!(told.contains("in the way"), "{told}");
    assert!(!data.path().join("data").exists());
}

#[test]
fn too_little_locked_memory_is_refused_with_the_fix() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("data");
    let serve = command(&path, &[]);
    let words = serve.get_args().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ");
    let script = format!("ulimit -l 64; exec {} {words}", env!("CARGO_BIN_EXE_hongbao"));
    let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && told.contains("ulimit -l 8192"), "{told}");
    assert!(!path.exists());
}

#[test]
fn another_cell_is_refused() {
    let data = tempfile::tempdir().unwrap();
    used(data.path());
    let told = refusal(data.path(), &["--cell", "9"]);
    assert!(told.contains("cell"), "{told}");
}

#[test]
fn tables_too_small_for_the_journal_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let server = Process::start(data.path(), &[]);
    let mut client = server.connect();
    for n in 0..20 {
        client.send(&order(n, n, 500, 5)).unwrap();
    }
    server.terminate();
    let told = refusal(data.path(), &["--envelopes-max", "10"]);
    assert!(told.contains("envelopes_max"), "{told}");
}

#[test]
fn a_core_that_is_not_there_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let told = refusal(data.path(), &["--cores", "4000"]);
    assert!(told.contains("4000"), "{told}");
}

#[test]
fn tables_larger_than_the_machine_are_refused() {
    let data = tempfile::tempdir().unwrap();
    let told = refusal(data.path(), &["--table-mib", "4000000"]);
    assert!(told.contains("--table-mib"), "{told}");
}

#[test]
fn an_unknown_key_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "tabel_mib = 3\n").unwrap();
    let told = refusal(data.path(), &["--config", file.path().to_str().unwrap()]);
    assert!(told.contains("tabel_mib"), "{told}");
}

/// A file system of `mib` MiB in memory, or `None` without the right to mount.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(mib: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={mib}m");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(dir.path())
            .output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(dir))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_at_start_is_refused() {
    let Some(small) = Small::mount(1) else {
        println!("skipped: no right to mount a small file system here");
        return;
    };
    let told = refusal(&small.0.path().join("data"), &["--segment-kib", "4096"]);
    assert!(told.contains("bytes are free"), "{told}");
    assert!(!small.0.path().join("data").exists());
}

#[test]
fn a_disk_that_fills_up_refuses_new_work_and_keeps_what_it_said() {
    let Some(small) = Small::mount(2) else {
        println!("skipped: no right to mount a small file system here");
        return;
    };
    let data = small.0.path().join("data");
    // Without checkpoints, for which no room would be left here.
    let flags = ["--segment-kib", "256", "--checkpoint-interval-s", "0"];
    let server = Process::start(&data, &flags);
    let mut client = server.connect();
    let mut told = Vec::new();
    let refused = loop {
        let n = u64::try_from(told.len()).unwrap();
        match client.send(&order(n, n, 500, 5)) {
            Ok(sent) => told.push((n, sent.envelope)),
            Err(error) => break error,
        }
        assert!(told.len() < 10_000, "a disk of 2 MiB took everything");
    };
    assert!(refused.to_string().contains("navailable"), "{refused}");
    for (n, envelope) in &told {
        let again = client.send(&order(*n, *n, 500, 5)).unwrap();
        assert!(again.repeated && again.envelope == *envelope);
    }
    drop(client);
    let (status, _) = server.terminate();
    assert!(status.success());
    // The journal as it stands is whole: a copy with more room serves it.
    let roomy = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp").arg("-r").arg(&data).arg(roomy.path()).status();
    assert!(copied.unwrap().success());
    let server = Process::start(&roomy.path().join("data"), &[]);
    let mut client = server.connect();
    for (n, envelope) in told {
        assert_eq!(client.send(&order(n, n, 500, 5)).unwrap().envelope, envelope);
    }
}
