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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_apart_by_their_names() {
        let names = [
            (Kind::Shell, &["sh", "busybox", "start.sh", "docker-entrypoi", "run-the-worke.s", "run-the-worker."][..]),
            (Kind::InitHelper, &["tini", "dumb-init", "runsvdir"]),
            (Kind::PackageManager, &["npm start", "npm", "yarn", "npx"]),
            (Kind::Uwsgi, &["uwsgi"]),
            (Kind::Other, &["nginx", "a.s", "ends.", "fifteen-letters", "bashful", ""]),
        ];
        for (expected, names) in names {
            for name in names {
                let comm = Comm::new(name.as_bytes());
                assert!(kind(&comm) == expected, "{name}");
                let by_signals = [Kind::Shell, Kind::PackageManager, Kind::InitHelper].contains(&expected);
                assert_eq!(tells_by_signals(&comm), by_signals, "{name}");
            }
        }
    }
}
