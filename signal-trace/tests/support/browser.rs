//! A real browser without a window, for what is meant to be looked at.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Larger pictures would be a burden to whoever clones the repository.
const LARGEST: u64 = 300_000;
/// Smaller ones have nothing on them.
const SMALLEST: u64 = 20_000;

/// One with a profile of its own, that is gone with it.
pub(crate) struct Browser {
    profile: TempDir,
    flags: Vec<String>,
}

impl Browser {
    /// With a window of that size, and more flags.
    pub(crate) fn new((width, height): (u64, u64), flags: &[&str]) -> Self {
        let mut all = vec![format!("--window-size={width},{height}"), "--virtual-time-budget=60000".to_owned()];
        all.extend(flags.iter().map(|flag| (*flag).to_owned()));
        Self { profile: tempfile::tempdir().unwrap(), flags: all }
    }

    /// What a page says in its title once its scripts have run, which no picture does.
    pub(crate) fn title(&self, url: &str) -> String {
        let page = String::from_utf8(self.run(url, "--dump-dom")).unwrap();
        let title = page.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next());
        title.unwrap_or_else(|| panic!("{url} has no title: {page}")).to_owned()
    }

    /// A picture of a page.
    pub(crate) fn draw(&self, url: &str, picture: &Path) {
        self.run(url, &format!("--screenshot={}", picture.display()));
        let bytes = std::fs::metadata(picture).unwrap().len();
        assert!((SMALLEST..LARGEST).contains(&bytes), "{} has {bytes} bytes", picture.display());
    }

    /// The page as it is printed.
    pub(crate) fn print(&self, url: &str, file: &Path) {
        self.run(url, &format!("--print-to-pdf={}", file.display()));
    }

    fn run(&self, url: &str, what: &str) -> Vec<u8> {
        let mut command = Command::new("timeout");
        command.args(["120", "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]);
        command.arg(format!("--user-data-dir={}", self.profile.path().display())).args(&self.flags).args([what, url]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "chromium: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}
