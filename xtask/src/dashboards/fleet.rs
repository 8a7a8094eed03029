//! All workloads at once: which of them stop badly, whose fault it is, and what it costs.

use super::{Dashboard, Kind, OF_WORKLOADS, Panel};

pub(super) const DASHBOARD: Dashboard = Dashboard {
    uid: "signal-trace-fleet",
    title: "Fleet",
    description: "Which workloads stop badly, whose fault it is, and what it costs.",
    variables: &OF_WORKLOADS,
    panels: &[
        Panel {
            title: "Graceful",
            description: "Share of the shutdowns that went as they should: everything ended by itself, in time. What says nothing about the program is left out.",
            kind: Kind::Number,
            unit: "percentunit",
            size: (5, 4),
            queries: &[(
                r#"sum(increase(signal_trace_shutdowns_total{<workloads>, outcome="graceful"}[$__range])) / (sum(increase(signal_trace_shutdowns_total{<workloads>, <judged>}[$__range])) > 0)"#,
                "graceful",
            )],
        },
        Panel {
            title: "Shutdowns",
            description: "Containers that were told to stop, and whose end says something about them.",
            kind: Kind::Number,
            unit: "short",
            size: (5, 4),
            queries: &[("sum(increase(signal_trace_shutdowns_total{<workloads>, <judged>}[$__range]))", "shutdowns")],
        },
        Panel {
            title: "Killed",
            description: "Containers that were still there when their grace period was over, and lost what they were doing.",
            kind: Kind::Number,
            unit: "short",
            size: (5, 4),
            queries: &[(
                r#"sum(increase(signal_trace_shutdowns_total{<workloads>, outcome="grace_exceeded"}[$__range]))"#,
                "killed",
            )],
        },
        Panel {
            title: "Avoidable waiting",
            description: "Time that rollouts and drains spent waiting for containers that could not have ended by themselves.",
            kind: Kind::Number,
            unit: "s",
            size: (5, 4),
            queries: &[(
                "sum(increase(signal_trace_avoidable_wait_seconds_total{<workloads>}[$__range]))",
                "avoidable",
            )],
        },
        Panel {
            title: "Not judged",
            description: "Share of the shutdowns of which too little was seen. High values are the agents' fault: see the dashboard Node agent.",
            kind: Kind::Number,
            unit: "percentunit",
            size: (4, 4),
            queries: &[(
                r#"(sum(increase(signal_trace_shutdowns_total{<workloads>, outcome="unknown"}[$__range])) or vector(0)) / (sum(increase(signal_trace_shutdowns_total{<workloads>}[$__range])) > 0)"#,
                "not judged",
            )],
        },
        Panel {
            title: "Outcomes",
            description: "How containers ended, over time.",
            kind: Kind::Bars,
            unit: "short",
            size: (12, 8),
            queries: &[(
                "sum by (outcome) (increase(signal_trace_shutdowns_total{<workloads>}[$__rate_interval]))",
                "{{outcome}}",
            )],
        },
        Panel {
            title: "Causes",
            description: "Where the stop signal's way broke, over time.",
            kind: Kind::Bars,
            unit: "short",
            size: (12, 8),
            queries: &[(
                r#"sum by (cause) (increase(signal_trace_shutdowns_total{<workloads>, cause!="none"}[$__rate_interval]))"#,
                "{{cause}}",
            )],
        },
        Panel {
            title: "Worst workloads",
            description: "The 20 most frequent verdicts other than graceful. The workload leads to its own dashboard, the cause to what to change.",
            kind: Kind::Table,
            unit: "short",
            size: (14, 10),
            queries: &[(
                r#"sort_desc(topk(20, sum by (namespace, workload_type, workload, container, outcome, cause) (increase(signal_trace_shutdowns_total{<workloads>, <judged>, outcome!="graceful"}[$__range])) > 0))"#,
                "shutdowns",
            )],
        },
        Panel {
            title: "Most avoidable waiting",
            description: "The 20 workloads that rollouts and drains waited for in vain the longest.",
            kind: Kind::Table,
            unit: "s",
            size: (10, 10),
            queries: &[(
                "sort_desc(topk(20, sum by (namespace, workload_type, workload) (increase(signal_trace_avoidable_wait_seconds_total{<workloads>}[$__range])) > 0))",
                "waiting",
            )],
        },
        Panel {
            title: "Graceful by namespace",
            description: "Share of the shutdowns that went as they should, the worst first.",
            kind: Kind::Ranking,
            unit: "percentunit",
            size: (12, 8),
            queries: &[(
                r#"sort((sum by (namespace) (increase(signal_trace_shutdowns_total{<workloads>, outcome="graceful"}[$__range])) or 0 * sum by (namespace) (increase(signal_trace_shutdowns_total{<workloads>, <judged>}[$__range]))) / (sum by (namespace) (increase(signal_trace_shutdowns_total{<workloads>, <judged>}[$__range])) > 0))"#,
                "{{namespace}}",
            )],
        },
        Panel {
            title: "Avoidable waiting by namespace",
            description: "Time that was spent waiting in vain, the most first.",
            kind: Kind::Ranking,
            unit: "s",
            size: (12, 8),
            queries: &[(
                "sort_desc(sum by (namespace) (increase(signal_trace_avoidable_wait_seconds_total{<workloads>}[$__range])))",
                "{{namespace}}",
            )],
        },
    ],
};
