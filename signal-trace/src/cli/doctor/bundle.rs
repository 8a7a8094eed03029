//! The support bundle: what the doctor found, and the self-test as the judge was told it, to be replayed elsewhere.
//!
//! It says nothing of the machine beyond what was found: the inputs of every container but the self-test's own are left
//! out, whoever they belong to, and the node has no name. One JSON document, which [`super::super::replay`] reads too.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{self, BufRead, Write};
use std::rc::Rc;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::audit::render::visible_json;
use crate::containers::{Cgroup, Runtime};
use crate::doctor::render::Findings;
use crate::event::{CgroupId, EventKind};
use crate::judge::{CgroupChange, Input};
use crate::recording::{Header, Recorder, Recording};
use crate::report::json::Record;

/// Name and version of the format.
const SCHEMA: &str = "signal-trace.dev/bundle/v1";
/// What the machine is called in it.
pub(super) const NODE: &str = "node";

/// What is written.
#[derive(Serialize)]
pub(super) struct Bundle<'c> {
    schema: &'static str,
    findings: Findings<'c>,
    /// The verdicts of the self-test.
    records: Vec<Record>,
    /// The lines of a recording of it.
    recording: Vec<Value>,
}

impl<'c> Bundle<'c> {
    /// Of what was found, with a self-test where one could run.
    pub(super) fn new(findings: Findings<'c>, records: Vec<Record>, recording: &Recorded) -> anyhow::Result<Self> {
        Ok(Self { schema: SCHEMA, findings, records, recording: recording.of_own_containers()? })
    }

    /// The whole file.
    pub(super) fn text(&self) -> anyhow::Result<Vec<u8>> {
        visible_json(self).ok().context("cannot write the bundle")
    }
}

/// A recording in memory.
#[derive(Clone, Default)]
pub(super) struct Recorded(Rc<RefCell<Vec<u8>>>);

impl Recorded {
    /// Its lines, without those that are about containers of other people.
    fn of_own_containers(&self) -> anyhow::Result<Vec<Value>> {
        let bytes = self.0.borrow();
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        let recording = Recording::open(&bytes[..])?;
        let kept = Self::default();
        let mut recorder = Recorder::start(kept.clone(), recording.header())?;
        let mut own = HashSet::new();
        for line in recording {
            let (now, input) = line?;
            if let Input::Cgroup(CgroupChange::Made(cgroup) | CgroupChange::Present(cgroup)) = &input
                && is_own(cgroup)
            {
                own.insert(cgroup.id);
            }
            if about(&input).is_none_or(|id| own.contains(&id)) {
                recorder.note(now, &input);
            }
        }
        let kept = kept.0.borrow();
        kept.lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect()
    }
}

impl Write for Recorded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_own(cgroup: &Cgroup) -> bool {
    cgroup.container.as_ref().is_some_and(|identity| identity.runtime == Runtime::SignalTrace)
}

/// The cgroup that an input is about; none where it is about all, and tells of none.
fn about(input: &Input) -> Option<CgroupId> {
    match input {
        Input::Cgroup(CgroupChange::Made(cgroup) | CgroupChange::Present(cgroup)) => Some(cgroup.id),
        Input::Cgroup(CgroupChange::Gone(id)) | Input::Spec(id, _) => Some(*id),
        Input::Processes(snapshot) => Some(snapshot.container),
        Input::Event(event) => Some(match &event.kind {
            EventKind::Signal(signal) => signal.target.cgroup,
            EventKind::Fork(process) | EventKind::Move(process) => process.task.cgroup,
            EventKind::Exit(exit) => exit.task.cgroup,
            EventKind::CgroupMade { id, .. } | EventKind::CgroupGone(id) => *id,
            // Of a process whose cgroup is not told: it is nobody's here.
            EventKind::OomMark(_) => CgroupId(0),
        }),
        Input::Lost(_) | Input::Tick => None,
    }
}

/// What of a bundle is read again.
#[derive(Deserialize)]
struct Replayable {
    schema: String,
    recording: Vec<Value>,
}

/// The recording in a bundle, as a file of its own would hold it.
///
/// # Errors
///
/// It is no bundle, or one without a recording.
pub(in crate::cli) fn recording_in(bundle: impl io::Read) -> anyhow::Result<Vec<u8>> {
    let Replayable { schema, recording } =
        serde_json::from_reader(bundle).context("it is neither a recording nor a support bundle")?;
    ensure!(schema == SCHEMA, "it names `{schema}` and this reads {SCHEMA}");
    ensure!(!recording.is_empty(), "no recording is in this bundle: the self-test could not run on that machine");
    let lines: Vec<_> = recording.iter().map(Value::to_string).collect();
    Ok((lines.join("\n") + "\n").into_bytes())
}

/// A header for a recording of the self-test.
pub(super) fn header() -> Header {
    Header::new(NODE.to_owned(), crate::kernel::boot_time(), jiff::Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::Identity;
    use crate::event::KernelTime;

    fn cgroup(id: u64, runtime: Runtime) -> Cgroup {
        let identity = Identity { runtime, id: format!("c{id}"), pod_uid: None };
        Cgroup { id: CgroupId(id), parent: CgroupId(1), path: format!("/c{id}"), container: Some(identity) }
    }

    fn recorded(inputs: &[Input]) -> Recorded {
        let recorded = Recorded::default();
        let header = Header::new(NODE.into(), KernelTime(1), jiff::Timestamp::UNIX_EPOCH);
        let mut recorder = Recorder::start(recorded.clone(), &header).unwrap();
        inputs.iter().for_each(|input| recorder.note(KernelTime(2), input));
        recorded
    }

    #[test]
    fn containers_of_other_people_are_left_out() {
        let made = |id, runtime| Input::Cgroup(CgroupChange::Made(cgroup(id, runtime)));
        let gone = |id| Input::Cgroup(CgroupChange::Gone(CgroupId(id)));
        let recorded =
            recorded(&[made(7, Runtime::Docker), made(8, Runtime::SignalTrace), gone(7), Input::Tick, gone(8)]);
        let lines = recorded.of_own_containers().unwrap();
        let text = serde_json::to_string(&lines).unwrap();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(text.contains("/c8") && !text.contains("/c7") && !text.contains("docker"), "{text}");
    }

    #[test]
    fn a_bundle_is_read_as_a_recording() {
        let recorded = recorded(&[Input::Tick]);
        let bundle = Bundle::new(Findings::new(&[]), Vec::new(), &recorded).unwrap().text().unwrap();
        let bytes = recording_in(&bundle[..]).unwrap();
        assert_eq!(Recording::open(&bytes[..]).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_bundle_is_told_apart() {
        let error = |bytes: &[u8]| format!("{:#}", recording_in(bytes).unwrap_err());
        assert!(error(b"{}").contains("neither a recording nor a support bundle"));
        assert!(error(br#"{"schema": "x", "recording": []}"#).contains("`x`"));
        let bundle = Bundle::new(Findings::new(&[]), Vec::new(), &Recorded::default()).unwrap().text().unwrap();
        assert!(error(&bundle).contains("self-test"));
    }
}
