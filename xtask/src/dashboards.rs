//! The dashboards below `deploy/`, in Grafana's classic JSON, from one short table each.
//!
//! What every panel needs is written once, here: so all have a data source, a title, a description and a unit, and are
//! laid out from left to right. What a dashboard shows is in `fleet`, `workload` and `node_agent`. In their queries
//! `<workloads>` and `<agents>` stand for the selectors of the dashboard's variables, `<judged>` for the shutdowns that
//! say something about the program.

mod fleet;
mod node_agent;
#[cfg(test)]
mod rules;
mod workload;

use serde_json::{Value, json};

/// Where they are kept, and who reads them there: the chart.
pub(crate) const DIRECTORY: &str = "deploy/chart/dashboards";

/// What Grafana calls the one query language that is spoken here.
const PROMETHEUS: &str = "prometheus";
/// Columns of Grafana's grid.
const GRID: u32 = 24;

const WORKLOADS: &str = r#"cluster=~"$cluster", job=~"$job", instance=~"$instance", namespace=~"$namespace", workload_type=~"$type", workload=~"$workload""#;
const AGENTS: &str = r#"cluster=~"$cluster", job=~"$job", instance=~"$instance""#;
const JUDGED: &str = r#"outcome!~"unknown|forced", cause!~"unknown|host_broadcast""#;
const RUNBOOKS: &str = "https://github.com/signal-trace/signal-trace/blob/main/deploy/runbooks";

/// One dashboard.
struct Dashboard {
    uid: &'static str,
    title: &'static str,
    description: &'static str,
    variables: &'static [Variable],
    panels: &'static [Panel],
}

/// A label to select by: its variable, what people call it, the metric that has it, and whether it is shown.
struct Variable {
    name: &'static str,
    label: &'static str,
    values: &'static str,
    /// What "all" selects: `.*` where a series may lack the label.
    all: &'static str,
    hidden: bool,
}

/// One panel.
struct Panel {
    title: &'static str,
    description: &'static str,
    kind: Kind,
    unit: &'static str,
    /// Width and height on the grid.
    size: (u32, u32),
    /// Queries with the names of their series.
    queries: &'static [(&'static str, &'static str)],
}

/// How a panel shows what its queries return.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One number for the whole range.
    Number,
    /// A number for each of few series.
    Ranking,
    /// One row for each series: its labels, and its value under the query's name.
    Table,
    /// Lines over time.
    Lines,
    /// Counts over time, on top of each other.
    Bars,
    /// A histogram over time.
    Heatmap,
}

const CLUSTER: Variable = Variable {
    name: "cluster",
    label: "Cluster",
    values: "label_values(signal_trace_build_info, cluster)",
    all: ".*",
    hidden: false,
};
const JOB: Variable = Variable {
    name: "job",
    label: "Job",
    values: "label_values(signal_trace_build_info, job)",
    all: ".+",
    hidden: false,
};
const INSTANCE: Variable = Variable {
    name: "instance",
    label: "Instance",
    values: r#"label_values(signal_trace_build_info{cluster=~"$cluster", job=~"$job"}, instance)"#,
    all: ".+",
    hidden: false,
};
/// The variables of what is about workloads; which agent saw a shutdown is a detail there.
const OF_WORKLOADS: [Variable; 6] = [
    CLUSTER,
    Variable {
        name: "namespace",
        label: "Namespace",
        values: r#"label_values(signal_trace_shutdowns_total{cluster=~"$cluster"}, namespace)"#,
        all: ".*",
        hidden: false,
    },
    Variable {
        name: "type",
        label: "Type",
        values: r#"label_values(signal_trace_shutdowns_total{cluster=~"$cluster", namespace=~"$namespace"}, workload_type)"#,
        all: ".*",
        hidden: false,
    },
    Variable {
        name: "workload",
        label: "Workload",
        values: r#"label_values(signal_trace_shutdowns_total{cluster=~"$cluster", namespace=~"$namespace", workload_type=~"$type"}, workload)"#,
        all: ".*",
        hidden: false,
    },
    Variable { hidden: true, ..JOB },
    Variable { hidden: true, ..INSTANCE },
];

/// The variables of what is about the agents.
const AGENT_VARIABLES: [Variable; 3] = [CLUSTER, JOB, INSTANCE];

/// File names and texts of all of them.
pub(crate) fn files() -> Vec<(String, String)> {
    let dashboards = [&fleet::DASHBOARD, &workload::DASHBOARD, &node_agent::DASHBOARD];
    dashboards.iter().map(|dashboard| (format!("{}.json", dashboard.uid), text(&dashboard.json()))).collect()
}

fn text(json: &Value) -> String {
    format!("{json:#}\n")
}

impl Dashboard {
    fn json(&self) -> Value {
        let mut variables = vec![json!({
            "name": "datasource", "label": "Data source", "type": "datasource", "query": PROMETHEUS, "refresh": 1,
            "hide": 0, "multi": false, "includeAll": false, "current": {}, "options": [],
        })];
        variables.extend(self.variables.iter().map(Variable::json));
        json!({
            "uid": self.uid,
            "title": format!("signal-trace / {}", self.title),
            "description": self.description,
            "tags": ["signal-trace"],
            "schemaVersion": 42,
            "version": 1,
            "editable": false,
            "graphTooltip": 1,
            "timezone": "utc",
            "time": { "from": "now-24h", "to": "now" },
            "refresh": "1m",
            "annotations": { "list": [] },
            "links": [{
                "title": "signal-trace", "type": "dashboards", "tags": ["signal-trace"], "asDropdown": true,
                "includeVars": true, "keepTime": true, "targetBlank": false, "icon": "external link",
            }],
            "templating": { "list": variables },
            "panels": self.panels(),
        })
    }

    /// From left to right, and on to a new line where the next one has no room.
    fn panels(&self) -> Vec<Value> {
        let (mut x, mut y, mut tallest) = (0, 0, 0);
        let mut placed = Vec::new();
        for (index, panel) in self.panels.iter().enumerate() {
            let (width, height) = panel.size;
            if x + width > GRID {
                (x, y, tallest) = (0, y + tallest, 0);
            }
            let mut json = panel.json();
            json["id"] = json!(index + 1);
            json["gridPos"] = json!({ "x": x, "y": y, "w": width, "h": height });
            placed.push(json);
            x += width;
            tallest = tallest.max(height);
        }
        placed
    }
}

impl Variable {
    fn json(&self) -> Value {
        json!({
            "name": self.name, "label": self.label, "type": "query", "datasource": datasource(),
            "query": { "query": self.values, "refId": self.name }, "definition": self.values,
            // Anew when the time range changes, in the order of the alphabet.
            "refresh": 2, "sort": 1,
            "multi": true, "includeAll": true, "allValue": self.all,
            "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
            "hide": if self.hidden { 2 } else { 0 }, "regex": "", "options": [],
        })
    }
}

impl Panel {
    fn json(&self) -> Value {
        let mut panel = json!({
            "title": self.title,
            "description": self.description,
            "type": self.kind.grafana(),
            "datasource": datasource(),
            "targets": self.targets(),
            "fieldConfig": { "defaults": self.defaults(), "overrides": self.overrides() },
            "options": self.kind.options(),
        });
        if self.kind == Kind::Table {
            panel["transformations"] = self.columns();
        }
        panel
    }

    fn targets(&self) -> Vec<Value> {
        let now = matches!(self.kind, Kind::Number | Kind::Ranking | Kind::Table);
        let format = match self.kind {
            Kind::Table => "table",
            Kind::Heatmap => "heatmap",
            Kind::Number | Kind::Ranking | Kind::Lines | Kind::Bars => "time_series",
        };
        let refs = ('A'..='Z').zip(self.queries);
        let target = |(id, (query, legend)): (char, &(&str, &str))| {
            json!({
                "refId": id.to_string(), "datasource": datasource(), "expr": expand(query), "legendFormat": legend,
                "instant": now, "range": !now, "format": format,
            })
        };
        refs.map(target).collect()
    }

    fn defaults(&self) -> Value {
        let custom = match self.kind {
            Kind::Lines => json!({ "drawStyle": "line", "fillOpacity": 5, "lineWidth": 2, "showPoints": "never" }),
            Kind::Bars => {
                json!({ "drawStyle": "bars", "fillOpacity": 80, "lineWidth": 0, "stacking": { "mode": "normal", "group": "A" } })
            }
            Kind::Number | Kind::Ranking | Kind::Table | Kind::Heatmap => json!({}),
        };
        let share = self.unit == "percentunit";
        let mut defaults = json!({ "unit": self.unit, "min": 0, "custom": custom });
        if share {
            defaults["max"] = json!(1);
        }
        defaults
    }

    /// In a table, a workload leads to its dashboard, an outcome and a cause to their runbooks.
    fn overrides(&self) -> Vec<Value> {
        if self.kind != Kind::Table {
            return Vec::new();
        }
        let workload = "/d/signal-trace-workload?var-namespace=${__data.fields.namespace}&var-type=${__data.fields.workload_type}\
                        &var-workload=${__value.text}&${datasource:queryparam}&${cluster:queryparam}&${__url_time_range}";
        let runbook = |axis: &str| format!("{RUNBOOKS}/{axis}/${{__value.text}}.md");
        let links = [
            ("workload", "Its shutdowns", workload.to_owned()),
            ("outcome", "What it means", runbook("outcome")),
            ("cause", "What to change", runbook("cause")),
        ];
        let link = |(column, title, url): (&str, &str, String)| {
            json!({
                "matcher": { "id": "byName", "options": column },
                "properties": [{ "id": "links", "value": [{ "title": title, "url": url, "targetBlank": column != "workload" }] }],
            })
        };
        links.into_iter().map(link).collect()
    }

    /// Without the time, and with the queries' names over their values.
    fn columns(&self) -> Value {
        let values = ('A'..='Z').zip(self.queries).flat_map(|(id, (_, name))| {
            // Grafana numbers values only where there are several.
            [(format!("Value #{id}"), json!(name)), ("Value".to_owned(), json!(name))]
        });
        let names: serde_json::Map<_, _> = values.collect();
        json!([
            { "id": "merge", "options": {} },
            { "id": "organize", "options": { "excludeByName": { "Time": true }, "renameByName": names } },
        ])
    }
}

impl Kind {
    fn grafana(self) -> &'static str {
        match self {
            Self::Number => "stat",
            Self::Ranking => "bargauge",
            Self::Table => "table",
            Self::Lines | Self::Bars => "timeseries",
            Self::Heatmap => "heatmap",
        }
    }

    fn options(self) -> Value {
        let last = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
        match self {
            Self::Number => json!({ "reduceOptions": last, "colorMode": "none", "graphMode": "none" }),
            Self::Ranking => json!({ "reduceOptions": last, "orientation": "horizontal", "displayMode": "basic" }),
            Self::Table => json!({ "showHeader": true, "cellHeight": "sm" }),
            Self::Lines | Self::Bars => json!({
                "legend": { "displayMode": "table", "placement": "right", "calcs": ["sum", "lastNotNull"] },
                "tooltip": { "mode": "multi", "sort": "desc" },
            }),
            Self::Heatmap => json!({
                "calculate": false, "yAxis": { "unit": "s" }, "color": { "mode": "scheme", "scheme": "Oranges", "steps": 64 },
                "cellGap": 1, "tooltip": { "mode": "single" }, "legend": { "show": true },
            }),
        }
    }
}

fn datasource() -> Value {
    json!({ "type": PROMETHEUS, "uid": "${datasource}" })
}

fn expand(query: &str) -> String {
    query.replace("<workloads>", WORKLOADS).replace("<agents>", AGENTS).replace("<judged>", JUDGED)
}
