//! A private `PostgreSQL` from the system's package, shared by the tests of this
//! binary. A shell keeps it; when this process ends, however it ends, the pipe
//! between them closes, and the shell stops the server and removes its files.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;

/// The server refuses to run as root; its package made a user for it.
const KEEPER: &str = r#"
set -eu
bin=$1 dir=$(mktemp -d)
as=
if [ "$(id -u)" = 0 ]; then
  chown postgres: "$dir"
  as="setpriv --reuid postgres --regid postgres --init-groups --"
fi
cd "$dir"
trap 'rm -rf "$dir"' EXIT
$as "$bin/initdb" --auth=trust --username=postgres --encoding=UTF8 --no-sync --pgdata=data >&2
$as "$bin/pg_ctl" --pgdata=data --log="$dir/log" --wait --timeout=60 start >&2 </dev/null \
  --options="-k '$dir' -c listen_addresses='' -c max_connections=50"
echo "$dir"
read -r _ || true
$as "$bin/pg_ctl" --pgdata=data --mode=immediate --wait stop >&2
"#;

pub(crate) struct Server {
    programs: PathBuf,
    directory: String,
    _until_then: ChildStdin,
}

/// The server, or `None`, said once, where there is no package.
pub(crate) fn shared() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let started = SERVER.get_or_init(|| {
        let programs = programs();
        if programs.is_none() {
            // Not by a macro: what those print is kept from whoever runs tests.
            let line = "skipped: the ledger's PostgreSQL tests, because there is no \
                /usr/lib/postgresql/*/bin/initdb (apt-get install postgresql)\n";
            std::io::stderr().write_all(line.as_bytes()).unwrap();
        }
        programs.map(start)
    });
    started.as_ref()
}

/// Where the newest `PostgreSQL` of the package lies.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|entry| entry.unwrap().path()).max_by_key(version)?.join("bin");
    newest.join("initdb").exists().then_some(newest)
}

fn start(programs: PathBuf) -> Server {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut keeper = Command::new("sh")
        .args(["-c", KEEPER, "keeper"])
        .arg(&programs)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log.reopen().unwrap())
        .process_group(0)
        .spawn()
        .unwrap();
    let directory = first_line(&mut keeper);
    let said = || std::fs::read_to_string(log.path()).unwrap();
    assert!(!directory.is_empty(), "the private PostgreSQL did not start: {}", said());
    Server { programs, directory, _until_then: keeper.stdin.take().unwrap() }
}

fn first_line(keeper: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

impl Server {
    /// The address of the database that belongs to `place`; made if it is new.
    pub(crate) fn address(&self, place: &Path) -> String {
        let name = place.file_name().unwrap().to_str().unwrap();
        let sql = format!("SELECT 1 FROM pg_database WHERE datname = '{name}'");
        if self.ask("postgres", &sql).is_empty() {
            self.ask("postgres", &format!("CREATE DATABASE \"{name}\""));
        }
        format!("host={} user=postgres dbname={name}", self.directory)
    }

    /// What `psql` answers, as a person would ask it.
    pub(crate) fn ask(&self, database: &str, sql: &str) -> String {
        let asked = Command::new(self.programs.join("psql"))
            .args(["--no-psqlrc", "-Atq", "-U", "postgres", "-h", &self.directory])
            .args(["-d", database, "-c", sql])
            .output()
            .unwrap();
        let said = String::from_utf8(asked.stderr).unwrap();
        assert!(asked.status.success(), "{sql}: {said}");
        String::from_utf8(asked.stdout).unwrap().trim_end().to_owned()
    }
}
