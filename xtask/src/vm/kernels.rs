//! Stock kernels out of Debian's packages: which package is the newest of a series, and its image, kept for next time.
//!
//! The `cloud` flavour is the smallest with everything the product needs. Up to Linux 6.18 the image is in the package
//! `linux-image-…`; later that is an empty shell around `linux-binary-…`.

use std::cmp::Reverse;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Series;
use super::archive::{Apt, Reach};
use crate::architecture::Architecture;
use crate::child;

const FLAVOURS: [&str; 2] = ["-cloud-amd64", "-cloud-arm64"];
/// How a file that `xz` packed begins.
const XZ: &[u8] = b"\xfd7zXZ\0";

/// A kernel that can be booted.
pub(crate) struct Kernel {
    architecture: Architecture,
    package: Package,
    /// Its compressed image.
    pub(crate) image: PathBuf,
}

/// A package with a kernel in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Package {
    name: String,
    /// Debian's version: `6.1.192-2`.
    version: String,
}

/// The newest kernel of each series, fetched below `directory` unless it is there.
pub(crate) fn provide(architecture: Architecture, series: &[Series], directory: &Path) -> Result<Vec<Kernel>> {
    let mut apt = Apt::open(directory, architecture, Reach::Updates)?;
    let mut known = known(&apt)?;
    if series.iter().any(|series| newest(&known, series).is_none()) {
        apt = Apt::open(directory, architecture, Reach::Releases)?;
        known = self::known(&apt)?;
    }
    let mut kernels: Vec<Kernel> = Vec::new();
    for series in series {
        let package =
            newest(&known, series).with_context(|| format!("no kernel of series {series} is in Debian's archives"))?;
        if kernels.iter().all(|kernel| kernel.package != *package) {
            let image = image(package, &apt, directory)?;
            kernels.push(Kernel { architecture, package: package.clone(), image });
        }
    }
    Ok(kernels)
}

/// Every package of the lists that has a kernel.
fn known(apt: &Apt) -> Result<Vec<Package>> {
    let names = child::read(apt.command("apt-cache").args(["pkgnames", "linux-"]))?;
    let names: Vec<_> = names.lines().filter(|name| release(name).is_some()).collect();
    ensure!(!names.is_empty(), "the package lists below target/vm hold no kernel: remove target/vm and run this again");
    let table = child::read(apt.command("apt-cache").arg("madison").args(names))?;
    Ok(parse(&table))
}

/// Reads the lines `package | version | source` of `apt-cache madison`.
fn parse(table: &str) -> Vec<Package> {
    let lines = table.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let packages = lines.filter_map(|fields| match fields[..] {
        [name, version, _] => Some(Package { name: name.to_owned(), version: version.to_owned() }),
        _ => None,
    });
    packages.collect()
}

fn newest<'a>(packages: &'a [Package], series: &Series) -> Option<&'a Package> {
    let belongs = |package: &&Package| match series {
        Series::Newest => true,
        Series::Of(numbers) => package.upstream().starts_with(numbers),
    };
    // Of one kernel, the package that holds the image; of its builds, the latest.
    let rank =
        |package: &&Package| (package.upstream(), package.name.starts_with("linux-binary-"), numbers(&package.version));
    packages.iter().filter(belongs).min_by_key(|package| Reverse(rank(package)))
}

/// The release that a package's kernel calls itself, if it is a stock kernel of ours: three numbers, which release
/// candidates and the packages that only depend on others do not have.
fn release(name: &str) -> Option<&str> {
    let release = name.strip_prefix("linux-binary-").or_else(|| name.strip_prefix("linux-image-"))?;
    let version = FLAVOURS.iter().find_map(|flavour| release.strip_suffix(flavour))?;
    let mut parts = version.split(['-', '+']).next()?.split('.');
    let three = (0..3).all(|_| parts.next().is_some_and(|part| part.parse::<u32>().is_ok()));
    (three && parts.next().is_none()).then_some(release)
}

fn numbers(version: &str) -> Vec<u32> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

impl Package {
    /// How apt is asked for it.
    fn wanted(&self) -> String {
        format!("{}={}", self.name, self.version)
    }

    /// The numbers of the kernel's own version.
    fn upstream(&self) -> Vec<u32> {
        let end = self.version.find(|c: char| !c.is_ascii_digit() && c != '.');
        numbers(&self.version[..end.unwrap_or(self.version.len())])
    }

    /// The package with its modules: later than Linux 6.18 one of their own.
    fn of_modules(&self) -> Self {
        let name = match self.name.strip_prefix("linux-binary-") {
            Some(release) => format!("linux-modules-{release}"),
            None => self.name.clone(),
        };
        Self { name, version: self.version.clone() }
    }
}

impl Kernel {
    /// One that is in no package of the archives.
    pub(crate) fn of_file(architecture: Architecture, image: &Path) -> Result<Self> {
        ensure!(image.is_file(), "there is no kernel image {}: /boot/vmlinuz-* are such", image.display());
        let name = image.file_name().unwrap_or_default().to_string_lossy();
        let name = name.strip_prefix("vmlinuz-").unwrap_or(&name).to_owned();
        let package = Package { name, version: "of a file".to_owned() };
        Ok(Self { architecture, package, image: image.to_owned() })
    }

    /// What `uname -r` says in it.
    pub(crate) fn release(&self) -> &str {
        release(&self.package.name).unwrap_or(&self.package.name)
    }

    /// Debian's version of the package.
    pub(crate) fn version(&self) -> &str {
        &self.package.version
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.release())
    }
}

/// The image of a package, from an earlier run or fetched now.
fn image(package: &Package, apt: &Apt, directory: &Path) -> Result<PathBuf> {
    let image = directory.join("images").join(format!("{}_{}", package.name, package.version));
    if !image.exists() {
        apt.package(&package.wanted())?.extract("./*/vmlinuz*", &image)?;
    }
    Ok(image)
}

/// These modules of a kernel, in the form that every kernel loads, from an earlier run or fetched now.
pub(crate) fn modules(kernel: &Kernel, names: &[&str], directory: &Path) -> Result<Vec<Vec<u8>>> {
    let package = &kernel.package;
    let cache = directory.join("modules").join(format!("{}_{}", package.name, package.version));
    let path = |name: &str| cache.join(format!("{name}.ko"));
    if names.iter().any(|name| !path(name).exists()) {
        let file =
            Apt::open(directory, kernel.architecture, Reach::Updates)?.package(&package.of_modules().wanted())?;
        for name in names {
            let packed = cache.join("packed");
            file.extract(&format!("./*/{name}.ko*"), &packed)?;
            let bytes = fs::read(&packed)?;
            let plain = if bytes.starts_with(XZ) {
                child::read_bytes(Command::new("xz").arg("-dc").arg(&packed))?
            } else {
                bytes
            };
            fs::write(path(name), plain)?;
            fs::remove_file(packed)?;
        }
    }
    names.iter().map(|name| fs::read(path(name)).with_context(|| format!("no module {name}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
linux-image-5.10.0-45-cloud-amd64 | 5.10.251-4 | http://mirror.example/debian-security bullseye-security/main amd64 Packages
linux-image-5.10.0-46-cloud-amd64 | 5.10.262-1 | http://mirror.example/debian-security bullseye-security/main amd64 Packages
linux-image-6.1.0-0.deb11.52-cloud-amd64 | 6.1.180-1~deb11u1 | http://mirror.example/debian-security bullseye-security/main amd64 Packages
linux-image-6.1.0-9-cloud-amd64 |  6.1.27-1 | http://mirror.example/debian-security bookworm-security/main amd64 Packages
linux-image-6.1.0-56-cloud-amd64 |  6.1.192-2 | http://mirror.example/debian-security bookworm-security/main amd64 Packages
linux-image-6.12.117+deb12-cloud-amd64 | 6.12.117-1~deb12u1 | http://mirror.example/debian-security bookworm-security/main amd64 Packages
linux-image-7.3.4+deb13-cloud-amd64 | 7.3.4-1~bpo13+1 | http://mirror.example/debian trixie-backports/main amd64 Packages
linux-binary-7.3.4+deb13-cloud-amd64 | 7.3.4-1~bpo13+1 | http://mirror.example/debian trixie-backports/main amd64 Packages
linux-binary-7.2.12+deb13-cloud-amd64 | 7.2.12-1~bpo13+1 | http://mirror.example/debian trixie-backports/main amd64 Packages
";

    #[test]
    fn the_newest_of_a_series_is_by_number_not_by_spelling() {
        for (series, name) in [
            ("5.10", "linux-image-5.10.0-46-cloud-amd64"),
            ("6.1", "linux-image-6.1.0-56-cloud-amd64"),
            ("6.12", "linux-image-6.12.117+deb12-cloud-amd64"),
            ("6", "linux-image-6.12.117+deb12-cloud-amd64"),
            ("6.1.27", "linux-image-6.1.0-9-cloud-amd64"),
            ("7.2", "linux-binary-7.2.12+deb13-cloud-amd64"),
            ("newest", "linux-binary-7.3.4+deb13-cloud-amd64"),
        ] {
            let packages = parse(TABLE);
            assert_eq!(
                newest(&packages, &series.parse().unwrap()).map(|package| &*package.name),
                Some(name),
                "{series}"
            );
        }
    }

    #[test]
    fn a_series_that_is_not_there_is_not_found() {
        let packages = parse(TABLE);
        for series in ["5.1", "6.11", "8", "6.12.118"] {
            assert_eq!(newest(&packages, &series.parse().unwrap()), None, "{series}");
        }
    }

    #[test]
    fn the_latest_build_of_one_kernel_wins() {
        let table = "linux-image-6.12.90+deb12-cloud-amd64 | 6.12.90-1 | x\nlinux-image-6.12.90+deb12.1-cloud-amd64 | 6.12.90-2 | x\n";
        assert_eq!(newest(&parse(table), &Series::Newest).unwrap().version, "6.12.90-2");
    }

    #[test]
    fn only_stock_kernels_count() {
        assert_eq!(release("linux-image-5.10.0-46-cloud-amd64"), Some("5.10.0-46-cloud-amd64"));
        assert_eq!(release("linux-binary-7.3.4+deb13-cloud-amd64"), Some("7.3.4+deb13-cloud-amd64"));
        assert_eq!(release("linux-image-6.1.0-56-cloud-arm64"), Some("6.1.0-56-cloud-arm64"));
        for other in [
            "linux-image-cloud-amd64",
            "linux-image-6.1-cloud-amd64",
            "linux-binary-7.3-cloud-amd64",
            "linux-image-6.1.0-56-amd64",
            "linux-image-6.1.0-56-cloud-amd64-dbg",
            "linux-binary-unsigned-7.3.4+deb13-cloud-amd64",
            "linux-headers-6.1.0-56-cloud-amd64",
        ] {
            assert_eq!(release(other), None, "{other}");
        }
    }

    #[test]
    fn modules_are_with_the_image_or_apart() {
        let of = |name: &str| Package { name: name.into(), version: "1".into() }.of_modules().name;
        assert_eq!(of("linux-image-6.1.0-56-cloud-amd64"), "linux-image-6.1.0-56-cloud-amd64");
        assert_eq!(of("linux-binary-7.3.4+deb13-cloud-amd64"), "linux-modules-7.3.4+deb13-cloud-amd64");
    }

    #[test]
    fn lines_that_are_no_package_are_passed_over() {
        assert_eq!(parse("W: something\n\nname | 1.0\n"), []);
    }
}
