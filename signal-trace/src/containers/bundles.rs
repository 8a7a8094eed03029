//! What a container's OCI bundle says about it: the names that the CRI gave it, read from the runtime's state folder.
//!
//! For a node without the API server's help, and to tell a pod's sandbox at once. A bundle holds the environment of its
//! container, so reading it is a privilege that has to be granted; only the annotations are kept, and no more than a
//! handful of them. Nothing here knows Kubernetes' API.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::containers::Cgroup;
use crate::event::Signal;
use crate::judge::shutdown::{ContainerFacts, PodFacts};

/// Where runtimes keep bundles: `{id}` is the container's, `*` any one folder.
pub const KNOWN_PLACES: [&str; 4] = [
    "/run/containerd/io.containerd.runtime.v2.task/*/{id}/config.json",
    "/run/k3s/containerd/io.containerd.runtime.v2.task/*/{id}/config.json",
    "/run/containers/storage/overlay-containers/{id}/userdata/config.json",
    "/var/run/containers/storage/overlay-containers/{id}/userdata/config.json",
];

/// Where they are in a state folder of containerd, and of Podman and CRI-O.
const STATE_LAYOUTS: [&str; 2] =
    ["io.containerd.runtime.v2.task/*/{id}/config.json", "overlay-containers/{id}/userdata/config.json"];

/// What stands for any one folder, and for the container's id.
const ANY: &str = "*";
const ID: &str = "{id}";

/// Largest file that is read; the environment is most of it, and the kernel bounds that.
const MAX_BYTES: u64 = 4 << 20;
/// Longest value that is kept.
const MAX_VALUE: usize = 512;
/// Longest id that is looked for.
const MAX_ID: usize = 128;
/// Folders that a `*` is tried with.
const MAX_FOLDERS: usize = 64;

/// What a bundle says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    /// It is a pod's sandbox; none where nobody says.
    pub sandbox: Option<bool>,
    /// The container's name in the pod's spec.
    pub container: Option<String>,
    /// The pod's namespace.
    pub namespace: Option<String>,
    /// The pod's name.
    pub pod: Option<String>,
    /// The pod's uid.
    pub pod_uid: Option<String>,
    /// The image.
    pub image: Option<String>,
    /// The stop signal (CRI-O).
    pub stop_signal: Option<Signal>,
    /// `spec.terminationGracePeriodSeconds` (CRI-O).
    pub grace: Option<Duration>,
}

/// Why a bundle that is there cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read bundle {path}: {problem}")]
pub struct BundleError {
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("not a regular file")]
    NotAFile,
    #[error("larger than {} MiB", MAX_BYTES >> 20)]
    TooLarge,
    #[error("not the JSON of a bundle: {0}")]
    Malformed(serde_json::Error),
}

/// The places where bundles are looked for.
#[derive(Clone, Debug)]
pub struct Bundles(Vec<PathBuf>);

impl Bundles {
    /// In these places, in this order; see [`KNOWN_PLACES`] for their form.
    pub fn new(places: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(places.into_iter().collect())
    }

    /// In the known places below `root`: `/`, or where the host's root is mounted.
    pub fn below(root: &Path) -> Self {
        Self::new(KNOWN_PLACES.iter().map(|place| root.join(place.trim_start_matches('/'))))
    }

    /// In the known places, and before them in the state folders of runtimes that keep theirs elsewhere.
    pub fn with_state_in(folders: &[PathBuf]) -> Self {
        let own = folders.iter().flat_map(|folder| STATE_LAYOUTS.iter().map(|layout| folder.join(layout)));
        Self(own.chain(Self::below(Path::new("/")).0).collect())
    }

    /// The folders that they are all below, whether there or not.
    pub fn folders(&self) -> impl Iterator<Item = PathBuf> {
        let named = |part: &Component<'_>| !matches!(part.as_os_str().to_str(), Some(ANY | ID));
        self.0.iter().map(move |place| place.components().take_while(named).collect())
    }

    /// What the bundle of this container says; none where there is no bundle.
    pub fn find(&self, id: &str) -> Result<Option<Bundle>, BundleError> {
        if !is_id(id) {
            return Ok(None);
        }
        for path in self.0.iter().flat_map(|place| candidates(place, id)) {
            match read(&path) {
                Ok(Some(bundle)) => return Ok(Some(bundle)),
                Ok(None) => {}
                Err(problem) => return Err(BundleError { path, problem }),
            }
        }
        Ok(None)
    }
}

impl Bundle {
    /// What a bundle's `config.json` says.
    ///
    /// # Errors
    ///
    /// It is not the JSON of a bundle.
    pub fn parse(json: impl Read) -> serde_json::Result<Self> {
        serde_json::from_reader(json).map(|config: Config| config.annotations.0)
    }

    /// The names of the container whose cgroup this is, as far as the bundle tells; none for a sandbox.
    pub fn facts(&self, cgroup: &Cgroup) -> Option<ContainerFacts> {
        let identity = cgroup.container.as_ref().filter(|_| self.sandbox != Some(true))?;
        let pod = self.namespace.clone().zip(self.pod.clone()).map(|(namespace, name)| PodFacts {
            namespace,
            name,
            uid: self.pod_uid.clone().or_else(|| identity.pod_uid.clone()).unwrap_or_default(),
            revision: None,
            workload: None,
        });
        Some(ContainerFacts {
            cgroup: cgroup.id,
            cgroup_path: cgroup.path.clone(),
            runtime: identity.runtime,
            id: identity.id.clone(),
            name: self.container.clone(),
            image: self.image.clone(),
            pod,
        })
    }

    fn note(&mut self, key: &str, value: &str) {
        let text = || Some(value[..value.floor_char_boundary(MAX_VALUE)].to_owned()).filter(|v| !v.is_empty());
        match key {
            "io.kubernetes.cri.container-type" | "io.kubernetes.cri-o.ContainerType" => {
                self.sandbox = Some(value == "sandbox");
            }
            "io.kubernetes.cri.container-name" | "io.kubernetes.container.name" => self.container = text(),
            "io.kubernetes.cri.sandbox-namespace" | "io.kubernetes.pod.namespace" => self.namespace = text(),
            "io.kubernetes.cri.sandbox-name" | "io.kubernetes.pod.name" => self.pod = text(),
            "io.kubernetes.cri.sandbox-uid" | "io.kubernetes.pod.uid" => self.pod_uid = text(),
            "io.kubernetes.cri.image-name" | "io.kubernetes.cri-o.ImageName" => self.image = text(),
            "org.opencontainers.image.stopSignal" => self.stop_signal = Signal::parse(value),
            "io.kubernetes.pod.terminationGracePeriod" => {
                self.grace = value.parse::<u32>().ok().map(|seconds| Duration::from_secs(u64::from(seconds)));
            }
            _ => {}
        }
    }
}

/// An id that is one folder's name and nothing else.
fn is_id(id: &str) -> bool {
    let byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=MAX_ID).contains(&id.len()) && !id.starts_with('.') && id.bytes().all(byte)
}

fn candidates(place: &Path, id: &str) -> Vec<PathBuf> {
    let mut paths = vec![PathBuf::new()];
    for component in place.components() {
        match component.as_os_str().to_str() {
            Some(ANY) => paths = paths.iter().flat_map(|path| folders(path)).take(MAX_FOLDERS).collect(),
            Some(ID) => paths.iter_mut().for_each(|path| path.push(id)),
            Some(_) | None => paths.iter_mut().for_each(|path| path.push(component)),
        }
    }
    paths
}

/// None where there is nothing to list: then there is no bundle either.
fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut folders: Vec<_> = entries.take(MAX_FOLDERS).map(|entry| entry.path()).collect();
    folders.sort();
    folders
}

fn read(path: &Path) -> Result<Option<Bundle>, Problem> {
    // Neither a link nor something that blocks: the file's folder is the runtime's, but it costs nothing to be sure.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(Problem::Io(error.into())),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Problem::NotAFile);
    }
    if metadata.len() > MAX_BYTES {
        return Err(Problem::TooLarge);
    }
    Bundle::parse(BufReader::new(file.take(MAX_BYTES))).map(Some).map_err(Problem::Malformed)
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    annotations: Annotations,
}

#[derive(Default)]
struct Annotations(Bundle);

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Annotations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("annotations")
            }

            fn visit_unit<E>(self) -> Result<Annotations, E> {
                Ok(Annotations::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
                let mut bundle = Bundle::default();
                while let Some(key) = map.next_key::<String>()? {
                    if key.starts_with("io.kubernetes.") || key.starts_with("org.opencontainers.") {
                        bundle.note(&key, &map.next_value::<String>()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Annotations(bundle))
            }
        }
        deserializer.deserialize_any(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::FileType;

    use super::*;
    use crate::containers::{Identity, Runtime};
    use crate::event::CgroupId;

    const ID: &str = "5bd7c5bbf4db4f40a8d2ea55a3a7e0d2a4d9a6fcd4b94c5b8f4ba1d0b54a7f10";

    /// A folder that is gone when the test is over, however it ends.
    struct Root(PathBuf);

    impl Root {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("signal-trace-bundles-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn bundle(&self, place: &str, config: &str) -> PathBuf {
            let path = self.0.join(place).join("config.json");
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, config).unwrap();
            path
        }

        fn find(&self) -> Result<Option<Bundle>, BundleError> {
            Bundles::below(&self.0).find(ID)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_may_be_read_ends_before_the_part_that_differs() {
        let folders: Vec<_> = Bundles::with_state_in(&["/srv/crio".into()]).folders().collect();
        let expected = [
            "/srv/crio/io.containerd.runtime.v2.task",
            "/srv/crio/overlay-containers",
            "/run/containerd/io.containerd.runtime.v2.task",
            "/run/k3s/containerd/io.containerd.runtime.v2.task",
            "/run/containers/storage/overlay-containers",
            "/var/run/containers/storage/overlay-containers",
        ];
        assert_eq!(folders, expected.map(PathBuf::from));
    }

    fn containerd(namespace: &str) -> String {
        format!("run/containerd/io.containerd.runtime.v2.task/{namespace}/{ID}")
    }

    const CONTAINERD: &str = r#"{
        "ociVersion": "1.2.0",
        "process": { "env": ["PASSWORD=secret"], "args": ["sh"] },
        "mounts": [{ "destination": "/proc" }],
        "annotations": {
            "io.kubernetes.cri.container-name": "app",
            "io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.image-name": "shop/cart:1.4",
            "io.kubernetes.cri.sandbox-id": "1111",
            "io.kubernetes.cri.sandbox-name": "cart-7d9f-x2k",
            "io.kubernetes.cri.sandbox-namespace": "shop",
            "io.kubernetes.cri.sandbox-uid": "0b1c",
            "a.pods.own/annotation": {"of": ["any", "shape", 1]}
        },
        "linux": { "cgroupsPath": "/kubepods" }
    }"#;

    #[test]
    fn a_container_of_containerd() {
        let root = Root::new("containerd");
        root.bundle("run/containerd/io.containerd.runtime.v2.task/default/another", "not read");
        root.bundle(&containerd("k8s.io"), CONTAINERD);
        let bundle = root.find().unwrap().unwrap();
        let expected = Bundle {
            sandbox: Some(false),
            container: Some("app".into()),
            namespace: Some("shop".into()),
            pod: Some("cart-7d9f-x2k".into()),
            pod_uid: Some("0b1c".into()),
            image: Some("shop/cart:1.4".into()),
            stop_signal: None,
            grace: None,
        };
        assert_eq!(bundle, expected);
        let identity = Identity { runtime: Runtime::Containerd, id: ID.into(), pod_uid: None };
        let cgroup = Cgroup { id: CgroupId(7), parent: CgroupId(1), path: "/x".into(), container: Some(identity) };
        let facts = bundle.facts(&cgroup).unwrap();
        assert_eq!((facts.name.as_deref(), facts.pod.unwrap().uid.as_str()), (Some("app"), "0b1c"));
        assert_eq!(Bundle { sandbox: Some(true), ..bundle }.facts(&cgroup), None);
    }

    #[test]
    fn a_container_of_crio_tells_its_stop_signal_and_grace() {
        let root = Root::new("crio");
        let config = r#"{"annotations": {
            "io.kubernetes.cri-o.ContainerType": "container",
            "io.kubernetes.container.name": "app",
            "io.kubernetes.pod.name": "cart-7d9f-x2k",
            "io.kubernetes.pod.namespace": "shop",
            "io.kubernetes.pod.uid": "0b1c",
            "io.kubernetes.pod.terminationGracePeriod": "45",
            "org.opencontainers.image.stopSignal": "SIGQUIT"
        }}"#;
        root.bundle(&format!("run/containers/storage/overlay-containers/{ID}/userdata"), config);
        let bundle = root.find().unwrap().unwrap();
        assert_eq!(bundle.grace, Some(Duration::from_secs(45)));
        assert_eq!(bundle.stop_signal, Some(Signal::QUIT));
        assert_eq!((bundle.sandbox, bundle.container.as_deref()), (Some(false), Some("app")));
    }

    #[test]
    fn a_sandbox_is_told_by_its_annotation() {
        for key in ["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"] {
            let root = Root::new(key);
            root.bundle(&containerd("k8s.io"), &format!(r#"{{"annotations": {{"{key}": "sandbox"}}}}"#));
            assert_eq!(root.find().unwrap().unwrap().sandbox, Some(true));
        }
    }

    #[test]
    fn no_bundle_and_no_annotations_are_no_error() {
        let root = Root::new("none");
        assert_eq!(root.find().unwrap(), None);
        for config in ["{}", r#"{"annotations": null}"#, r#"{"annotations": {}}"#] {
            root.bundle(&containerd("k8s.io"), config);
            assert_eq!(root.find().unwrap(), Some(Bundle::default()), "{config}");
        }
    }

    #[test]
    fn an_id_cannot_leave_its_folder() {
        let root = Root::new("escape");
        root.bundle(&containerd("k8s.io"), CONTAINERD);
        let bundles = Bundles::below(&root.0);
        for id in ["", ".", "..", "../k8s.io", &format!("k8s.io/../{ID}"), &format!("{ID}\0"), &"a".repeat(129)] {
            assert_eq!(bundles.find(id).unwrap(), None, "{id:?}");
        }
    }

    #[test]
    fn hostile_files_are_refused() {
        let root = Root::new("hostile");
        let path = root.bundle(&containerd("k8s.io"), CONTAINERD);
        let problem = |what: &str| {
            let error = root.find().unwrap_err().to_string();
            assert!(error.contains(what) && error.contains(ID), "{error}");
        };
        for malformed in ["", "{", "7", r#"{"annotations": 7}"#, r#"{"annotations": {"io.kubernetes.pod.name": 7}}"#] {
            std::fs::write(&path, malformed).unwrap();
            problem("not the JSON of a bundle");
        }
        let deep = format!(r#"{{"linux": {}1{}}}"#, "[".repeat(1 << 20), "]".repeat(1 << 20));
        std::fs::write(&path, deep).unwrap();
        assert_eq!(root.find().unwrap(), Some(Bundle::default()), "depth takes no stack");
        let large = format!(r#"{{"pad": "{}"}}"#, "x".repeat(5 << 20));
        std::fs::write(&path, large).unwrap();
        problem("larger than 4 MiB");
        std::fs::remove_file(&path).unwrap();
        let elsewhere = root.0.join("elsewhere");
        std::fs::write(&elsewhere, CONTAINERD).unwrap();
        symlink(elsewhere, &path).unwrap();
        problem("cannot read bundle");
        std::fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
        problem("not a regular file");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        problem("not a regular file");
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let root = Root::new("long");
        let name = "ß".repeat(1000);
        root.bundle(&containerd("k8s.io"), &format!(r#"{{"annotations": {{"io.kubernetes.pod.name": "{name}"}}}}"#));
        assert_eq!(root.find().unwrap().unwrap().pod.unwrap(), "ß".repeat(256));
    }
}
