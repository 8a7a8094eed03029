//! What a program is, as far as its name tells.
//!
//! The kernel knows it by fifteen bytes, which a container may have chosen. So a name may pick between sentences, and it
//! may keep blame away; it is never what blames.

use crate::event::Comm;

/// The longest name that the kernel keeps (`TASK_COMM_LEN`, less the end).
const LONGEST: usize = 15;

/// What it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Shell,
    PackageManager,
    InitHelper,
    Uwsgi,
    Other,
}

/// By its name.
pub(super) fn kind(comm: &Comm) -> Kind {
    let name = comm.to_text();
    match &*name {
        "sh" | "bash" | "dash" | "ash" | "busybox" | "zsh" | "ksh" => Kind::Shell,
        "tini" | "dumb-init" | "docker-init" | "catatonit" | "s6-svscan" | "runsvdir" => Kind::InitHelper,
        "uwsgi" => Kind::Uwsgi,
        _ if is_script(&name) => Kind::Shell,
        _ if name.starts_with("npm") || name.starts_with("yarn") || name.starts_with("npx") => Kind::PackageManager,
        _ => Kind::Other,
    }
}

/// Whether it has no way to tell its children to end but a signal.
pub(super) fn tells_by_signals(comm: &Comm) -> bool {
    matches!(kind(comm), Kind::Shell | Kind::PackageManager | Kind::InitHelper)
}

/// A script has its own name: `docker-entrypoint.sh` is `docker-entrypoi`.
fn is_script(name: &str) -> bool {
    let cut = name.len() == LONGEST && (name.ends_with(".s") || name.ends_with('.'));
    cut || name.ends_with(".sh") || name.contains("entrypoi")
}
