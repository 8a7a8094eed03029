//! The format's edges; that whole timelines read back as they were is tested beside them, in the judge.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use jiff::Timestamp;

use super::{Header, Recorder, Recording, RecordingError};
use crate::containers::{Cgroup, Identity, Runtime};
use crate::event::{
    CgroupId, Comm, Event, EventKind, ExitEvent, ExitStatus, KernelTime, Pid, ProcessKey, StartTick, Task,
};
use crate::judge::{CgroupChange, Input};

/// Bytes that the test can read while the recorder writes; refuses what goes beyond `room`.
#[derive(Clone)]
struct File {
    bytes: Rc<RefCell<Vec<u8>>>,
    room: usize,
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut held = self.bytes.borrow_mut();
        if held.len() + bytes.len() > self.room {
            return Err(io::Error::other("no room"));
        }
        held.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn header() -> Header {
    Header::new(
        "worker-1".into(),
        KernelTime(5_000_000_000),
        Timestamp::from_microsecond(1_795_343_311_716_054).unwrap(),
    )
}

fn exit(comm: &[u8]) -> Input {
    let task = Task {
        key: ProcessKey { pid: Pid(4), start: StartTick(2) },
        cgroup: CgroupId(9),
        comm: Comm::new(comm),
        level: None,
        ns_pid: Some(Pid(1)),
        unkillable: true,
        dying: false,
    };
    let exit = ExitEvent { task, status: ExitStatus::Code(143), pending: u64::MAX };
    Input::Event(Event { time: KernelTime(7), kind: EventKind::Exit(exit) })
}

fn recorded(inputs: &[Input]) -> Vec<u8> {
    let file = File { bytes: Rc::default(), room: usize::MAX };
    let mut recorder = Recorder::start(file.clone(), &header()).unwrap();
    for (now, input) in (10..).zip(inputs) {
        recorder.note(KernelTime(now), input);
    }
    recorder.flush();
    assert!(recorder.failure().is_none());
    file.bytes.take()
}

fn read(bytes: &[u8]) -> Vec<Result<(KernelTime, Input), RecordingError>> {
    Recording::open(bytes).unwrap().collect()
}

/// The message with its causes, as the command prints it.
fn message(error: RecordingError) -> String {
    format!("{:#}", anyhow::Error::new(error))
}

fn refusal(bytes: &[u8]) -> String {
    message(Recording::open(bytes).map(drop).unwrap_err())
}

#[test]
fn the_format_is_this() {
    let identity = Identity { runtime: Runtime::Crio, id: "5bd7".into(), pod_uid: None };
    let cgroup = Cgroup { id: CgroupId(9), parent: CgroupId(1), path: "/a/\u{1b}".into(), container: Some(identity) };
    let bytes = recorded(&[Input::Cgroup(CgroupChange::Made(cgroup)), exit(b"sh"), Input::Tick]);
    let version = env!("CARGO_PKG_VERSION");
    let expected = [
        &*format!(
            r#"{{"schema":"signal-trace.dev/recording/v1","version":"{version}","node":"worker-1","time":"2026-11-22T10:28:31.716054Z","now":5000000000}}"#
        ),
        r#"{"now":10,"input":{"cgroup":{"made":{"id":9,"parent":1,"path":"/a/\u001b","container":{"runtime":"cri-o","id":"5bd7","pod_uid":null}}}}}"#,
        r#"{"now":11,"input":{"event":{"time":7,"kind":{"exit":{"task":{"key":{"pid":4,"start":2},"cgroup":9,"comm":"sh","level":null,"ns_pid":1,"unkillable":true,"dying":false},"status":{"code":143},"pending":18446744073709551615}}}}}"#,
        r#"{"now":12,"input":"tick"}"#,
        "",
    ];
    assert_eq!(String::from_utf8(bytes).unwrap(), expected.join("\n"));
}

#[test]
fn any_name_reads_back_as_it_was() {
    for name in [&b"sh"[..], b"", b"\x1b[31m\n\"\\", b"\xff\xfe\x80", "na\u{202e}me".as_bytes()] {
        let bytes = recorded(&[exit(name)]);
        assert!(bytes.is_ascii() && !bytes.contains(&0x1b), "{}", String::from_utf8_lossy(&bytes));
        let inputs = read(&bytes);
        let (now, input) = inputs[0].as_ref().unwrap();
        assert_eq!((now.0, format!("{input:?}")), (10, format!("{:?}", exit(name))));
    }
}

#[test]
fn what_is_no_recording_is_refused_with_the_cause() {
    assert_eq!(refusal(b""), "it is empty: a recording begins with a line that names signal-trace.dev/recording/v1");
    assert_eq!(
        refusal(b"apiVersion: v1\n"),
        "line 1 is not the first line of a recording: expected value at line 1 column 1"
    );
    let record = br#"{"schema":"signal-trace.dev/recording/v2","version":"3.1.4","nodes":[]}"#;
    assert_eq!(
        refusal(record),
        "line 1 names `signal-trace.dev/recording/v2` and this reads signal-trace.dev/recording/v1: \
         replay it with signal-trace 3.1.4, which wrote it"
    );
}

#[test]
fn a_wrong_line_is_named_and_ends_the_reading() {
    let mut bytes = recorded(&[Input::Tick]);
    bytes.extend(b"{\"now\":3,\"input\":{\"lost\":\"sight\"}}\n{\"now\":4,\"input\":\"tick\"}\n");
    let mut inputs = read(&bytes).into_iter();
    assert!(inputs.next().unwrap().is_ok());
    let error = message(inputs.next().unwrap().unwrap_err());
    assert!(error.starts_with("line 3 is no input of the judge: unknown variant `sight`"), "{error}");
    assert!(inputs.next().is_none());
}

#[test]
fn a_recording_that_broke_off_is_read_up_to_there() {
    let whole = recorded(&[Input::Tick, exit(b"sh")]);
    let cut = &whole[..whole.len() - 9];
    let inputs = read(cut);
    assert!(inputs[0].is_ok());
    let Err(error) = &inputs[1] else { panic!("{inputs:?}") };
    assert!(matches!(error, RecordingError::CutShort { line: 3 }), "{error}");
    // Only its line end is missing: all that it says is there.
    assert!(read(&whole[..whole.len() - 1]).iter().all(Result::is_ok));
}

#[test]
fn a_full_disk_ends_the_recording_and_is_kept() {
    let file = File { bytes: Rc::default(), room: 300 };
    let mut recorder = Recorder::start(file.clone(), &header()).unwrap();
    for _ in 0..100 {
        recorder.note(KernelTime(1), &Input::Tick);
    }
    assert_eq!(recorder.failure().unwrap().to_string(), "no room");
    let bytes = file.bytes.take();
    assert!(bytes.ends_with(b"\n") && read(&bytes).iter().all(Result::is_ok));
}
