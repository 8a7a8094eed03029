//! The published rules of grafana/dashboard-linter, and the conventions of this project, as tests over the JSON.

use std::collections::BTreeSet;

use serde_json::Value;

/// Grafana's names of the units that are used here.
const UNITS: [&str; 5] = ["short", "percentunit", "s", "ops", "bytes"];
/// What counts only upwards, by its name.
const COUNTERS: [&str; 3] = ["_total", "_bucket", "_count"];

fn dashboards() -> Vec<Value> {
    super::files().into_iter().map(|(_, text)| serde_json::from_str(&text).unwrap()).collect()
}

fn list<'v>(value: &'v Value, path: &str) -> &'v Vec<Value> {
    value.pointer(path).and_then(Value::as_array).unwrap_or_else(|| panic!("no list at {path}"))
}

fn panels() -> Vec<Value> {
    dashboards().iter().flat_map(|dashboard| list(dashboard, "/panels").clone()).collect()
}

fn queries() -> Vec<String> {
    let queries =
        |panel: &Value| list(panel, "/targets").iter().map(|t| t["expr"].as_str().unwrap().to_owned()).collect();
    panels().iter().flat_map(|panel: &Value| -> Vec<String> { queries(panel) }).collect()
}

#[test]
fn a_dashboard_is_not_editable_and_leads_to_the_others() {
    let dashboards = dashboards();
    let uids: BTreeSet<_> = dashboards.iter().map(|dashboard| dashboard["uid"].as_str().unwrap()).collect();
    assert_eq!(uids.len(), 3, "{uids:?}");
    for dashboard in &dashboards {
        assert_eq!(dashboard["editable"], false);
        assert_eq!((&dashboard["schemaVersion"], &dashboard["timezone"]), (&42.into(), &"utc".into()));
        assert_eq!(list(dashboard, "/links")[0]["tags"], dashboard["tags"]);
    }
}

#[test]
fn the_data_source_is_the_first_variable() {
    for dashboard in dashboards() {
        let first = &list(&dashboard, "/templating/list")[0];
        let is = ["name", "label", "type", "query"].map(|key| first[key].as_str().unwrap());
        assert_eq!(is, ["datasource", "Data source", "datasource", "prometheus"]);
    }
}

#[test]
fn every_other_variable_selects_several_and_is_read_anew_with_the_time_range() {
    for dashboard in dashboards() {
        let variables = &list(&dashboard, "/templating/list")[1..];
        let names: Vec<_> = variables.iter().map(|variable| variable["name"].as_str().unwrap()).collect();
        assert_eq!(names[0], "cluster");
        assert!(names.contains(&"job") && names.contains(&"instance"), "{names:?}");
        for variable in variables {
            assert_eq!(variable["datasource"]["uid"], "${datasource}");
            assert_eq!((&variable["refresh"], &variable["sort"]), (&2.into(), &1.into()));
            assert_eq!((&variable["multi"], &variable["includeAll"]), (&true.into(), &true.into()));
            assert!(variable["query"]["query"].as_str().unwrap().starts_with("label_values("), "{variable}");
        }
    }
}

#[test]
fn every_panel_has_a_source_a_title_a_description_a_unit_and_a_query() {
    for panel in panels() {
        let title = panel["title"].as_str().unwrap();
        assert!(!title.is_empty());
        assert!(panel["description"].as_str().unwrap().ends_with('.'), "{title}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(UNITS.contains(&panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap()), "{title}");
        assert!(!list(&panel, "/targets").is_empty(), "{title}");
        for target in list(&panel, "/targets") {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
}

#[test]
fn every_query_selects_by_job_and_instance_and_rates_over_the_rate_interval() {
    for query in queries() {
        assert!(!query.contains('<'), "{query}");
        let selectors = query.matches('{').count();
        assert!(selectors > 0, "{query}");
        for selector in [r#"job=~"$job""#, r#"instance=~"$instance""#, r#"cluster=~"$cluster""#] {
            assert_eq!(query.matches(selector).count(), selectors, "{query}");
        }
        for rated in query.split("rate(").skip(1) {
            assert!(rated.split(']').next().unwrap().ends_with("[$__rate_interval"), "{query}");
        }
    }
}

#[test]
fn counters_are_only_looked_at_by_their_increase() {
    for query in queries() {
        for (at, _) in query.match_indices("signal_trace_").chain(query.match_indices("process_")) {
            let name = query[at..].split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
            let counts = COUNTERS.iter().any(|suffix| name.ends_with(suffix));
            let rated = query[..at].ends_with("rate(") || query[..at].ends_with("increase(");
            assert_eq!(counts, rated, "{name} in {query}");
        }
    }
}

#[test]
fn panels_do_not_overlap_and_stay_on_the_grid() {
    for dashboard in dashboards() {
        let mut taken = BTreeSet::new();
        for panel in list(&dashboard, "/panels") {
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
            assert!(x + w <= super::GRID.into(), "{}", panel["title"]);
            for cell in (x..x + w).flat_map(|column| (y..y + h).map(move |line| (column, line))) {
                assert!(taken.insert(cell), "{}", panel["title"]);
            }
        }
    }
}
