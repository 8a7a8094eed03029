//! Debian's archives as apt on this machine sees them, reached through an apt configuration of our own.
//!
//! The servers are those of the machine's own sources, whatever mirror that is, with other releases asked of them. The
//! machine's package lists are never touched, no root is needed, and every list is checked against Debian's own keys.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::architecture::Architecture;
use crate::{child, machine, packages};

/// Lists this old are asked for anew.
const FRESH: Duration = Duration::from_hours(24);

/// Which parts of the archives are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Security updates and backports: the newest kernels of each series, in lists of a few hundred kilobytes.
    Updates,
    /// Also the releases themselves, which keep a kernel when its updates have moved away: tens of megabytes.
    Releases,
}

/// Where this machine's apt finds Debian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirrors {
    main: String,
    security: Option<String>,
}

/// A private apt for one architecture, ready to be asked.
pub(crate) struct Apt {
    architecture: Architecture,
    directory: PathBuf,
}

/// A package that was fetched; it goes when this does.
pub(crate) struct Fetched {
    directory: PathBuf,
    file: PathBuf,
}

impl Apt {
    /// Sets it up in a directory of its own below `place` and brings its lists up to date, unless that was done a short
    /// while ago.
    pub(crate) fn open(place: &Path, architecture: Architecture, reach: Reach) -> Result<Self> {
        let lists = match reach {
            Reach::Updates => "updates",
            Reach::Releases => "releases",
        };
        let directory = place.join(format!("apt-{lists}-{}", architecture.name()));
        let apt = Self { architecture, directory };
        let directory = &apt.directory;
        let (sources, configuration) = (Mirrors::of_this_machine()?.sources(architecture, reach), apt.configuration());
        let fresh = directory.join("fresh");
        let age = fs::metadata(&fresh).and_then(|stamp| stamp.modified()).ok().and_then(|time| time.elapsed().ok());
        let same = fs::read_to_string(&fresh).is_ok_and(|text| text == sources);
        if same && age.is_some_and(|age| age < FRESH) {
            return Ok(apt);
        }
        for part in ["lists/partial", "archives/partial", "empty"] {
            fs::create_dir_all(directory.join(part))?;
        }
        for (name, text) in [("sources.list", sources.as_str()), ("apt.conf", &configuration), ("status", "")] {
            fs::write(directory.join(name), text)?;
        }
        child::show(apt.command("apt-get").args(["update", "--quiet", "--error-on=any"]))
            .context("the package lists could not be fetched: check the network and the machine's apt sources")?;
        fs::write(&fresh, &sources)?;
        Ok(apt)
    }

    /// One of apt's programs, with this configuration.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.directory.join("apt.conf")).env("LC_ALL", "C");
        command
    }

    /// Fetches a package, which apt is asked for as `NAME=VERSION` or `NAME/RELEASE`, into an empty directory of its own.
    pub(crate) fn package(&self, wanted: &str) -> Result<Fetched> {
        let download = self.directory.join("download");
        if download.exists() {
            fs::remove_dir_all(&download)?;
        }
        fs::create_dir_all(&download)?;
        let fetched = child::show(self.command("apt-get").args(["download", "--quiet", wanted]).current_dir(&download));
        if let Err(error) = fetched {
            self.distrust()?;
            return Err(error.context(format!(
                "{wanted} could not be fetched: check the network, then run this again with new package lists"
            )));
        }
        let Some(file) = fs::read_dir(&download)?.next().transpose()? else {
            bail!("apt-get says it downloaded {wanted}, and there is no file");
        };
        Ok(Fetched { file: file.path(), directory: download })
    }

    /// Asks for new lists the next time: something in them was no longer on the server.
    fn distrust(&self) -> Result<()> {
        fs::remove_file(self.directory.join("fresh")).context("cannot mark the package lists as old")
    }

    /// What differs from the machine's own configuration, whose proxies and credentials stay in force.
    fn configuration(&self) -> String {
        let at = |part: &str| self.directory.join(part).display().to_string();
        let places = [
            ("Dir::State", at("")),
            ("Dir::State::lists", at("lists")),
            ("Dir::State::status", at("status")),
            ("Dir::Cache", at("")),
            ("Dir::Cache::archives", at("archives")),
            ("Dir::Etc::sourcelist", at("sources.list")),
            ("Dir::Etc::sourceparts", at("empty")),
            ("Dir::Etc::preferences", at("none")),
            ("Dir::Etc::preferencesparts", at("empty")),
        ];
        let places = places.iter().map(|(name, path)| format!("{name} \"{path}\";\n")).collect::<String>();
        // The user `_apt`, to which apt steps down for downloads, seldom can read a build directory.
        format!("{places}APT::Architecture \"{}\";\nAPT::Sandbox::User \"\";\n", self.architecture.name())
    }
}

impl Fetched {
    /// Writes the one file of the package that `pattern` means to `place`, whole or not at all.
    pub(crate) fn extract(&self, pattern: &str, place: &Path) -> Result<()> {
        let mut files = Command::new("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(&self.file)
            .stdout(Stdio::piped())
            .spawn()
            .context("dpkg-deb, which opens Debian packages, could not be started")?;
        let input = files.stdout.take().context("dpkg-deb has no stdout")?;
        let partial = self.directory.join("partial");
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--to-stdout", "--wildcards", pattern]).stdin(input).stdout(fs::File::create(&partial)?);
        let (tar, files) = (tar.status()?, files.wait()?);
        let size = fs::metadata(&partial)?.len();
        ensure!(tar.success() && files.success() && size > 0, "there is no {pattern} in {}", self.file.display());
        fs::create_dir_all(place.parent().context("a file is kept in a directory")?)?;
        fs::rename(&partial, place).with_context(|| format!("cannot write {}", place.display()))
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        // The next one is fetched into an empty directory in any case.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Mirrors {
    pub(crate) fn of_this_machine() -> Result<Self> {
        let ask = || {
            let format = "$(ORIGIN)|$(LABEL)|$(REPO_URI)";
            child::read(Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]))
        };
        ensure!(machine::find("apt-get").is_some(), "Debian's packages are fetched by apt: run this on Debian");
        if let Some(mirrors) = Self::parse(&ask()?) {
            return Ok(mirrors);
        }
        // A fresh machine has sources and no lists yet: only the lists say whose archive it is.
        child::show(machine::as_root("apt-get")?.args(["update", "--quiet"]))?;
        Self::parse(&ask()?)
            .context("this machine's apt sources name no Debian archive: add one that carries Debian's main")
    }

    /// The archive of the releases.
    pub(crate) fn main(&self) -> &str {
        &self.main
    }

    /// Reads `ORIGIN|LABEL|URI` lines.
    fn parse(targets: &str) -> Option<Self> {
        let labelled = |label: &str| {
            let lines = targets.lines().map(|line| line.splitn(3, '|').collect::<Vec<_>>());
            lines.filter_map(|fields| <[&str; 3]>::try_from(fields).ok()).find_map(|[origin, has, uri]| {
                (origin == "Debian" && has == label).then(|| uri.trim_end_matches('/').to_owned())
            })
        };
        Some(Self { main: labelled("Debian")?, security: labelled("Debian-Security") })
    }

    /// The lines of sources.list.
    fn sources(&self, architecture: Architecture, reach: Reach) -> String {
        let security = self.security.as_deref();
        let updates = [
            (security, "bullseye-security"),
            (security, "bookworm-security"),
            (security, "trixie-security"),
            (Some(&*self.main), "trixie-backports"),
        ];
        let releases = ["bullseye", "bookworm", "trixie", "sid"].map(|suite| (Some(&*self.main), suite));
        let suites = updates.into_iter().chain(releases.into_iter().filter(|_| reach == Reach::Releases));
        // Old releases are no longer signed anew, so their lists count as out of date: for a kernel that is only booted
        // in a test, that is no danger. The signatures themselves are checked, against Debian's keys alone.
        let options = format!(
            "arch={} signed-by={} check-valid-until=no target=Packages",
            architecture.name(),
            packages::DEBIAN_KEYS
        );
        let lines = suites.filter_map(|(server, suite)| Some(format!("deb [{options}] {} {suite} main\n", server?)));
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "Google|cloud|https://cloud.example/apt/\n\
        Debian|Debian|http://mirror.example/debian/\n\
        Debian|Debian Backports|http://backports.example/debian/\n\
        Debian|Debian-Security|http://mirror.example/debian-security/\n";

    #[test]
    fn the_servers_are_those_of_the_machine() {
        let mirrors = Mirrors::parse(TARGETS).unwrap();
        assert_eq!(mirrors.main, "http://mirror.example/debian");
        assert_eq!(mirrors.security.as_deref(), Some("http://mirror.example/debian-security"));
    }

    #[test]
    fn sources_without_lists_or_without_debian_give_no_server() {
        assert_eq!(Mirrors::parse("$(ORIGIN)|$(LABEL)|http://mirror.example/debian/\n"), None);
        assert_eq!(Mirrors::parse("Ubuntu|Ubuntu|http://mirror.example/ubuntu/\n"), None);
        assert_eq!(Mirrors::parse(""), None);
    }

    #[test]
    fn every_list_is_checked_against_debians_keys() {
        for reach in [Reach::Updates, Reach::Releases] {
            let sources = Mirrors::parse(TARGETS).unwrap().sources(Architecture::Arm64, reach);
            assert!(sources.lines().all(|line| line.starts_with("deb [arch=arm64 ")), "{sources}");
            assert!(sources.lines().all(|line| line.contains("signed-by=/usr/share/keyrings/")), "{sources}");
            assert!(!sources.contains("trusted="), "{sources}");
        }
    }

    #[test]
    fn the_releases_are_asked_only_where_the_updates_do_not_do() {
        let mirrors = Mirrors::parse(TARGETS).unwrap();
        let suites = |reach| {
            mirrors
                .sources(Architecture::Amd64, reach)
                .lines()
                .filter_map(|line| line.split(' ').nth(6).map(str::to_owned))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            suites(Reach::Updates),
            ["bullseye-security", "bookworm-security", "trixie-security", "trixie-backports"]
        );
        assert_eq!(suites(Reach::Releases)[4..], ["bullseye", "bookworm", "trixie", "sid"]);
        let no_security = Mirrors { security: None, ..mirrors.clone() };
        assert_eq!(no_security.sources(Architecture::Amd64, Reach::Updates).lines().count(), 1);
    }
}
