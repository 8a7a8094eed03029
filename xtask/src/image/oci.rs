//! An image of one file, as an OCI layout in a tar archive. Pure: the same input gives the same bytes.

use std::io::Write as _;

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// What goes into it.
pub(super) struct Image<'i> {
    /// As images name it.
    pub(super) architecture: &'i str,
    /// The file.
    pub(super) binary: &'i [u8],
    /// Repository and tag, under which it is loaded.
    pub(super) name: &'i str,
    /// Of the product.
    pub(super) version: &'i str,
    /// The commit.
    pub(super) revision: &'i str,
    /// RFC 3339.
    pub(super) created: &'i str,
}

/// What came out.
pub(super) struct Archive {
    /// The file to load.
    pub(super) bytes: Vec<u8>,
    /// Of the image's manifest: what a registry will call it.
    pub(super) digest: String,
}

/// A file of the layout.
struct Blob {
    media_type: &'static str,
    digest: String,
    bytes: Vec<u8>,
}

impl Image<'_> {
    /// Makes it.
    pub(super) fn archive(&self) -> Result<Archive> {
        let files = tar(&[("signal-trace", 0o755, self.binary)])?;
        let mut compressed = GzBuilder::new().write(Vec::new(), Compression::best());
        compressed.write_all(&files)?;
        let layer = Blob::new("application/vnd.oci.image.layer.v1.tar+gzip", compressed.finish()?);
        let config = Blob::json("application/vnd.oci.image.config.v1+json", &self.config(&digest(&files)));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor(),
            "layers": [layer.descriptor()],
            "annotations": self.labels(),
        });
        let manifest = Blob::json("application/vnd.oci.image.manifest.v1+json", &manifest);
        let mut named = manifest.descriptor();
        named["platform"] = json!({ "architecture": self.architecture, "os": "linux" });
        // The second is what containerd goes by.
        named["annotations"] =
            json!({ "org.opencontainers.image.ref.name": self.version, "io.containerd.image.name": self.name });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [named],
        });

        let index = index.to_string();
        let blobs = [&layer, &config, &manifest];
        let paths = blobs.map(|blob| format!("blobs/sha256/{}", blob.digest.trim_start_matches("sha256:")));
        let mut entries = vec![("oci-layout", 0o644, &br#"{"imageLayoutVersion":"1.0.0"}"#[..])];
        entries.push(("index.json", 0o644, index.as_bytes()));
        entries.extend(paths.iter().zip(blobs).map(|(path, blob)| (path.as_str(), 0o644, blob.bytes.as_slice())));
        Ok(Archive { bytes: tar(&entries)?, digest: manifest.digest })
    }

    fn config(&self, layer: &str) -> Value {
        json!({
            "architecture": self.architecture,
            "os": "linux",
            "created": self.created,
            "config": { "Entrypoint": ["/signal-trace"], "User": "0:0", "Labels": self.labels() },
            "rootfs": { "type": "layers", "diff_ids": [layer] },
            "history": [{ "created": self.created, "created_by": "cargo xtask image" }],
        })
    }

    fn labels(&self) -> Value {
        let repository = env!("CARGO_PKG_REPOSITORY");
        json!({
            "org.opencontainers.image.title": "signal-trace",
            "org.opencontainers.image.description":
                "Tells why containers do not shut down gracefully, from what the kernel saw",
            "org.opencontainers.image.licenses": "Apache-2.0 AND (GPL-2.0-only OR MIT)",
            "org.opencontainers.image.source": repository,
            "org.opencontainers.image.url": repository,
            "org.opencontainers.image.documentation": format!("{repository}/tree/main/docs"),
            "org.opencontainers.image.version": self.version,
            "org.opencontainers.image.revision": self.revision,
            "org.opencontainers.image.created": self.created,
        })
    }
}

impl Blob {
    fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        Self { media_type, digest: digest(&bytes), bytes }
    }

    fn json(media_type: &'static str, json: &Value) -> Self {
        Self::new(media_type, json.to_string().into_bytes())
    }

    fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len() })
    }
}

fn digest(bytes: &[u8]) -> String {
    let sum: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{sum}")
}

/// Files of root's, of no time.
fn tar(files: &[(&str, u32, &[u8])]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, mode, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len().try_into()?);
        header.set_mode(*mode);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, path, *bytes)?;
    }
    Ok(archive.into_inner()?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::*;

    const IMAGE: Image<'_> = Image {
        architecture: "arm64",
        binary: b"\x7fELF and so on",
        name: "example.com/signal-trace:1.2.3",
        version: "1.2.3",
        revision: "c16e486",
        created: "2026-11-22T10:28:31Z",
    };

    fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            assert_eq!((entry.header().mtime().unwrap(), entry.header().uid().unwrap()), (0, 0));
            files.insert(entry.path().unwrap().to_str().unwrap().to_owned(), bytes);
        }
        files
    }

    #[test]
    fn an_image_leads_from_its_index_to_its_one_file() {
        let archive = IMAGE.archive().unwrap();
        let files = files(&archive.bytes);
        assert_eq!(files.len(), 5, "{:?}", files.keys());
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap();
            let bytes = &files[&format!("blobs/sha256/{}", digest.trim_start_matches("sha256:"))];
            assert_eq!((super::digest(bytes).as_str(), &descriptor["size"]), (digest, &json!(bytes.len())));
            bytes.clone()
        };
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        assert_eq!(index["manifests"][0]["digest"], archive.digest);
        assert_eq!(index["manifests"][0]["platform"]["architecture"], "arm64");
        let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        assert_eq!(config["config"]["Entrypoint"], json!(["/signal-trace"]));
        let mut layer = Vec::new();
        flate2::read::GzDecoder::new(&blob(&manifest["layers"][0])[..]).read_to_end(&mut layer).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"], json!([digest(&layer)]));
        let inside = self::files(&layer);
        assert_eq!(inside.into_iter().collect::<Vec<_>>(), [("signal-trace".to_owned(), IMAGE.binary.to_vec())]);
    }

    #[test]
    fn the_same_source_gives_the_same_bytes_and_another_does_not() {
        let digest = |image: Image<'_>| image.archive().unwrap().digest;
        assert_eq!(IMAGE.archive().unwrap().bytes, IMAGE.archive().unwrap().bytes);
        assert_ne!(digest(IMAGE), digest(Image { binary: b"other", ..IMAGE }));
        assert_ne!(digest(IMAGE), digest(Image { revision: "other", ..IMAGE }));
    }
}
