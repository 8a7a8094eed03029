//! What the pods do, each kind with what is true of it by its making, and with a log of its own: what its processes were
//! told is written by themselves, into a file that outlives them.

use fastrand::Rng;
use serde_json::{Value, json};

use crate::e2e::images;

/// Where the pods find the directory of those files.
const MOUNTED: &str = "/log";

/// What PID 1 of a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A shell that passes nothing on to its child, which would write that it was told.
    Wrapper,
    /// Ends at once.
    Good,
    /// Ends at once, and leaves a child behind that was not told.
    Leaver,
    /// No handler.
    Bare,
    /// An init that passes the signal on to a program without a handler.
    Tini,
    /// A handler that is never done.
    Slow,
    /// A handler that takes more memory than there is.
    Hungry,
    /// Ends at once; its child signals itself as fast as it is let.
    Flooder,
}

const KINDS: [Kind; 8] =
    [Kind::Wrapper, Kind::Good, Kind::Leaver, Kind::Bare, Kind::Tini, Kind::Slow, Kind::Hungry, Kind::Flooder];

/// What a process writes when it is ready, and when it was told.
pub(super) const READY: &str = "ready";
pub(super) const INIT_TOLD: &str = "init was told";
pub(super) const CHILD_TOLD: &str = "child was told";

/// The name of the process that floods: the second recorder leaves it out.
pub(super) const FLOOD: &str = "flood";

impl Kind {
    pub(super) fn any(rng: &mut Rng) -> Self {
        KINDS[rng.usize(0..KINDS.len())]
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Wrapper => "wrapper",
            Self::Good => "good",
            Self::Leaver => "leaver",
            Self::Bare => "bare",
            Self::Tini => "tini",
            Self::Slow => "slow",
            Self::Hungry => "hungry",
            Self::Flooder => "flooder",
        }
    }

    /// The verdict on one that is stopped and given its grace period.
    pub(super) fn verdict(self) -> (&'static str, &'static str) {
        match self {
            Self::Wrapper => ("grace_exceeded", "not_forwarded"),
            Self::Good => ("graceful", "none"),
            Self::Leaver | Self::Flooder => ("children_killed", "not_forwarded"),
            Self::Bare => ("grace_exceeded", "ignored"),
            Self::Tini => ("died_on_signal", "no_handler"),
            Self::Slow => ("grace_exceeded", "stuck"),
            Self::Hungry => ("oom_killed", "none"),
        }
    }

    /// Who of it writes that the signal came.
    pub(super) fn writes(self) -> Option<&'static str> {
        match self {
            Self::Good | Self::Leaver | Self::Slow | Self::Hungry | Self::Flooder => Some(INIT_TOLD),
            Self::Wrapper | Self::Bare | Self::Tini => None,
        }
    }

    fn command(self) -> Vec<String> {
        // `read` is a built-in: it waits without a process.
        let wait = "exec 3<> <(:); while :; do read -t 1000 -u 3; done";
        let child = format!("trap 'echo {CHILD_TOLD} >>$LOG' TERM; echo {READY} >>$LOG; {wait}");
        let words: Vec<String> = match self {
            Self::Wrapper => ["sh", "-c", "bash -c \"$CHILD\"; true"].map(str::to_owned).into(),
            Self::Good => bash(&format!("trap 'echo {INIT_TOLD} >>$LOG; exit 0' TERM; echo {READY} >>$LOG; {wait}")),
            Self::Leaver => bash(&format!("trap 'echo {INIT_TOLD} >>$LOG; exit 0' TERM; bash -c \"$CHILD\" & wait")),
            Self::Bare => ["sh", "-c", &format!("echo {READY} >>$LOG; exec sleep 10000")].map(str::to_owned).into(),
            Self::Tini => {
                ["tini", "--", "sh", "-c", &format!("echo {READY} >>$LOG; exec sleep 10000")].map(str::to_owned).into()
            }
            Self::Slow => bash(&format!("trap 'echo {INIT_TOLD} >>$LOG' TERM; echo {READY} >>$LOG; {wait}")),
            Self::Hungry => bash(&format!(
                "x=0123456789; trap 'echo {INIT_TOLD} >>$LOG; while :; do x=$x$x; done' TERM; echo {READY} >>$LOG; {wait}"
            )),
            Self::Flooder => bash(&format!(
                "trap 'echo {INIT_TOLD} >>$LOG; exit 0' TERM; \
                 bash -c 'printf {FLOOD} >/proc/self/comm; trap : TERM; echo {READY} >>$LOG; while :; do kill -TERM $$; done' & wait"
            )),
        };
        // One place for the child's own script, so that no quotes lie in quotes.
        let set = format!("export LOG={MOUNTED}/$HOSTNAME CHILD={}; exec \"$@\"", quoted(&child));
        [vec!["bash".to_owned(), "-c".to_owned(), set, "set".to_owned()], words].concat()
    }

    /// The pod, whose files are written to `logs` on the node.
    pub(super) fn pod(self, name: &str, grace: u32, logs: &str) -> Value {
        let limits = match self {
            Self::Hungry => json!({"memory": "32Mi"}),
            Self::Flooder => json!({"cpu": "50m"}),
            Self::Wrapper | Self::Good | Self::Leaver | Self::Bare | Self::Tini | Self::Slow => json!({}),
        };
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "terminationGracePeriodSeconds": grace,
            "restartPolicy": "Never",
            "tolerations": [{"operator": "Exists"}],
            "automountServiceAccountToken": false,
            "volumes": [{"name": "log", "hostPath": {"path": logs}}],
            "containers": [{"name": "app", "image": images::TOOLS, "command": self.command(),
                "resources": {"limits": limits}, "volumeMounts": [{"name": "log", "mountPath": MOUNTED}]}]}})
    }
}

fn bash(script: &str) -> Vec<String> {
    ["bash", "-c", script].map(str::to_owned).into()
}

fn quoted(script: &str) -> String {
    format!("'{}'", script.replace('\'', "'\\''"))
}
