//! What an image says of how it is run and stopped, as engines and registries write it.
//!
//! Pure. Names of images are here too: containerd wants them in full.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::event::Signal;

/// The part of an image's configuration that matters to a stop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    #[serde(deserialize_with = "words")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "words")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "signal")]
    stop_signal: Option<Signal>,
}

/// The document that a manifest's `config` leads to.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    config: Option<Config>,
}

/// A manifest, or an index of manifests.
#[derive(Deserialize)]
struct Manifest {
    config: Option<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

/// Where a manifest leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// To the configuration.
    Config(String),
    /// To the manifest for this machine.
    Manifest(String),
}

impl Config {
    /// From what `image inspect` prints of it; an image without any says null.
    ///
    /// # Errors
    ///
    /// It is of another form, or its stop signal is none.
    pub fn parse(json: &str) -> serde_json::Result<Self> {
        Ok(serde_json::from_str::<Option<Self>>(json)?.unwrap_or_default())
    }

    /// From the document that an image's manifest names.
    ///
    /// # Errors
    ///
    /// As [`Config::parse`].
    pub(super) fn parse_document(json: &str) -> serde_json::Result<Self> {
        Ok(serde_json::from_str::<Document>(json)?.config.unwrap_or_default())
    }

    /// `STOPSIGNAL`.
    pub fn stop_signal(&self) -> Option<Signal> {
        self.stop_signal
    }

    /// All words of the command, by the rule of Docker and Kubernetes: another entrypoint takes the image's arguments away,
    /// other arguments leave its entrypoint.
    pub fn words(&self, entrypoint: Option<&[String]>, arguments: Option<&[String]>) -> Vec<String> {
        let first = entrypoint.unwrap_or(&self.entrypoint);
        let rest = arguments.unwrap_or(if entrypoint.is_some() { &[] } else { &self.cmd });
        [first, rest].concat()
    }
}

/// Where a manifest leads on this machine; none where it has nothing for it.
pub(super) fn next(manifest: &str) -> serde_json::Result<Option<Next>> {
    let manifest: Manifest = serde_json::from_str(manifest)?;
    if let Some(config) = manifest.config {
        return Ok(Some(Next::Config(config.digest)));
    }
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let fits = |descriptor: &&Descriptor| match &descriptor.platform {
        Some(platform) => platform.os == "linux" && platform.architecture == architecture,
        None => manifest.manifests.len() == 1,
    };
    Ok(manifest.manifests.iter().find(fits).map(|descriptor| Next::Manifest(descriptor.digest.clone())))
}

/// `busybox` as `docker.io/library/busybox:latest`, as Docker reads it.
pub(super) fn in_full(name: &str) -> String {
    let (host, rest) = match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => (host, rest.to_owned()),
        Some(_) => ("docker.io", name.to_owned()),
        None => ("docker.io", format!("library/{name}")),
    };
    let tag = if rest.contains([':', '@']) { "" } else { ":latest" };
    format!("{host}/{rest}{tag}")
}

/// A list, or null.
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A name, an empty one, or null.
fn signal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Signal>, D::Error> {
    let name = Option::<String>::deserialize(deserializer)?.filter(|name| !name.is_empty());
    let parse = |name: String| {
        let wrong = || D::Error::custom(format!("its STOPSIGNAL `{}` is no signal", name.escape_debug()));
        Signal::parse(&name).ok_or_else(wrong)
    };
    name.map(parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_words_follow_the_rule_of_entrypoints() {
        let config = Config::parse(r#"{"Entrypoint":["/init"],"Cmd":["serve"],"User":"app"}"#).unwrap();
        let (command, arguments) = (list(&["/bin/sh"]), list(&["-c", "x"]));
        assert_eq!(config.words(None, None), ["/init", "serve"]);
        assert_eq!(config.words(None, Some(&arguments)), ["/init", "-c", "x"]);
        assert_eq!(config.words(Some(&command), None), ["/bin/sh"]);
        assert_eq!(config.words(Some(&command), Some(&arguments)), ["/bin/sh", "-c", "x"]);
        assert!(Config::parse("null").unwrap().words(None, None).is_empty());
    }

    #[test]
    fn a_stop_signal_is_one_or_the_image_is_refused() {
        let signal = |text: &str| Config::parse(&format!(r#"{{"StopSignal":{text}}}"#)).map(|c| c.stop_signal());
        assert_eq!(signal(r#""SIGQUIT""#).unwrap(), Some(Signal::QUIT));
        assert_eq!(signal(r#""3""#).unwrap(), Some(Signal::QUIT));
        assert_eq!(signal(r#""""#).unwrap(), None);
        assert_eq!(signal("null").unwrap(), None);
        assert!(signal(r#""SIGSTOPP""#).unwrap_err().to_string().contains("`SIGSTOPP` is no signal"));
    }

    #[test]
    fn a_manifest_leads_to_its_configuration() {
        let document = r#"{"architecture":"amd64","config":{"Entrypoint":null,"Cmd":["a"],"StopSignal":"SIGUSR1"}}"#;
        let config = Config::parse_document(document).unwrap();
        assert_eq!((config.words(None, None), config.stop_signal()), (list(&["a"]), Some(Signal::USR1)));
        let manifest = r#"{"schemaVersion":2,"config":{"digest":"sha256:c"},"layers":[]}"#;
        assert_eq!(next(manifest).unwrap(), Some(Next::Config("sha256:c".into())));
        let platforms = ["amd64", "arm64"].map(|architecture| {
            format!(
                r#"{{"digest":"sha256:{architecture}","platform":{{"os":"linux","architecture":"{architecture}"}}}}"#
            )
        });
        let Some(Next::Manifest(digest)) = next(&format!(r#"{{"manifests":[{}]}}"#, platforms.join(","))).unwrap()
        else {
            panic!("an index leads to a manifest");
        };
        assert!(digest.starts_with("sha256:a"), "{digest}");
        let other = r#"{"manifests":[{"digest":"x","platform":{"os":"windows","architecture":"amd64"}}]}"#;
        assert_eq!(next(other).unwrap(), None);
        assert!(next("<html>").is_err());
    }

    #[test]
    fn names_are_made_whole_as_docker_reads_them() {
        for (short, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("shop/cart:1.4", "docker.io/shop/cart:1.4"),
            ("registry.example/cart", "registry.example/cart:latest"),
            ("localhost/cart:2", "localhost/cart:2"),
            ("localhost:5000/a/b@sha256:00", "localhost:5000/a/b@sha256:00"),
        ] {
            assert_eq!(in_full(short), full);
        }
    }
}
