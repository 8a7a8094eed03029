//! A second recorder, which shares nothing with the product: the kernel's own trace of signals, births and ends, as text.
//! It notes what came to whom of the containers that it is told about, and draws no conclusion.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::OFlags;
use rustix::mount::{MountFlags, UnmountFlags};

use super::workload::FLOOD;

const TERM: i32 = 15;
const KILL: i32 = 9;
/// Of each processor: more than what comes between two looks.
const BUFFER_KIB: &str = "8192";
const LOOK: Duration = Duration::from_millis(20);

/// What came to a container's processes; moments are seconds of the monotonic clock.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Facts {
    pub(super) init: i32,
    /// The first SIGTERM that somebody else sent to init.
    pub(super) stop: Option<f64>,
    /// SIGKILL to init while it lived.
    pub(super) kill: Option<f64>,
    /// Init's end.
    pub(super) exit: Option<f64>,
    /// Other processes that were sent SIGKILL while they lived.
    pub(super) killed: BTreeSet<i32>,
}

/// Records until it is dropped.
pub(super) struct Recorder {
    noted: Arc<Mutex<Noted>>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
    instance: PathBuf,
    mount: PathBuf,
}

#[derive(Debug, Default)]
struct Noted {
    /// Which container a living process is of.
    members: HashMap<i32, String>,
    containers: BTreeMap<String, Facts>,
}

/// One line of the trace.
#[derive(Debug, PartialEq)]
enum Line {
    Signal { from: i32, to: i32, signal: i32, delivered: bool },
    Birth { parent: i32, child: i32 },
    End { pid: i32 },
}

impl Recorder {
    /// Begins, with the trace mounted at `mount`.
    pub(super) fn start(mount: &Path) -> Result<Self> {
        fs::create_dir_all(mount)?;
        rustix::mount::mount("none", mount, "tracefs", MountFlags::empty(), None).context("tracefs")?;
        let instance = mount.join("instances").join("signal-trace-chaos");
        // From here on there is something to remove.
        let mut recorder =
            Self { noted: Arc::default(), stop: Arc::default(), reader: None, instance, mount: mount.to_owned() };
        if !recorder.instance.exists() {
            fs::create_dir(&recorder.instance).context("an instance of the kernel's trace")?;
        }
        let signals = format!("(sig=={TERM}||sig=={KILL})&&comm!=\"{FLOOD}\"");
        for (file, text) in [
            ("trace_clock", "mono"),
            ("buffer_size_kb", BUFFER_KIB),
            ("events/signal/signal_generate/filter", &signals),
            ("events/signal/signal_generate/enable", "1"),
            ("events/sched/sched_process_fork/enable", "1"),
            ("events/sched/sched_process_exit/enable", "1"),
        ] {
            let path = recorder.instance.join(file);
            fs::write(&path, text).with_context(|| format!("cannot write {text} to {}", path.display()))?;
        }
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits())?;
        let mut pipe =
            fs::File::options().read(true).custom_flags(nonblocking).open(recorder.instance.join("trace_pipe"))?;
        let (noted, stop) = (recorder.noted.clone(), recorder.stop.clone());
        recorder.reader = Some(std::thread::spawn(move || {
            let mut rest = Vec::new();
            let mut page = vec![0; 1 << 16];
            while !stop.load(Ordering::Relaxed) {
                match pipe.read(&mut page) {
                    Ok(0) => std::thread::sleep(LOOK),
                    Ok(length) => {
                        rest.extend_from_slice(&page[..length]);
                        let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                        let text: Vec<_> = rest.drain(..whole).collect();
                        let mut noted = lock(&noted);
                        String::from_utf8_lossy(&text).lines().filter_map(parse).for_each(|line| noted.note(line));
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(LOOK),
                    Err(_) => break,
                }
            }
        }));
        Ok(recorder)
    }

    /// From here on, or since it was first asked to, notes what comes to these processes and to those that they start.
    pub(super) fn watch(&self, container: &str, init: i32, members: &[i32]) {
        let mut noted = lock(&self.noted);
        noted.containers.entry(container.to_owned()).or_insert_with(|| Facts { init, ..Facts::default() });
        noted.members.extend(members.iter().map(|pid| (*pid, container.to_owned())));
    }

    pub(super) fn facts(&self, container: &str) -> Option<Facts> {
        lock(&self.noted).containers.get(container).cloned()
    }

    /// Lines that the kernel had no room for.
    pub(super) fn lost(&self) -> Result<u64> {
        let mut lost = 0;
        for entry in fs::read_dir(self.instance.join("per_cpu"))? {
            let stats = fs::read_to_string(entry?.path().join("stats"))?;
            for line in stats.lines() {
                if let Some((_, count)) = line.split_once("overrun: ").filter(|(name, _)| !name.contains("commit")) {
                    lost += count.trim().parse::<u64>().unwrap_or_default();
                }
            }
        }
        Ok(lost)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.reader.take().map(JoinHandle::join));
        drop(fs::remove_dir(&self.instance));
        let _ = rustix::mount::unmount(&self.mount, UnmountFlags::DETACH);
    }
}

impl Noted {
    fn note(&mut self, (at, line): (f64, Line)) {
        match line {
            Line::Birth { parent, child } => {
                if let Some(container) = self.members.get(&parent).cloned() {
                    self.members.insert(child, container);
                }
            }
            Line::End { pid } => {
                let facts = self.members.remove(&pid).and_then(|container| self.containers.get_mut(&container));
                if let Some(facts) = facts.filter(|facts| facts.init == pid) {
                    facts.exit = Some(at);
                }
            }
            Line::Signal { from, to, signal, delivered } => {
                let inside = self.members.get(&from) == self.members.get(&to);
                let Some(facts) = self.members.get(&to).and_then(|container| self.containers.get_mut(container)) else {
                    return;
                };
                match signal {
                    TERM if to == facts.init && !inside => drop(facts.stop.get_or_insert(at)),
                    KILL if to == facts.init && delivered => drop(facts.kill.get_or_insert(at)),
                    KILL if to != facts.init => drop(facts.killed.insert(to)),
                    _ => {}
                }
            }
        }
    }
}

fn lock(noted: &Mutex<Noted>) -> MutexGuard<'_, Noted> {
    noted.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `NAME-PID [CPU] FLAGS SECONDS: EVENT: FIELDS`
fn parse(line: &str) -> Option<(f64, Line)> {
    let (head, event, fields) = ["signal_generate", "sched_process_fork", "sched_process_exit"]
        .iter()
        .find_map(|event| line.split_once(&format!(": {event}: ")).map(|(head, fields)| (head, *event, fields)))?;
    let at = head.rsplit(' ').next()?.parse().ok()?;
    // Names stand before the numbers and may hold anything, so that the last field of a name is the one.
    let number = |key: &str| {
        let (_, value) = fields.rsplit_once(key)?;
        value.split(' ').next()?.parse::<i32>().ok()
    };
    let line = match event {
        "signal_generate" => {
            let from = head.rsplit_once(" [")?.0.trim_end().rsplit_once('-')?.1.parse().ok()?;
            let signal = fields.strip_prefix("sig=")?.split(' ').next()?.parse().ok()?;
            Line::Signal { from, to: number(" pid=")?, signal, delivered: number(" res=")? == 0 }
        }
        "sched_process_fork" => {
            let parent = fields.split_once(" child_comm=")?.0.rsplit_once(" pid=")?.1.parse().ok()?;
            Line::Birth { parent, child: number(" child_pid=")? }
        }
        _ => Line::End { pid: number(" pid=")? },
    };
    Some((at, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_whatever_the_names_hold() {
        let signal = "   runc:[2:INIT]-321     [001] d..1.  12.500000: signal_generate: sig=15 errno=0 code=0 comm=a pid=7 b pid=99 grp=1 res=1";
        let expected = Line::Signal { from: 321, to: 99, signal: 15, delivered: false };
        assert_eq!(parse(signal), Some((12.5, expected)));
        let fork = "  bash-7  [000] ..... 13.0: sched_process_fork: comm=bash pid=7 child_comm=bash child_pid=8";
        assert_eq!(parse(fork), Some((13.0, Line::Birth { parent: 7, child: 8 })));
        let end = "  bash-8  [000] ..... 14.0: sched_process_exit: comm=bash pid=8 prio=120 group_dead=true";
        assert_eq!(parse(end), Some((14.0, Line::End { pid: 8 })));
        assert_eq!(parse("CPU:1 [LOST 5 EVENTS]"), None);
    }

    #[test]
    fn what_comes_to_a_container_is_noted() {
        let mut noted = Noted::default();
        noted.containers.insert("a".into(), Facts { init: 7, ..Facts::default() });
        noted.members.insert(7, "a".into());
        let signal = |from, to, signal| Line::Signal { from, to, signal, delivered: true };
        let lines = [
            Line::Birth { parent: 7, child: 8 },
            signal(8, 7, TERM),
            signal(1, 7, TERM),
            Line::End { pid: 7 },
            signal(0, 8, KILL),
            Line::End { pid: 8 },
            // A number that is used again is nobody of this container.
            signal(0, 8, KILL),
            signal(0, 7, KILL),
        ];
        lines.into_iter().enumerate().for_each(|(at, line)| noted.note((at as f64, line)));
        let expected = Facts { init: 7, stop: Some(2.0), kill: None, exit: Some(3.0), killed: [8].into() };
        assert_eq!(noted.containers["a"], expected);
    }
}
