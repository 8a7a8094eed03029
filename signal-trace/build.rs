//! Builds the kernel side, which the daemon carries inside itself.
//!
//! It is built by the pinned toolchain, always as a release, so that the same sources give the same object whatever
//! the daemon's own profile is and wherever they lie: the line information that the verifier shows has no path of this
//! machine. Neither `build-std` nor `trim-paths` is stable: the compiler is told to allow them for that one child.
#![expect(unsafe_code, reason = "setting a variable of the environment is unsafe; this program has one thread")]

use std::path::{Path, PathBuf};
use std::{env, fs, process};

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain};

fn main() -> Result<()> {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("no CARGO_MANIFEST_DIR")?);
    let workspace = package.parent().context("the package is the root of the file system")?;
    let programs = workspace.join("signal-trace-ebpf");
    for source in ["Cargo.lock", "Cargo.toml", "rust-toolchain.toml", ".cargo/config.toml"] {
        println!("cargo:rerun-if-changed={}", workspace.join(source).display());
    }
    require_linker(workspace);
    // The child's progress would come out as warnings of this package; its errors still do.
    // SAFETY: no other thread reads the environment.
    unsafe {
        env::set_var("RUSTC_BOOTSTRAP", "1");
        env::set_var("CARGO_TERM_QUIET", "true");
        env::set_var("CARGO_UNSTABLE_TRIM_PATHS", "true");
        env::set_var("CARGO_PROFILE_RELEASE_TRIM_PATHS", "all");
        // The release of this package is for size; these run in other people's system calls.
        env::set_var("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3");
    }
    let root_dir = programs.to_str().context("the path of the sources is not UTF-8")?;
    let package = Package { name: "signal-trace-ebpf", root_dir, ..Package::default() };
    aya_build::build_ebpf([package], Toolchain::Custom(&pinned_channel(workspace)?))?;
    // For the benchmarks: the programs that do nothing.
    let built = PathBuf::from(env::var_os("OUT_DIR").context("no OUT_DIR")?);
    println!("cargo::metadata=reference={}", built.join("signal-trace-reference").display());
    Ok(())
}

/// Stops with one sentence where cargo would fail deep inside another cargo.
fn require_linker(workspace: &Path) {
    const LINKER: &str = "CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER";
    println!("cargo:rerun-if-env-changed={LINKER}");
    let linker = workspace.join("target/tools/bin/bpf-linker");
    println!("cargo:rerun-if-changed={}", linker.display());
    if env::var_os(LINKER).is_none() && !linker.is_file() {
        println!("cargo::error=no linker for the kernel programs at {}: run `cargo xtask setup`", linker.display());
        process::exit(1);
    }
}

/// The toolchain that the workspace names.
fn pinned_channel(workspace: &Path) -> Result<String> {
    let file = workspace.join("rust-toolchain.toml");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let channel = text.lines().find_map(|line| line.strip_prefix("channel = ")).map(|value| value.trim_matches('"'));
    channel.map(str::to_owned).with_context(|| format!("no channel in {}", file.display()))
}
