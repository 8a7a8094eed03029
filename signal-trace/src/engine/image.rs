//! An image, from wherever it is named: an engine's own, a registry's, an archive, or a folder that is a root file system.
//!
//! What an archive brings is removed again, and a name that it took from another image is given back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};

use super::config::{self, Config, Next};
use super::{Call, Engine, Kind, WORK_WITHIN};

/// What the command line names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An image, by its name.
    Name(String),
    /// A file, as `docker save`, `podman save` or a build writes it.
    Archive(PathBuf),
    /// A root file system.
    Folder(PathBuf),
}

impl Source {
    /// A path that exists is meant as such; a tag makes a name of it.
    pub fn of(text: &str) -> Self {
        let path = Path::new(text);
        if path.is_dir() {
            Self::Folder(path.to_owned())
        } else if path.is_file() || (text.starts_with(['/', '.']) && !path.exists()) {
            Self::Archive(path.to_owned())
        } else {
            Self::Name(text.to_owned())
        }
    }
}

/// An image that an engine can run.
#[derive(Debug)]
pub struct Image {
    engine: Engine,
    /// What the engine knows it by.
    name: String,
    config: Config,
    /// It is a folder, and has no configuration.
    is_folder: bool,
    _loaded: Option<Loaded>,
}

impl Image {
    /// Finds, pulls or loads it with one of these engines: the first that has it already, or else the first.
    ///
    /// # Errors
    ///
    /// It is nowhere, it cannot be loaded, or its configuration cannot be read.
    pub async fn provide(engines: &[Engine], source: &Source) -> anyhow::Result<Self> {
        match source {
            Source::Name(name) => Self::named(engines, name).await,
            Source::Archive(path) => Self::load(engines, path).await,
            Source::Folder(path) => Self::folder(engines, path),
        }
    }

    /// The engine that has it.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What the engine knows it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it says of itself.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.is_folder
    }

    async fn named(engines: &[Engine], name: &str) -> anyhow::Result<Self> {
        for engine in engines {
            if let Some(config) = engine.config_of(name).await? {
                return Ok(Self::of(engine.clone(), engine.known_as(name), config));
            }
        }
        let engine = engines.first().context("there is no container engine")?;
        let known_as = engine.known_as(name);
        let pull: &[&str] = if engine.kind == Kind::Containerd { &["images", "pull"] } else { &["pull"] };
        let mut command = engine.command();
        // What is pulled is told as it comes; standard output is the report's.
        command.args(pull).arg(&known_as).stdout(std::io::stderr()).stderr(Stdio::inherit());
        let hint = || {
            let program = engine.kind.program();
            format!("{program} has no image {name} and cannot pull it: build, load or tag it for root's {program}")
        };
        Call::start_with(&mut command)?.done(WORK_WITHIN).await.with_context(hint)?;
        let config = engine.config_of(name).await?.with_context(hint)?;
        Ok(Self::of(engine.clone(), known_as, config))
    }

    async fn load(engines: &[Engine], archive: &Path) -> anyhow::Result<Self> {
        if let Err(error) = std::fs::metadata(archive) {
            bail!("cannot read {}: {error}", archive.display());
        }
        let engine = engines.first().context("there is no container engine")?;
        let loaded =
            Loaded::from(engine, archive).await.with_context(|| format!("cannot load {}", archive.display()))?;
        let engine = loaded.engine.clone();
        let name = match &loaded.names[..] {
            [name] => name.clone(),
            [] => bail!("{} says of no image that it loaded one: is it an archive?", engine.kind.program()),
            several => {
                bail!("{} holds several images: load it, and name one of {}", archive.display(), several.join(", "))
            }
        };
        let config = engine.config_of(&name).await?.with_context(|| format!("{name} is gone after it was loaded"))?;
        Ok(Self { _loaded: Some(loaded), ..Self::of(engine, name, config) })
    }

    fn folder(engines: &[Engine], path: &Path) -> anyhow::Result<Self> {
        let Some(engine) = engines.iter().find(|engine| engine.kind != Kind::Docker) else {
            bail!("docker runs no folder: use podman or containerd, or make an image of it with `docker import`");
        };
        let path = path.canonicalize().with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?.to_owned();
        Ok(Self { is_folder: true, ..Self::of(engine.clone(), name, Config::default()) })
    }

    fn of(engine: Engine, name: String, config: Config) -> Self {
        Self { engine, name, config, is_folder: false, _loaded: None }
    }
}

impl Engine {
    /// How it spells a name.
    fn known_as(&self, name: &str) -> String {
        if self.kind == Kind::Containerd { config::in_full(name) } else { name.to_owned() }
    }

    /// The configuration of an image that it has; none of one that it has not.
    async fn config_of(&self, name: &str) -> anyhow::Result<Option<Config>> {
        let unreadable = || format!("cannot use image {name}");
        if self.kind == Kind::Containerd {
            return self.config_in_store(&self.known_as(name)).await.with_context(unreadable);
        }
        match self.ask(&["image", "inspect", "--format", "{{json .Config}}", name]).await {
            Ok(json) => Config::parse(&json).map(Some).with_context(unreadable),
            Err(error) => {
                tracing::debug!(error = %format!("{error:#}"), "no such image");
                Ok(None)
            }
        }
    }

    /// containerd shows no configuration: it is where the image's manifest leads.
    async fn config_in_store(&self, name: &str) -> anyhow::Result<Option<Config>> {
        let listed = self.ask(&["images", "list", &format!("name=={name}")]).await?;
        let digest = listed.lines().nth(1).and_then(|line| line.split_whitespace().nth(2));
        let Some(mut digest) = digest.map(str::to_owned) else { return Ok(None) };
        // An index, a manifest, a configuration: a longer way is none.
        for _ in 0..2 {
            let manifest = self.ask(&["content", "get", &digest]).await?;
            match config::next(&manifest)? {
                Some(Next::Manifest(manifest)) => digest = manifest,
                Some(Next::Config(config)) => {
                    let document = self.ask(&["content", "get", &config]).await?;
                    return Ok(Some(Config::parse_document(&document)?));
                }
                None => bail!("it is not made for this machine"),
            }
        }
        bail!("its manifest leads nowhere")
    }

    /// Its images: names to ids.
    async fn images(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let listed = self.ask(&["images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]).await?;
        let pairs = listed.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs.map(|(name, id)| (name.to_owned(), id.to_owned())).collect())
    }
}

/// What came out of an archive. Dropping it leaves the engine's images as they were.
#[derive(Debug)]
struct Loaded {
    engine: Engine,
    names: Vec<String>,
    /// What there was before; containerd has a namespace made for it instead.
    before: BTreeMap<String, String>,
    /// What these names mean since.
    after: BTreeMap<String, String>,
}

impl Loaded {
    async fn from(engine: &Engine, archive: &Path) -> anyhow::Result<Self> {
        let mut loaded =
            Self { engine: engine.clone(), names: Vec::new(), before: BTreeMap::new(), after: BTreeMap::new() };
        if engine.kind == Kind::Containerd {
            loaded.engine.namespace = Some(format!("signal-trace-check-{}", std::process::id()));
            loaded.work(&["images", "import"], archive).await?;
            let names = loaded.engine.ask(&["images", "list", "--quiet"]).await?;
            loaded.names = names.lines().map(str::to_owned).collect();
        } else {
            loaded.before = engine.images().await?;
            let said = loaded.work(&["load", "--input"], archive).await?;
            loaded.names = names_said(&said);
            loaded.after = engine.images().await?;
        }
        Ok(loaded)
    }

    async fn work(&self, words: &[&str], archive: &Path) -> anyhow::Result<String> {
        Call::start(self.engine.command().args(words).arg(archive))?.done(WORK_WITHIN).await
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        if let Some(namespace) = &self.engine.namespace {
            for name in &self.names {
                self.engine.quietly(&["images", "remove", "--sync", name]);
            }
            self.engine.quietly(&["namespaces", "remove", namespace]);
            return;
        }
        for words in undo(&self.names, &self.before, &self.after) {
            self.engine.quietly(&words);
        }
    }
}

/// The commands after which the images are as they were before these names were loaded.
fn undo(names: &[String], before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<Vec<String>> {
    let command = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let was_there = |id: &str| before.values().any(|known| known == id);
    let mut commands = Vec::new();
    for name in names {
        let now = after.get(name).unwrap_or(name);
        match before.get(name) {
            // It was there, under this very name.
            Some(id) if id == now => {}
            Some(id) => {
                commands.push(command(&["tag", id, name]));
                if !was_there(now) {
                    commands.push(command(&["rmi", now]));
                }
            }
            // Without a name of its own, and there already.
            None if was_there(name) => {}
            None => commands.push(command(&["rmi", name])),
        }
    }
    commands
}

/// The names in `Loaded image: NAME`, `Loaded image(s): NAME,NAME` and `Loaded image ID: sha256:ID`.
fn names_said(said: &str) -> Vec<String> {
    let lines = said.lines().filter_map(|line| line.trim().strip_prefix("Loaded image")?.split_once(": "));
    lines.flat_map(|(_, names)| names.split(',')).map(|name| name.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_exists_is_meant_as_one() {
        assert_eq!(Source::of("/"), Source::Folder("/".into()));
        assert_eq!(Source::of("/proc/version"), Source::Archive("/proc/version".into()));
        assert_eq!(Source::of("./nowhere.tar"), Source::Archive("./nowhere.tar".into()));
        assert_eq!(Source::of("shop/cart:1.4"), Source::Name("shop/cart:1.4".into()));
    }

    #[test]
    fn what_was_loaded_is_read_off_what_engines_say() {
        assert_eq!(names_said("Loaded image: localhost/shop/bad:1\n"), ["localhost/shop/bad:1"]);
        assert_eq!(names_said("Getting\nLoaded image(s): a:1,b:2"), ["a:1", "b:2"]);
        assert_eq!(names_said("Loaded image ID: sha256:00ff\n"), ["sha256:00ff"]);
        assert!(names_said("nothing").is_empty());
    }

    #[test]
    fn images_are_left_as_they_were() {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, id)| ((*name).to_owned(), (*id).to_owned())).collect::<BTreeMap<_, _>>()
        };
        let undone = |name: &str, before: &[(&str, &str)], after: &[(&str, &str)]| {
            let commands = undo(&[name.to_owned()], &map(before), &map(after));
            commands.iter().map(|words| words.join(" ")).collect::<Vec<_>>()
        };
        assert_eq!(undone("a:1", &[], &[("a:1", "id1")]), ["rmi a:1"]);
        assert!(undone("a:1", &[("a:1", "id1")], &[("a:1", "id1")]).is_empty());
        assert_eq!(undone("a:1", &[("a:1", "id0")], &[("a:1", "id1")]), ["tag id0 a:1", "rmi id1"]);
        assert_eq!(
            undone("a:1", &[("a:1", "id0"), ("b:1", "id1")], &[("a:1", "id1"), ("b:1", "id1")]),
            ["tag id0 a:1"]
        );
        assert_eq!(undone("sha256:1", &[], &[("<none>:<none>", "sha256:1")]), ["rmi sha256:1"]);
        assert!(undone("sha256:1", &[("b:1", "sha256:1")], &[("b:1", "sha256:1")]).is_empty());
    }
}
