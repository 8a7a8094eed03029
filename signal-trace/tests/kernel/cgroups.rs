//! Cgroups that come and go, and what they inherit.

use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use signal_trace::event::{CgroupId, EventKind, Signal};
use signal_trace::kernel::Tracked;

use crate::actor::{Actor, SAME_NAMESPACE};
use crate::cgroup::Cgroup;
use crate::story::{Recorder, Story};

#[test]
fn a_nested_cgroup_is_part_of_the_container_before_anybody_is_in_it() {
    let container = Cgroup::new();
    let mut story = Story::of(&container);
    let nested = container.nested("nested");
    let inner = nested.nested("inner");
    let inherited = Tracked { root: container.id().0, ..Tracked::default() };
    for cgroup in [&nested, &inner] {
        assert_eq!(Recorder::shared().kernel().tracked(cgroup.id()).unwrap(), Some(inherited));
    }
    story = story.also(&nested, "nested").also(&inner, "inner");
    let actor = Actor::start(c"actor", &inner, SAME_NAMESPACE, |stage| {
        stage.ignore(Signal::TERM);
        stage.ready();
        stage.sleep()
    });
    story.cast(actor.pid(), "actor");
    actor.signal(Signal::TERM);
    assert!(Recorder::shared().kernel().is_open(container.id()).unwrap(), "the window is the container's");
    assert!(!Recorder::shared().kernel().is_open(inner.id()).unwrap());
    assert_eq!(
        story.until("sigterm outside > actor ignored ignore"),
        [
            "made nested in container",
            "made inner in nested",
            "fork actor of outside in inner",
            "sigterm outside > actor ignored ignore"
        ]
    );
}

#[test]
fn a_cgroup_that_is_gone_is_forgotten_with_its_window() {
    let container = Cgroup::new();
    let id = container.id();
    let mut story = Story::of(&container);
    let now = signal_trace::kernel::boot_time();
    Recorder::shared().kernel().open_window(id, now).unwrap();
    assert_eq!(Recorder::shared().kernel().window(id).unwrap(), Some(now));
    container.remove();
    assert_eq!(Recorder::shared().kernel().tracked(id).unwrap(), None);
    assert_eq!(Recorder::shared().kernel().window(id).unwrap(), None);
    assert_eq!(story.until("gone container"), ["gone container"]);
}

#[test]
fn what_is_not_tracked_is_announced_but_not_inherited() {
    let outer = Cgroup::new();
    let stranger = outer.nested("stranger");
    let id = stranger.id();
    assert_eq!(Recorder::shared().kernel().tracked(id).unwrap(), None);
    let mut story = Story::of(&outer).also(&stranger, "stranger");
    stranger.remove();
    story.until("gone stranger");
}

#[test]
fn an_entry_of_the_table_can_be_replaced_and_removed() {
    let container = Cgroup::new();
    let mut recorder = Recorder::shared();
    let kernel = recorder.kernel();
    assert_eq!(kernel.tracked(container.id()).unwrap(), None);
    let entry = Tracked { root: container.id().0, pid_ns_inode: 1, pid_ns_device: 2, init: 3 };
    kernel.track(container.id(), Tracked::default()).unwrap();
    kernel.track(container.id(), entry).unwrap();
    assert_eq!(kernel.tracked(container.id()).unwrap(), Some(entry));
    kernel.untrack(container.id()).unwrap();
    assert_eq!(kernel.tracked(container.id()).unwrap(), None);
    kernel.untrack(container.id()).unwrap();
    kernel.close_window(container.id()).unwrap();
}

#[test]
fn the_ids_of_another_hierarchy_mean_nothing() {
    let container = Cgroup::new();
    let hierarchy = Hierarchy::mount();
    let foreign = Cgroup::make(hierarchy.0.join("foreign"));
    let id = foreign.id();
    // A v2 cgroup of that very id may exist: it must survive what happens to its namesake.
    let namesake = Tracked { root: id.0, ..Tracked::default() };
    Recorder::shared().kernel().track(id, namesake).unwrap();
    foreign.nested("below").remove();
    foreign.remove();
    assert_eq!(Recorder::shared().kernel().tracked(id).unwrap(), Some(namesake));
    Recorder::shared().kernel().untrack(id).unwrap();
    // What comes now is recorded after what the above could have been.
    let mut story = Story::of(&container);
    container.remove();
    story.until("gone container");
    let hierarchy_events = Recorder::shared().events().iter().filter(|event| concerns(&event.kind, id)).count();
    assert_eq!(hierarchy_events, 0);
}

fn concerns(kind: &EventKind, cgroup: CgroupId) -> bool {
    match kind {
        EventKind::CgroupMade { id, parent } => *id == cgroup || *parent == cgroup,
        EventKind::CgroupGone(id) => *id == cgroup,
        EventKind::Signal(_) | EventKind::Fork(_) | EventKind::Move(_) | EventKind::Exit(_) | EventKind::OomMark(_) => {
            false
        }
    }
}

/// A v1 hierarchy without controllers, for as long as the test runs.
struct Hierarchy(PathBuf);

impl Hierarchy {
    fn mount() -> Self {
        let name = format!("signal-trace-test-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        std::fs::create_dir(&path).unwrap();
        let options = std::ffi::CString::new(format!("none,name={name}")).unwrap();
        mount("none", &path, "cgroup", MountFlags::empty(), Some(options.as_c_str())).unwrap();
        Self(path)
    }
}

impl Drop for Hierarchy {
    fn drop(&mut self) {
        let path: &Path = &self.0;
        let _ = unmount(path, UnmountFlags::empty());
        let _ = std::fs::remove_dir(path);
    }
}
