//! A real Prometheus for a test: it scrapes one target and answers questions about it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http::get;

/// Longer than two scrapes of a slow server take, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// A server of its own, with its own directory; both go with it.
pub(crate) struct Prometheus {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    directory: PathBuf,
    process: Child,
}

impl Prometheus {
    /// One that scrapes this target, started, and ready to answer.
    pub(crate) fn start(name: &'static str, target: &str, interval: &str, flags: &[&str]) -> Self {
        let config = format!(
            "global:\n  scrape_interval: {interval}\n  scrape_timeout: {interval}\nscrape_configs:\n  - job_name: agent\n    \
             static_configs:\n      - targets: ['{target}']\n"
        );
        Self::run(name, directory(name), &config, flags)
    }

    /// One that scrapes nothing and has the samples that are written for it, in OpenMetrics text.
    pub(crate) fn of_samples(name: &'static str, write: impl FnOnce(&mut dyn Write), flags: &[&str]) -> Self {
        let directory = directory(name);
        let mut samples = BufWriter::new(File::create(directory.join("samples")).unwrap());
        write(&mut samples);
        samples.into_inner().unwrap();
        let made = Command::new("promtool")
            .current_dir(&directory)
            .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet", "samples", "data"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self::run(name, directory, "", &[&["--storage.tsdb.retention.time=100y"], flags].concat())
    }

    fn run(name: &'static str, directory: PathBuf, config: &str, flags: &[&str]) -> Self {
        std::fs::write(directory.join("prometheus.yml"), config).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let spawned = Command::new("prometheus")
            .current_dir(&directory)
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"])
            .arg(format!("--web.listen-address={address}"))
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let process = match spawned {
            Ok(process) => process,
            Err(error) => panic!("cannot run prometheus: {error}; it is in Debian's package prometheus"),
        };
        let server = Self { name, address, directory, process };
        server.until("listens", || TcpStream::connect(address).is_ok());
        server.until("is ready", || get(address, "/-/ready").0 == 200);
        server
    }

    /// The value of a query with one result, or 0 if it has none yet.
    pub(crate) fn query(&self, query: &str) -> f64 {
        let results = self.series(query);
        assert!(results.len() < 2, "{query}: {results:?}");
        results.first().map_or(0.0, |result| result["value"][1].as_str().unwrap().parse().unwrap())
    }

    /// All series that a query has now, each with its labels and its value.
    pub(crate) fn series(&self, query: &str) -> Vec<Value> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let (_, body) = get(self.address, &format!("/api/v1/query?query={encoded}"));
        let mut answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        serde_json::from_value(answer["data"]["result"].take()).unwrap()
    }

    /// From the first sample of every series to its last, nothing extrapolated.
    pub(crate) fn increase(&self, series: &str) -> f64 {
        self.query(&format!("sum(max_over_time({series}[1h]) - min_over_time({series}[1h]))"))
    }

    /// Until a query has this value.
    pub(crate) fn wait_for(&self, query: &str, value: f64) {
        self.until(query, || (self.query(query) - value).abs() < 1e-9);
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "{}: not within {PATIENCE:?}: {what}", self.name);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Whatever fails here, the test has its result already.
        drop(self.process.kill());
        drop(self.process.wait());
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

fn directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("signal-trace-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}
