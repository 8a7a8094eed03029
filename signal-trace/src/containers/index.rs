//! Whose a cgroup id is: the answer to every record that the kernel sends, out of memory.
//!
//! Pure: no file system, no clock, no waiting, no failure. It is told of cgroups that come and go, in any order, and
//! keeps for each the container that encloses it, so that the question costs one lookup. It knows what a path said
//! ([`Identity`]) and nothing of pods, images or verdicts.

use std::iter;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use super::{Cgroup, Identity};
use crate::event::CgroupId;
use crate::judge::shutdown::ContainerFacts;

/// Containers in containers, at most: more is taken for a circle.
const NESTING: usize = 64;

/// The known cgroups.
#[derive(Clone, Debug)]
pub struct Index {
    nodes: HashMap<CgroupId, Node>,
    /// By parent, which need not be known itself.
    children: HashMap<CgroupId, HashSet<CgroupId>>,
    limit: usize,
    refused: u64,
}

/// A known cgroup.
#[derive(Clone, Debug)]
struct Node {
    parent: CgroupId,
    /// The innermost container above it, as far as what is above it is known.
    above: Option<CgroupId>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Plain { path: String },
    Container { identity: Identity, facts: Arc<ContainerFacts> },
}

impl Index {
    /// An empty index that holds `limit` cgroups.
    ///
    /// A quarter of them is kept for cgroups that no container encloses: a container that floods itself with cgroups
    /// keeps no other one out.
    pub fn new(limit: usize) -> Self {
        Self { nodes: HashMap::default(), children: HashMap::default(), limit, refused: 0 }
    }

    /// Takes in a cgroup, or what is now known of one. Returns those whose container is another one than before.
    pub fn apply(&mut self, cgroup: Cgroup) -> Vec<CgroupId> {
        let Cgroup { id, parent, path, container } = cgroup;
        let above = if parent == id { None } else { self.container_of(parent) };
        let room = if above.is_some() { self.limit - self.limit / 4 } else { self.limit };
        let before = self.container_of(id);
        match self.nodes.get(&id) {
            Some(known) => unlink(&mut self.children, known.parent, id),
            None if self.nodes.len() >= room => {
                self.refused += 1;
                return Vec::new();
            }
            None => {}
        }
        if parent != id {
            self.children.entry(parent).or_default().insert(id);
        }
        let kind = self.kind(id, path, container);
        self.nodes.insert(id, Node { parent, above, kind });
        let mut changed = Vec::new();
        if self.container_of(id) != before {
            changed.push(id);
        }
        self.spread(id, &mut changed);
        changed
    }

    /// What a cgroup is, with the facts of a container that is known already: whoever holds them sees no other ones.
    fn kind(&self, id: CgroupId, path: String, container: Option<Identity>) -> Kind {
        let Some(identity) = container else { return Kind::Plain { path } };
        if let Some(Node { kind: Kind::Container { identity: known, facts }, .. }) = self.nodes.get(&id)
            && *known == identity
            && facts.cgroup_path == path
        {
            return Kind::Container { identity, facts: Arc::clone(facts) };
        }
        let facts = Arc::new(ContainerFacts {
            cgroup: id,
            cgroup_path: path,
            runtime: identity.runtime,
            id: identity.id.clone(),
            name: None,
            image: None,
            pod: None,
        });
        Kind::Container { identity, facts }
    }

    /// Forgets a cgroup. What is known below it then belongs to what it belonged to. Returns those whose container is
    /// another one than before.
    ///
    /// The names of a container are gone with it: forget it when nobody asks for them any more.
    pub fn delete(&mut self, id: CgroupId) -> Vec<CgroupId> {
        let Some(node) = self.nodes.remove(&id) else { return Vec::new() };
        let mut changed = Vec::new();
        if node.parent == id {
            self.set_above(id, None, &mut changed);
            return changed;
        }
        unlink(&mut self.children, node.parent, id);
        self.set_above(id, node.above, &mut changed);
        for child in self.children.remove(&id).unwrap_or_default() {
            if let Some(node_below) = self.nodes.get_mut(&child) {
                node_below.parent = node.parent;
            }
            // Parents that form a circle would make it its own child.
            if child != node.parent {
                self.children.entry(node.parent).or_default().insert(child);
            }
        }
        changed
    }

    /// The innermost container whose own cgroup this is, or is above it.
    pub fn container_of(&self, id: CgroupId) -> Option<CgroupId> {
        let node = self.nodes.get(&id)?;
        match node.kind {
            Kind::Container { .. } => Some(id),
            Kind::Plain { .. } => node.above,
        }
    }

    /// Whether the container of `inner` is nested, at any depth, in the container of `outer`.
    pub fn encloses(&self, outer: CgroupId, inner: CgroupId) -> bool {
        let Some(outer) = self.container_of(outer) else { return false };
        let above = |container: &CgroupId| self.nodes.get(container).and_then(|node| node.above);
        let innermost = self.container_of(inner);
        iter::successors(innermost.as_ref().and_then(above), above).take(NESTING).any(|container| container == outer)
    }

    /// A cgroup's path below the mount of the hierarchy.
    pub fn path(&self, id: CgroupId) -> Option<&str> {
        match &self.nodes.get(&id)?.kind {
            Kind::Plain { path } => Some(path),
            Kind::Container { facts, .. } => Some(&facts.cgroup_path),
        }
    }

    /// The names of the container whose own cgroup is `root`: those that its path tells.
    pub fn facts(&self, root: CgroupId) -> Option<&Arc<ContainerFacts>> {
        match &self.nodes.get(&root)?.kind {
            Kind::Plain { .. } => None,
            Kind::Container { facts, .. } => Some(facts),
        }
    }

    /// What the path of the container says whose own cgroup is `root`.
    pub fn identity(&self, root: CgroupId) -> Option<&Identity> {
        match &self.nodes.get(&root)?.kind {
            Kind::Plain { .. } => None,
            Kind::Container { identity, .. } => Some(identity),
        }
    }

    /// The uid of the pod of the container whose own cgroup is `root`.
    pub fn pod_uid(&self, root: CgroupId) -> Option<&str> {
        self.identity(root)?.pod_uid.as_deref()
    }

    /// Whether both are containers' own cgroups, of one pod.
    pub fn same_pod(&self, a: CgroupId, b: CgroupId) -> bool {
        self.pod_uid(a).is_some_and(|uid| self.pod_uid(b) == Some(uid))
    }

    /// Every container, by its own cgroup, in no order.
    pub fn containers(&self) -> impl Iterator<Item = (CgroupId, &Identity)> {
        self.nodes.iter().filter_map(|(id, node)| match &node.kind {
            Kind::Plain { .. } => None,
            Kind::Container { identity, .. } => Some((*id, identity)),
        })
    }

    /// Known cgroups that are not in `seen`: after lost records, a scan shows by this what is to be deleted.
    pub fn missing_from(&self, seen: &[Cgroup]) -> Vec<CgroupId> {
        let seen: HashSet<_> = seen.iter().map(|cgroup| cgroup.id).collect();
        self.nodes.keys().filter(|id| !seen.contains(id)).copied().collect()
    }

    /// How many cgroups are known.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many cgroups the limit has kept out: what lives in them is taken to be outside of every container.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Tells what is below `id` which container encloses it.
    fn spread(&mut self, id: CgroupId, changed: &mut Vec<CgroupId>) {
        self.set_above(id, self.container_of(id), changed);
    }

    /// Sets the container above the children of `of` and, through those that are no containers, of what is below them.
    ///
    /// It stops at what knows already, and so comes to an end also where parents form a circle.
    fn set_above(&mut self, of: CgroupId, above: Option<CgroupId>, changed: &mut Vec<CgroupId>) {
        let mut stack = vec![of];
        while let Some(parent) = stack.pop() {
            for child in self.children.get(&parent).into_iter().flatten() {
                let Some(node) = self.nodes.get_mut(child).filter(|node| node.above != above) else { continue };
                node.above = above;
                if matches!(node.kind, Kind::Plain { .. }) {
                    changed.push(*child);
                    stack.push(*child);
                }
            }
        }
    }
}

/// Takes `child` out of the children of `parent`.
fn unlink(children: &mut HashMap<CgroupId, HashSet<CgroupId>>, parent: CgroupId, child: CgroupId) {
    if let Some(siblings) = children.get_mut(&parent) {
        siblings.remove(&child);
        if siblings.is_empty() {
            children.remove(&parent);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index as Pick;

    use super::super::Runtime;
    use super::*;

    fn id(number: usize) -> CgroupId {
        CgroupId(number as u64)
    }

    fn plain(number: usize, parent: usize) -> Cgroup {
        Cgroup { id: id(number), parent: id(parent), path: format!("/{number}"), container: None }
    }

    fn container(number: usize, parent: usize, pod_uid: Option<&str>) -> Cgroup {
        let identity =
            Identity { runtime: Runtime::Containerd, id: format!("c{number}"), pod_uid: pod_uid.map(str::to_owned) };
        Cgroup { container: Some(identity), ..plain(number, parent) }
    }

    /// 1 root, 2 pod, 3 container, 4 a group of it, 5 a container nested in that, 6 a group of it; 7 and 8 beside 3.
    fn node() -> Vec<Cgroup> {
        vec![
            plain(1, 1),
            plain(2, 1),
            container(3, 2, Some("u")),
            plain(4, 3),
            container(5, 4, Some("inner")),
            plain(6, 5),
            container(7, 2, Some("u")),
            container(8, 1, None),
        ]
    }

    fn filled(cgroups: Vec<Cgroup>) -> Index {
        let mut index = Index::new(1000);
        for cgroup in cgroups {
            index.apply(cgroup);
        }
        index
    }

    #[test]
    fn the_innermost_container_answers() {
        let index = filled(node());
        let of = |number| index.container_of(id(number)).map(|root| root.0);
        let expected = [None, None, None, Some(3), Some(3), Some(5), Some(5), Some(7), Some(8), None];
        assert_eq!((0..10).map(of).collect::<Vec<_>>(), expected);
        assert_eq!(index.len(), 8);
        let mut containers: Vec<_> = index.containers().map(|(root, identity)| (root.0, identity.id.clone())).collect();
        containers.sort();
        assert_eq!(containers, [3, 5, 7, 8].map(|number| (number, format!("c{number}"))));
    }

    #[test]
    fn nested_containers_are_enclosed_and_others_are_not() {
        let index = filled(node());
        for (outer, inner, expected) in [
            (3, 5, true),
            (4, 6, true),
            (5, 3, false),
            (3, 3, false),
            (3, 4, false),
            (3, 7, false),
            (2, 5, false),
            (3, 9, false),
        ] {
            assert_eq!(index.encloses(id(outer), id(inner)), expected, "{outer} {inner}");
        }
    }

    #[test]
    fn containers_of_one_pod_know_each_other() {
        let index = filled(node());
        assert!(index.same_pod(id(3), id(7)));
        assert!(index.same_pod(id(3), id(3)));
        for (a, b) in [(3, 5), (3, 8), (8, 8), (3, 4), (3, 9)] {
            assert!(!index.same_pod(id(a), id(b)), "{a} {b}");
        }
        assert_eq!(index.pod_uid(id(7)), Some("u"));
        assert_eq!(index.identity(id(4)), None);
    }

    #[test]
    fn the_facts_are_what_the_path_told() {
        let mut index = filled(node());
        let facts = Arc::clone(index.facts(id(3)).unwrap());
        assert_eq!((facts.cgroup, facts.cgroup_path.as_str(), facts.id.as_str()), (id(3), "/3", "c3"));
        assert_eq!((&facts.name, &facts.image, &facts.pod), (&None, &None, &None));
        assert_eq!((index.path(id(3)), index.path(id(4)), index.path(id(9))), (Some("/3"), Some("/4"), None));
        assert!(index.facts(id(4)).is_none());
        index.apply(container(3, 2, Some("u")));
        assert!(Arc::ptr_eq(&facts, index.facts(id(3)).unwrap()), "told again, and the same");
    }

    #[test]
    fn those_whose_container_changes_are_named() {
        let mut index = Index::new(1000);
        let mut apply = |cgroup| {
            let mut changed: Vec<_> = index.apply(cgroup).iter().map(|id| id.0).collect();
            changed.sort_unstable();
            changed
        };
        assert!(apply(plain(6, 5)).is_empty());
        assert!(apply(plain(4, 3)).is_empty());
        assert!(apply(plain(5, 4)).is_empty());
        assert_eq!(apply(container(3, 2, None)), [3, 4, 5, 6]);
        assert_eq!(apply(container(5, 4, None)), [5, 6], "it turns out to be nested");
        assert_eq!(apply(container(2, 1, None)), [2], "what is above a container does not change whose it is");
        assert!(apply(container(5, 4, None)).is_empty(), "told again");
        let deleted = index.delete(id(5)).iter().map(|id| id.0).collect::<Vec<_>>();
        assert_eq!((deleted, index.container_of(id(6))), (vec![6], Some(id(3))));
    }

    #[test]
    fn a_deleted_group_in_between_breaks_nothing() {
        let mut index = filled(node());
        assert_eq!(index.delete(id(4)), []);
        assert!(index.encloses(id(3), id(6)));
        index.delete(id(3));
        assert_eq!(index.container_of(id(6)), Some(id(5)));
        assert!(!index.encloses(id(3), id(6)), "it is not known any more");
        index.delete(id(5));
        assert_eq!(index.container_of(id(6)), None);
    }

    #[test]
    fn what_the_limit_keeps_out_is_counted_and_a_flood_keeps_no_other_out() {
        let mut index = Index::new(8);
        index.apply(container(1, 0, None));
        for number in 2..20 {
            index.apply(plain(number, 1));
        }
        assert_eq!((index.len(), index.refused()), (6, 13));
        assert_eq!((index.container_of(id(6)), index.container_of(id(7))), (Some(id(1)), None));
        index.apply(container(30, 0, None));
        index.apply(container(31, 0, None));
        assert_eq!((index.container_of(id(31)), index.len()), (Some(id(31)), 8));
        index.apply(container(32, 0, None));
        assert_eq!((index.container_of(id(32)), index.refused()), (None, 14));
        index.apply(plain(2, 1));
        assert_eq!(index.refused(), 14, "it was known");
    }

    #[test]
    fn a_scan_shows_what_is_gone() {
        let index = filled(node());
        let mut missing = index.missing_from(&node()[..6]);
        missing.sort();
        assert_eq!(missing, [id(7), id(8)]);
    }

    /// A tree by the parent of each but the first, which containers there are, an order, and some of them.
    fn tree() -> impl Strategy<Value = (Vec<Cgroup>, Vec<Cgroup>, Vec<usize>)> {
        prop::collection::vec((any::<Pick>(), prop::bool::weighted(0.3)), 1..40).prop_flat_map(|picks| {
            let cgroups: Vec<_> = picks
                .iter()
                .enumerate()
                .map(|(number, (parent, is_container))| {
                    let parent = if number == 0 { 0 } else { parent.index(number) };
                    if *is_container { container(number, parent, None) } else { plain(number, parent) }
                })
                .collect();
            let numbers: Vec<_> = (0..cgroups.len()).collect();
            let some = prop::sample::subsequence(numbers, 0..=cgroups.len()).prop_shuffle();
            (Just(cgroups.clone()), Just(cgroups).prop_shuffle(), some)
        })
    }

    /// What the index must say, by walking up the whole tree.
    fn walked(cgroups: &[Cgroup], known: impl Fn(usize) -> bool, from: usize) -> Vec<CgroupId> {
        let parent = |number: &usize| {
            let parent = usize::try_from(cgroups[*number].parent.0).unwrap();
            (parent != *number).then_some(parent)
        };
        iter::successors(Some(from), parent)
            .filter(|number| known(*number) && cgroups[*number].container.is_some())
            .map(id)
            .collect()
    }

    fn agrees(index: &Index, cgroups: &[Cgroup], known: impl Fn(usize) -> bool) {
        let all: Vec<_> = (0..cgroups.len()).filter(|number| known(*number)).collect();
        assert_eq!(index.len(), all.len());
        for &number in &all {
            let chain = walked(cgroups, &known, number);
            assert_eq!(index.container_of(id(number)), chain.first().copied(), "container of {number}");
            for &outer in all.iter().filter(|outer| cgroups[**outer].container.is_some()) {
                let expected = chain.iter().skip(1).any(|container| *container == id(outer));
                assert_eq!(index.encloses(id(outer), id(number)), expected, "{outer} encloses {number}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_order_ends_the_same((tree, order, some) in tree()) {
            let mut index = filled(order);
            agrees(&index, &tree, |_| true);
            for &number in &some {
                let before: Vec<_> = (0..tree.len()).map(|n| index.container_of(id(n))).collect();
                let changed = index.delete(id(number));
                for other in (0..tree.len()).filter(|other| *other != number) {
                    let differs = index.container_of(id(other)) != before[other];
                    prop_assert_eq!(differs, changed.contains(&id(other)), "{} is named if it changed", other);
                }
            }
            agrees(&index, &tree, |number| !some.contains(&number));
            for number in 0..tree.len() {
                index.delete(id(number));
            }
            prop_assert!(index.is_empty() && index.children.is_empty());
        }

        #[test]
        fn each_apply_names_what_changed((tree, order, _) in tree()) {
            let mut index = Index::new(1000);
            for cgroup in order {
                let before: Vec<_> = (0..tree.len()).map(|n| index.container_of(id(n))).collect();
                let changed = index.apply(cgroup);
                for (number, before) in before.iter().enumerate() {
                    let differs = index.container_of(id(number)) != *before;
                    prop_assert_eq!(differs, changed.contains(&id(number)), "{}", number);
                }
            }
        }

        #[test]
        fn nonsense_is_survived(steps in prop::collection::vec((0..6_usize, 0..6_usize, 0..3_u8), 0..60)) {
            let mut index = Index::new(5);
            for (number, parent, what) in steps {
                match what {
                    0 => drop(index.apply(plain(number, parent))),
                    1 => drop(index.apply(container(number, parent, None))),
                    _ => drop(index.delete(id(number))),
                }
                prop_assert!(index.len() <= 5);
                for (outer, inner) in (0..6).flat_map(|outer| (0..6).map(move |inner| (outer, inner))) {
                    let _ = index.encloses(id(outer), id(inner));
                }
            }
            for number in 0..6 {
                index.delete(id(number));
            }
            prop_assert!(index.is_empty() && index.children.is_empty());
        }
    }
}
