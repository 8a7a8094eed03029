//! The machines that there are images for, and what everybody else calls them.

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::setup::Toolchain;

/// Architectures, as container images and Debian name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Architecture {
    Amd64,
    Arm64,
}

impl Architecture {
    /// This machine's.
    pub(crate) fn of_this_machine(toolchain: &Toolchain) -> Result<Self> {
        Self::of(&toolchain.host).context("there is no image for this machine's architecture")
    }

    fn of(triple: &str) -> Option<Self> {
        match triple.split('-').next() {
            Some("x86_64") => Some(Self::Amd64),
            Some("aarch64") => Some(Self::Arm64),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Rust's name for the static binary.
    pub(crate) fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-musl",
            Self::Arm64 => "aarch64-unknown-linux-musl",
        }
    }

    /// Debian's compiler for the other architecture: it compiles the little C there is, and links.
    pub(crate) fn cross_compiler(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-linux-gnu-gcc",
            Self::Arm64 => "aarch64-linux-gnu-gcc",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_architecture_is_known_by_its_triples() {
        for architecture in Architecture::value_variants() {
            assert_eq!(Architecture::of(architecture.target()), Some(*architecture));
        }
        assert_eq!(Architecture::of("riscv64gc-unknown-linux-gnu"), None);
    }
}
