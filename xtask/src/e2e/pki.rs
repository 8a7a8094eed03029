//! Who is who in the cluster: one authority that lives as long as the node, a certificate for each part, and the
//! kubeconfigs that use them. Made by `openssl`, which every distribution has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::child;

/// Below the state's directory.
pub(crate) struct Authority {
    directory: PathBuf,
}

impl Authority {
    /// Makes a new one.
    pub(crate) fn create(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let authority = Self { directory: directory.to_owned() };
        authority.key("ca")?;
        authority.openssl("req -x509 -new -key ca.key -days 2 -subj /CN=signal-trace-e2e -out ca.crt")?;
        // Service accounts are signed with a key that no certificate belongs to.
        authority.openssl("genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out accounts.key")?;
        Ok(authority)
    }

    /// A key and a certificate called `name`, for `subject` and for servers at `addresses` (`IP:…,DNS:…`).
    pub(crate) fn issue(&self, name: &str, subject: &str, addresses: &str) -> Result<()> {
        self.key(name)?;
        self.openssl(&format!("req -new -key {name}.key -subj {subject} -out {name}.csr"))?;
        let extensions = format!("subjectAltName={addresses}\nextendedKeyUsage=serverAuth,clientAuth\n");
        fs::write(self.path(&format!("{name}.ext")), extensions)?;
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile {name}.ext -out {name}.crt"
        ))
    }

    /// A kubeconfig for the holder of `name`'s certificate, at `server`.
    pub(crate) fn kubeconfig(&self, name: &str, server: &str, file: &Path) -> Result<()> {
        let user = format!(
            "{{client-certificate: {}, client-key: {}}}",
            self.path(&format!("{name}.crt")).display(),
            self.path(&format!("{name}.key")).display()
        );
        let cluster = format!("{{server: '{server}', certificate-authority: {}}}", self.path("ca.crt").display());
        write_kubeconfig(file, &cluster, &user)
    }

    /// A kubeconfig for the bearer of `token`.
    pub(crate) fn token_kubeconfig(&self, token: &str, server: &str, file: &Path) -> Result<()> {
        let cluster = format!("{{server: '{server}', certificate-authority: {}}}", self.path("ca.crt").display());
        write_kubeconfig(file, &cluster, &format!("{{token: {token}}}"))
    }

    /// One that was made earlier.
    pub(crate) fn existing(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    fn key(&self, name: &str) -> Result<()> {
        self.openssl(&format!("ecparam -genkey -name prime256v1 -noout -out {name}.key"))
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    fn openssl(&self, words: &str) -> Result<()> {
        child::read(Command::new("openssl").args(words.split(' ')).current_dir(&self.directory)).map(drop)
    }
}

/// A kubeconfig with one cluster and one user, each given in YAML's flow form.
pub(crate) fn write_kubeconfig(file: &Path, cluster: &str, user: &str) -> Result<()> {
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters: [{{name: e2e, cluster: {cluster}}}]\nusers: [{{name: e2e, user: {user}}}]\n\
         contexts: [{{name: e2e, context: {{cluster: e2e, user: e2e}}}}]\ncurrent-context: e2e\n"
    );
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
