//! The files that stay readable, by Landlock: Linux 5.13 and later, where it is switched on.
//!
//! Nothing can be written, made, run or removed, no port can be taken, and from 6.12 on the kernel refuses to let a
//! signal out. Best effort: what an older kernel does not know is not held against the list.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, Compatible as _, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

/// The newest generation that this was tested against.
const KNOWN: ABI = ABI::V6;

/// What every follower reads: the kernel's own files, and what resolving a name takes, which with glibc is libraries.
const ALWAYS: [&str; 8] = [
    "/proc",
    "/sys/devices/system/cpu",
    "/etc",
    "/run/systemd/resolve",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/share/zoneinfo",
];

/// The kernel has Landlock and refuses.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct FilesError(#[from] RulesetError);

/// Keeps only reading, and only below these and what is always read; false where the kernel has no Landlock. A folder
/// that is not there yet is represented by the nearest one above it that is, if that is not the root.
pub(super) fn read_only(reads: &[PathBuf]) -> Result<bool, FilesError> {
    let reads = reads.iter().filter_map(|path| nearest(path));
    let paths = ALWAYS.iter().map(Path::new).chain(reads);
    let status = Ruleset::default()
        .set_compatibility(landlock::CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(KNOWN))?
        .create()?
        .add_rules(path_beneath_rules(paths, AccessFs::ReadFile | AccessFs::ReadDir))?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

fn nearest(path: &Path) -> Option<&Path> {
    path.ancestors().find(|path| path.exists()).filter(|path| path.parent().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_yet_is_made_in_what_is() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(nearest(folder.path()), Some(folder.path()));
        assert_eq!(nearest(&folder.path().join("not/there")), Some(folder.path()));
        assert_eq!(nearest(Path::new("/not-there/at-all")), None, "not everything");
    }
}
