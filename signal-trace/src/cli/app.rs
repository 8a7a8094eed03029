//! `app`: a small program to stop, for the demo, the self-test and the tests. It does with its signals what it was asked to
//! and nothing else, so that what the kernel shows of it is honest: one thread, no runtime, no handler of ours.
//!
//! Everything that a handler does is async-signal-safe: the plan is read-only by then, and only system calls follow.

use std::convert::Infallible;
use std::ffi::CString;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, getpid, getsid, setsid, waitpid};
use rustix::thread::{NanosleepRelativeResult, Timespec, nanosleep, set_name};

use crate::disposition;
use crate::event::Signal;

/// The arguments of `app`.
#[derive(Debug, clap::Args)]
pub struct App {
    /// Name of the process.
    #[arg(long)]
    name: Option<String>,
    /// What to do at a signal: exit:CODE, after:DURATION:CODE, reraise, abort or segv in a handler, wait (blocked, read,
    /// then exit 0), block (never read), ignore, default. Repeatable.
    #[arg(long = "on", value_name = "SIGNAL=ACTION", value_parser = Rule::parse)]
    rules: Vec<Rule>,
    /// Start another app with these arguments (quotes of one kind protect the other). Repeatable.
    #[arg(long = "child", value_name = "ARGS", allow_hyphen_values = true)]
    children: Vec<String>,
    /// Pass a signal of a handler, or one that was waited for, to the children, and wait for them before ending.
    #[arg(long, value_name = "THEN", num_args = 0..=1, require_equals = true, default_missing_value = "wait")]
    forward: Option<Forward>,
    /// Lead a session of its own.
    #[arg(long)]
    setsid: bool,
    /// Print `ready` once the children are ready and the signals set.
    #[arg(long)]
    ready: bool,
    /// Say on standard error which signal a handler or a wait got.
    #[arg(long)]
    verbose: bool,
}

/// What follows a forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Forward {
    /// Until the children have ended.
    Wait,
    /// Go, and leave them behind.
    Leave,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    signal: Signal,
    action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Default,
    Ignore,
    Block,
    Wait,
    Handle(Handling),
}

/// How a handler ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handling {
    Exit { code: u8, after: Duration },
    Reraise,
    Abort,
    Fault,
}

impl App {
    /// Becomes what was asked for, and ends only by a signal.
    ///
    /// # Errors
    ///
    /// A signal cannot be set so, or a child does not start.
    pub fn run(&self) -> anyhow::Result<Infallible> {
        if let Some(name) = &self.name {
            set_name(&CString::new(name.as_str())?).context("the name is refused")?;
        }
        if self.setsid && getsid(None)? != getpid() {
            setsid().context("no new session: this process leads a group")?;
        }
        self.check_rules()?;
        disposition::disown_runtime()?;
        // Before the rules, so that they inherit none of them.
        let children = Children::start(&self.children)?;
        let awaited = self.install(children.into_pids())?;
        if self.ready {
            let mut out = io::stdout();
            writeln!(out, "ready").and_then(|()| out.flush()).context("cannot say that it is ready")?;
        }
        loop {
            if awaited.is_empty() {
                rustix::event::pause();
            } else if let Some(signal) = disposition::take_one(&awaited)? {
                on_signal(signal.number().into());
            }
        }
    }

    fn check_rules(&self) -> anyhow::Result<()> {
        for (index, rule) in self.rules.iter().enumerate() {
            if self.rules[..index].iter().any(|earlier| earlier.signal == rule.signal) {
                bail!("two rules for {}: leave one", rule.signal);
            }
        }
        Ok(())
    }

    /// Makes the plan known to the handler and sets the signals; gives back those to wait for.
    fn install(&self, children: Vec<Pid>) -> anyhow::Result<Vec<Signal>> {
        let name = self.name.as_deref().unwrap_or("app");
        let steps = self.rules.iter().filter_map(|rule| {
            let end = match rule.action {
                Action::Handle(handling) => handling,
                Action::Wait => Handling::Exit { code: 0, after: Duration::ZERO },
                Action::Default | Action::Ignore | Action::Block => return None,
            };
            let message = if self.verbose { format!("{name}: {}\n", rule.signal) } else { String::new() };
            Some(Step { signal: rule.signal, message, end })
        });
        PLAN.get_or_init(|| Plan { steps: steps.collect(), forward: self.forward, children });
        let with = |wanted: &[Action]| -> Vec<Signal> {
            self.rules.iter().filter(|rule| wanted.contains(&rule.action)).map(|rule| rule.signal).collect()
        };
        disposition::block(&with(&[Action::Block, Action::Wait])).context("a signal cannot be blocked")?;
        for rule in &self.rules {
            rule.install().with_context(|| format!("{} cannot be set", rule.signal))?;
        }
        Ok(with(&[Action::Wait]))
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Self, String> {
        let (signal, action) = text.split_once('=').ok_or("give it as SIGNAL=ACTION")?;
        let signal = Signal::parse(signal).ok_or_else(|| format!("no signal {signal:?}"))?;
        Ok(Self { signal, action: Action::parse(action)? })
    }

    fn install(&self) -> io::Result<()> {
        match self.action {
            Action::Default => disposition::set_default(self.signal),
            Action::Ignore => disposition::ignore(self.signal),
            Action::Block | Action::Wait => Ok(()),
            #[expect(unsafe_code, reason = "a handler is a promise about all that it calls")]
            // SAFETY: `on_signal` reads a plan that is set for good and makes system calls: no allocation, no lock.
            Action::Handle(_) => unsafe { disposition::handle(self.signal, on_signal) },
        }
    }
}

impl Action {
    fn parse(text: &str) -> Result<Self, String> {
        let exit = |code: &str, after| {
            let code = code.parse().map_err(|_| format!("{code:?} is no exit code from 0 to 255"))?;
            Ok(Self::Handle(Handling::Exit { code, after }))
        };
        match text.split_once(':').unwrap_or((text, "")) {
            ("default", "") => Ok(Self::Default),
            ("ignore", "") => Ok(Self::Ignore),
            ("block", "") => Ok(Self::Block),
            ("wait", "") => Ok(Self::Wait),
            ("reraise", "") => Ok(Self::Handle(Handling::Reraise)),
            ("abort", "") => Ok(Self::Handle(Handling::Abort)),
            ("segv", "") => Ok(Self::Handle(Handling::Fault)),
            ("exit", code) => exit(code, Duration::ZERO),
            ("after", rest) => {
                let (after, code) = rest.split_once(':').ok_or("give it as after:DURATION:CODE")?;
                let parsed = after.parse::<jiff::SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok());
                exit(code, parsed.ok_or_else(|| format!("{after:?} is no duration: 200ms, 10s, 1m"))?)
            }
            _ => Err(format!("no action {text:?}")),
        }
    }
}

/// What the handler goes by.
struct Plan {
    steps: Vec<Step>,
    forward: Option<Forward>,
    children: Vec<Pid>,
}

struct Step {
    signal: Signal,
    message: String,
    end: Handling,
}

static PLAN: OnceLock<Plan> = OnceLock::new();

extern "C" fn on_signal(number: libc::c_int) {
    let Some(plan) = PLAN.get() else { return };
    if let Some(step) = plan.steps.iter().find(|step| libc::c_int::from(step.signal.number()) == number) {
        plan.take(step);
    }
}

impl Plan {
    /// In a handler: only what is async-signal-safe.
    fn take(&self, step: &Step) {
        if !step.message.is_empty() {
            let _ = rustix::io::write(rustix::stdio::stderr(), step.message.as_bytes());
        }
        if self.forward.is_some() {
            for child in &self.children {
                let _ = disposition::send(*child, step.signal);
            }
        }
        if let Handling::Exit { after, .. } = step.end {
            work_for(after);
        }
        if self.forward == Some(Forward::Wait) {
            for child in &self.children {
                while waitpid(Some(*child), WaitOptions::empty()).err() == Some(Errno::INTR) {}
            }
        }
        match step.end {
            Handling::Exit { code, .. } => disposition::exit(code),
            Handling::Reraise => {
                let _ = disposition::set_default(step.signal).and_then(|()| disposition::raise(step.signal));
            }
            Handling::Abort => std::process::abort(),
            Handling::Fault => disposition::fault(),
        }
    }
}

/// Sleeps that long in the handler; another signal's handler may run meanwhile.
fn work_for(duration: Duration) {
    let Ok(mut left) = Timespec::try_from(duration) else { return };
    while let NanosleepRelativeResult::Interrupted(rest) = nanosleep(&left) {
        left = rest;
    }
}

/// Children that are ready; killed if one of them fails to be.
struct Children(Vec<Child>);

impl Children {
    fn start(arguments: &[String]) -> anyhow::Result<Self> {
        let mut children = Self(Vec::new());
        for line in arguments {
            children.0.push(start_child(line).with_context(|| format!("no child app {line:?}"))?);
        }
        Ok(children)
    }

    fn into_pids(mut self) -> Vec<Pid> {
        std::mem::take(&mut self.0).iter().map(Pid::from_child).collect()
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill().and_then(|()| child.wait());
        }
    }
}

fn start_child(line: &str) -> anyhow::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("signal-trace").arg("app").args(split(line)?).arg("--ready").stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start /proc/self/exe")?;
    let mut said = String::new();
    let read = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut said));
    if said == "ready\n" {
        return Ok(child);
    }
    let _ = child.kill();
    let status = child.wait()?;
    bail!("it ended before it was ready: {status}, {read:?}")
}

/// Words of a line; single or double quotes keep blanks and the other kind of quotes.
fn split(line: &str) -> anyhow::Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in line.chars() {
        match quote {
            Some(open) if open == character => quote = None,
            Some(_) => word.get_or_insert_default().push(character),
            None if matches!(character, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            None if character.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        bail!("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_read() {
        let exit = |code, after| Action::Handle(Handling::Exit { code, after: Duration::from_millis(after) });
        for (text, action) in [
            ("default", Action::Default),
            ("ignore", Action::Ignore),
            ("block", Action::Block),
            ("wait", Action::Wait),
            ("reraise", Action::Handle(Handling::Reraise)),
            ("abort", Action::Handle(Handling::Abort)),
            ("segv", Action::Handle(Handling::Fault)),
            ("exit:0", exit(0, 0)),
            ("exit:143", exit(143, 0)),
            ("after:200ms:0", exit(0, 200)),
            ("after:1m30s:3", exit(3, 90_000)),
        ] {
            assert_eq!(Rule::parse(&format!("TERM={text}")), Ok(Rule { signal: Signal::TERM, action }), "{text}");
        }
        for wrong in [
            "TERM",
            "TERM=",
            "TERM=exit",
            "TERM=exit:256",
            "TERM=after:1s",
            "TERM=after:-1s:0",
            "TERM=stay",
            "TERM=ignore:1",
            "NOPE=ignore",
        ] {
            assert!(Rule::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn words_are_split_at_blanks_outside_quotes() {
        let line = r#" --name mid  --child '--name leaf --child "--name deep"' '' "#;
        let words = ["--name", "mid", "--child", r#"--name leaf --child "--name deep""#, ""];
        assert_eq!(split(line).unwrap(), words);
        assert_eq!(split("").unwrap(), [""; 0]);
        assert!(split("--name 'open").is_err());
    }
}
