//! The judge, the index and the audit's model are pure: their sources name nothing that reads a clock, waits, or does I/O.

use std::fs;
use std::path::{Path, PathBuf};

const FORBIDDEN: [&str; 9] =
    ["tokio", "aya", "kube::", "prometheus", "std::fs", "std::io", "std::time::Instant", "SystemTime", "rustix"];

#[test]
fn the_core_knows_no_clock_and_no_io() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![src.join("containers/index.rs"), src.join("event.rs"), src.join("policy.rs")];
    files.push(src.join("policy/file.rs"));
    let audit =
        ["assess", "baseline", "durations", "findings", "groups", "interval", "recommend", "report", "score", "tally"];
    files.extend(audit.map(|name| src.join(format!("audit/{name}.rs"))));
    let judge = fs::read_dir(src.join("judge")).expect("the judge has sources");
    files.extend(judge.map(|entry| entry.expect("a readable folder").path()).filter(|path| path.is_file()));
    assert!(files.len() > 19, "{files:?}");
    for file in files {
        no_forbidden_word(&file);
    }
}

/// Where unsafe code may be: what the kernel, the loader and a signal handler cannot be told of otherwise.
const UNSAFE: [&str; 8] = [
    "cli/app.rs",
    "disposition.rs",
    "kernel/decode.rs",
    "kernel/load.rs",
    "kernel/rings.rs",
    "kernel/tables.rs",
    "memory.rs",
    "sandbox/process.rs",
];
/// Blocks, implementations and functions. That each says why it is sound is for `clippy::undocumented_unsafe_blocks`.
const MOST_UNSAFE: usize = 40;

#[test]
fn unsafe_code_is_little_and_in_few_places() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut places, mut count) = (vec![src.clone()], Vec::new(), 0);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).expect("a readable folder").map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source");
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                let here =
                    code.filter(|line| ["unsafe {", "unsafe impl ", "unsafe fn "].iter().any(|it| line.contains(it)));
                let here = here.count();
                if here > 0 {
                    places.push(path.strip_prefix(&src).expect("below").display().to_string());
                }
                count += here;
            }
        }
    }
    places.sort();
    assert_eq!(places, UNSAFE);
    assert!(count > 0 && count <= MOST_UNSAFE, "{count}");
}

fn no_forbidden_word(file: &PathBuf) {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim_start().starts_with("//")) {
        for word in FORBIDDEN {
            assert!(!line.contains(word), "{}:{number} names {word}", file.display());
        }
    }
}
