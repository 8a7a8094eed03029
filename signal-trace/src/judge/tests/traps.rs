//! The ways in which a verdict can be wrong, by number and name, and the timelines that hold the judge to each.
//!
//! Every number has its timelines here or, where another part decides, that part in [`ELSEWHERE`].

use super::TIMELINES;
use super::timeline::check;

macro_rules! traps {
    ($($name:ident: $($timeline:ident)*;)*) => {
        $(#[test] fn $name() { for timeline in [$(stringify!($timeline)),*] { check_one(timeline); } })*

        const TRAPS: &[&str] = &[$(stringify!($name)),*];
    };
}

traps! {
    trap_01_single_process: python_without_handler handler_slower_than_grace;
    trap_02_children_of_sessions: session_killed_with_the_container liveness_probe orphan_of_a_session;
    trap_04_no_handler: python_without_handler wrapper_sh_c;
    trap_05_signals_read_not_handled: tini blocked_and_gone_alone;
    trap_06_another_signal_is_passed_on:
        forwards_another_signal forwards_another_signal_too_slow postgres uwsgi_die_on_term;
    trap_07_stopped_over_a_socket: nginx_quit;
    trap_08_clean_exit_leaves_children: bash_trap_exits_at_once;
    trap_09_ended_by_itself: helpers_end_with_init php_fpm born_after_the_stop;
    trap_10_group_send: tini_g bash_kill_0;
    trap_11_session_of_its_own: setsid_escapes_the_group;
    trap_12_double_fork: double_fork_orphan;
    trap_13_chain: npm_start;
    trap_14_name_at_the_stop: named_as_it_was_at_the_stop;
    trap_15_deferred_trap: bash_defers_its_trap;
    trap_16_helpers_end_with_init: helpers_end_with_init java_shutdown_hook;
    trap_17_death_signal: pdeathsig_below_init pdeathsig_deeper;
    trap_18_supervisor_kills: supervisor_kills_its_child;
    trap_19_session_timeout: liveness_probe;
    trap_20_out_of_memory:
        oom_in_the_handler oom_mark_of_the_dying oom_mark_ends_well oom_kills_a_child oom_kills_who_is_left;
    trap_21_out_of_memory_group: oom_group;
    trap_22_no_stop_signal: docker_kill;
    trap_23_stop_signal_is_kill: stop_signal_kill;
    trap_24_stop_signal_does_nothing: stop_signal_winch stop_signal_cont;
    trap_25_both_at_once: docker_stop_0;
    trap_26_repeated: told_and_killed_again_and_again;
    trap_27_short_by_policy: force_delete_floor grace_that_is_learnt_late;
    trap_28_hook_ate_the_grace: prestop_overrun;
    trap_29_hook_signals_init: exec_session_stops_init_of_a_terminating_pod exec_session_stops_init;
    trap_31_job_ends: a_job_that_ends_by_itself;
    trap_32_plain_137: plain_137;
    trap_33_shared_pid_namespace: shared_pid_namespace gone_before_the_first_look default_action_leaves_it_pending;
    trap_34_host_pid_namespace: docker_host_pid;
    trap_35_nested_runtime: nested_container_is_stopped inner_container_leaves_the_outer;
    trap_36_host_tells_everybody: systemd_signals_everyone;
    trap_37_sweep: sweep_after_init;
    trap_39_forked_after_the_stop: born_after_the_stop;
    trap_41_child_ignores: child_ignores;
    trap_42_coalesced: coalesced timeout_python;
    trap_43_debugger: traced_init;
    trap_44_uninterruptible: dies_slowly;
    trap_45_loss: lost_records_make_it_unknown lost_records_do_not_hide_a_kill init_exit_lost;
    trap_46_late_tracer_and_reused_pid: tracer_came_after_the_stop_signal pid_is_used_again;
    trap_50_reload_and_rotation: hup_reload_then_stop hup_reload_right_before_stop;
    trap_51_reraised_and_there: node_without_handler;
    trap_52_reraised_and_gone: go_without_notify ruby_without_trap tini_go_without_notify;
    trap_53_group_send_hits_itself: bash_kill_0 bash_kill_0_itself_first sudo_re_raises_at_once;
    trap_54_kill_of_the_dying: php_fpm php_fpm_before_6_0 su;
    trap_55_reload_instead_of_stop: uwsgi_reload;
    trap_56_broken_in_the_middle: npm_start catatonit;
    trap_57_told_twice: s6 timeout_python;
    trap_58_signals_itself: a_self_send_does_not_tell apache_workers_signal_themselves;
    trap_59_crosses_containers: group_send_crosses_into_a_session sidecar_signals_the_neighbour;
    trap_60_terminal: reload_from_the_terminal terminal_hang_up terminal_hang_up_handled;
    trap_61_init_at_its_end: wrapper_sh_c handler_slower_than_grace;
    trap_63_never_ran: frozen_at_the_stop;
    trap_64_orphan_of_a_session: orphan_of_a_session;
    trap_65_handler_crashes: handler_crashes child_crashes;
    trap_66_drained_by_other_means: istio_drains_and_kills bash_trap_exits_at_once;
    trap_67_reboot: reboot reboot_leaves_children kernel_kills_init_alone;
    trap_70_waits_behind_handlers: dumb_init;
    trap_71_hard_stop: haproxy php_fpm php_fpm_quit_without_time;
}

/// Decided before the judge sees anything, and tested there.
const ELSEWHERE: [(u32, &str); 10] = [
    (3, "pause containers: whoever knows the pod's containers does not name them"),
    (30, "a liveness restart: the pod's view gives the trigger"),
    (38, "kata, gVisor: containers/path.rs follows none of their groups"),
    (40, "threads: kernel programs report groups, tests/kernel/processes.rs"),
    (47, "metadata gone: the index keeps what it knew, containers/index.rs"),
    (48, "cgroups below a container's own: containers/index.rs"),
    (49, "signals of no interest: filtered by the kernel programs, tests/kernel/signals.rs"),
    (62, "order over two rings: kernel/merge.rs"),
    (68, "early exit: a finding about pods that declare ports"),
    (69, "a v1 cgroup with the id of a v2 one: the kernel programs look at the hierarchy, tests/kernel/cgroups.rs"),
];

fn check_one(timeline: &str) {
    let found = TIMELINES.iter().find(|(name, _)| *name == timeline);
    check(found.unwrap_or_else(|| panic!("no timeline {timeline}")).1);
}

#[test]
fn every_trap_has_its_place() {
    let number = |name: &&str| name[5..7].parse::<u32>().unwrap();
    let mut numbers: Vec<_> = TRAPS.iter().map(number).chain(ELSEWHERE.map(|(number, _)| number)).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=71).collect::<Vec<_>>());
}
