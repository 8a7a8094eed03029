//! One animal of the zoo: a program, how it is run and stopped, and the verdict that is true. Read from a file of its
//! own in `xtask/zoo/cases`, which anybody can write.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::machine;

/// A case, as its file says it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// The file's name.
    #[serde(skip)]
    pub(crate) name: String,
    /// What happens, and why the verdict is the true one.
    pub(crate) about: String,
    /// Debian packages beside a minimal system.
    #[serde(default)]
    pub(crate) packages: Vec<String>,
    /// What PID 1 is.
    pub(crate) command: Vec<String>,
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    /// Whether it has a terminal.
    #[serde(default)]
    pub(crate) terminal: bool,
    /// It burdens the whole machine: nothing else runs meanwhile.
    #[serde(default)]
    pub(crate) alone: bool,
    /// Part of the short run.
    #[serde(default)]
    pub(crate) quick: bool,
    /// One of those that run on every kernel of the matrix too, in a virtual machine.
    #[serde(default)]
    pub(crate) kernels: bool,
    #[serde(default = "containerd")]
    pub(crate) runtimes: Vec<Runtime>,
    /// What the runtime's client is asked before, where there has to be something that it runs in.
    #[serde(default)]
    pub(crate) first: BTreeMap<Runtime, Vec<String>>,
    /// Options of `run`, where a runtime needs some.
    #[serde(default)]
    pub(crate) options: BTreeMap<Runtime, Vec<String>>,
    /// Another container that is there all the while, and is not judged.
    pub(crate) beside: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) ready: Ready,
    /// Before the stop, in order.
    #[serde(default)]
    pub(crate) before: Vec<Step>,
    /// The stop signal; `none` where it ends by itself.
    #[serde(default = "term")]
    pub(crate) stop: String,
    /// Right after the stop signal, in order.
    #[serde(default)]
    pub(crate) during: Vec<Step>,
    /// Seconds between the stop signal and SIGKILL.
    #[serde(default = "two_seconds")]
    grace: f64,
    /// How a runtime is asked to stop it, where not as usual.
    #[serde(default)]
    pub(crate) stop_with: BTreeMap<Runtime, Vec<String>>,
    /// The truth.
    pub(crate) expect: Expect,
}

/// When it is ready to be stopped: all of this holds.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ready {
    /// It has printed this.
    pub(crate) says: Option<String>,
    /// These processes are in it, by name, as often as they are listed.
    #[serde(default)]
    pub(crate) processes: Vec<String>,
    /// Every process of that name has a handler for that signal.
    #[serde(default)]
    pub(crate) catches: BTreeMap<String, String>,
}

/// Something that happens to it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Step {
    /// Seconds go by.
    After(f64),
    /// The runtime sends a signal.
    Signal(String),
    /// A command that enters the container, and is left alone.
    Exec(Vec<String>),
    /// A shell script on the host, with INIT, CGROUP and the other container's BESIDE_CGROUP in its environment.
    Host(String),
    /// What is typed at its terminal.
    Type(String),
    /// It has printed this.
    Says(String),
    /// These processes are in it.
    Processes(Vec<String>),
}

/// Who runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Runtime {
    /// containerd with runc, by `ctr`.
    Containerd,
    /// podman with runc.
    Podman,
    /// Docker Engine with containerd and runc.
    Docker,
    /// containerd with crun, which wants cgroups of version 2 alone: in the virtual machines.
    Crun,
    /// No container: a service of systemd's, in the virtual machines, where systemd is the machine's own init.
    Systemd,
}

/// Where cases are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On this machine.
    Here,
    /// In a virtual machine, which has a kernel of its own and cgroups of version 2 alone.
    Guest,
}

impl Runtime {
    pub(crate) const ALL: [Self; 5] = [Self::Containerd, Self::Podman, Self::Docker, Self::Crun, Self::Systemd];

    /// Whose options it takes: what is run by the same client has the same.
    pub(crate) fn client(self) -> Self {
        match self {
            Self::Crun => Self::Containerd,
            Self::Containerd | Self::Podman | Self::Docker | Self::Systemd => self,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Podman => "podman",
            Self::Docker => "docker",
            Self::Crun => "crun",
            Self::Systemd => "systemd",
        }
    }
}

/// What `watch` has to say.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Expect {
    /// One shutdown.
    Verdict(Box<Verdict>),
    /// No shutdown.
    Silence(Silence),
}

/// Written as `none`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Silence {
    None,
}

/// The verdict, as the fields of a record.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Verdict {
    pub(crate) outcome: String,
    #[serde(default = "no_cause")]
    pub(crate) cause: String,
    pub(crate) init_disposition: String,
    /// The sentence that says what to change; empty where nothing has to.
    #[serde(default)]
    pub(crate) advice: String,
    /// `program@where the way broke`, each once.
    #[serde(default)]
    pub(crate) missed: Vec<String>,
    #[serde(default)]
    pub(crate) findings: Vec<String>,
    /// Other fields of the record, by JSON pointer.
    #[serde(default)]
    pub(crate) also: BTreeMap<String, serde_json::Value>,
    /// What runtimes do differently: fields that hold instead.
    #[serde(default)]
    pub(crate) but: BTreeMap<Runtime, Box<Verdict>>,
}

impl Case {
    /// Time between the stop signal and SIGKILL.
    pub(crate) fn grace(&self) -> Duration {
        Duration::from_secs_f64(self.grace)
    }

    /// Whether it runs under this runtime there.
    pub(crate) fn runs(&self, runtime: Runtime, place: Place) -> bool {
        let there = match (place, runtime) {
            (Place::Here, Runtime::Containerd | Runtime::Podman | Runtime::Docker)
            | (Place::Guest, Runtime::Crun | Runtime::Systemd) => true,
            (Place::Guest, Runtime::Containerd) => self.kernels,
            (Place::Guest, Runtime::Podman | Runtime::Docker) | (Place::Here, Runtime::Crun | Runtime::Systemd) => {
                false
            }
        };
        there && self.runtimes.contains(&runtime)
    }

    fn parse(name: &str, text: &str) -> Result<Self> {
        let mut case: Self = serde_saphyr::from_str(text)?;
        case.name = name.to_owned();
        ensure!(!case.command.is_empty(), "it has no command");
        ensure!(case.grace.is_finite() && case.grace >= 0.0, "its grace is no time");
        ensure!(!case.quick || !case.alone, "what needs the machine for itself is not for the short run");
        Ok(case)
    }
}

impl Verdict {
    /// What holds under a runtime.
    pub(crate) fn under(&self, runtime: Runtime) -> &Self {
        self.but.get(&runtime).map_or(self, |verdict| verdict)
    }
}

/// Every case, by name.
pub(crate) fn all() -> Result<Vec<Case>> {
    let directory = machine::workspace().join("xtask/zoo/cases");
    let files = fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut cases = Vec::new();
    for file in files {
        let path = file?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        cases.push(Case::parse(&name, &text).with_context(|| format!("{}", path.display()))?);
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

fn containerd() -> Vec<Runtime> {
    vec![Runtime::Containerd]
}

fn term() -> String {
    "TERM".to_owned()
}

fn two_seconds() -> f64 {
    2.0
}

fn no_cause() -> String {
    "none".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = "about: a\ncommand: [sleep, '1']\nexpect: none\n";

    #[test]
    fn what_a_file_leaves_out_is_usual() {
        let case = Case::parse("x", SMALLEST).unwrap();
        assert_eq!((case.name.as_str(), case.stop.as_str(), case.grace()), ("x", "TERM", Duration::from_secs(2)));
        assert_eq!(case.runtimes, [Runtime::Containerd]);
        assert!(matches!(case.expect, Expect::Silence(Silence::None)));
    }

    #[test]
    fn a_field_that_is_not_known_is_refused() {
        let error = Case::parse("x", &format!("{SMALLEST}grce: 3\n")).unwrap_err();
        assert!(error.to_string().contains("grce"), "{error}");
    }

    #[test]
    fn every_case_reads_and_is_one_of_enough() {
        let cases = all().unwrap();
        assert!(cases.len() >= 45, "{}", cases.len());
        let count = |runtime, place| cases.iter().filter(|case| case.runs(runtime, place)).count();
        for runtime in [Runtime::Containerd, Runtime::Podman, Runtime::Docker] {
            assert!(count(runtime, Place::Here) >= 12, "{}", runtime.name());
        }
        for (runtime, enough) in [(Runtime::Containerd, 12), (Runtime::Crun, 12), (Runtime::Systemd, 6)] {
            assert!(count(runtime, Place::Guest) >= enough, "{} in a guest", runtime.name());
        }
    }

    #[test]
    fn what_names_the_kernels_runs_there() {
        for case in all().unwrap() {
            assert!(!case.kernels || case.runs(Runtime::Containerd, Place::Guest), "{}", case.name);
            assert!(!case.kernels || !case.alone, "{}", case.name);
        }
    }
}
