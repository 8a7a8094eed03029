//! `signal-trace demo`: stops six containers of its own, each badly or well in its own way, and says which.
//!
//! The same kernel programs, judge and blocks as `watch`; only the containers are its own.

pub mod cases;

use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;

use self::cases::{CASES, Case, READY, Shells};
use super::output::{Output, node_name, wall_clock};
use super::runtime;
use super::stopping::{Plan, stop_and_judge};
use crate::containers::path::Forms;
use crate::daemon::Daemon;
use crate::event::Signal;
use crate::judge::shutdown::{GraceSource, Shutdown};
use crate::kernel::Settings;
use crate::report::style::Style;
use crate::report::table::{Match, Row, write_cases};
use crate::report::text::verdict_name;
use crate::sandbox::{Capture, Sandbox};

/// A shell and a small program are up much sooner; software emulation of a machine is slow.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Stop six containers of our own and show what each did with the signal.
#[derive(Debug, Args)]
pub struct Demo {
    /// One JSON object a line instead of text
    #[arg(long)]
    json: bool,
}

impl Demo {
    /// Runs all cases; the code says whether all verdicts came out right.
    ///
    /// # Errors
    ///
    /// Tracing cannot start, or a container cannot be made.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        runtime()?.block_on(self.show())
    }

    async fn show(self) -> anyhow::Result<ExitCode> {
        let mut output = if self.json { Output::json(node_name()) } else { Output::text() };
        let mut daemon = Daemon::start(&Settings::default(), Forms::default())?;
        let shells = Shells::find();
        let style = Style::of(&std::io::stdout());
        let mut rows = Vec::new();
        for (number, case) in (1..).zip(&CASES) {
            if !self.json {
                println!("{number}. {}: {}\n", case.title, case.shown());
            }
            let began = Instant::now();
            let shutdown = play(&mut daemon, case, &shells, Stdio::inherit())
                .await
                .with_context(|| format!("case {number}, {}", case.title))?;
            output.write(&shutdown, wall_clock()).context("cannot write a verdict")?;
            let named = |verdict| verdict_name(verdict, style.charset());
            let title = format!("{number}. {}", case.title);
            rows.push(Row::new(&title, &named(case.expected), &named(shutdown.verdict), Some(began.elapsed())));
        }
        let right = rows.iter().all(|row| row.matches == Match::Same);
        if !self.json {
            let mut text = String::new();
            write_cases(&mut text, &rows, &style).context("cannot draw the table")?;
            print!("{text}");
        }
        Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Starts a case, stops it when it is ready, and gives its verdict. What it says goes to `errors`.
pub(super) async fn play(daemon: &mut Daemon, case: &Case, shells: &Shells, errors: Stdio) -> anyhow::Result<Shutdown> {
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let plan = Plan { signal: Signal::TERM, grace: case.grace, source: GraceSource::Flag };
    let sandbox = Sandbox::create(daemon.hierarchy().mount(), "demo")?;
    daemon.adopt(sandbox.cgroup().clone(), plan.spec());
    let mut command = case.command(shells, &own);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
    let mut running = sandbox.start(command)?;
    let stdout = running.init_mut().take_stdout().context("the container has no output")?;
    let said = Capture::start(stdout)?;
    if !said.wait_for_lines(READY, case.ready_lines, READY_WITHIN) {
        bail!("it was not ready within {READY_WITHIN:?}; it said: {}", said.text().escape_debug());
    }
    daemon.follow_for(Duration::ZERO).await?;
    stop_and_judge(daemon, &mut running, plan).await
}
