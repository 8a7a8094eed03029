//! Pictures of the dashboards: a page of our own reads the same JSON, asks the same Prometheus, and a browser without a
//! window takes its picture. Only where `PREVIEWS` names a directory for them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::day;
use super::support::prometheus::Prometheus;

const WIDTH: u64 = 1480;
/// Of the page's head, and of one row of the grid with its gap; the page has the same.
const HEAD: u64 = 92;
const ROW: u64 = 38;
/// Larger ones would be a burden to whoever clones the repository.
const LARGEST: u64 = 300_000;
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
        shoot(&url, HEAD + ROW * rows(&dashboard), &picture);
    }
}

/// Of the grid, all panels together.
fn rows(dashboard: &Value) -> u64 {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels.map(|panel| panel["gridPos"]["y"].as_u64().unwrap() + panel["gridPos"]["h"].as_u64().unwrap()).max().unwrap()
}

fn shoot(url: &str, height: u64, picture: &Path) {
    let profile = tempfile::tempdir().unwrap();
    let browser = |flags: &[String]| {
        let mut command = Command::new("timeout");
        command.args(["120", "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]);
        command.arg(format!("--user-data-dir={}", profile.path().display())).args(flags).arg(url);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "chromium: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let size = format!("--window-size={WIDTH},{height}");
    let budget = "--virtual-time-budget=60000".to_owned();
    // The page says in its title how it went, which no picture does.
    let page = browser(&[size.clone(), budget.clone(), "--dump-dom".to_owned()]);
    let page = String::from_utf8_lossy(&page).into_owned();
    let title = page.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next());
    assert_eq!(title, Some("drawn"), "{url}: {page}");
    browser(&[size, budget, format!("--screenshot={}", picture.display())]);
    let bytes = std::fs::metadata(picture).unwrap().len();
    assert!((20_000..LARGEST).contains(&bytes), "{} has {bytes} bytes", picture.display());
}
