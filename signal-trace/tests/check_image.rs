//! `signal-trace check --image` with podman: images by name, archives and folders, what is left of them, and what is said
//! where there is no engine. On this kernel; podman's images are this test's alone.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const OWN: &str = env!("CARGO_BIN_EXE_signal-trace");
const PATIENCE: Duration = Duration::from_secs(60);

/// A shell that passes nothing on, as most images have it.
const BAD: &str = r#"CMD ["/bin/sh", "-c", "echo ready; sleep 1000; true"]"#;
/// Ends in order, at another signal than usual, as the user it was made for.
const GOOD: [&str; 4] = [
    r#"ENTRYPOINT ["/bin/sh", "-c"]"#,
    r#"CMD ["trap 'exit 0' QUIT; echo $GREETING; id -u; while :; do sleep 0.05; done"]"#,
    "ENV GREETING=ready",
    "STOPSIGNAL SIGQUIT",
];

/// podman with a storage of its own.
struct Podman {
    directory: TempDir,
}

impl Podman {
    fn new() -> Self {
        let podman = Self { directory: tempfile::tempdir().unwrap() };
        let at = podman.directory.path().display();
        let containers = format!(
            "[containers]\nnetns = \"none\"\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=10000:10000\"]\n[engine]\n\
             cgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nruntime = \"runc\"\ntmp_dir = \"{at}/tmp\"\n"
        );
        let storage = format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{at}/root\"\nrunroot = \"{at}/run\"\n");
        fs::write(podman.path("containers.conf"), containers).unwrap();
        fs::write(podman.path("storage.conf"), storage).unwrap();
        let bin = podman.path("rootfs/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::create_dir_all(podman.path("rootfs/tmp")).unwrap();
        fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        for applet in ["sh", "sleep", "id", "httpd", "kill"] {
            symlink("busybox", bin.join(applet)).unwrap();
        }
        podman
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.directory.path()).env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
        command.env("CONTAINERS_CONF", self.path("containers.conf"));
        command.env("CONTAINERS_STORAGE_CONF", self.path("storage.conf"));
        command
    }

    fn podman(&self, words: &[&str]) -> String {
        let output = self.command("podman").args(words).output().unwrap();
        assert!(output.status.success(), "podman {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// An image of the folder, as a build would leave it.
    fn build(&self, name: &str, changes: &[&str]) {
        let layer = self.path("layer.tar");
        let tar =
            Command::new("tar").arg("-C").arg(self.path("rootfs")).arg("-cf").arg(&layer).arg(".").status().unwrap();
        assert!(tar.success());
        let mut words = vec!["import", "--quiet"];
        words.extend(changes.iter().flat_map(|change| ["--change", *change]));
        words.extend(["layer.tar", name]);
        self.podman(&words);
    }

    fn check(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut check = self.command(OWN);
        let output = check.args(["check", "--engine", "podman", "--grace", "1s"]).args(arguments).output().unwrap();
        said(&output)
    }

    fn images(&self) -> String {
        self.podman(&["images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"])
    }

    fn assert_no_container(&self) {
        assert_eq!(self.podman(&["ps", "--all", "--quiet"]), "", "a container is left");
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // Whatever a failed test left.
        let _ = self.command("podman").args(["rm", "--all", "--force", "--time", "0"]).output();
    }
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn an_image_is_run_and_stopped_as_it_says_itself() {
    let podman = Podman::new();
    podman.build("shop/good:1", &GOOD);
    podman.build("shop/bad:1", &[BAD]);

    let (code, output, errors) = podman.check(&["--image", "shop/good:1", "--ready", "log:^ready$", "--json"]);
    assert_eq!(code, Some(0), "{errors}");
    let record: Value = serde_json::from_str(&output).unwrap();
    assert_eq!((&record["outcome"], &record["stop_signal"]), (&"graceful".into(), &"SIGQUIT".into()), "{record:#}");
    let container = &record["container"];
    assert_eq!(
        (&container["name"], &container["image"], &container["runtime"]),
        (&"good".into(), &"shop/good:1".into(), &"podman".into())
    );
    // What the command line says wins over what the image says.
    let (code, output, errors) = podman.check(&["--image", "shop/good:1", "--signal", "TERM", "--json"]);
    assert_eq!(code, Some(3), "{errors}");
    assert!(output.contains(r#""stop_signal":"SIGTERM""#), "{output}");

    let bad =
        ["--image", "shop/bad:1", "--ready", "log:ready", "--quiet", "--output", "text", "--output", "junit=c.xml"];
    let (code, output, errors) = podman.check(&bad);
    assert_eq!(code, Some(3), "{errors}");
    assert!(output.contains("not_forwarded"), "{output}");
    assert!(fs::read_to_string(podman.path("c.xml")).unwrap().contains("bad"));
    let exec = ["--image", "shop/bad:1", "--", "/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"];
    let (code, _, errors) = podman.check(&exec);
    assert_eq!(code, Some(0), "{errors}");
    podman.assert_no_container();
}

#[test]
fn an_archive_leaves_no_image_and_takes_no_name() {
    let podman = Podman::new();
    podman.build("shop/good:1", &GOOD);
    podman.podman(&["save", "--quiet", "--output", "good.tar", "shop/good:1"]);
    podman.podman(&["save", "--quiet", "--format", "oci-archive", "--output", "good.oci", "shop/good:1"]);
    podman.podman(&["rmi", "shop/good:1"]);
    for archive in ["good.tar", "good.oci"] {
        let (code, _, errors) = podman.check(&["--image", archive, "--ready", "log:ready"]);
        assert_eq!(code, Some(0), "{archive}: {errors}");
        assert_eq!(podman.images(), "", "{archive}");
    }
    podman.build("localhost/shop/good:1", &[BAD]);
    let before = podman.images();
    let (code, _, errors) = podman.check(&["--image", "good.tar", "--ready", "log:ready"]);
    assert_eq!(code, Some(0), "the archive's own image is run: {errors}");
    assert_eq!(podman.images(), before);
    fs::write(podman.path("broken.tar"), "no archive").unwrap();
    let (code, _, errors) = podman.check(&["--image", "broken.tar"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("cannot load broken.tar: podman load"), "{errors}");
}

#[test]
fn a_folder_is_a_root_file_system_and_needs_a_command() {
    let podman = Podman::new();
    let (code, _, errors) = podman.check(&["--image", "rootfs"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("rootfs is a folder"), "{errors}");
    let command = ["--image", "rootfs", "--", "/bin/sh", "-c", "sleep 1000; true"];
    let (code, output, errors) = podman.check(&command);
    assert_eq!(code, Some(3), "{errors}");
    assert!(output.contains("not_forwarded"), "{output}");
    podman.assert_no_container();
}

#[test]
fn ports_and_load_are_of_the_containers_own_network() {
    let podman = Podman::new();
    let script = "trap 'kill $!; wait $!; exit 0' TERM; sleep 0.3; httpd -f -p 8080 -h /tmp & wait";
    let command = ["--", "/bin/sh", "-c", script];
    // In a network without any other interface: what is reached here is the container's own.
    let load = "busybox wget -q -O - http://127.0.0.1:8080/ 2>&1 | grep -q 404 && touch reached; sleep 1000";
    let arguments = [&["--image", "rootfs", "--ready", "tcp:8080", "--load", load][..], &command].concat();
    let (code, _, errors) = podman.check(&arguments);
    assert_eq!(code, Some(0), "{errors}");
    let never = [&["--image", "rootfs", "--ready", "tcp:8081", "--ready-within", "1s"][..], &command].concat();
    let (code, _, errors) = podman.check(&never);
    assert_eq!(code, Some(1));
    assert!(errors.contains("nobody listens on 127.0.0.1:8081"), "{errors}");
    podman.assert_no_container();
}

#[test]
fn an_interrupted_check_leaves_nothing() {
    let podman = Podman::new();
    podman.build("shop/bad:1", &[BAD]);
    let mut check = podman.command(OWN);
    check.args(["check", "--engine", "podman", "--image", "shop/bad:1", "--ready", "log:^never$"]);
    let check = check.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while podman.podman(&["ps", "--quiet"]).is_empty() {
        assert!(began.elapsed() < PATIENCE, "the container does not start");
    }
    assert!(Command::new("kill").arg(check.id().to_string()).status().unwrap().success());
    let (code, _, errors) = said(&check.wait_with_output().unwrap());
    assert_eq!(code, Some(1));
    assert!(errors.contains("terminated before the verdict"), "{errors}");
    podman.assert_no_container();
}

#[test]
fn what_cannot_be_run_is_said_with_the_way_out() {
    let podman = Podman::new();
    let mut check = podman.command(OWN);
    let output = check.args(["check", "--image", "shop/bad:1"]).env("PATH", "/nowhere").output().unwrap();
    let (code, _, errors) = said(&output);
    assert_eq!(code, Some(1));
    assert!(errors.contains("podman is not installed; docker is not installed; ctr is not installed"), "{errors}");
    assert!(errors.contains("install podman, start Docker or containerd"), "{errors}");

    let (code, _, errors) = podman.check(&["--image", "localhost:1/shop/nothing:1"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("podman has no image localhost:1/shop/nothing:1 and cannot pull it"), "{errors}");

    podman.build("shop/none:1", &["CMD [\"/no/such/program\"]"]);
    let (code, _, errors) = podman.check(&["--image", "shop/none:1"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("/no/such/program"), "{errors}");

    podman.build("shop/empty:1", &[]);
    let (code, _, errors) = podman.check(&["--image", "shop/empty:1"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("neither ENTRYPOINT nor CMD"), "{errors}");

    podman.assert_no_container();
}
