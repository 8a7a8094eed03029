//! TLS for the pages: a certificate and its key from files, read again as they are renewed.
//!
//! Whoever renews them writes new files in place of the old ones; what is wrong with those is said, and the last ones that
//! were right go on being used. No certificate is asked of who comes: a token is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::TlsAcceptor;

/// The files are looked at again after this.
const RENEWED_EVERY: Duration = Duration::from_secs(60);

/// A certificate and its key.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    read: Instant,
    acceptor: TlsAcceptor,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM of that.
    #[error("cannot read the {what} in {path}: {source}")]
    Pem {
        /// What should be in it.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// The two do not belong together.
    #[error("certificate {certificate} and key {key} do not go together: {source}")]
    Unfit {
        /// Where the certificate is.
        certificate: PathBuf,
        /// Where the key is.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

impl Tls {
    /// From these files, in PEM; the certificate's chain is in the same file.
    ///
    /// # Errors
    ///
    /// See [`TlsError`].
    pub fn new(certificate: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let acceptor = acceptor(&certificate, &key)?;
        Ok(Self { certificate, key, read: Instant::now(), acceptor })
    }

    /// What takes the next connection.
    pub(super) fn acceptor(&mut self) -> TlsAcceptor {
        if self.read.elapsed() >= RENEWED_EVERY {
            self.read = Instant::now();
            match acceptor(&self.certificate, &self.key) {
                Ok(renewed) => self.acceptor = renewed,
                Err(error) => tracing::warn!(%error, "the certificate of before is used"),
            }
        }
        self.acceptor.clone()
    }
}

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let no_pem = |what, path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Pem { what, path, source }
    };
    let unfit = |source| TlsError::Unfit { certificate: certificate.to_owned(), key: key.to_owned(), source };
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(no_pem("certificate", certificate))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(no_pem("private key", key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(unfit)?;
    let config = builder.with_no_client_auth().with_single_cert(chain, private).map_err(unfit)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("certificate", &self.certificate).field("key", &self.key).finish_non_exhaustive()
    }
}
