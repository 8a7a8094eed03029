//! `setup`: what the build needs and cargo does not bring: parts of the pinned Rust toolchain, the C compiler of the static
//! binary, and the linker of the kernel programs.
//!
//! That linker has to speak the LLVM bitcode of the very compiler that makes it, so it is built here against the LLVM
//! library inside the toolchain: no LLVM of the system is involved. A stamp beside it names what it was built from.
//! Everything is looked at as files, so that a second run costs two calls of `rustc` and nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::child;
use crate::machine;
use crate::packages;

/// The version of bpf-linker that the programs are built with.
const LINKER_VERSION: &str = "0.13.0";

/// How much is said.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    /// Every step, and what it is for.
    EveryStep,
    /// The steps that had something to do.
    OnlyWork,
}

/// The Rust compiler that is active in the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    /// Its own triple: what it builds for unless told otherwise.
    pub(crate) host: String,
    /// `1.95.0`.
    release: String,
    /// The whole version line, with the commit.
    version: String,
    /// `22.1.2`.
    llvm: String,
    sysroot: PathBuf,
}

/// Does what is missing. Idempotent.
pub(crate) fn run(voice: Voice) -> Result<Toolchain> {
    machine::require_linux()?;
    let toolchain = Toolchain::active()?;
    say(voice, &format!("rust {}, as rust-toolchain.toml pins it", toolchain.release));
    let musl = toolchain.musl_target();
    let library = format!("lib/rustlib/{musl}/lib");
    for (kind, name, proof, purpose) in [
        (
            "component",
            "rust-src",
            "lib/rustlib/src/rust/library/core/src/lib.rs",
            "the kernel programs build `core` from it",
        ),
        ("component", "clippy", "bin/cargo-clippy", "the lints"),
        ("component", "rustfmt", "bin/cargo-fmt", "the format"),
        ("target", &musl, &library, "the product is one static binary"),
    ] {
        toolchain.provide(kind, name, Path::new(proof))?;
        say(voice, &format!("{name}: {purpose}"));
    }
    let compiler =
        machine::find("cc").context("there is no C compiler `cc`, which links every program: install gcc")?;
    say(voice, &format!("{}: links every program for this machine", compiler.display()));
    packages::provide(&packages::STATIC)?;
    say(voice, "musl-gcc: compiles what is C in the static binary");
    linker(&toolchain, &machine::workspace().join("target/tools"))?;
    say(voice, &format!("bpf-linker {LINKER_VERSION} with LLVM {}: links the kernel programs", toolchain.llvm));
    Ok(toolchain)
}

fn say(voice: Voice, step: &str) {
    if voice == Voice::EveryStep {
        anstream::println!("{0}ok{0:#} {step}", child::GOOD);
    }
}

impl Toolchain {
    /// Asks `rustc`, and holds its answer against the pin.
    fn active() -> Result<Self> {
        let ask =
            |arguments: &[&str]| child::read(Command::new("rustc").args(arguments).current_dir(machine::workspace()));
        let about = ask(&["--version", "--verbose"])
            .context("no Rust compiler answers: install rustup from https://rustup.rs, it brings the pinned one")?;
        let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?.trim());
        let toolchain = Self::parse(&about, sysroot).context("`rustc --version --verbose` does not say what it is")?;
        let pin = fs::read_to_string(machine::workspace().join("rust-toolchain.toml"))?;
        let pinned = channel(&pin).context("rust-toolchain.toml names no channel")?;
        ensure!(
            toolchain.release == pinned,
            "rust {} is active and rust-toolchain.toml pins {pinned}: install rustup from https://rustup.rs if you have \
             not, then run `rustup toolchain install {pinned}`",
            toolchain.release
        );
        Ok(toolchain)
    }

    /// Reads `rustc --version --verbose`.
    fn parse(about: &str, sysroot: PathBuf) -> Option<Self> {
        let field =
            |name: &str| about.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
        let version = about.lines().next()?.to_owned();
        Some(Self {
            host: field("host:")?,
            release: field("release:")?,
            version,
            llvm: field("LLVM version:")?,
            sysroot,
        })
    }

    /// The target of the static binary.
    pub(crate) fn musl_target(&self) -> String {
        let architecture = self.host.split('-').next().unwrap_or_default();
        format!("{architecture}-unknown-linux-musl")
    }

    /// Where it is installed.
    pub(crate) fn sysroot(&self) -> &Path {
        &self.sysroot
    }

    /// Adds the standard library for another target, unless it is there.
    pub(crate) fn provide_target(&self, target: &str) -> Result<()> {
        self.provide("target", target, Path::new(&format!("lib/rustlib/{target}/lib")))
    }

    /// Adds a part of the toolchain, unless its files are there already.
    fn provide(&self, kind: &str, name: &str, proof: &Path) -> Result<()> {
        let present = || self.sysroot.join(proof).exists();
        if present() {
            return Ok(());
        }
        ensure!(
            machine::find("rustup").is_some(),
            "the Rust toolchain lacks {name} and rustup is not here to add it: install rustup from https://rustup.rs"
        );
        let toolchain = std::env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| self.release.clone());
        child::show(Command::new("rustup").args([kind, "add", "--toolchain", &toolchain, name])).with_context(
            || format!("{name} could not be installed: it comes over the network, check that and run this again"),
        )?;
        ensure!(
            present(),
            "rustup added {name}, yet it is not in {}: is another toolchain active?",
            self.sysroot.display()
        );
        Ok(())
    }

    /// What a linker built now would be made of: any difference asks for a new one.
    fn stamp(&self) -> String {
        format!("bpf-linker {LINKER_VERSION}\n{}\nLLVM {}\n{}\n", self.version, self.llvm, self.sysroot.display())
    }

    /// The LLVM library that the compiler itself is linked with; the file's name carries versions.
    fn llvm_library(&self) -> Result<PathBuf> {
        let directory = self.sysroot.join("lib");
        let files = fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
        let mut names = files.flatten().map(|file| file.path());
        names
            .find(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"libLLVM.so.")))
            .with_context(|| {
                format!("there is no libLLVM.so.* in {}: only toolchains from rustup carry it", directory.display())
            })
    }
}

/// Builds the linker into `tools/bin`, unless the one there was made of the same things.
fn linker(toolchain: &Toolchain, tools: &Path) -> Result<()> {
    let stamp = tools.join("stamp");
    let current = || fs::read_to_string(&stamp).is_ok_and(|text| text == toolchain.stamp());
    let ready = || tools.join("bin/bpf-linker").exists() && current();
    if ready() {
        return Ok(());
    }
    fs::create_dir_all(tools.join("llvm/lib"))?;
    // Two commands may start on a fresh clone at once: the second waits, and finds the work done.
    let lock = fs::File::create(tools.join("lock"))?;
    lock.lock().context("cannot lock target/tools")?;
    if ready() {
        return Ok(());
    }
    anstream::eprintln!("building bpf-linker {LINKER_VERSION} against the compiler's own LLVM: once, about a minute");
    let library = toolchain.llvm_library()?;
    let link = tools.join("llvm/lib/libLLVM.so");
    if link.is_symlink() {
        fs::remove_file(&link)?;
    }
    std::os::unix::fs::symlink(&library, &link)?;
    let build = tools.join("build");
    child::show(&mut install(toolchain, tools, &build)?).with_context(|| {
        format!("bpf-linker {LINKER_VERSION} could not be built: its sources come over the network, check that and run this again")
    })?;
    fs::remove_dir_all(&build)?;
    if !tools.join("bin/bpf-linker").exists() {
        bail!("cargo installed bpf-linker, yet it is not in {}", tools.join("bin").display());
    }
    fs::write(&stamp, toolchain.stamp())?;
    Ok(())
}

fn install(toolchain: &Toolchain, tools: &Path, build: &Path) -> Result<Command> {
    let major = toolchain.llvm.split('.').next().unwrap_or_default();
    let mut cargo = machine::cargo();
    cargo.args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--force"]);
    cargo.args(["--no-default-features", "--features", &format!("llvm-{major}")]);
    cargo.arg("--root").arg(tools).arg("--target-dir").arg(build);
    cargo.env("LLVM_PREFIX", tools.join("llvm"));
    // LLVM does the work, and it is compiled already: optimising the little around it would only take time.
    cargo.envs([("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"), ("CARGO_PROFILE_RELEASE_DEBUG", "false")]);
    // Else cargo advises to put the linker into PATH, which nothing here needs.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(tools.join("bin")).chain(std::env::split_paths(&path));
    cargo.env("PATH", std::env::join_paths(path)?);
    // The library is found again at run time through the linker's own search path. Encoded, because a path may hold spaces.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", format!("-Clink-arg=-Wl,-rpath,{}", toolchain.sysroot.join("lib").display()));
    Ok(cargo)
}

/// The `channel` of rust-toolchain.toml.
fn channel(pin: &str) -> Option<&str> {
    let value = pin.lines().find_map(|line| line.trim().strip_prefix("channel")?.trim_start().strip_prefix('='))?;
    Some(value.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: &str = "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\ncommit-hash: 59807616e\n\
        commit-date: 2026-04-14\nhost: aarch64-unknown-linux-gnu\nrelease: 1.95.0\nLLVM version: 22.1.2\n";

    fn toolchain(about: &str, sysroot: &str) -> Toolchain {
        Toolchain::parse(about, PathBuf::from(sysroot)).unwrap()
    }

    #[test]
    fn the_compiler_says_what_it_is() {
        let toolchain = toolchain(ABOUT, "/rust");
        assert_eq!((toolchain.release.as_str(), toolchain.llvm.as_str()), ("1.95.0", "22.1.2"));
        assert_eq!(toolchain.musl_target(), "aarch64-unknown-linux-musl");
        assert_eq!(Toolchain::parse("rustc 1.95.0", PathBuf::new()), None);
    }

    #[test]
    fn a_stamp_holds_for_the_same_toolchain_only() {
        let stamp = toolchain(ABOUT, "/rust").stamp();
        assert_eq!(stamp, toolchain(ABOUT, "/rust").stamp());
        for (changed, sysroot) in [
            (ABOUT.replace("59807616e 2", "59807616f 2"), "/rust"),
            (ABOUT.replace("22.1.2", "22.1.3"), "/rust"),
            (ABOUT.to_owned(), "/elsewhere"),
        ] {
            assert_ne!(stamp, toolchain(&changed, sysroot).stamp(), "{changed} in {sysroot}");
        }
        assert!(stamp.contains(LINKER_VERSION));
    }

    #[test]
    fn the_linker_is_built_for_the_llvm_of_the_compiler() {
        let command = install(&toolchain(ABOUT, "/a rust"), Path::new("/tools"), Path::new("/tools/build")).unwrap();
        let arguments: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        assert!(arguments.contains(&"llvm-22".to_owned()), "{arguments:?}");
        let flags = command.get_envs().find(|(name, _)| *name == "CARGO_ENCODED_RUSTFLAGS").unwrap().1.unwrap();
        assert_eq!(flags, "-Clink-arg=-Wl,-rpath,/a rust/lib");
    }

    #[test]
    fn the_pin_is_read() {
        assert_eq!(channel("[toolchain]\nchannel = \"1.95.0\"\nprofile = \"minimal\"\n"), Some("1.95.0"));
        assert_eq!(channel("[toolchain]\nprofile = \"minimal\"\n"), None);
    }
}
