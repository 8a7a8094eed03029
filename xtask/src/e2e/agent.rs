//! The agent under test: started as a node's daemon would start it, with rights of its own, and asked over HTTP.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::net::{AddressFamily, SocketType};
use serde_json::Value;

use super::board::Board;
use super::metrics::Metrics;
use super::node::NAME;
use super::process::{self, Process, tied};

/// Where it listens, in the node's network namespace.
pub(crate) const LISTEN: &str = "127.0.0.1:9469";
/// How it is told which node it is on, and where to listen.
pub(crate) const ARGUMENTS: [&str; 5] = ["agent", "--node-name", NAME, "--listen", LISTEN];
/// From where it is asked. A Prometheus asks from another: scrapers are told apart by their address.
const ASKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// How long it may take until it is ready: emulated machines need it.
const START_BOUND: Duration = Duration::from_secs(120);
/// How long an answer may take.
const ANSWER_BOUND: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);

/// How it is started.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// The product.
    pub(crate) program: PathBuf,
    /// Its own.
    pub(crate) kubeconfig: PathBuf,
    /// Where its outputs are kept.
    pub(crate) directory: PathBuf,
}

/// A running agent.
pub(crate) struct Agent {
    process: Process,
    reader: Option<JoinHandle<()>>,
    log: PathBuf,
}

impl Setup {
    /// Starts it; its records go to `board`.
    pub(crate) fn start(&self, board: &Board) -> Result<Agent> {
        let log = self.directory.join("agent.log");
        let mut command = tied(&self.program);
        command.args(ARGUMENTS).env("KUBECONFIG", &self.kubeconfig);
        command.stdout(Stdio::piped()).stderr(File::options().create(true).append(true).open(&log)?);
        let mut process = Process::start_with("signal-trace", &mut command, log.clone())?;
        let stdout = process.stdout().context("the agent has no stdout")?;
        let mut copy = File::options().create(true).append(true).open(self.directory.join("records.jsonl"))?;
        let board = board.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                drop(writeln!(copy, "{line}"));
                // Stdout holds records and nothing else: what is none fails every case that looks at it.
                let record = serde_json::from_str(&line).unwrap_or(Value::String(line));
                board.tell(|seen| seen.records.push(record));
            }
        });
        Ok(Agent { process, reader: Some(reader), log })
    }
}

impl Agent {
    /// Waits until it says that it is ready.
    pub(crate) fn ready(&mut self, board: &Board) -> Result<()> {
        let deadline = Instant::now() + START_BOUND;
        while get("/readyz").is_err() {
            board.interrupt.check()?;
            self.process.alive()?;
            ensure!(
                Instant::now() < deadline,
                "the agent is not ready after {} s: {}",
                START_BOUND.as_secs(),
                self.said()
            );
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Ends it as the kubelet would, and waits until all it said was read.
    pub(crate) fn end(mut self) -> Result<()> {
        let status = self.process.end()?;
        self.read_out();
        match status {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("the agent ended with {status}: {}", self.said()),
            None => bail!("the agent did not end when it was told to: {}", self.said()),
        }
    }

    /// Ends it without asking.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.process.kill()?;
        self.read_out();
        Ok(())
    }

    /// Its status, if it ends within `patience`.
    pub(crate) fn wait(&mut self, patience: Duration) -> Result<Option<std::process::ExitStatus>> {
        self.process.wait(patience)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The end of what it said about itself.
    pub(crate) fn said(&self) -> String {
        process::tail(&self.log, 20)
    }

    fn read_out(&mut self) {
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
    }
}

/// Where its words are.
pub(crate) fn log(directory: &Path) -> PathBuf {
    directory.join("agent.log")
}

/// What its metrics are now.
pub(crate) fn scrape() -> Result<Metrics> {
    Ok(Metrics::parse(&get("/metrics")?))
}

/// The body of a good answer.
pub(crate) fn get(path: &str) -> Result<String> {
    let address: SocketAddr = LISTEN.parse().context("an address")?;
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &SocketAddr::from((ASKER, 0)))?;
    rustix::net::connect(&socket, &address)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(ANSWER_BOUND))?;
    // The older version of the protocol ends the answer by ending the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {LISTEN}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without an end of its head")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    ensure!(status == "200", "{path} answers {status}: {}", body.trim());
    Ok(body.to_owned())
}
