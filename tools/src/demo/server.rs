//! The demo's server: a process of its own, so that it can be killed.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take to listen, recovery included.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How long it may take to drain and stop.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// A running server and the directory of its life.
pub(super) struct Server {
    dir: PathBuf,
    child: Child,
    /// Where it listens, also after a restart.
    pub(super) address: SocketAddr,
}

impl Server {
    /// Starts one on a fresh directory, on a port of the system's choice.
    pub(super) fn start(dir: &Path) -> Result<Self> {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut child = spawn(dir, any_port)?;
        let address = match wait_until_ready(dir, &mut child) {
            Ok(address) => address,
            Err(error) => {
                end(&mut child);
                return Err(error);
            }
        };
        Ok(Self { dir: dir.into(), child, address })
    }

    /// Kills it with SIGKILL: nothing is flushed, nobody is told.
    pub(super) fn kill(&mut self) {
        end(&mut self.child);
    }

    /// Starts it again on the same directory and port, once: a server that
    /// does not come back at the first try is a finding, not a nuisance.
    pub(super) fn restart(&mut self) -> Result<()> {
        let _ = fs::remove_file(port_file(&self.dir));
        self.child = spawn(&self.dir, self.address)?;
        wait_until_ready(&self.dir, &mut self.child).map(drop)
    }

    /// Asks it to drain and stop, and sees that it does.
    pub(super) fn stop(mut self) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).context("stopping the demo's server")?;
        let began = Instant::now();
        while began.elapsed() < STOPPED_WITHIN {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the server stopped with {status}: {}", log_tail(&self.dir)),
                None => sleep(Duration::from_millis(10)),
            }
        }
        bail!("the server did not stop within {STOPPED_WITHIN:?} of SIGTERM")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child); // nothing is left running, however the demo ends
    }
}

fn end(child: &mut Child) {
    let _ = child.kill(); // it may have ended by itself
    let _ = child.wait();
}

fn port_file(dir: &Path) -> PathBuf {
    dir.join("address")
}

fn log_file(dir: &Path) -> PathBuf {
    dir.join("server.log")
}

fn spawn(dir: &Path, listen: SocketAddr) -> Result<Child> {
    let log = File::options().create(true).append(true).open(log_file(dir))?;
    Command::new(std::env::current_exe()?)
        .arg("serve-for-demo")
        .arg("--data")
        .arg(dir.join("data"))
        .arg("--listen")
        .arg(listen.to_string())
        .arg("--port-file")
        .arg(port_file(dir))
        .stdin(Stdio::piped()) // it ends when this process, and so the pipe, does
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("starting the demo's server")
}

/// The server writes its address once it listens.
fn wait_until_ready(dir: &Path, child: &mut Child) -> Result<SocketAddr> {
    let began = Instant::now();
    while began.elapsed() < READY_WITHIN {
        if let Ok(address) = fs::read_to_string(port_file(dir))
            && let Ok(address) = address.trim().parse()
        {
            return Ok(address);
        }
        if let Some(status) = child.try_wait()? {
            bail!("the server ended with {status} before it listened: {}", log_tail(dir));
        }
        sleep(Duration::from_millis(2));
    }
    bail!("the server did not listen within {READY_WITHIN:?}: {}", log_tail(dir))
}

fn log_tail(dir: &Path) -> String {
    let log = fs::read_to_string(log_file(dir)).unwrap_or_default();
    let tail: Vec<&str> = log.lines().rev().take(5).collect();
    tail.into_iter().rev().collect::<Vec<_>>().join(" | ")
}
