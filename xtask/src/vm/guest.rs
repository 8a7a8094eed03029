//! One virtual machine: what it boots into, how it is run within a bound, and what its serial console says.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use super::archive::{Apt, Reach};
use super::cpio::Archive;
use crate::architecture::Architecture;
use crate::child;
use crate::packages;

/// The release whose shells are fetched.
const SHELLS_OF: &str = "trixie";

/// How often a running machine is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What the kernel forbids even root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lockdown {
    /// As Debian boots.
    None,
    /// Nothing may read kernel memory: no `bpf_probe_read_kernel`, no tracefs, no perf events.
    Confidentiality,
}

impl Lockdown {
    /// Both.
    pub(crate) const BOTH: [Self; 2] = [Self::None, Self::Confidentiality];
}

impl fmt::Display for Lockdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Confidentiality => "confidentiality",
        })
    }
}

/// What is booted, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) architecture: Architecture,
    pub(crate) kernel: &'a Path,
    pub(crate) initramfs: &'a Path,
    pub(crate) lockdown: Lockdown,
    /// As the emulator takes it: `1G`.
    pub(crate) memory: &'a str,
    pub(crate) disks: &'a [Disk<'a>],
    /// A machine that has not switched itself off by then has hung.
    pub(crate) bound: Duration,
}

/// A disk, from a file of the same bytes: the namespaces of one NVMe controller, which every stock kernel has built in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Disk<'a> {
    /// What the guest writes is forgotten with it.
    Forgotten(&'a Path),
    /// What the guest writes is in the file.
    Kept(&'a Path),
}

/// What a guest said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Report {
    /// `uname -r`.
    pub(crate) kernel: Option<String>,
    /// The lockdown that is in force.
    pub(crate) lockdown: Option<String>,
    /// The verdicts of the demo, in its order: `outcome/cause`.
    pub(crate) verdicts: Vec<String>,
    /// How long the demo took, by the guest's clock.
    pub(crate) demo_seconds: Option<f64>,
    /// What the demo printed beside its records.
    pub(crate) said: Vec<String>,
    /// The demo's exit status.
    exit: Option<i32>,
}

impl Report {
    /// Why this is not a machine on which the demo went well.
    pub(crate) fn fault(&self, asked: Lockdown) -> Option<String> {
        let lockdown = self.lockdown.as_deref().unwrap_or("unknown");
        match self.exit {
            None => Some("the demo did not end".into()),
            Some(_) if lockdown != asked.to_string() => {
                Some(format!("lockdown is {lockdown}, though {asked} was asked for"))
            }
            Some(0) if self.verdicts.is_empty() => Some("the demo was content, yet printed no verdict".into()),
            Some(0) => None,
            Some(status) => Some(format!("the demo ended with exit status {status}")),
        }
    }
}

/// The programs of a guest beside the product, linked statically.
pub(crate) struct Shells {
    busybox: PathBuf,
    bash: PathBuf,
}

impl Shells {
    /// Those that this machine has.
    pub(crate) fn of_this_machine() -> Self {
        Self { busybox: packages::BUSYBOX.into(), bash: packages::BASH.into() }
    }

    /// Those of another architecture, from an earlier run or fetched now.
    pub(crate) fn fetched(architecture: Architecture, directory: &Path) -> Result<Self> {
        let place = directory.join("shells").join(architecture.name());
        let shells = Self { busybox: place.join("busybox"), bash: place.join("bash-static") };
        if !shells.busybox.exists() || !shells.bash.exists() {
            let apt = Apt::open(directory, architecture, Reach::Releases)?;
            for (package, file) in [("busybox-static", &shells.busybox), ("bash-static", &shells.bash)] {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                apt.package(&format!("{package}/{SHELLS_OF}"))?.extract(&format!("./*bin/{name}"), file)?;
            }
        }
        Ok(shells)
    }
}

/// The file system that a guest boots into.
pub(crate) fn initramfs(product: &Path, shells: &Shells) -> Result<Vec<u8>> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let mut archive = Archive::default();
    for directory in ["bin", "new"] {
        archive.directory(directory);
    }
    archive.program("init", include_bytes!("init.sh"));
    archive.program("bin/busybox", &read(&shells.busybox)?);
    archive.program("bin/bash", &read(&shells.bash)?);
    archive.program("bin/signal-trace", &read(product)?);
    Ok(archive.finish())
}

impl Machine<'_> {
    /// Boots it and waits until it has switched itself off; its serial console goes to `log`. The inner result tells how
    /// the machine ended, the outer one that it could not be run at all.
    ///
    /// The emulator may run what the kernel is just patching, and then the kernel panics before there is a first process:
    /// once, such a machine is booted again. What ran anything of ours never is.
    pub(crate) fn boot(self, log: &Path) -> Result<Result<()>> {
        let ended = self.boot_once(log)?;
        let console = fs::read(log).with_context(|| format!("cannot read {}", log.display()))?;
        if !panicked_early(&String::from_utf8_lossy(&console)) {
            return Ok(ended);
        }
        let kernel = self.kernel.display();
        anstream::eprintln!("{0}{kernel} panicked before its first process: booted again{0:#}", child::QUIET);
        self.boot_once(log)
    }

    fn boot_once(self, log: &Path) -> Result<Result<()>> {
        let console = fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        // The emulator dies with us, however we end.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", emulator(self.architecture)]).args(board(self.architecture));
        command.args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", self.memory, "-no-reboot"]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"]);
        command.arg("-kernel").arg(self.kernel).arg("-initrd").arg(self.initramfs);
        command.args(["-append", &command_line(self.architecture, self.lockdown)]).args(drives(self.disks));
        command.stdin(Stdio::null()).stderr(console.try_clone()?).stdout(console);
        let mut machine = command.spawn().context("the emulator could not be started")?;
        Ok(match wait(&mut machine, self.bound)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(anyhow!("the emulator ended with {status}")),
            None => Err(anyhow!("it did not switch itself off within {} s and was ended", self.bound.as_secs())),
        })
    }
}

fn emulator(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Amd64 => "qemu-system-x86_64",
        Architecture::Arm64 => "qemu-system-aarch64",
    }
}

/// The processor with what hangs on it. Of arm64 one that clouds have: the emulator's own best one has pointers that are
/// signed, at many times the cost of everything else.
fn board(architecture: Architecture) -> &'static [&'static str] {
    match architecture {
        Architecture::Amd64 => &["-cpu", "max"],
        Architecture::Arm64 => &["-machine", "virt", "-cpu", "neoverse-n1"],
    }
}

fn command_line(architecture: Architecture, lockdown: Lockdown) -> String {
    let console = match architecture {
        Architecture::Amd64 => "ttyS0",
        Architecture::Arm64 => "ttyAMA0",
    };
    // Reboots on a panic, which `-no-reboot` turns into an end of the emulator.
    let arguments = format!("console={console} quiet loglevel=3 panic=-1 cgroup_no_v1=all");
    match lockdown {
        Lockdown::None => arguments,
        Lockdown::Confidentiality => format!("{arguments} lockdown=confidentiality"),
    }
}

/// The emulator's options for these disks, which have numbers from 1 on in the guest: their `nsid`, not always their name.
fn drives(disks: &[Disk<'_>]) -> Vec<String> {
    let mut options: Vec<String> = Vec::new();
    if !disks.is_empty() {
        options.extend(["-device".into(), "nvme,id=disks,serial=disks".into()]);
    }
    for (number, disk) in (1..).zip(disks) {
        let (file, snapshot) = match disk {
            Disk::Forgotten(file) => (file, "on"),
            Disk::Kept(file) => (file, "off"),
        };
        // A comma would end the name.
        let file = file.display().to_string().replace(',', ",,");
        options.push("-drive".into());
        options.push(format!("if=none,id=disk{number},format=raw,snapshot={snapshot},file={file}"));
        options.push("-device".into());
        options.push(format!("nvme-ns,bus=disks,nsid={number},drive=disk{number}"));
    }
    options
}

/// How the emulator ended; none where it had to be ended.
fn wait(machine: &mut Child, bound: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + bound;
    loop {
        if let Some(status) = machine.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            machine.kill()?;
            machine.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

/// Whether the kernel gave up before `init.sh`, whose first line says that it runs.
fn panicked_early(console: &str) -> bool {
    console.contains("Kernel panic - ") && !console.contains("guest: ")
}

/// Reads the lines that `init.sh` prints; everything else on the console is the kernel's or the firmware's.
pub(crate) fn parse(console: &str) -> Report {
    let mut report = Report::default();
    for line in console.lines() {
        let Some((_, said)) = line.split_once("guest: ") else { continue };
        let (word, rest) = said.trim_end().split_once(' ').unwrap_or((said, ""));
        match word {
            "kernel" => report.kernel = Some(rest.to_owned()),
            "lockdown" => report.lockdown = in_force(rest),
            "out" => match verdict(rest) {
                Some(verdict) => report.verdicts.push(verdict),
                None => report.said.push(rest.to_owned()),
            },
            "err" => report.said.push(rest.to_owned()),
            "demo" => report.demo_seconds = between(rest),
            "exit" => report.exit = rest.parse().ok(),
            _ => {}
        }
    }
    report
}

/// The word in brackets of `none [integrity] confidentiality`.
fn in_force(lockdown: &str) -> Option<String> {
    let (_, rest) = lockdown.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

/// `outcome/cause` of a line that is a shutdown record.
fn verdict(line: &str) -> Option<String> {
    let record: Value = serde_json::from_str(line).ok()?;
    record["schema"].as_str()?.starts_with("signal-trace.dev/shutdown/").then_some(())?;
    Some(format!("{}/{}", record["outcome"].as_str()?, record["cause"].as_str()?))
}

fn between(instants: &str) -> Option<f64> {
    let (before, after) = instants.split_once(' ')?;
    Some(after.parse::<f64>().ok()? - before.parse::<f64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "SeaBIOS (version 1.16.2)\r\n\x1b[2J\x1bcguest: kernel 5.10.0-46-cloud-amd64\r\n\
        guest: lockdown none integrity [confidentiality]\r\n\
        [    9.1] tsc: slow\r\n\
        guest: out {\"schema\": \"signal-trace.dev/shutdown/v1\", \"outcome\": \"graceful\", \"cause\": \"none\"}\r\n\
        guest: out {\"schema\": \"signal-trace.dev/demo/v1\", \"right\": 1}\r\n\
        guest: err a warning\r\n\
        guest: demo 7.25 19.75\r\n\
        guest: exit 0\r\n";

    #[test]
    fn only_a_machine_that_ran_nothing_is_booted_again() {
        assert!(panicked_early(
            "[    3.8] Oops: int3: 0000 [#1] SMP NOPTI\r\n[    3.8] Kernel panic - not syncing: x\r\n"
        ));
        assert!(!panicked_early("guest: begins\r\n[    9.8] Kernel panic - not syncing: x\r\n"));
        assert!(!panicked_early("[    3.8] x\r\n"));
    }

    #[test]
    fn a_console_is_read() {
        let report = parse(CONSOLE);
        assert_eq!(report.kernel.as_deref(), Some("5.10.0-46-cloud-amd64"));
        assert_eq!(report.lockdown.as_deref(), Some("confidentiality"));
        assert_eq!(report.verdicts, ["graceful/none"]);
        assert_eq!(report.said, [r#"{"schema": "signal-trace.dev/demo/v1", "right": 1}"#, "a warning"]);
        assert_eq!(report.demo_seconds, Some(12.5));
        assert_eq!(report.fault(Lockdown::Confidentiality), None);
    }

    #[test]
    fn a_machine_is_good_only_if_all_was_seen() {
        for (lost, fault) in [
            ("guest: exit 0\r\n", "the demo did not end"),
            ("[confidentiality]", "lockdown is unknown, though confidentiality was asked for"),
            ("\"outcome\"", "the demo was content, yet printed no verdict"),
        ] {
            assert_eq!(parse(&CONSOLE.replace(lost, "")).fault(Lockdown::Confidentiality).as_deref(), Some(fault));
        }
        let failed = parse(&CONSOLE.replace("exit 0", "exit 1"));
        assert_eq!(failed.fault(Lockdown::Confidentiality).as_deref(), Some("the demo ended with exit status 1"));
    }

    #[test]
    fn a_lockdown_that_did_not_take_effect_is_a_fault() {
        let open = parse(&CONSOLE.replace("none integrity [confidentiality]", "[none] integrity confidentiality"));
        assert_eq!(
            open.fault(Lockdown::Confidentiality).as_deref(),
            Some("lockdown is none, though confidentiality was asked for")
        );
        assert_eq!(open.fault(Lockdown::None), None);
        assert!(command_line(Architecture::Amd64, Lockdown::Confidentiality).ends_with(" lockdown=confidentiality"));
    }

    #[test]
    fn a_machine_without_disks_has_no_controller() {
        assert_eq!(drives(&[]), Vec::<String>::new());
        let options = drives(&[Disk::Forgotten(Path::new("/a,b")), Disk::Kept(Path::new("/c"))]);
        assert_eq!(options[3], "if=none,id=disk1,format=raw,snapshot=on,file=/a,,b");
        assert_eq!(options[7], "if=none,id=disk2,format=raw,snapshot=off,file=/c");
        assert_eq!(options[9], "nvme-ns,bus=disks,nsid=2,drive=disk2");
    }

    #[test]
    fn a_console_that_was_cut_or_is_empty_gives_no_verdict() {
        assert_eq!(parse(""), Report::default());
        let cut = parse("guest: out {\"schema\": \"signal-trace.dev/shutdown/v1\", \"outcome\": \"gra");
        assert_eq!(cut.verdicts, Vec::<String>::new());
        assert_eq!(cut.fault(Lockdown::None).as_deref(), Some("the demo did not end"));
    }
}
