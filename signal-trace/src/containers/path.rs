//! Which container's own cgroup is at a path of the v2 hierarchy: the forms that runtimes give them, and no more.
//!
//! Pure text. A path is data from strangers (a container with a writable cgroup file system names its own groups), so
//! an id is taken only in the exact form that its runtime makes; what merely looks like a container is said to be so.
//!
//! A path is read from the root down, because what a name means depends on what is above it:
//!
//! - Nested containers (kind, Docker in Docker) count each for itself: the innermost id wins.
//! - Groups that a container makes below its own (`init.scope`, crun's `container`, podman's second `libpod-<id>`) are
//!   part of it: its own cgroup is the outermost one with its id, so init is in it or below it.
//! - What a runtime runs beside its containers (conmon, LXC's monitor, Kata's overhead group) is nobody's.

use super::{Identity, Runtime};

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The own cgroup of this container.
    Container(Identity),
    /// It stands where a container's own cgroup stands, or is named like one, in a form that is not known.
    Unrecognised,
    /// Neither: a group of groups, a part of a container, or no concern of ours.
    Other,
}

impl Place {
    /// The container, if there is one.
    pub fn container(self) -> Option<Identity> {
        match self {
            Self::Container(identity) => Some(identity),
            Self::Unrecognised | Self::Other => None,
        }
    }
}

/// Whether systemd's services are followed like containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Services {
    /// They are no containers.
    #[default]
    Skip,
    /// A service outside of any container is one, of [`Runtime::Systemd`].
    Follow,
}

/// What is read as a container besides the forms of the known runtimes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forms {
    /// systemd's services.
    pub services: Services,
    /// Groups, by path, in which every child is a container: `/shop` for `ctr --namespace shop run`.
    pub roots: Vec<String>,
}

/// Name of a runtime's container: `<prefix><64 hex digits>`, with `.scope` under systemd and without under cgroupfs.
const PREFIXES: [(&str, Runtime); 6] = [
    ("cri-containerd-", Runtime::Containerd),
    ("crio-", Runtime::Crio),
    ("docker-", Runtime::Docker),
    ("libpod-", Runtime::Podman),
    // `podman run --cgroups=split`, which is what Quadlet's services run.
    ("libpod-payload-", Runtime::Podman),
    ("nerdctl-", Runtime::Containerd),
];

/// Groups that runtimes keep for their own processes; nothing below them is a container.
const HELPERS: [&str; 4] = ["crio-conmon-", "kata_overhead", "libpod-conmon-", "lxc.monitor"];

/// containerd's namespaces whose `/<namespace>/<id>` is taken at its word: there `ctr` and BuildKit choose any id.
const NAMESPACES: [&str; 4] = ["buildkit", "default", "k8s.io", "moby"];

/// The group in which this program makes its containers.
const OWN_GROUP: &str = "signal-trace";

/// A container as read from one name, still borrowed from the path.
#[derive(Clone, Copy)]
struct Found<'a> {
    runtime: Runtime,
    id: &'a str,
    pod_uid: Option<&'a str>,
}

/// [`Place`], still borrowed.
#[derive(Clone, Copy)]
enum Read<'a> {
    Container(Found<'a>),
    Unrecognised,
    Other,
}

impl Forms {
    /// What is at `path`, which is below the mount of the hierarchy and begins with a slash.
    pub fn identify(&self, path: &str) -> Place {
        let Some(names) = names(path) else { return Place::Other };
        let mut enclosing: Option<Found<'_>> = None;
        // How many names lead to the enclosing container's own cgroup: a runtime inside of it starts from there.
        let mut base = 0;
        let mut read = Read::Other;
        for end in 1..=names.len() {
            if HELPERS.iter().any(|helper| names[end - 1].starts_with(helper)) {
                return Place::Other;
            }
            read = self.read(&names[..end], base, enclosing);
            if let Read::Container(found) = read {
                if enclosing.is_some_and(|outer| outer.id == found.id) {
                    read = Read::Other;
                } else {
                    enclosing = Some(found);
                    base = if found.runtime == Runtime::Systemd { base } else { end };
                }
            }
        }
        match read {
            Read::Container(found) => Place::Container(found.identity()),
            Read::Unrecognised => Place::Unrecognised,
            Read::Other => Place::Other,
        }
    }

    /// What the last of `names` is, given the innermost container that encloses it and where that one's names end.
    fn read<'a>(&self, names: &[&'a str], base: usize, enclosing: Option<Found<'a>>) -> Read<'a> {
        let Some((&name, above)) = names.split_last() else { return Read::Other };
        if let Some(pod_uid) = pod_of(above) {
            return in_pod(name, pod_uid);
        }
        if let Some(read) = literal(name) {
            return read;
        }
        if let Some(found) = prefixed(name) {
            return Read::Container(found);
        }
        let parent = above.last().copied();
        if is_id(name) {
            let runtime = match parent {
                Some("docker") => Runtime::Docker,
                Some(namespace) if NAMESPACES.contains(&namespace) => Runtime::Containerd,
                Some(_) | None => Runtime::Unknown,
            };
            return container(runtime, name);
        }
        if is_name(name) {
            if let Some(runtime) = self.runtime_by_place(names, base) {
                return container(runtime, name);
            }
            if let Some(payload) = name.strip_prefix("lxc.payload.") {
                return container(Runtime::Unknown, payload);
            }
        }
        let in_container = enclosing.is_some_and(|outer| outer.runtime != Runtime::Systemd);
        if self.services == Services::Follow && !in_container && is_service(name, parent) {
            return container(Runtime::Systemd, name);
        }
        if name.ends_with(".scope") && PREFIXES.iter().any(|(prefix, _)| name.starts_with(prefix)) {
            return Read::Unrecognised;
        }
        Read::Other
    }

    /// The runtime of a container that has a name of somebody's choice and is known by the group it stands in.
    fn runtime_by_place(&self, names: &[&str], base: usize) -> Option<Runtime> {
        let below = match &names[base..] {
            // crun runs a container one group deeper, and what runs in there may see that group as its root.
            ["container", rest @ ..] if base > 0 => rest,
            rest => rest,
        };
        match below {
            [.., OWN_GROUP, _] => Some(Runtime::SignalTrace),
            [namespace, _] if NAMESPACES.contains(namespace) => Some(Runtime::Containerd),
            ["lxc", _] => Some(Runtime::Unknown),
            _ => {
                let above = &names[..names.len() - 1];
                self.roots
                    .iter()
                    .any(|root| root.split('/').filter(|n| !n.is_empty()).eq(above.iter().copied()))
                    .then_some(Runtime::Unknown)
            }
        }
    }
}

impl Found<'_> {
    fn identity(self) -> Identity {
        Identity {
            runtime: self.runtime,
            id: self.id.to_owned(),
            // systemd takes a dash for a step down, so the kubelet writes a slice's uid with underscores.
            pod_uid: self.pod_uid.map(|uid| uid.replace('_', "-")),
        }
    }
}

/// The names along `path`, none for what is no path below a mount.
fn names(path: &str) -> Option<Vec<&str>> {
    let names: Vec<_> = path.strip_prefix('/')?.split('/').collect();
    (!names.iter().any(|name| matches!(*name, "" | "." | ".."))).then_some(names)
}

fn container(runtime: Runtime, id: &str) -> Read<'_> {
    Read::Container(Found { runtime, id, pod_uid: None })
}

/// A child of a pod's group: a container, or something that a reader should know about.
fn in_pod<'a>(name: &'a str, pod_uid: &'a str) -> Read<'a> {
    let found = match literal(name) {
        Some(Read::Container(found)) => Some(found),
        Some(Read::Unrecognised | Read::Other) | None => prefixed(name)
            .or_else(|| is_id(name).then_some(Found { runtime: Runtime::Unknown, id: name, pod_uid: None })),
    };
    match found {
        Some(found) => Read::Container(Found { pod_uid: Some(pod_uid), ..found }),
        None => Read::Unrecognised,
    }
}

/// `<slice>:<prefix>:<id>`: what systemd's driver is told, taken for a directory's name by a runtime on cgroupfs.
fn literal(name: &str) -> Option<Read<'_>> {
    let (slice, rest) = name.split_once(':')?;
    let (prefix, id) = rest.split_once(':')?;
    let runtime =
        PREFIXES.iter().find(|(known, _)| known.strip_suffix('-') == Some(prefix)).map(|(_, runtime)| *runtime);
    let pod_uid = slice_pod_uid(slice);
    match (runtime, pod_uid) {
        (Some(runtime), _) if is_id(id) => Some(Read::Container(Found { runtime, id, pod_uid })),
        (None, Some(_)) if is_id(id) => Some(Read::Container(Found { runtime: Runtime::Unknown, id, pod_uid })),
        (Some(_), _) | (None, Some(_)) => Some(Read::Unrecognised),
        (None, None) => None,
    }
}

/// `<prefix>-<id>` and `<prefix>-<id>.scope`.
fn prefixed(name: &str) -> Option<Found<'_>> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    PREFIXES.iter().find_map(|(prefix, runtime)| {
        let id = name.strip_prefix(prefix).filter(|id| is_id(id))?;
        Some(Found { runtime: *runtime, id, pod_uid: None })
    })
}

/// The uid of the pod whose group these names lead to: `kubepods/[<qos>/]pod<uid>`, or a pod's slice.
fn pod_of<'a>(names: &[&'a str]) -> Option<&'a str> {
    match names {
        [.., "kubepods", pod] | [.., "kubepods", "besteffort" | "burstable", pod] => {
            pod.strip_prefix("pod").filter(|uid| is_uid(uid, b'-'))
        }
        [.., slice] => slice_pod_uid(slice),
        [] => None,
    }
}

/// `[<root>-]kubepods[-<qos>]-pod<uid>.slice`, where the root is a kubelet's `--cgroup-root`.
fn slice_pod_uid(slice: &str) -> Option<&str> {
    let (above, uid) = slice.strip_suffix(".slice")?.rsplit_once("-pod")?;
    let kubepods = ["-besteffort", "-burstable"].iter().find_map(|qos| above.strip_suffix(qos)).unwrap_or(above);
    ((kubepods == "kubepods" || kubepods.ends_with("-kubepods")) && is_uid(uid, b'_')).then_some(uid)
}

/// What every known runtime makes an id of: 64 hexadecimal digits, in lower case.
fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A pod's uid, or the hash that a static pod has for one.
fn is_uid(text: &str, separator: u8) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == separator)
}

/// containerd's rule for an id of somebody's choice, except what systemd would name.
fn is_name(text: &str) -> bool {
    let unit = [".mount", ".scope", ".service", ".slice", ".socket", ".swap"];
    text.len() <= 76
        && text.split(['-', '_', '.']).all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric()))
        && !unit.iter().any(|suffix| text.ends_with(suffix))
}

/// A service's unit, directly below a slice.
fn is_service(name: &str, parent: Option<&str>) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b':' | b'-' | b'_' | b'.' | b'\\' | b'@');
    name.strip_suffix(".service").is_some_and(|unit| !unit.is_empty())
        && name.len() <= 255
        && name.bytes().all(allowed)
        && parent.is_some_and(|parent| parent.ends_with(".slice"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "5bd7c1f3a2e94d60b8f7a6c5d4e3f2015bd7c1f3a2e94d60b8f7a6c5d4e3f201";
    const OUTER: &str = "00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff";
    const UID: &str = "0f6a1c9e-7d0b-4b7e-9a3c-2d1e5f4a3b2c";
    const HASH: &str = "9bc2d1e5f4a3b2c7d0b4b7e9a3c0f6a1";

    /// Rows are written with `ID`, `OUTER`, `UID`, `U_ID` (with underscores) and `HASH` in place of the long ones.
    fn spelled(row: &str) -> String {
        row.replace("OUTER", OUTER)
            .replace("U_ID", &UID.replace('-', "_"))
            .replace("UID", UID)
            .replace("HASH", HASH)
            .replace("ID", ID)
    }

    fn follow() -> Forms {
        Forms { services: Services::Follow, roots: vec!["/shop".to_owned(), "/a/b/".to_owned()] }
    }

    /// Forms that mean the same wherever a cgroup root is.
    const ANYWHERE: &[(&str, Runtime, &str, Option<&str>)] = &[
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podU_ID.slice/cri-containerd-ID.scope",
            Runtime::Containerd,
            "ID",
            Some("UID"),
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podHASH.slice/cri-containerd-ID.scope",
            Runtime::Containerd,
            "ID",
            Some("HASH"),
        ),
        ("/kubepods.slice/kubepods-podU_ID.slice/crio-ID.scope", Runtime::Crio, "ID", Some("UID")),
        ("/kubepods.slice/kubepods-podU_ID.slice/docker-ID.scope", Runtime::Docker, "ID", Some("UID")),
        ("/kubepods.slice/kubepods-podU_ID.slice/libpod-ID.scope", Runtime::Podman, "ID", Some("UID")),
        (
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podU_ID.slice/cri-containerd-ID.scope",
            Runtime::Containerd,
            "ID",
            Some("UID"),
        ),
        ("/kubepods/besteffort/podUID/ID", Runtime::Unknown, "ID", Some("UID")),
        ("/kubepods/burstable/podHASH/ID", Runtime::Unknown, "ID", Some("HASH")),
        ("/kubepods/podUID/ID", Runtime::Unknown, "ID", Some("UID")),
        ("/kubepods/burstable/podUID/crio-ID", Runtime::Crio, "ID", Some("UID")),
        ("/kubepods-besteffort-podU_ID.slice:cri-containerd:ID", Runtime::Containerd, "ID", Some("UID")),
        ("/system.slice/containerd.service/kubepods-podU_ID.slice:crio:ID", Runtime::Crio, "ID", Some("UID")),
        ("/kubepods-podU_ID.slice:runsc:ID", Runtime::Unknown, "ID", Some("UID")),
        ("/system.slice:docker:ID", Runtime::Docker, "ID", None),
        ("/docker/ID", Runtime::Docker, "ID", None),
        ("/system.slice/docker-ID.scope", Runtime::Docker, "ID", None),
        ("/x/ID", Runtime::Unknown, "ID", None),
        ("/ID", Runtime::Unknown, "ID", None),
        ("/docker/OUTER/docker/ID", Runtime::Docker, "ID", None),
        (
            "/docker/OUTER/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podU_ID.slice/cri-containerd-ID.scope",
            Runtime::Containerd,
            "ID",
            Some("UID"),
        ),
        ("/system.slice/docker-OUTER.scope/kubepods/podUID/ID", Runtime::Unknown, "ID", Some("UID")),
        ("/docker/OUTER/default/web", Runtime::Containerd, "web", None),
        ("/machine.slice/libpod-OUTER.scope/container/k8s.io/web", Runtime::Containerd, "web", None),
        ("/machine.slice/libpod-ID.scope", Runtime::Podman, "ID", None),
        ("/machine.slice/machine-libpod_pod_OUTER.slice/libpod-ID.scope", Runtime::Podman, "ID", None),
        ("/libpod_parent/libpod-ID", Runtime::Podman, "ID", None),
        ("/system.slice/web.service/libpod-payload-ID", Runtime::Podman, "ID", None),
        ("/user.slice/user-1000.slice/user@1000.service/user.slice/nerdctl-ID.scope", Runtime::Containerd, "ID", None),
        ("/signal-trace/check-1", Runtime::SignalTrace, "check-1", None),
        ("/docker/OUTER/signal-trace/check-1", Runtime::SignalTrace, "check-1", None),
        ("/lxc.payload.web_1", Runtime::Unknown, "web_1", None),
    ];

    /// Forms that mean something at the root of the hierarchy only, or depend on what was asked for.
    const AT_THE_ROOT: &[(&str, Runtime, &str)] = &[
        ("/default/web", Runtime::Containerd, "web"),
        ("/k8s.io/ID", Runtime::Containerd, "ID"),
        ("/moby/ID", Runtime::Containerd, "ID"),
        ("/buildkit/x1y2z3", Runtime::Containerd, "x1y2z3"),
        ("/lxc/101", Runtime::Unknown, "101"),
        ("/shop/web-1", Runtime::Unknown, "web-1"),
        ("/a/b/web-1", Runtime::Unknown, "web-1"),
        ("/system.slice/nginx.service", Runtime::Systemd, "nginx.service"),
        ("/system.slice/system-getty.slice/getty@tty1.service", Runtime::Systemd, "getty@tty1.service"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/web.service", Runtime::Systemd, "web.service"),
    ];

    const UNRECOGNISED: &[&str] = &[
        "/kubepods.slice/kubepods-podU_ID.slice/weird-ID.scope",
        "/kubepods.slice/kubepods-podU_ID.slice/cri-containerd-web.scope",
        "/kubepods/podUID/kata_ID",
        "/kubepods/podUID/web",
        "/kubepods-podU_ID.slice:cri-containerd:web",
        "/kubepods-podU_ID.slice:runsc:web",
        "/x:docker:web",
        "/system.slice/docker-5BD7.scope",
        "/system.slice/crio-\u{1b}[31m.scope",
    ];

    const OTHER: &[&str] = &[
        "",
        "/",
        "kubepods/podUID/ID",
        "/docker//ID",
        "/docker/./ID",
        "/../ID",
        "/docker",
        "/docker/5bd7c1f3a2e9",
        "/kubepods",
        "/kubepods/besteffort",
        "/kubepods/besteffort/podUID",
        "/kubepods.slice/kubepods-podU_ID.slice",
        "/kubepods/pod/web",
        "/kubepods/podU\u{7}/web",
        "/default",
        "/default/web.service",
        "/default/\u{1b}]0;x",
        "/default/-web",
        "/default/web/deeper",
        "/a/default/web",
        "/shop",
        "/shop/web-1/deeper",
        "/a/shop/web-1",
        "/lxc/101/ns",
        "/lxc.monitor.web",
        "/lxc.monitor/101",
        "/init.scope",
        "/nginx.service",
        "/system.slice/.service",
        "/system.slice/a\nb.service",
        "/system.slice/nginx.service/worker",
        "/system.slice/nginx.service/default/web",
        "/system.slice/run-u1.scope",
        "/user.slice/user-0.slice/session-1.scope",
        // Parts of a container.
        "/docker/ID/init",
        "/docker/ID/init.scope",
        "/docker/ID/system.slice/nginx.service",
        "/kubepods/podUID/ID/web",
        "/machine.slice/libpod-ID.scope/container",
        "/libpod_parent/libpod-ID/libpod-ID",
        "/kubepods/podUID/ID/x/ID",
        // Helpers, and what they hold.
        "/kubepods.slice/kubepods-podU_ID.slice/crio-conmon-ID.scope",
        "/kubepods/podUID/crio-conmon-ID",
        "/machine.slice/libpod-conmon-ID.scope",
        "/libpod_parent/conmon",
        "/kata_overhead/ID",
        "/lxc.monitor.web/docker/ID",
    ];

    fn expected(runtime: Runtime, id: &str, pod_uid: Option<&str>) -> Place {
        Place::Container(Identity { runtime, id: spelled(id), pod_uid: pod_uid.map(spelled) })
    }

    #[test]
    fn every_form_names_its_container() {
        for (row, runtime, id, pod_uid) in ANYWHERE {
            assert_eq!(follow().identify(&spelled(row)), expected(*runtime, id, *pod_uid), "{row}");
        }
        for (row, runtime, id) in AT_THE_ROOT {
            assert_eq!(follow().identify(&spelled(row)), expected(*runtime, id, None), "{row}");
        }
    }

    #[test]
    fn what_looks_like_a_container_and_is_not_understood_is_said_to_be_so() {
        for row in UNRECOGNISED {
            assert_eq!(follow().identify(&spelled(row)), Place::Unrecognised, "{row}");
        }
    }

    #[test]
    fn the_rest_is_no_container() {
        for row in OTHER {
            assert_eq!(follow().identify(&spelled(row)), Place::Other, "{row}");
        }
    }

    #[test]
    fn services_and_other_roots_are_containers_on_request_only() {
        for row in ["/system.slice/nginx.service", "/shop/web-1"] {
            assert_eq!(Forms::default().identify(row), Place::Other, "{row}");
        }
    }

    #[test]
    fn a_name_has_its_longest() {
        let service = |length: usize| format!("/system.slice/{}.service", "x".repeat(length - ".service".len()));
        let web = |length: usize| format!("/default/{}", "x".repeat(length));
        for (path, is_container) in [(service(255), true), (service(256), false), (web(76), true), (web(77), false)] {
            assert_eq!(follow().identify(&path).container().is_some(), is_container, "{path}");
        }
    }

    fn row() -> impl Strategy<Value = (&'static str, Runtime, &'static str, Option<&'static str>)> {
        prop::sample::select(ANYWHERE)
    }

    /// Names of groups that nobody gives a meaning.
    fn plain() -> impl Strategy<Value = String> {
        prop::collection::vec("g-[a-z]{1,6}(\\.slice)?", 0..4)
            .prop_map(|names| names.iter().fold(String::new(), |path, n| path + "/" + n))
    }

    proptest! {
        #[test]
        fn any_text_is_read(
            path in ".*",
            names in prop::collection::vec("[ -~]{0,9}|docker|default|kubepods|pod[a-f]{1,3}|:|[a-f]{64}|\\PC", 0..9),
        ) {
            for path in [path, format!("/{}", names.join("/"))] {
                if let Place::Container(identity) = follow().identify(&path) {
                    prop_assert!(path.contains(&identity.id), "an id is a part of its path");
                    prop_assert!(!identity.id.chars().any(|c| c.is_control() || c.is_whitespace()));
                    prop_assert!(identity.id.len() <= 255);
                }
            }
        }

        #[test]
        fn groups_above_change_nothing(above in plain(), row in row()) {
            let (path, runtime, id, pod_uid) = row;
            prop_assert_eq!(follow().identify(&(above + &spelled(path))), expected(runtime, id, pod_uid));
        }

        #[test]
        fn a_container_above_changes_nothing(above in plain(), row in row()) {
            let (path, runtime, id, pod_uid) = row;
            let outer = format!("{above}/docker/{}", "ab".repeat(32));
            prop_assert_eq!(follow().identify(&(outer + &spelled(path))), expected(runtime, id, pod_uid));
        }

        #[test]
        fn groups_below_are_part_of_it(below in plain(), row in row()) {
            prop_assume!(!below.is_empty());
            prop_assert_eq!(follow().identify(&(spelled(row.0) + &below)), Place::Other);
        }
    }
}
