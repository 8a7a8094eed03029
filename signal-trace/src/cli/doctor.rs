//! `signal-trace doctor`: says whether this machine or pod is fit to trace, what is lacking, and how to mend it.

pub(super) mod bundle;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::Context as _;
use clap::Args;

use self::bundle::{Bundle, Recorded};
use super::demo::cases::{CASES, Shells};
use super::demo::play;
use super::output::wall_clock;
use super::runtime;
use crate::audit::write::put_all;
use crate::containers::path::Forms;
use crate::daemon::{Daemon, StartError};
use crate::doctor::api::{self, Cluster};
use crate::doctor::render::{Findings, write};
use crate::doctor::{Check, Level, is_ready, machine};
use crate::judge::shutdown::Shutdown;
use crate::kernel::Settings;
use crate::recording::Recorder;
use crate::report::json::Record;
use crate::report::style::Style;
use crate::report::text::verdict_name;
use crate::sandbox::SandboxError;

/// Cases of the demo that the self-test stops: one that goes well, and the most usual one that does not.
const SELF_TEST: [usize; 2] = [1, 0];

/// Say whether this machine, or this pod, is fit to trace, and what to do where it is not.
#[derive(Debug, Args)]
pub struct Doctor {
    /// One JSON object instead of lines
    #[arg(long)]
    json: bool,

    /// Ask the API server of this kubeconfig what this account may do; in a pod its own is asked
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// Write a support bundle: the findings, and the self-test to `replay` elsewhere, without names of this machine
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
}

impl Doctor {
    /// Looks, tests and says.
    ///
    /// # Errors
    ///
    /// The output or the bundle cannot be written.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let settings = Settings::default();
        let mut checks = machine::look(&settings, Path::new("/"), jiff::Timestamp::now());
        let runtime = runtime()?;
        let (mut records, recorded) = (Vec::new(), Recorded::default());
        if is_ready(&checks) {
            checks.extend(runtime.block_on(self_test(&settings, &mut records, &recorded)));
        }
        checks.push(runtime.block_on(api::look(self.cluster())));
        self.report(&mut io::stdout().lock(), &checks, records, &recorded)?;
        Ok(if is_ready(&checks) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The bundle comes last: where it cannot be written, the findings are most wanted.
    fn report(
        &self,
        out: &mut impl io::Write,
        checks: &[Check],
        records: Vec<Record>,
        recorded: &Recorded,
    ) -> anyhow::Result<()> {
        let text = self.text(checks).context("cannot write the findings")?;
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write the findings")?;
        if let Some(path) = &self.bundle {
            let bundle = Bundle::new(Findings::new(checks), records, recorded)?;
            put_all(vec![(Some(path.clone()), bundle.text()?)])?;
        }
        Ok(())
    }

    fn text(&self, checks: &[Check]) -> anyhow::Result<String> {
        if self.json {
            return Ok(serde_json::to_string(&Findings::new(checks))? + "\n");
        }
        let mut text = String::new();
        write(&mut text, checks, &Style::of(&io::stdout()))?;
        Ok(text)
    }

    fn cluster(&self) -> Cluster<'_> {
        match &self.kubeconfig {
            Some(path) => Cluster::Kubeconfig(path),
            None if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() => Cluster::Around,
            None => Cluster::None,
        }
    }
}

/// Loads the programs, stops containers of our own, and holds the verdicts against the truth.
async fn self_test(settings: &Settings, records: &mut Vec<Record>, recorded: &Recorded) -> Vec<Check> {
    let recorder = match Recorder::start(recorded.clone(), &bundle::header()) {
        Ok(recorder) => recorder,
        Err(error) => return vec![Check::failed("recording", &error)],
    };
    let mut daemon = match Daemon::start_recording(settings, Forms::default(), Some(recorder)) {
        Ok(daemon) => daemon,
        Err(StartError::Kernel(error)) => return vec![Check::failed("programs", &error)],
        Err(error) => return vec![Check::failed("programs", &error)],
    };
    let attached = daemon.kernel().attached().len();
    let mut checks = vec![Check::ok("programs", format!("{attached} loaded and attached"))];
    let shells = Shells::find();
    for case in SELF_TEST.map(|at| &CASES[at]) {
        match play(&mut daemon, case, &shells, Stdio::null()).await {
            Ok(shutdown) if shutdown.verdict == case.expected => records.push(redacted(&shutdown)),
            Ok(shutdown) => {
                let named = |verdict| verdict_name(verdict, crate::report::style::Charset::Unicode);
                let found = format!("{}: {} and not {}", case.title, named(shutdown.verdict), named(case.expected));
                records.push(redacted(&shutdown));
                checks.push(Check::fail("self-test", found, "run again with --bundle FILE and report it"));
            }
            Err(error) => {
                checks.push(not_tested(&error));
                return checks;
            }
        }
    }
    if checks.iter().all(|check| check.level == Level::Ok) {
        checks.push(Check::ok(
            "self-test",
            format!("{} containers stopped, each with the right verdict", SELF_TEST.len()),
        ));
    }
    checks
}

/// The agent may trace without being able to make containers: that is no lack of it.
fn not_tested(error: &anyhow::Error) -> Check {
    let found = format!("no container could be stopped to be sure: {error:#}");
    match error.downcast_ref::<SandboxError>() {
        Some(SandboxError::NotPrivileged | SandboxError::ReadOnlyCgroup(_)) => {
            Check::warn("self-test", found, "nothing, if this is the agent's pod; else run as root on the node")
        }
        _ => Check::fail("self-test", found, "run again with --bundle FILE and report it"),
    }
}

/// Without the machine's name; the containers are our own.
fn redacted(shutdown: &Shutdown) -> Record {
    Record::new(shutdown, bundle::NODE, wall_clock())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_that_cannot_be_written_hides_no_finding() {
        let directory = tempfile::tempdir().unwrap();
        let bundle = Some(directory.path().join("nowhere/bundle.json"));
        let doctor = Doctor { json: true, kubeconfig: None, bundle };
        let mut said = Vec::new();
        let checks = [Check::ok("kernel", "Linux 6.18")];
        let error = doctor.report(&mut said, &checks, Vec::new(), &Recorded::default()).unwrap_err();
        assert!(error.to_string().contains("nowhere/bundle.json"), "{error}");
        let findings: serde_json::Value = serde_json::from_slice(&said).unwrap();
        assert_eq!(findings["checks"][0]["name"], "kernel");
    }
}
