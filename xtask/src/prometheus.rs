//! A real Prometheus with a store of its own, for as long as it is needed.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// How long it may take to load its blocks.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(20);

/// It runs until it is dropped.
pub(crate) struct Prometheus {
    process: Child,
    pub(crate) url: String,
}

impl Prometheus {
    /// Starts it over what `directory` holds, with this configuration, and returns when it answers.
    pub(crate) fn start(directory: &Path, configuration: &str, arguments: &[&str]) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        fs::write(directory.join("prometheus.yml"), configuration)?;
        let log = directory.join("prometheus.log");
        let process = Command::new("prometheus")
            .current_dir(directory)
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--storage.tsdb.retention.time=100y"])
            .args(arguments)
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("prometheus could not be started")?;
        let mut server = Self { process, url: format!("http://{address}") };
        let deadline = Instant::now() + PATIENCE;
        // It listens once its blocks are loaded.
        while TcpStream::connect(address).is_err() {
            let ended = server.process.try_wait()?;
            ensure!(
                ended.is_none() && Instant::now() < deadline,
                "prometheus is not up: {}",
                fs::read_to_string(&log)?
            );
            std::thread::sleep(LOOK);
        }
        Ok(server)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
