//! The zoo on other kernels: a Debian system on a disk, booted under each of them by QEMU's emulation, with cgroups of
//! version 2 alone and systemd as the machine's init. In it these very commands run the cases that `case` chooses.
//!
//! The disk holds what packages bring and is kept; what changes from run to run comes with the initramfs, and what the
//! guest found goes back as an archive on a second disk.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Options;
use super::case::Place;
use super::report::{self, ROWS, Row};
use super::system::{self, System};
use crate::architecture::Architecture;
use crate::vm::cpio::Archive;
use crate::vm::guest::{Disk, Lockdown, Machine};
use crate::vm::kernels::{self, Kernel};
use crate::vm::{self, Series};
use crate::{child, machine, packages, pool, table};

/// A machine that runs containers and services, beside what the cases ask for. The bus is what `systemd-run` waits on.
const PACKAGES: [&str; 5] = ["systemd-sysv", "dbus", "containerd", "runc", "crun"];
/// What the containers' roots need of a kernel and is not built into it.
const MODULES: [&str; 1] = ["overlay"];
const MEMORY: &str = "2G";
/// Several times what a run takes with nothing else to do.
const BOUND: Duration = Duration::from_secs(1800);
/// More would slow an emulated machine so much that graces are too short for programs that end well.
const JOBS: usize = 3;
/// Room for the archive of what was found.
const FOUND_BYTES: u64 = 256 << 20;

/// What is the same in every guest.
struct Kit<'a> {
    image: PathBuf,
    payload: Vec<u8>,
    results: &'a Path,
}

/// A kernel with its modules, which are fetched one kernel after another.
struct Booted<'a> {
    kernel: &'a Kernel,
    modules: Vec<Vec<u8>>,
}

/// What a guest found.
struct Found {
    seconds: f64,
    rows: Result<Vec<Row>>,
}

/// Boots every kernel, and holds what was found against what is true.
pub(super) fn run(options: &Options, series: &[Series], product: &Path, runner: &Path) -> Result<()> {
    let cases = super::case::all()?;
    let visits = super::visits(&cases, options)?;
    let wanted: BTreeSet<&str> =
        visits.iter().flat_map(|visit| visit.case.packages.iter().map(String::as_str)).chain(PACKAGES).collect();
    let directory = machine::workspace().join("target/vm");
    let kernels = vm::matrix(Architecture::Amd64, series, &directory)?;
    let system = system::provide(system::MACHINE, wanted)?;
    let results = super::fresh_results(Place::Guest)?;
    let kit = Kit { image: image(&system)?, payload: payload(options, product, runner)?, results: &results };
    let with_modules = |kernel| Ok(Booted { kernel, modules: kernels::modules(kernel, &MODULES, &directory)? });
    let booted = kernels.iter().map(with_modules).collect::<Result<Vec<_>>>()?;
    let found = pool::each(vm::AT_A_TIME, &booted, |booted| {
        let started = Instant::now();
        let rows = boot(booted, &kit);
        let seconds = started.elapsed().as_secs_f64();
        anstream::eprintln!("{0}{1}: {seconds:.0} s{0:#}", child::QUIET, booted.kernel);
        Found { seconds, rows }
    });
    close(&kernels, &found, &results)
}

/// The system as a disk, from an earlier run if it has not changed since.
fn image(system: &System) -> Result<PathBuf> {
    let image = system.root.with_extension("ext4");
    let age = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    if age(&image) > age(&system.packages) {
        return Ok(image);
    }
    let size = child::read(Command::new("du").args(["--summarize", "--block-size=1M"]).arg(&system.root))?;
    let used: u64 = size.split_whitespace().next().and_then(|number| number.parse().ok()).context("du says no size")?;
    let partial = image.with_extension("partial");
    // Sparse, so that the room for what the guest writes costs nothing.
    File::create(&partial)?.set_len((used * 5 / 4 + 512) << 20)?;
    let mut command = Command::new(machine::find("mkfs.ext4").context("there is no mkfs.ext4: install e2fsprogs")?);
    child::show(command.args(["-q", "-F", "-d"]).arg(&system.root).arg(&partial))?;
    fs::rename(&partial, &image)?;
    Ok(image)
}

/// What this run brings, as it lies in the guest: the programs, the cases where the runner finds them, and what to do.
fn payload(options: &Options, product: &Path, runner: &Path) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    archive.follow_symlinks(false);
    for (place, file) in [("usr/local/bin/signal-trace", product), ("usr/local/bin/xtask", runner)] {
        archive.append_path_with_name(file, place).with_context(|| format!("cannot pack {}", file.display()))?;
    }
    let zoo = machine::workspace().join("xtask/zoo");
    archive.append_dir_all(zoo.strip_prefix("/").unwrap_or(&zoo), &zoo).context("cannot pack the cases")?;
    let results = super::results(Place::Guest);
    let mut words = vec!["zoo", "--prepared", "--with", "/usr/local/bin/signal-trace", "--system", "/"];
    let jobs = JOBS.to_string();
    words.extend(["--jobs", &jobs]);
    let choice = options.choice();
    words.extend(choice.iter().map(String::as_str));
    for (place, mode, text) in [
        ("zoo-arguments", 0o644, words.join(" ").as_str()),
        ("zoo-results", 0o644, &results.display().to_string()),
        ("zoo-guest.sh", 0o755, include_str!("../../zoo/guest/run.sh")),
        ("etc/systemd/system/zoo.service", 0o644, include_str!("../../zoo/guest/zoo.service")),
        // Else every boot is the first one, with all that is done then.
        ("etc/machine-id", 0o444, "5167a1700000400080000000000002f0\n"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len().try_into()?);
        header.set_mode(mode);
        archive.append_data(&mut header, place, Cursor::new(text))?;
    }
    Ok(archive.into_inner()?)
}

fn initramfs(modules: &[Vec<u8>], kit: &Kit<'_>) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in ["bin", "dev", "new", "proc", "sys"] {
        archive.directory(directory);
    }
    archive.program("init", include_bytes!("../../zoo/guest/init.sh"));
    archive.program("bin/busybox", &fs::read(packages::BUSYBOX).context("there is no static busybox")?);
    for (name, module) in MODULES.iter().zip(modules) {
        archive.program(&format!("{name}.ko"), module);
    }
    archive.program("payload.tar", &kit.payload);
    Ok(archive.finish())
}

/// Runs the zoo under a kernel; its results are below a directory of that kernel's name.
fn boot(booted: &Booted<'_>, kit: &Kit<'_>) -> Result<Vec<Row>> {
    let Booted { kernel, modules } = booted;
    let directory = kit.results.join(kernel.release());
    fs::create_dir_all(&directory)?;
    let at = |name: &str| directory.join(name);
    let (ramdisk, disk, log) = (at("initramfs"), at("found.tar"), at("console.log"));
    fs::write(&ramdisk, initramfs(modules, kit)?)?;
    File::create(&disk)?.set_len(FOUND_BYTES)?;
    let guest = Machine {
        architecture: Architecture::Amd64,
        kernel: &kernel.image,
        initramfs: &ramdisk,
        lockdown: Lockdown::None,
        memory: MEMORY,
        disks: &[Disk::Forgotten(&kit.image), Disk::Kept(&disk)],
        bound: BOUND,
    };
    let ended = guest.boot(&log)?;
    let unpacked = tar::Archive::new(File::open(&disk)?).unpack(&directory);
    fs::remove_file(&ramdisk)?;
    fs::remove_file(&disk)?;
    let console = || vm::ending(&String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()));
    ended.with_context(console)?;
    unpacked.with_context(console)?;
    let said = fs::read_to_string(at("said")).with_context(console)?;
    let rows = fs::read(at(ROWS)).with_context(|| format!("the zoo came to no end in the guest: {said}"))?;
    let rows: Vec<Row> = serde_json::from_slice(&rows)?;
    if rows.iter().any(|row| !row.right) {
        anstream::eprintln!("{0}{kernel}:{0:#}\n{1}", child::ERROR, report::details(&said));
    }
    Ok(rows)
}

/// The table of all, a column for each kernel.
fn close(kernels: &[Kernel], found: &[Found], results: &Path) -> Result<()> {
    let mut head = ["case", "runtime", "expected"].map(str::to_owned).to_vec();
    head.extend(kernels.iter().map(ToString::to_string));
    let visits: BTreeSet<_> =
        found.iter().filter_map(|found| found.rows.as_ref().ok()).flatten().map(Row::key).collect();
    let mut right = 0;
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (case, runtime, expected) in &visits {
        let mut cells = vec![(*case).to_owned(), (*runtime).to_owned(), (*expected).to_owned()];
        for found in found {
            let row = found
                .rows
                .as_ref()
                .ok()
                .and_then(|rows| rows.iter().find(|row| (row.key().0, row.key().1) == (case, runtime)));
            right += usize::from(row.is_some_and(|row| row.right));
            cells.push(row.map_or("not run", Row::got).to_owned());
        }
        rows.push(cells);
    }
    let all = visits.len() * kernels.len();
    let seconds = found.iter().map(|found| format!("{:.0}", found.seconds)).collect::<Vec<_>>().join(", ");
    let table = format!("{}{right} of {all} right, in {seconds} s\n", table::of(&head, &rows));
    fs::write(results.join("table.txt"), &table)?;
    print!("\n{table}");
    let mut failed = false;
    for (kernel, found) in kernels.iter().zip(found) {
        if let Err(error) = &found.rows {
            failed = true;
            anstream::eprintln!("\n{0}{kernel}:{0:#} {error:#}", child::ERROR);
        }
    }
    ensure!(!failed && right == all, "not all is right: recordings and consoles are in {}", results.display());
    Ok(())
}
