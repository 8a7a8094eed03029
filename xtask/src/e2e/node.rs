//! A Kubernetes node with its control plane, on this machine and yet apart from it: in a network namespace of its own,
//! below a cgroup of its own, with all its state in one directory. Nothing leaves the machine and nothing stays.

mod cgroup;
mod remains;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::images::{self, Images};
use super::pki::Authority;
use super::process::{Process, tied};
use super::signals::Interrupt;
use crate::child;
pub(crate) use cgroup::{churn as churn_cgroups, processes_of};

/// What the network namespace, the cgroup and the node are called.
pub(crate) const NAME: &str = "signal-trace-e2e";
/// Short, as sockets' paths must be, and on no file system that an overlay cannot lie on.
pub(crate) const STATE: &str = "/run/signal-trace-e2e";
/// The API server's own service address, which pods and the parts of the node both reach.
pub(crate) const SERVER: &str = "https://10.96.0.1:443";
const SERVICE_ADDRESS: &str = "10.96.0.1";
const NODE_ADDRESS: &str = "10.97.0.1";
/// Several times what a start takes with nothing else to do; emulated machines need it.
const START_BOUND: Duration = Duration::from_secs(400);
const LOOK: Duration = Duration::from_millis(100);

/// What the controllers are needed for; the others would only keep watches.
const CONTROLLERS: [&str; 15] = [
    "deployment-controller",
    "replicaset-controller",
    "statefulset-controller",
    "daemonset-controller",
    "job-controller",
    "cronjob-controller",
    "namespace-controller",
    "garbage-collector-controller",
    "pod-garbage-collector-controller",
    "disruption-controller",
    "taint-eviction-controller",
    "node-lifecycle-controller",
    "serviceaccount-token-controller",
    "serviceaccount-controller",
    "root-ca-certificate-publisher-controller",
];

/// A running node. Ended, and everything of it removed, when it is dropped.
#[derive(Debug)]
pub(crate) struct Node {
    bin: PathBuf,
    logs: PathBuf,
    parts: Vec<(Part, Process)>,
    tunables: Vec<(&'static str, String)>,
    /// The right to be the one; given back when dropped.
    _only: fs::File,
}

/// In the order of their start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Etcd,
    ApiServer,
    Controllers,
    Scheduler,
    Containerd,
    Kubelet,
}

/// Kernel parameters that the kubelet sets as it likes them; they are put back.
const TUNABLES: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

impl Node {
    /// Starts it with the programs in `bin` and returns when it is ready for pods. The calling thread, and what it
    /// starts from then on, is in the node's network namespace.
    pub(crate) fn up(bin: &Path, logs: &Path, interrupt: &Interrupt) -> Result<Self> {
        let only = only()?;
        remains::clear()?;
        for directory in ["cni", "static", "kubelet"] {
            fs::create_dir_all(Path::new(STATE).join(directory))?;
        }
        fs::create_dir_all(logs)?;
        let read = |name: &&'static str| Some((*name, fs::read_to_string(format!("/proc/sys/{name}")).ok()?));
        let tunables = TUNABLES.iter().filter_map(read).collect();
        // From here on there is something to remove.
        let mut node = Self { bin: bin.to_owned(), logs: logs.to_owned(), parts: Vec::new(), tunables, _only: only };
        network()?;
        enter()?;
        cgroup::create()?;
        identities()?;
        node.configure()?;
        for part in [Part::Etcd, Part::Containerd, Part::ApiServer] {
            node.start(part)?;
        }
        node.until("containerd answers", interrupt, |node| ctr(&node.bin, &["version"]).is_ok())?;
        Images { bin, state: Path::new(STATE) }.load()?;
        node.until("the API server is ready", interrupt, |node| node.kubectl("get --raw /readyz").is_ok())?;
        for part in [Part::Controllers, Part::Scheduler, Part::Kubelet] {
            node.start(part)?;
        }
        node.until("the node is ready", interrupt, Self::is_ready)?;
        Ok(node)
    }

    /// Starts one of its parts.
    pub(crate) fn start(&mut self, part: Part) -> Result<()> {
        let mut command = tied(&self.bin.join(if part == Part::Containerd { "containerd" } else { "kubernetes" }));
        command.args(part.arguments());
        if part == Part::Containerd {
            // It looks for its shim there.
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", self.bin.display()));
        }
        let process = Process::start(part.name(), command, &self.logs)?;
        self.parts.push((part, process));
        Ok(())
    }

    /// Kills one of its parts, as a crash does.
    pub(crate) fn kill(&mut self, part: Part) -> Result<()> {
        let at = self.parts.iter().position(|(which, _)| *which == part);
        let (_, mut process) = self.parts.remove(at.with_context(|| format!("{} does not run", part.name()))?);
        process.kill()
    }

    /// Waits until `reached`, as long as all parts are alive.
    pub(crate) fn until(&mut self, what: &str, interrupt: &Interrupt, reached: impl Fn(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + START_BOUND;
        while !reached(self) {
            interrupt.check()?;
            self.parts.iter_mut().try_for_each(|(_, process)| process.alive())?;
            ensure!(Instant::now() < deadline, "not within {} s: {what}", START_BOUND.as_secs());
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    pub(crate) fn is_ready(&self) -> bool {
        let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        let asked = child::read(kubectl(&self.bin, &admin()).args(["get", "node", NAME, "-o", path]));
        asked.is_ok_and(|status| status == "True")
    }

    fn kubectl(&self, words: &str) -> Result<String> {
        child::read(kubectl(&self.bin, &admin()).args(words.split(' ')))
    }

    fn configure(&self) -> Result<()> {
        let bin = self.bin.display().to_string();
        let fill = |text: &str| {
            let known = [("@STATE@", STATE), ("@NAME@", NAME), ("@BIN@", &*bin), ("@PAUSE@", images::PAUSE)];
            let text = known.iter().fold(text.to_owned(), |text, (mark, value)| text.replace(mark, value));
            text.replace("@CGROUP@", &format!("/{NAME}"))
        };
        for (file, text) in [
            ("containerd.toml", include_str!("../../e2e/config/containerd.toml")),
            ("kubelet.yaml", include_str!("../../e2e/config/kubelet.yaml")),
            ("cni/10-pods.conflist", include_str!("../../e2e/config/cni.conflist")),
        ] {
            fs::write(Path::new(STATE).join(file), fill(text))?;
        }
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // First who would start things again, then what it started, then what that was kept in.
        for last in [Part::Kubelet, Part::Controllers] {
            self.parts.iter_mut().filter(|(part, _)| *part == last).for_each(|(_, process)| drop(process.end()));
        }
        let containers = cgroup::kill_all();
        for (_, process) in self.parts.iter_mut().rev() {
            drop(process.end());
        }
        for (name, value) in &self.tunables {
            drop(fs::write(format!("/proc/sys/{name}"), value));
        }
        if let Err(error) = containers.and_then(|()| remains::clear()) {
            anstream::eprintln!("{0}the node could not be removed as a whole:{0:#} {error:#}", child::ERROR);
        }
    }
}

/// `kubectl` with this kubeconfig.
pub(crate) fn kubectl(bin: &Path, kubeconfig: &Path) -> Command {
    let mut command = Command::new(bin.join("kubernetes"));
    command.arg("kubectl").arg("--kubeconfig").arg(kubeconfig);
    // Nothing is discovered twice, and nothing is left in anybody's home.
    command.args(["--cache-dir", &format!("{STATE}/kubectl-cache")]);
    command
}

/// The kubeconfig of who may do everything.
pub(crate) fn admin() -> PathBuf {
    Path::new(STATE).join("admin.kubeconfig")
}

/// Where certificates are.
pub(crate) fn pki() -> PathBuf {
    Path::new(STATE).join("pki")
}

/// Moves the calling thread into the node's network namespace.
pub(crate) fn enter() -> Result<()> {
    let path = format!("/run/netns/{NAME}");
    let namespace = fs::File::open(&path).with_context(|| format!("no node is up: there is no {path}"))?;
    let kind = rustix::thread::LinkNameSpaceType::Network;
    rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(kind))
        .with_context(|| format!("cannot enter {path}: this must run as root"))
}

/// Asks the node's containerd, about what is Kubernetes'.
pub(crate) fn ctr<W: AsRef<std::ffi::OsStr>>(bin: &Path, words: &[W]) -> Result<String> {
    let mut command = Command::new(bin.join("ctr"));
    command.args(["--address", &format!("{STATE}/containerd.sock"), "--namespace", "k8s.io"]);
    child::read(command.args(words))
}

/// Two nodes would have the same names: the second waits for nobody and says so.
fn only() -> Result<fs::File> {
    let path = format!("{STATE}.lock");
    let lock = fs::File::create(&path).with_context(|| format!("cannot make {path}: this must run as root"))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .context("another `cargo xtask e2e` has its node up: let it end, or use that node by --kubeconfig")?;
    Ok(lock)
}

fn network() -> Result<()> {
    child::read(Command::new("ip").args(["netns", "add", NAME]))?;
    for words in [
        "link set lo up",
        &format!("addr add {SERVICE_ADDRESS}/32 dev lo"),
        // The kubelet wants an address on a real link, and the API server a default route.
        "link add node0 type bridge",
        &format!("addr add {NODE_ADDRESS}/24 dev node0"),
        "link set node0 up",
        "route add default dev node0",
    ] {
        child::read(Command::new("ip").args(["-n", NAME]).args(words.split(' ')))?;
    }
    Ok(())
}

fn identities() -> Result<()> {
    let authority = Authority::create(&pki())?;
    let server = format!(
        "IP:127.0.0.1,IP:{SERVICE_ADDRESS},IP:{NODE_ADDRESS},DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,\
         DNS:kubernetes.default.svc"
    );
    authority.issue("apiserver", "/CN=kube-apiserver", &server)?;
    authority.issue("kubelet", &format!("/CN={NAME}"), &format!("IP:{NODE_ADDRESS},DNS:{NAME}"))?;
    authority.issue("kubelet-client", "/O=system:masters/CN=kubelet-client", "DNS:kubelet-client")?;
    for (name, subject) in [
        ("admin", "/O=system:masters/CN=admin"),
        ("controllers", "/CN=system:kube-controller-manager"),
        ("scheduler", "/CN=system:kube-scheduler"),
        ("node", &*format!("/O=system:nodes/CN=system:node:{NAME}")),
    ] {
        authority.issue(name, subject, &format!("DNS:{name}"))?;
        authority.kubeconfig(name, SERVER, &Path::new(STATE).join(format!("{name}.kubeconfig")))?;
    }
    Ok(())
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::Controllers => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
        }
    }

    fn arguments(self) -> Vec<String> {
        let at = |file: &str| format!("{STATE}/{file}");
        let controllers = CONTROLLERS.join(",");
        let flags = match self {
            Self::Etcd => vec![("data-dir", at("etcd"))],
            Self::Containerd => {
                return vec!["--config".into(), at("containerd.toml"), "--log-level".into(), "warn".into()];
            }
            Self::ApiServer => vec![
                ("etcd-servers", "http://127.0.0.1:2379".into()),
                ("secure-port", "443".into()),
                ("advertise-address", NODE_ADDRESS.into()),
                ("tls-cert-file", at("pki/apiserver.crt")),
                ("tls-private-key-file", at("pki/apiserver.key")),
                ("client-ca-file", at("pki/ca.crt")),
                ("service-cluster-ip-range", "10.96.0.0/24".into()),
                ("service-account-issuer", "https://kubernetes.default.svc".into()),
                ("service-account-key-file", at("pki/accounts.key")),
                ("service-account-signing-key-file", at("pki/accounts.key")),
                ("kubelet-client-certificate", at("pki/kubelet-client.crt")),
                ("kubelet-client-key", at("pki/kubelet-client.key")),
                ("kubelet-certificate-authority", at("pki/ca.crt")),
                ("kubelet-preferred-address-types", "InternalIP".into()),
                ("authorization-mode", "Node,RBAC".into()),
                ("enable-admission-plugins", "NodeRestriction".into()),
                ("allow-privileged", "true".into()),
                ("feature-gates", "ContainerStopSignals=true".into()),
                ("profiling", "false".into()),
            ],
            Self::Controllers => vec![
                ("kubeconfig", at("controllers.kubeconfig")),
                ("authentication-kubeconfig", at("controllers.kubeconfig")),
                ("authorization-kubeconfig", at("controllers.kubeconfig")),
                ("bind-address", "127.0.0.1".into()),
                ("leader-elect", "false".into()),
                ("controllers", controllers),
                // Its own identity may little more than ask for those of its controllers.
                ("use-service-account-credentials", "true".into()),
                ("root-ca-file", at("pki/ca.crt")),
                ("service-account-private-key-file", at("pki/accounts.key")),
                ("kube-api-qps", "500".into()),
                ("kube-api-burst", "1000".into()),
            ],
            Self::Scheduler => vec![
                ("kubeconfig", at("scheduler.kubeconfig")),
                ("authentication-kubeconfig", at("scheduler.kubeconfig")),
                ("authorization-kubeconfig", at("scheduler.kubeconfig")),
                ("bind-address", "127.0.0.1".into()),
                ("leader-elect", "false".into()),
                ("kube-api-qps", "500".into()),
                ("kube-api-burst", "1000".into()),
            ],
            Self::Kubelet => vec![
                ("config", at("kubelet.yaml")),
                ("kubeconfig", at("node.kubeconfig")),
                ("root-dir", at("kubelet")),
                ("cert-dir", at("pki")),
                ("node-ip", NODE_ADDRESS.into()),
                ("hostname-override", NAME.into()),
            ],
        };
        let flags = flags.into_iter().map(|(flag, value)| format!("--{flag}={value}"));
        std::iter::once(self.name().to_owned()).chain(flags).collect()
    }
}
