//! The product as it is shipped: one static binary of this machine's architecture, with the kernel programs inside.
//! Built the same way for the demo and for the virtual machines, so it is built once.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::child;
use crate::machine;
use crate::setup::Toolchain;

/// Builds it and returns where it is.
pub(crate) fn product(toolchain: &Toolchain) -> Result<PathBuf> {
    let mut cargo = machine::cargo();
    cargo.args(["build", "--release", "--package", "signal-trace", "--bin", "signal-trace"]);
    cargo.args(["--target", &toolchain.musl_target(), "--message-format", "json-render-diagnostics"]);
    let messages = child::show_and_read(&mut cargo)?;
    let binary = executable(&messages).context("cargo did not say where it put signal-trace")?;
    let bytes = std::fs::read(&binary).with_context(|| format!("cannot read {}", binary.display()))?;
    ensure!(is_static(&bytes), "{} is not a static binary, and has to run on any machine", binary.display());
    Ok(binary)
}

/// Builds these very commands as a static binary, to be run where there is nothing else; returns where it is.
pub(crate) fn tasks(toolchain: &Toolchain) -> Result<PathBuf> {
    let mut cargo = machine::cargo();
    cargo.args(["build", "--package", "xtask", "--target", &toolchain.musl_target()]);
    let messages = child::show_and_read(cargo.args(["--message-format", "json-render-diagnostics"]))?;
    executable(&messages).context("cargo did not say where it put xtask")
}

/// Whether the ELF file asks for no dynamic loader.
pub(crate) fn is_static(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let u16_at = |at: usize| elf.get(at..at + 2).map(|bytes| usize::from(bytes[0]) | usize::from(bytes[1]) << 8);
    let headers = || {
        let start = usize::try_from(u64::from_le_bytes(elf.get(32..40)?.try_into().ok()?)).ok()?;
        let (size, count) = (u16_at(54)?, u16_at(56)?);
        (0..count).map(|n| elf.get(start + n * size..)?.first_chunk().map(|kind| u32::from_le_bytes(*kind))).collect()
    };
    let kinds: Option<Vec<u32>> = if elf.starts_with(b"\x7fELF\x02\x01") { headers() } else { None };
    kinds.is_some_and(|kinds| !kinds.contains(&PT_INTERP))
}

/// The binary of the last artifact that is one, from cargo's messages.
fn executable(messages: &str) -> Option<PathBuf> {
    let parsed = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    parsed.filter_map(|message| message["executable"].as_str().map(|path| Path::new(path).to_owned())).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_where_the_binary_is() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"build-script-build"},"executable":null}"#,
            "\nnot a message\n",
            r#"{"reason":"compiler-artifact","target":{"name":"signal-trace"},"executable":"/t/signal-trace"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(executable(messages).as_deref(), Some(Path::new("/t/signal-trace")));
        assert_eq!(executable(r#"{"reason":"build-finished","success":true}"#), None);
    }

    #[test]
    fn a_binary_that_asks_for_a_loader_is_not_static() {
        assert!(is_static(&elf(&[1, 2])));
        assert!(!is_static(&elf(&[6, 3, 1])));
    }

    #[test]
    fn what_is_no_elf_file_or_is_cut_is_not_static() {
        assert!(!is_static(b"#!/bin/sh"));
        let whole = elf(&[1, 2]);
        assert!(!is_static(&whole[..40]));
        assert!(!is_static(&whole[..whole.len() - 56]));
    }

    /// A 64-bit little-endian ELF header followed by program headers of these types.
    fn elf(kinds: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = u8::try_from(kinds.len()).unwrap();
        for kind in kinds {
            bytes.extend(kind.to_le_bytes());
            bytes.extend([0; 52]);
        }
        bytes
    }
}
