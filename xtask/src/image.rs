//! `image`: the product as a container image, made without a container engine: one static binary and nothing else, in an
//! OCI archive, with a bill of materials beside it.
//!
//! The same sources give the same bytes, wherever they lie: the only time in the image is that of the commit, or
//! `SOURCE_DATE_EPOCH`, and paths of this machine are kept out of the daemon here, out of the kernel programs by the
//! build script that makes them.

mod oci;
mod sbom;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::architecture::Architecture;
use crate::build::is_static;
use crate::setup::{Toolchain, Voice};
use crate::{child, machine, setup};

/// Larger images are a mistake: something was linked in that has no business there.
const LARGEST: usize = 10 * 1024 * 1024;
/// What the image is called where it is loaded.
const NAME: &str = "ghcr.io/signal-trace/signal-trace";

/// What is made, and where.
#[derive(Args)]
pub(crate) struct Options {
    /// For which machines; this one's without it
    #[arg(long, value_name = "ARCH")]
    arch: Option<Architecture>,

    /// The directory for archive, binary and bill of materials
    #[arg(long, value_name = "DIRECTORY", default_value = "target/image")]
    output: PathBuf,
}

/// Builds it and says what came out.
pub(crate) fn run(options: &Options) -> Result<()> {
    let toolchain = setup::run(Voice::OnlyWork)?;
    let architecture = match options.arch {
        Some(architecture) => architecture,
        None => Architecture::of_this_machine(&toolchain)?,
    };
    let source = Source::of_the_workspace()?;
    let output = machine::workspace().join(&options.output);
    fs::create_dir_all(&output).with_context(|| format!("cannot make {}", output.display()))?;

    let built = build(&toolchain, architecture, &source)?;
    let binary = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    let copy = output.join(format!("signal-trace-{}", architecture.name()));
    fs::copy(&built, &copy).with_context(|| format!("cannot write {}", copy.display()))?;
    let version = env!("CARGO_PKG_VERSION");
    let bill = sbom::of_the_product(architecture.target())?;
    let archive = archive(architecture, &binary, &source)?;
    ensure!(
        archive.bytes.len() < LARGEST,
        "the image has {} bytes, of {LARGEST} that it may have: look at what was linked in",
        archive.bytes.len()
    );

    let stem = format!("signal-trace-{version}-{}", architecture.name());
    write(&output.join(format!("{stem}.oci.tar")), &archive.bytes)?;
    write(&output.join(format!("{stem}.cdx.json")), bill.as_bytes())?;
    anstream::println!(
        "{0}image{0:#} {stem}.oci.tar: {1:.1} MiB, {2}, of {3}",
        child::GOOD,
        mebibytes(archive.bytes.len()),
        archive.digest,
        source.revision
    );
    Ok(())
}

/// The binary of the image for an architecture, for those who only run it; returns where it is.
pub(crate) fn binary(toolchain: &Toolchain, architecture: Architecture) -> Result<PathBuf> {
    build(toolchain, architecture, &Source::of_the_workspace()?)
}

/// An archive to be loaded on this machine, around a binary that was built for anything.
pub(crate) fn around(binary: &[u8]) -> Result<Vec<u8>> {
    let architecture = if cfg!(target_arch = "aarch64") { Architecture::Arm64 } else { Architecture::Amd64 };
    Ok(archive(architecture, binary, &Source::of_the_workspace()?)?.bytes)
}

fn archive(architecture: Architecture, binary: &[u8], source: &Source) -> Result<oci::Archive> {
    let version = env!("CARGO_PKG_VERSION");
    let image = oci::Image {
        architecture: architecture.name(),
        binary,
        name: &format!("{NAME}:{version}"),
        version,
        revision: &source.revision,
        created: &source.created,
    };
    image.archive()
}

/// What the image is made of, and when that was.
struct Source {
    revision: String,
    /// As RFC 3339 writes it.
    created: String,
}

impl Source {
    fn of_the_workspace() -> Result<Self> {
        let git = |words: &[&str]| child::read(Command::new("git").current_dir(machine::workspace()).args(words));
        let revision = git(&["rev-parse", "HEAD"]).context("an image says which commit it is of")?;
        let clean = git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
        let seconds = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(seconds) => seconds,
            Err(_) => git(&["log", "-1", "--format=%ct"])?,
        };
        let epoch = format!("--date=@{}", seconds.trim());
        let created = child::read(Command::new("date").args(["--utc", &epoch, "+%Y-%m-%dT%H:%M:%SZ"]))
            .context("SOURCE_DATE_EPOCH is a number of seconds")?;
        let changed = if clean { "" } else { "-dirty" };
        Ok(Self { revision: format!("{}{changed}", revision.trim()), created: created.trim().to_owned() })
    }
}

/// The binary, whose build is kept apart from all others because it is told to forget this machine.
fn build(toolchain: &Toolchain, architecture: Architecture, source: &Source) -> Result<PathBuf> {
    let target = architecture.target();
    let mut cargo = machine::cargo();
    cargo.args(["build", "--release", "--locked", "--package", "signal-trace", "--bin", "signal-trace"]);
    cargo.args(["--target", target, "--config", "profile.release.strip=\"symbols\""]);
    let directory = machine::workspace().join("target/image-build");
    cargo.arg("--target-dir").arg(&directory).env("SIGNAL_TRACE_REVISION", &source.revision);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", forgetting(toolchain)?);
    if toolchain.musl_target() != target {
        toolchain.provide_target(target)?;
        let compiler = architecture.cross_compiler();
        ensure!(
            machine::find(compiler).is_some(),
            "there is no {compiler}, which links for {target}: install Debian's gcc-{} and libc6-dev-{}-cross",
            compiler.trim_end_matches("-gcc"),
            architecture.name()
        );
        let variable = target.replace('-', "_");
        cargo.env(format!("CC_{variable}"), compiler);
        cargo.env(format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), compiler);
    }
    child::show(&mut cargo)?;
    let built = directory.join(target).join("release/signal-trace");
    let bytes = fs::read(&built).with_context(|| format!("cargo did not make {}", built.display()))?;
    ensure!(is_static(&bytes), "{} is not a static binary, and an image has nothing else", built.display());
    Ok(built)
}

/// The compiler's flags by which no path of this machine gets into what it compiles.
fn forgetting(toolchain: &Toolchain) -> Result<OsString> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let home = home.context("neither CARGO_HOME nor HOME is set")?;
    let places = [(machine::workspace(), "/src"), (&home, "/cargo"), (toolchain.sysroot(), "/rust")];
    let mut flags = OsString::new();
    for (place, name) in places {
        if !flags.is_empty() {
            flags.push("\u{1f}");
        }
        flags.push("--remap-path-prefix=");
        flags.push(place);
        flags.push(format!("={name}"));
    }
    Ok(flags)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[expect(clippy::cast_precision_loss, reason = "for a person")]
fn mebibytes(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1024 * 1024)
}
