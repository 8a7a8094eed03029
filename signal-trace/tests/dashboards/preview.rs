//! Pictures of the dashboards: a page of our own reads the same JSON, asks the same Prometheus, and a browser without a
//! window takes its picture. Only where `PREVIEWS` names a directory for them.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::day;
use super::support::browser::Browser;
use super::support::prometheus::Prometheus;

const WIDTH: u64 = 1480;
/// Of the page's head, and of one row of the grid with its gap; the page has the same.
const HEAD: u64 = 92;
const ROW: u64 = 38;
/// What is looked at more closely: the dashboard of one workload is of one.
const CHOSEN: &[(&str, &str)] = &[("signal-trace-workload", "&var-namespace=shop&var-workload=checkout")];

/// What Prometheus serves besides itself: the page and the dashboards.
pub(crate) fn assets(dashboards: &[PathBuf]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("preview.html"), include_str!("preview.html")).unwrap();
    for file in dashboards {
        std::fs::copy(file, directory.path().join(file.file_name().unwrap())).unwrap();
    }
    directory
}

/// One picture of each.
pub(crate) fn draw(prometheus: &Prometheus, dashboards: &[PathBuf], pictures: &Path) {
    std::fs::create_dir_all(pictures).unwrap();
    for file in dashboards {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let picture = pictures.join(format!("{}.png", name.trim_start_matches("signal-trace-")));
        let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let chosen = CHOSEN.iter().find(|(of, _)| *of == name).map_or("", |(_, variables)| variables);
        let url = format!(
            "http://{}/user/preview.html?dashboard={name}&end={}&length={}{chosen}",
            prometheus.address,
            day::END,
            day::LENGTH
        );
        let browser = Browser::new((WIDTH, HEAD + ROW * rows(&dashboard)), &[]);
        assert_eq!(browser.title(&url), "drawn", "{url}");
        browser.draw(&url, &picture);
    }
}

/// Of the grid, all panels together.
fn rows(dashboard: &Value) -> u64 {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels.map(|panel| panel["gridPos"]["y"].as_u64().unwrap() + panel["gridPos"]["h"].as_u64().unwrap()).max().unwrap()
}
