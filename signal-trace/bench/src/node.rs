//! The agent as it is shipped, on a node that is made up: real cgroups and processes, and an API server of ours.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use signal_trace::event::{KernelTime, Signal};
use signal_trace::kernel::boot_time;

use crate::api::{Api, NODE};
use crate::stage::{self, Container, PATIENCE, Tree};

/// Programs that the agent attaches.
const LINKS: usize = 7;

/// A running agent; dropping it kills it.
pub(crate) struct Agent {
    process: Child,
    address: SocketAddr,
    kubeconfig: PathBuf,
    /// Its records, each with the time at which its line was read.
    pub(crate) records: Receiver<(KernelTime, String)>,
    /// From its exec to the last program's attachment.
    pub(crate) attached: Duration,
    /// From its exec to being ready, with all pods known.
    pub(crate) ready: Duration,
}

/// What an agent takes, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Its own pages, and those of its program that it touched: `VmRSS` without the rings, which the kernel has already.
    pub(crate) resident: f64,
    /// Of that, what is no file.
    pub(crate) own: f64,
    /// Maps and programs in the kernel, rings included.
    pub(crate) kernel: f64,
    /// The most that was resident, rings included and mapped twice.
    pub(crate) peak: f64,
}

/// That many containers, each with an init that ends well at SIGTERM.
pub(crate) fn containers(tree: &Tree, count: usize) -> Result<Vec<Container>> {
    (0..count).map(|number| tree.container(number, || stage::end_at(Signal::TERM))).collect()
}

/// The product's binary, which is built beside this one.
pub(crate) fn product() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("signal-trace");
    ensure!(path.is_file(), "there is no {}: build it, or use `cargo xtask bench`", path.display());
    Ok(path)
}

impl Agent {
    /// Starts one and waits until it is ready.
    pub(crate) fn start(api: &Api) -> Result<Self> {
        let kubeconfig = std::env::temp_dir().join(format!("signal-trace-bench-{}.kubeconfig", std::process::id()));
        fs::write(&kubeconfig, api.kubeconfig())?;
        let mut command = Command::new(product()?);
        command.args(["agent", "--node-name", NODE, "--listen", "127.0.0.1:0", "--kubeconfig"]).arg(&kubeconfig);
        let begun = Instant::now();
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let attached = attached(&mut process, begun)?;
        let said = BufReader::new(process.stderr.take().context("a pipe")?);
        let (tell, told) = channel();
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                match line.rsplit_once("pages on ") {
                    Some((_, address)) => drop(tell.send(address.to_owned())),
                    None => eprintln!("{line}"),
                }
            }
        });
        let address = told.recv_timeout(PATIENCE).context("the agent never said that it is ready")?.parse()?;
        let records = records(&mut process)?;
        let mut agent = Self { process, address, kubeconfig, records, attached, ready: Duration::ZERO };
        stage::until("readiness", || Ok(agent.get("/readyz")?.starts_with("HTTP/1.1 200")))?;
        agent.ready = begun.elapsed();
        Ok(agent)
    }

    /// One page, head and all.
    pub(crate) fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").as_bytes())?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(page)
    }

    /// The sum of a metric over its label sets, as a scraper reads it.
    pub(crate) fn total(&self, metric: &str) -> Result<f64> {
        let page = self.get("/metrics")?;
        let samples =
            page.lines().filter(|line| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' '])));
        let values = samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        Ok(values.sum())
    }

    /// Waits until it follows so many containers.
    pub(crate) fn follows(&self, containers: usize) -> Result<()> {
        stage::until("the containers' discovery", || {
            Ok(self.total("signal_trace_tracked_containers")? >= containers as f64)
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Processor time of all its threads.
    pub(crate) fn processor(&self) -> Result<Duration> {
        processor(self.pid())
    }

    /// How often its threads were put on a processor because they had waited for something.
    pub(crate) fn wakeups(&self) -> Result<u64> {
        let mut wakeups = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))?.flatten() {
            let status = fs::read_to_string(task.path().join("status"))?;
            let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            wakeups += count.context("a thread's switches")?.trim().parse::<u64>()?;
        }
        Ok(wakeups)
    }

    /// What it takes.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let field = |name| kib(&status, name).context("a process's memory");
        let smaps = fs::read_to_string(format!("/proc/{}/smaps", self.pid()))?;
        let mut rings = 0.0;
        let mut in_ring = false;
        for line in smaps.lines() {
            // The line that names a mapping begins with its address, in lower case.
            if line.starts_with(|c: char| c.is_ascii_digit() || c.is_ascii_lowercase()) {
                in_ring = line.ends_with("bpf-map");
            } else if in_ring {
                rings += kib(line, "Rss:").unwrap_or(0.0);
            }
        }
        let mut kernel = 0.0;
        for descriptor in fs::read_dir(format!("/proc/{}/fdinfo", self.pid()))?.flatten() {
            let info = fs::read_to_string(descriptor.path()).unwrap_or_default();
            let locked = info.lines().find_map(|line| line.strip_prefix("memlock:"));
            kernel += locked.map_or(Ok(0.0), |bytes| bytes.trim().parse::<f64>())?;
        }
        Ok(Memory { resident: field("VmRSS:")? - rings, own: field("RssAnon:")?, kernel, peak: field("VmHWM:")? })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.kubeconfig);
    }
}

/// Processor time of a process, all of its threads that live.
pub(crate) fn processor(pid: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let text = fs::read_to_string(task.path().join("schedstat"))?;
        nanoseconds += text.split_whitespace().next().context("a thread's time")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// A line of /proc in kibibytes, as bytes.
fn kib(text: &str, name: &str) -> Option<f64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0)
}

/// Waits until the process has a link to every tracepoint; how long after `begun` that was.
fn attached(process: &mut Child, begun: Instant) -> Result<Duration> {
    let descriptors = format!("/proc/{}/fdinfo", process.id());
    stage::until("the programs' attachment", || {
        let ended = process.try_wait()?;
        ensure!(ended.is_none(), "the agent ended: is another one running on this machine?");
        let infos = fs::read_dir(&descriptors)?.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
        Ok(infos.filter(|info| info.contains("link_type:")).count() >= LINKS)
    })?;
    Ok(begun.elapsed())
}

fn records(process: &mut Child) -> Result<Receiver<(KernelTime, String)>> {
    let stdout = BufReader::new(process.stdout.take().context("a pipe")?);
    let (tell, records) = channel();
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            if tell.send((boot_time(), line)).is_err() {
                return;
            }
        }
    });
    Ok(records)
}
