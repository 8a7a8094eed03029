//! One workload: what its verdicts were, how long it took of its grace period, and who in it is at fault.

use super::{Dashboard, Kind, OF_WORKLOADS, Panel};

pub(super) const DASHBOARD: Dashboard = Dashboard {
    uid: "signal-trace-workload",
    title: "Workload",
    description: "How one workload stops: its verdicts since when, its time against its grace period, and what to change.",
    variables: &OF_WORKLOADS,
    panels: &[
        Panel {
            title: "Graceful",
            description: "Share of its shutdowns that went as they should: everything ended by itself, in time.",
            kind: Kind::Number,
            unit: "percentunit",
            size: (6, 4),
            queries: &[(
                r#"sum(increase(signal_trace_shutdowns_total{<workloads>, outcome="graceful"}[$__range])) / (sum(increase(signal_trace_shutdowns_total{<workloads>, <judged>}[$__range])) > 0)"#,
                "graceful",
            )],
        },
        Panel {
            title: "Grace period",
            description: "What is configured, as last seen; the longest of what is selected.",
            kind: Kind::Number,
            unit: "s",
            size: (6, 4),
            queries: &[("max(signal_trace_shutdown_grace_seconds{<workloads>})", "grace")],
        },
        Panel {
            title: "95 % end within",
            description: "Time from the stop signal to the exit of PID 1 that 95 of 100 shutdowns keep below.",
            kind: Kind::Number,
            unit: "s",
            size: (6, 4),
            queries: &[(
                "histogram_quantile(0.95, sum by (le) (increase(signal_trace_shutdown_duration_seconds_bucket{<workloads>}[$__range])))",
                "95 %",
            )],
        },
        Panel {
            title: "Avoidable waiting",
            description: "Time spent waiting for containers of it that could not have ended by themselves.",
            kind: Kind::Number,
            unit: "s",
            size: (6, 4),
            queries: &[(
                "sum(increase(signal_trace_avoidable_wait_seconds_total{<workloads>}[$__range]))",
                "avoidable",
            )],
        },
        Panel {
            title: "Verdicts",
            description: "Its verdicts over time: a change of colour is since when. The version that was stopped is in the record, and in the Kubernetes event's pod.",
            kind: Kind::Bars,
            unit: "short",
            size: (24, 8),
            queries: &[(
                "sum by (outcome, cause) (increase(signal_trace_shutdowns_total{<workloads>}[$__rate_interval]))",
                "{{outcome}} {{cause}}",
            )],
        },
        Panel {
            title: "Duration",
            description: "Time from the stop signal to the exit of PID 1: how many shutdowns took how long.",
            kind: Kind::Heatmap,
            unit: "s",
            size: (12, 9),
            queries: &[(
                "sum by (le) (increase(signal_trace_shutdown_duration_seconds_bucket{<workloads>}[$__rate_interval]))",
                "{{le}}",
            )],
        },
        Panel {
            title: "Duration against the grace period",
            description: "A median that touches the grace period is a container that waits to be killed.",
            kind: Kind::Lines,
            unit: "s",
            size: (12, 9),
            queries: &[
                (
                    "histogram_quantile(0.5, sum by (le) (rate(signal_trace_shutdown_duration_seconds_bucket{<workloads>}[$__rate_interval])))",
                    "median",
                ),
                (
                    "histogram_quantile(0.95, sum by (le) (rate(signal_trace_shutdown_duration_seconds_bucket{<workloads>}[$__rate_interval])))",
                    "95 %",
                ),
                ("max(signal_trace_shutdown_grace_seconds{<workloads>})", "grace period"),
            ],
        },
        Panel {
            title: "Containers and causes",
            description: "Which container, how it ended and why. The cause leads to what to change.",
            kind: Kind::Table,
            unit: "short",
            size: (14, 9),
            queries: &[(
                "sort_desc(sum by (container, outcome, cause) (increase(signal_trace_shutdowns_total{<workloads>}[$__range])) > 0)",
                "shutdowns",
            )],
        },
        Panel {
            title: "Processes killed",
            description: "Processes that were alive at the stop signal and died of SIGKILL, by who killed them: the runtime, the kernel as PID 1 was gone (teardown), a supervisor, another process inside, the OOM killer.",
            kind: Kind::Bars,
            unit: "short",
            size: (10, 9),
            queries: &[(
                "sum by (by) (increase(signal_trace_processes_killed_total{<workloads>}[$__rate_interval]))",
                "{{by}}",
            )],
        },
    ],
};
