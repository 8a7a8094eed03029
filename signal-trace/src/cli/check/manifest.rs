//! What a Kubernetes manifest says of its containers' starts and stops, and what of it an engine cannot do.
//!
//! Pure: text in, values out. Nothing is dropped in silence: what is not honoured is listed.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, PodSpec, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use serde_json::Value;

use super::hook::Hook;
use super::ready::Ready;
use crate::event::Signal;

/// What the API server gives a pod that does not say.
const USUAL_GRACE: u64 = 30;

/// Where kinds keep their pod.
const PLACES: [(&str, &str); 8] = [
    ("Pod", "/spec"),
    ("Deployment", "/spec/template/spec"),
    ("StatefulSet", "/spec/template/spec"),
    ("DaemonSet", "/spec/template/spec"),
    ("ReplicaSet", "/spec/template/spec"),
    ("Job", "/spec/template/spec"),
    ("CronJob", "/spec/jobTemplate/spec/template/spec"),
    ("PodTemplate", "/template/spec"),
];

/// A pod that a manifest describes.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) grace: Duration,
    pub(super) members: Vec<Member>,
    /// What is not done as it says.
    pub(super) unmet: Vec<String>,
}

/// One of its containers.
#[derive(Debug, Default)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) command: Option<Vec<String>>,
    pub(super) arguments: Option<Vec<String>>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) directory: Option<String>,
    pub(super) user: Option<String>,
    pub(super) stop_signal: Option<Signal>,
    pub(super) pre_stop: Option<Hook>,
    pub(super) ready: Option<Ready>,
    /// What is not done as it says.
    pub(super) unmet: Vec<String>,
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    pub(super) workloads: Vec<Workload>,
    /// Objects without a pod: `Service/cart`.
    pub(super) others: Vec<String>,
}

/// Reads a file of one or more objects, in YAML or JSON.
///
/// # Errors
///
/// It cannot be read as such, or a pod in it is none: in words.
pub(super) fn read(text: &str) -> Result<Manifest, String> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| error.without_snippet().to_string())?;
    let mut manifest = Manifest::default();
    for document in documents {
        match document.get("items").and_then(Value::as_array) {
            Some(items) => items.iter().try_for_each(|item| manifest.add(item))?,
            None if document.is_null() => {}
            None => manifest.add(&document)?,
        }
    }
    Ok(manifest)
}

impl Manifest {
    fn add(&mut self, object: &Value) -> Result<(), String> {
        let text = |place: &str| object.pointer(place).and_then(Value::as_str).map(str::to_owned);
        let kind = text("/kind").ok_or("an object has no kind: is this a manifest of Kubernetes?")?;
        let name = text("/metadata/name").or_else(|| text("/metadata/generateName")).unwrap_or_default();
        let Some((_, place)) = PLACES.iter().find(|(known, _)| *known == kind) else {
            self.others.push(format!("{kind}/{name}"));
            return Ok(());
        };
        let spec = object.pointer(place).ok_or_else(|| format!("{kind}/{name} has no {place}"))?;
        let spec: PodSpec =
            serde_json::from_value(spec.clone()).map_err(|error| format!("{kind}/{name}: {place}: {error}"))?;
        let namespace = text("/metadata/namespace").unwrap_or_else(|| "default".to_owned());
        self.workloads.push(workload(kind, namespace, name, &spec)?);
        Ok(())
    }
}

fn workload(kind: String, namespace: String, name: String, spec: &PodSpec) -> Result<Workload, String> {
    let seconds = spec.termination_grace_period_seconds.unwrap_or(USUAL_GRACE.cast_signed());
    let grace = u64::try_from(seconds).map_err(|_| format!("{kind}/{name}: a grace period is not negative"))?;
    let mut unmet = Vec::new();
    let mut members = Vec::new();
    for container in spec.init_containers.iter().flatten() {
        if container.restart_policy.as_deref() == Some("Always") {
            members.push(member(container, spec)?);
        } else {
            unmet.push(format!("init container {} (not run)", container.name));
        }
    }
    for container in &spec.containers {
        members.push(member(container, spec)?);
    }
    if members.is_empty() {
        return Err(format!("{kind}/{name} has no containers"));
    }
    if members.len() > 1 {
        unmet.push("containers side by side (each runs and stops alone)".to_owned());
    }
    let shared = [
        ("hostNetwork", spec.host_network),
        ("hostPID", spec.host_pid),
        ("hostIPC", spec.host_ipc),
        ("shareProcessNamespace", spec.share_process_namespace),
    ];
    unmet.extend(shared.into_iter().filter(|(_, on)| *on == Some(true)).map(|(key, _)| key.to_owned()));
    unmet.extend(other_keys("securityContext", spec.security_context.as_ref(), &["runAsUser", "runAsGroup"]));
    Ok(Workload { kind, namespace, name, grace: Duration::from_secs(grace), members, unmet })
}

fn member(container: &Container, pod: &PodSpec) -> Result<Member, String> {
    let wrong = |what: &str| format!("container {}: {what}", container.name);
    let mut unmet = Vec::new();
    let mut environment: Vec<(String, String)> = Vec::new();
    let mut known = HashMap::new();
    for variable in container.env.iter().flatten() {
        if variable.value_from.is_some() {
            unmet.push(format!("variable {} (valueFrom)", variable.name));
            continue;
        }
        let value = expanded(variable.value.as_deref().unwrap_or_default(), &known);
        known.insert(variable.name.clone(), value.clone());
        environment.push((variable.name.clone(), value));
    }
    let words = |words: &Option<Vec<String>>| {
        // An empty list is as good as none.
        let words = words.as_ref().filter(|words| !words.is_empty())?;
        Some(words.iter().map(|word| expanded(word, &known)).collect::<Vec<_>>())
    };
    let lifecycle = container.lifecycle.as_ref();
    let signal = |name: &String| Signal::parse(name).ok_or_else(|| wrong(&format!("there is no signal {name}")));
    let stop_signal = lifecycle.and_then(|lifecycle| lifecycle.stop_signal.as_ref()).map(signal).transpose()?;
    let pre_stop = lifecycle.and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    let pre_stop = pre_stop.map(|handler| hook(handler, container, &mut unmet)).transpose().map_err(|e| wrong(&e))?;
    let ready = container.readiness_probe.as_ref().map(|probe| readiness(probe, container, &mut unmet));
    let member = Member {
        name: container.name.clone(),
        image: container.image.clone().ok_or_else(|| wrong("it names no image"))?,
        command: words(&container.command),
        arguments: words(&container.args),
        environment,
        directory: container.working_dir.clone(),
        user: user(container, pod),
        stop_signal,
        pre_stop: pre_stop.flatten(),
        ready: ready.transpose().map_err(|error| wrong(&error))?.flatten(),
        unmet,
    };
    Ok(with_the_rest(member, container))
}

/// Names the parts that no engine is told of.
fn with_the_rest(mut member: Member, container: &Container) -> Member {
    let limits = container.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    let parts = [
        ("envFrom", container.env_from.as_ref().is_some_and(|list| !list.is_empty())),
        ("volumeMounts", container.volume_mounts.as_ref().is_some_and(|list| !list.is_empty())),
        ("volumeDevices", container.volume_devices.as_ref().is_some_and(|list| !list.is_empty())),
        ("resources.limits", limits.is_some_and(|limits| !limits.is_empty())),
        ("postStart", container.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.post_start.is_some())),
        ("livenessProbe", container.liveness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
        ("tty", container.tty == Some(true)),
        ("stdin", container.stdin == Some(true)),
    ];
    member.unmet.extend(parts.into_iter().filter(|(_, there)| *there).map(|(key, _)| key.to_owned()));
    let done = ["runAsUser", "runAsGroup"];
    member.unmet.extend(other_keys("securityContext", container.security_context.as_ref(), &done));
    member
}

/// The keys of an object that stand in it and are none of these.
fn other_keys<T: Serialize>(name: &str, object: Option<&T>, done: &[&str]) -> Vec<String> {
    let value = object.and_then(|object| serde_json::to_value(object).ok()).unwrap_or_default();
    let keys = value.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    keys.filter(|key| !done.contains(key)).map(|key| format!("{name}.{key}")).collect()
}

fn user(container: &Container, pod: &PodSpec) -> Option<String> {
    let own = container.security_context.as_ref();
    let pods = pod.security_context.as_ref();
    let user = own.and_then(|own| own.run_as_user).or_else(|| pods?.run_as_user)?;
    let group = own.and_then(|own| own.run_as_group).or_else(|| pods?.run_as_group);
    Some(group.map_or_else(|| user.to_string(), |group| format!("{user}:{group}")))
}

fn hook(handler: &LifecycleHandler, container: &Container, unmet: &mut Vec<String>) -> Result<Option<Hook>, String> {
    if let Some(words) = handler.exec.as_ref().and_then(|exec| exec.command.clone()) {
        return if words.is_empty() { Err("preStop has no command".to_owned()) } else { Ok(Some(Hook::Exec(words))) };
    }
    if let Some(sleep) = &handler.sleep {
        let seconds = u64::try_from(sleep.seconds).map_err(|_| "preStop sleeps for no time")?;
        return Ok(Some(Hook::Sleep(Duration::from_secs(seconds))));
    }
    if let Some(get) = &handler.http_get {
        if get.scheme.as_deref() == Some("HTTPS") || get.host.is_some() || get.http_headers.is_some() {
            unmet.push("preStop (httpGet with https, a host or headers: not sent)".to_owned());
            return Ok(None);
        }
        let address = format!("127.0.0.1:{}", port(&get.port, container)?);
        return Ok(Some(Hook::Get { address, path: path(get.path.as_deref()) }));
    }
    unmet.push("preStop (of a kind that the kubelet does not run)".to_owned());
    Ok(None)
}

/// The readiness probe as a condition, where it can be one.
fn readiness(probe: &Probe, container: &Container, unmet: &mut Vec<String>) -> Result<Option<Ready>, String> {
    if let Some(socket) = &probe.tcp_socket
        && socket.host.is_none()
    {
        return Ok(Some(Ready::Tcp { address: format!("127.0.0.1:{}", port(&socket.port, container)?) }));
    }
    if let Some(get) = &probe.http_get
        && get.host.is_none()
        && get.scheme.as_deref() != Some("HTTPS")
    {
        let address = format!("127.0.0.1:{}", port(&get.port, container)?);
        return Ok(Some(Ready::Http { address, path: path(get.path.as_deref()) }));
    }
    unmet.push("readinessProbe (give --ready)".to_owned());
    Ok(None)
}

fn path(path: Option<&str>) -> String {
    let path = path.unwrap_or_default().trim_start_matches('/');
    let plain: String = path.chars().filter(|c| !c.is_ascii_control() && *c != ' ').collect();
    format!("/{plain}")
}

/// A port by its number, or by the name that the container gives it.
fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let ports = container.ports.iter().flatten();
            let named = ports.filter(|port| port.name.as_deref() == Some(name)).map(|port| port.container_port).next();
            named.or_else(|| name.parse().ok())
        }
    };
    number.and_then(|number| u16::try_from(number).ok()).ok_or_else(|| format!("it has no port {port:?}"))
}

/// `$(NAME)` replaced as the kubelet does: `$$` is a dollar, and what is not known stays as it is.
fn expanded(text: &str, known: &HashMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        rest = if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            after
        } else if let Some((name, after)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match known.get(name) {
                Some(value) => out.push_str(value),
                None => out.extend(["$(", name, ")"]),
            }
            after
        } else {
            out.push('$');
            after
        };
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPLOYMENT: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: cart}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: cart, namespace: shop}
spec:
  template:
    spec:
      terminationGracePeriodSeconds: 45
      shareProcessNamespace: true
      securityContext: {runAsUser: 1000, fsGroup: 2000}
      initContainers:
        - {name: migrate, image: "shop/migrate:1"}
        - {name: proxy, image: "shop/proxy:1", restartPolicy: Always}
      containers:
        - name: app
          image: shop/cart:1.4
          command: [/cart]
          args: ["--port=$(PORT)", "--price=$$(PORT)", "--other=$(NOT_KNOWN)"]
          ports: [{name: web, containerPort: 8080}]
          env:
            - {name: PORT, value: "8080"}
            - {name: URL, value: "http://localhost:$(PORT)/"}
            - {name: TOKEN, valueFrom: {secretKeyRef: {name: cart, key: token}}}
          envFrom: [{configMapRef: {name: cart}}]
          volumeMounts: [{name: data, mountPath: /data}]
          readinessProbe: {httpGet: {path: /healthz, port: web}}
          securityContext: {runAsGroup: 3000, readOnlyRootFilesystem: true}
          lifecycle:
            stopSignal: SIGQUIT
            preStop: {exec: {command: [/cart, drain]}}
"#;

    #[test]
    fn a_template_is_read_and_what_is_not_honoured_is_listed() {
        let manifest = read(DEPLOYMENT).unwrap();
        assert_eq!(manifest.others, ["Service/cart"]);
        let [cart] = &manifest.workloads[..] else { panic!("{manifest:?}") };
        assert_eq!((&*cart.kind, &*cart.namespace, &*cart.name), ("Deployment", "shop", "cart"));
        assert_eq!(cart.grace, Duration::from_secs(45));
        let unmet = [
            "init container migrate (not run)",
            "containers side by side (each runs and stops alone)",
            "shareProcessNamespace",
            "securityContext.fsGroup",
        ];
        assert_eq!(cart.unmet, unmet);
        let [proxy, app] = &cart.members[..] else { panic!("{:?}", cart.members) };
        assert_eq!((&*proxy.name, &*proxy.image, proxy.user.as_deref()), ("proxy", "shop/proxy:1", Some("1000")));
        assert_eq!(app.command.as_deref(), Some(&["/cart".to_owned()][..]));
        assert_eq!(app.arguments.as_ref().unwrap().join(" "), "--port=8080 --price=$(PORT) --other=$(NOT_KNOWN)");
        assert_eq!(app.environment[1], ("URL".to_owned(), "http://localhost:8080/".to_owned()));
        assert_eq!((app.user.as_deref(), app.stop_signal), (Some("1000:3000"), Some(Signal::QUIT)));
        assert_eq!(app.pre_stop, Some(Hook::Exec(vec!["/cart".into(), "drain".into()])));
        let Some(Ready::Http { address, path }) = &app.ready else { panic!("{:?}", app.ready) };
        assert_eq!((&**address, &**path), ("127.0.0.1:8080", "/healthz"));
        let unmet = ["variable TOKEN (valueFrom)", "envFrom", "volumeMounts", "securityContext.readOnlyRootFilesystem"];
        assert_eq!(app.unmet, unmet);
    }

    fn pod(container: &str) -> Result<Member, String> {
        let text = format!(r#"{{"kind": "Pod", "spec": {{"containers": [{container}]}}}}"#);
        read(&text).map(|mut manifest| manifest.workloads.remove(0).members.remove(0))
    }

    #[test]
    fn every_kind_of_hook_is_run_or_named() {
        let hook = |hook: &str| {
            let container = format!(r#"{{"name": "a", "image": "i", "lifecycle": {{"preStop": {hook}}}}}"#);
            pod(&container).map(|member| (member.pre_stop, member.unmet))
        };
        let run = |hook| Ok((Some(hook), vec![]));
        assert_eq!(hook(r#"{"sleep": {"seconds": 5}}"#), run(Hook::Sleep(Duration::from_secs(5))));
        let get = Hook::Get { address: "127.0.0.1:80".into(), path: "/drain".into() };
        assert_eq!(hook(r#"{"httpGet": {"port": 80, "path": "drain"}}"#), run(get));
        for not_run in [r#"{"httpGet": {"port": 443, "scheme": "HTTPS"}}"#, r#"{"tcpSocket": {"port": 80}}"#] {
            let (hook, unmet) = hook(not_run).unwrap();
            assert!(hook.is_none() && unmet[0].starts_with("preStop ("), "{unmet:?}");
        }
        assert!(hook(r#"{"httpGet": {"port": "web"}}"#).unwrap_err().contains("it has no port"));
        assert!(hook(r#"{"exec": {"command": []}}"#).unwrap_err().contains("preStop has no command"));
    }

    #[test]
    fn the_pod_is_found_in_every_kind_and_in_lists() {
        let pod = r#"{"containers": [{"name": "a", "image": "i"}]}"#;
        for (kind, place) in PLACES {
            let inner = place.rsplit('/').filter(|key| !key.is_empty());
            let object = inner.fold(pod.to_owned(), |inner, key| format!(r#"{{"{key}": {inner}}}"#));
            let object = format!(r#"{{"kind": "{kind}", "metadata": {{"name": "n"}}, {}"#, &object[1..]);
            let list = format!(r#"{{"kind": "List", "items": [{object}]}}"#);
            for text in [object, list] {
                let found = read(&text).unwrap();
                assert_eq!(found.workloads[0].grace, Duration::from_secs(30), "{text}");
                assert_eq!(found.workloads[0].members[0].image, "i", "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_pod_is_refused_with_its_place() {
        for (text, problem) in [
            ("a: [", ""),
            ("name: x", "has no kind"),
            (r#"{"kind": "Pod", "metadata": {"name": "p"}}"#, "Pod/p has no /spec"),
            (r#"{"kind": "Pod", "spec": {"containers": []}}"#, "has no containers"),
            (r#"{"kind": "Pod", "spec": {"containers": 1}}"#, "/spec: "),
            (r#"{"kind": "Pod", "spec": {"containers": [{"name": "a"}]}}"#, "container a: it names no image"),
            (
                r#"{"kind": "Pod", "spec": {"containers": [{"name": "a", "image": "i", "lifecycle": {"stopSignal": "X"}}]}}"#,
                "there is no signal X",
            ),
            (r#"{"kind": "Pod", "spec": {"terminationGracePeriodSeconds": -1, "containers": []}}"#, "not negative"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
    }
}
