//! `signal-trace check` as a gate: when a command counts as started, what is written, and how it exits. On this kernel.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const OWN: &str = env!("CARGO_BIN_EXE_signal-trace");

fn check(directory: &Path, arguments: &[&str], command: &[&str]) -> Output {
    let mut check = Command::new(OWN);
    check.current_dir(directory).env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    check.arg("check").args(["--grace", "1s"]).args(arguments).arg("--").args(command).output().unwrap()
}

fn code_of(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

const GOOD: [&str; 5] = [OWN, "app", "--ready", "--on", "TERM=exit:0"];
const BAD: [&str; 3] = [OWN, "app", "--ready"];

#[test]
fn it_waits_for_a_line_of_the_output_and_not_for_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let (code, errors) = code_of(&check(directory.path(), &["--ready", "log:^ready$"], &GOOD));
    assert_eq!(code, Some(0), "{errors}");
    let never = ["--ready", "log:^never$", "--ready-within", "300ms"];
    let (code, errors) = code_of(&check(directory.path(), &never, &GOOD));
    assert_eq!(code, Some(1));
    assert!(errors.contains("no line of its output matches ^never$"), "{errors}");
}

/// Listens late, answers worse at first, and ends in order when it is told: Debian has perl from the start.
const SERVER: &str = r#"
    $SIG{TERM} = sub { exit 0 };
    select undef, undef, undef, 0.3;
    my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$ARGV[0]", Listen => 5, ReuseAddr => 1) or die "$@";
    for (my $n = 0; ; $n++) {
        my $client = $server->accept or next;
        sysread $client, my $request, 512;
        print $client "HTTP/1.1 ", $n < 3 ? "503 Not Yet" : "200 OK", "\r\n\r\n";
        close $client;
    }
"#;

#[test]
fn it_waits_for_a_port_and_for_an_answer() {
    let directory = tempfile::tempdir().unwrap();
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    for condition in ["tcp:PORT", "http:PORT/healthz"] {
        let port = free();
        let server = ["/usr/bin/perl", "-MIO::Socket::INET", "-e", SERVER, &port];
        let ready = condition.replace("PORT", &port);
        let (code, errors) = code_of(&check(directory.path(), &["--ready", &ready], &server));
        assert_eq!(code, Some(0), "{condition}: {errors}");
    }
    let waits = ["--ready", &format!("tcp:{}", free()), "--ready-within", "200ms"];
    let (code, errors) = code_of(&check(directory.path(), &waits, &GOOD));
    assert_eq!(code, Some(1));
    assert!(errors.contains("nobody listens on"), "{errors}");
}

#[test]
fn what_ends_too_early_is_not_judged() {
    let directory = tempfile::tempdir().unwrap();
    let (code, errors) = code_of(&check(directory.path(), &["--ready", "log:x"], &["/bin/sh", "-c", "exit 3"]));
    assert_eq!(code, Some(1));
    assert!(errors.contains("ended before it was stopped (exit status 3)"), "{errors}");
}

#[test]
fn the_worst_of_several_runs_decides_and_every_format_has_them_all() {
    let directory = tempfile::tempdir().unwrap();
    let formats = ["junit=c.xml", "sarif=c.sarif", "markdown=c.md", "json=c.jsonl", "text=c.txt", "github=c.gh"];
    let mut arguments = vec!["--repeat", "2", "--ready", "log:ready", "--output", "text"];
    arguments.extend(formats.iter().flat_map(|format| ["--output", format]));
    let output = check(directory.path(), &arguments, &BAD);
    let (code, errors) = code_of(&output);
    assert_eq!(code, Some(3), "{errors}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).matches("grace_exceeded").count(), 2);
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    assert!(read("c.xml").contains("2 of 2 shutdowns failed"), "{}", read("c.xml"));
    let sarif: Value = serde_json::from_str(&read("c.sarif")).unwrap();
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "ignored");
    assert!(read("c.md").contains("grace\\_exceeded"), "{}", read("c.md"));
    assert_eq!(read("c.jsonl").lines().count(), 2);
    assert_eq!(read("c.txt").matches("grace_exceeded").count(), 2);
    assert_eq!(read("c.gh").matches("::error title=signal-trace does not shut down well::grace_exceeded").count(), 2);
}

#[test]
fn a_policy_may_accept_what_fails_by_default() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("policy.yaml"), "verdicts: {grace_exceeded/ignored: pass}").unwrap();
    let (code, errors) = code_of(&check(directory.path(), &["--policy", "policy.yaml"], &BAD));
    assert_eq!(code, Some(0), "{errors}");
    std::fs::write(directory.path().join("policy.yaml"), "verdict: {}").unwrap();
    let (code, errors) = code_of(&check(directory.path(), &["--policy", "policy.yaml"], &BAD));
    assert_eq!(code, Some(1));
    assert!(errors.contains("did you mean `verdicts`?"), "{errors}");
}

#[test]
fn the_load_runs_while_it_is_stopped_and_ends_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let load = "echo $$ > load; while :; do sleep 0.05; done";
    let slow = [OWN, "app", "--ready", "--on", "TERM=after:400ms:0"];
    let (code, errors) = code_of(&check(directory.path(), &["--ready", "log:ready", "--load", load], &slow));
    assert_eq!(code, Some(0), "{errors}");
    let pid = std::fs::read_to_string(directory.path().join("load")).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists());
}

#[test]
fn who_may_not_trace_is_told_so_and_nothing_passes() {
    let directory = tempfile::tempdir().unwrap();
    // Without capabilities: as a container on a runner has it.
    let output = Command::new("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all", "--", OWN, "check", "--", "/bin/true"])
        .current_dir(directory.path())
        .output()
        .unwrap();
    let (code, errors) = code_of(&output);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("CAP_BPF and CAP_PERFMON missing"), "{errors}");
}

#[test]
fn wrong_usage_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [
        &["--ready", "soon"][..],
        &["--output", "xml"],
        &["--output", "junit="],
        &["--repeat", "0"],
        &["--output", "junit", "--output", "text"],
        &["--output", "junit=a", "--output", "sarif=a"],
    ] {
        assert_eq!(check(directory.path(), arguments, &GOOD).status.code(), Some(2), "{arguments:?}");
    }
}
