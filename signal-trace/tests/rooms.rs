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

fn no_forbidden_word(file: &PathBuf) {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim_start().starts_with("//")) {
        for word in FORBIDDEN {
            assert!(!line.contains(word), "{}:{number} names {word}", file.display());
        }
    }
}
