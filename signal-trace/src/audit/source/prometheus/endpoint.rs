//! The servers as they were named on the command line, with what each may be told: headers, tokens, certificates.
//!
//! A secret is read from the environment or a file, is sent to the servers that it was given for, and is printed nowhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::client::Client;
use super::error::EndpointError;

/// How servers are reached. What begins with `NAME=` is for the server of that name alone.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// `[NAME=]HEADER: VALUE`, where the value may be `env:VARIABLE` or `file:PATH`.
    pub headers: Vec<String>,
    /// `[NAME=]FILE` with a bearer token.
    pub bearer_token_files: Vec<String>,
    /// `[NAME=]USER:FILE` with a password.
    pub basic_auth: Vec<String>,
    /// Authorities besides the system's.
    pub ca: Option<PathBuf>,
    /// Our own certificate.
    pub client_certificate: Option<PathBuf>,
    /// Its key.
    pub client_key: Option<PathBuf>,
    /// For one question.
    pub timeout: Duration,
}

/// One server.
#[derive(Debug)]
pub struct Endpoint {
    /// The cluster's name, where its series do not say another; empty without one.
    pub name: String,
    /// Its address, without user and password.
    pub address: String,
    pub(super) client: Client,
}

/// Where a finished report is pushed to.
#[derive(Debug)]
pub struct Webhook {
    /// All of its address that may be printed.
    host: String,
    client: Client,
}

impl Webhook {
    /// Brings it there, trying again where the other side is busy or away.
    ///
    /// # Errors
    ///
    /// It was not taken: in words, without what is secret.
    pub async fn push(&self, document: Vec<u8>) -> Result<(), String> {
        match self.client.push(&document.into()).await {
            Ok(200..=299) => Ok(()),
            Ok(status) => Err(format!("webhook {} does not take the report: status {status}", self.host)),
            Err(error) => Err(format!("webhook {} {error}", self.host)),
        }
    }
}

impl Access {
    /// A server that is given as `[NAME=]URL`.
    ///
    /// # Errors
    ///
    /// No address, or a secret that cannot be read.
    pub fn endpoint(&self, argument: &str) -> Result<Endpoint, EndpointError> {
        let (name, url) = prefixed(argument);
        let (address, user_info) = split_address(url)?;
        let mut headers = self.headers_for(name)?;
        if let Some(user_info) = user_info {
            headers.insert(AUTHORIZATION, basic(&user_info)?);
        }
        let base = address.trim_end_matches('/').trim_end_matches("/api/v1").to_owned();
        let client = Client::new(base, headers, self.tls()?, self.timeout);
        Ok(Endpoint { name: name.to_owned(), address, client })
    }

    /// A place that a report is pushed to: a URL, or `env:VARIABLE` or `file:PATH` where it is a secret.
    ///
    /// # Errors
    ///
    /// No address, or a secret that cannot be read.
    pub fn webhook(&self, argument: &str) -> Result<Webhook, EndpointError> {
        let url = secret(argument)?;
        let (plain, user_info) = without_user(&url);
        let Some(host) = host_and_port(&plain) else {
            // What a variable or a file holds is nobody's business.
            let url = if url == argument { printable(argument) } else { argument.to_owned() };
            return Err(EndpointError::Address { url });
        };
        let mut headers = self.headers_for("")?;
        if let Some(user_info) = user_info {
            headers.insert(AUTHORIZATION, basic(&user_info)?);
        }
        Ok(Webhook { host, client: Client::new(plain, headers, self.tls()?, self.timeout) })
    }

    fn headers_for(&self, name: &str) -> Result<HeaderMap, EndpointError> {
        let mut headers = HeaderMap::new();
        for header in meant(&self.headers, name) {
            let refused =
                |why| EndpointError::Header { name: header.split(':').next().unwrap_or_default().to_owned(), why };
            let (key, value) = header.split_once(':').ok_or_else(|| refused("give it as NAME: VALUE"))?;
            let key: HeaderName =
                key.trim().parse().map_err(|_| refused("its name has characters that no header has"))?;
            let value = secret(value.trim())?;
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| refused("its value has a line break or a control character"))?;
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        for file in meant(&self.bearer_token_files, name) {
            headers.insert(AUTHORIZATION, sensitive(&format!("Bearer {}", read(Path::new(file))?.trim()))?);
        }
        for user in meant(&self.basic_auth, name) {
            let lack = || EndpointError::Header { name: "Authorization".to_owned(), why: "give it as USER:FILE" };
            let (user, file) = user.split_once(':').ok_or_else(lack)?;
            headers.insert(
                AUTHORIZATION,
                basic(&format!("{user}:{}", read(Path::new(file))?.trim_end_matches(['\r', '\n'])))?,
            );
        }
        Ok(headers)
    }

    fn tls(&self) -> Result<ClientConfig, EndpointError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = &self.ca {
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
        }
        let provider = rustls::crypto::ring::default_provider();
        let builder = ClientConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions()?;
        let builder = builder.with_root_certificates(roots);
        match (&self.client_certificate, &self.client_key) {
            (Some(certificate), Some(key)) => {
                let chain = certificates(certificate)?;
                let none = |_| EndpointError::Pem { path: key.clone(), what: "private key" };
                let key = PrivateKeyDer::from_pem_slice(read(key)?.as_bytes()).map_err(none)?;
                Ok(builder.with_client_auth_cert(chain, key)?)
            }
            _ => Ok(builder.with_no_client_auth()),
        }
    }
}

/// `NAME=REST`, where the name is one word; else all of it is the rest.
fn prefixed(argument: &str) -> (&str, &str) {
    match argument.split_once('=') {
        Some((name, rest)) if !name.is_empty() && !name.contains([':', '/', ' ', '?']) => (name, rest),
        _ => ("", argument),
    }
}

/// Those that are for every server, and then those for this one.
fn meant<'a>(arguments: &'a [String], name: &str) -> impl Iterator<Item = &'a str> {
    let mut meant: Vec<_> = arguments.iter().map(|argument| prefixed(argument)).collect();
    meant.retain(|(of, _)| of.is_empty() || *of == name);
    meant.sort_by_key(|(of, _)| !of.is_empty());
    meant.into_iter().map(|(_, rest)| rest)
}

/// The address to print and to ask, and the user and password that stood in it.
fn split_address(url: &str) -> Result<(String, Option<String>), EndpointError> {
    let (address, user_info) = without_user(url);
    let is_address = host_and_port(&address).is_some() && !address.contains('?');
    if is_address { Ok((address, user_info)) } else { Err(EndpointError::Address { url: printable(url) }) }
}

/// Of a web server's address without user and password; none of anything else.
fn host_and_port(address: &str) -> Option<String> {
    let uri: Uri = address.parse().ok()?;
    let authority = uri.authority().filter(|_| matches!(uri.scheme_str(), Some("http" | "https")))?;
    // What is no port may be a password that has a slash.
    let is_whole = authority.as_str() == authority.host() || authority.port().is_some();
    (is_whole && !authority.host().is_empty()).then(|| authority.to_string())
}

/// What of a text that is no address may be shown: no password, whatever characters it has, and nothing that is asked.
fn printable(text: &str) -> String {
    let (user, rest) = text.rsplit_once('@').map_or(("", text), |(_, rest)| ("…@", rest));
    let (place, query) = rest.split_once('?').map_or((rest, ""), |(place, _)| (place, "?…"));
    format!("{user}{place}{query}")
}

/// The address, and the user and password that stood in it.
fn without_user(url: &str) -> (String, Option<String>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.to_owned(), None) };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((user_info, host)) => (format!("{scheme}://{host}{path}"), Some(user_info.to_owned())),
        None => (url.to_owned(), None),
    }
}

/// What a header's value stands for.
fn secret(value: &str) -> Result<String, EndpointError> {
    if let Some(name) = value.strip_prefix("env:") {
        return std::env::var(name).map_err(|_| EndpointError::Variable { name: name.to_owned() });
    }
    match value.strip_prefix("file:") {
        Some(path) => Ok(read(Path::new(path))?.trim().to_owned()),
        None => Ok(value.to_owned()),
    }
}

fn basic(user_and_password: &str) -> Result<HeaderValue, EndpointError> {
    sensitive(&format!("Basic {}", BASE64_STANDARD.encode(user_and_password)))
}

fn sensitive(value: &str) -> Result<HeaderValue, EndpointError> {
    let refused = |_| EndpointError::Header {
        name: AUTHORIZATION.to_string(),
        why: "its value has a line break or a control character",
    };
    let mut value = HeaderValue::from_str(value).map_err(refused)?;
    value.set_sensitive(true);
    Ok(value)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, EndpointError> {
    let none = || EndpointError::Pem { path: path.to_owned(), what: "certificate" };
    let text = read(path)?;
    let all: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>().map_err(|_| none())?;
    if all.is_empty() { Err(none()) } else { Ok(all) }
}

fn read(path: &Path) -> Result<String, EndpointError> {
    std::fs::read_to_string(path).map_err(|source| EndpointError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_an_address_is_not_part_of_it() {
        let (address, user) = split_address("https://me:s3cret@prometheus.example/prefix").unwrap();
        assert_eq!((address.as_str(), user.as_deref()), ("https://prometheus.example/prefix", Some("me:s3cret")));
        for (wrong, shown) in [
            ("prometheus:9090", "prometheus:9090"),
            ("ftp://x", "ftp://x"),
            ("http://", "http://"),
            ("http://a b", "http://a b"),
            ("https://u:s3cret@", "…@"),
            ("me:s3cret@prometheus:9090", "…@prometheus:9090"),
            ("https://me:s3/cret@prometheus:9090", "…@prometheus:9090"),
            ("http://a?b=s3cret", "http://a?…"),
        ] {
            let error = split_address(wrong).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{shown}` is no address")), "{wrong}: {error}");
        }
    }

    #[test]
    fn of_a_webhook_its_host_alone_is_shown() {
        let webhook = |argument: &str| Access::default().webhook(argument);
        for (url, host) in [
            ("https://hooks.example?token=s3cret", "hooks.example"),
            ("https://me:s3cret@hooks.example:8443/services/s3cret", "hooks.example:8443"),
            ("http://[::1]:80/a@b", "[::1]:80"),
        ] {
            assert_eq!(webhook(url).unwrap().host, host);
        }
        let shown = |argument: &str| webhook(argument).unwrap_err().to_string();
        assert!(shown("me:s3cret@hooks.example").starts_with("`…@hooks.example` is no address"));
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("url@");
        std::fs::write(&file, "me:s3cret@hooks.example").unwrap();
        let argument = format!("file:{}", file.display());
        assert!(shown(&argument).starts_with(&format!("`{argument}` is no address")));
    }

    #[test]
    fn a_name_in_front_is_a_word() {
        assert_eq!(prefixed("eu=https://a/?x=y"), ("eu", "https://a/?x=y"));
        assert_eq!(prefixed("https://a/?x=y"), ("", "https://a/?x=y"));
        assert_eq!(prefixed("X-Scope-OrgID: a=b"), ("", "X-Scope-OrgID: a=b"));
    }

    #[test]
    fn a_secret_goes_where_it_was_meant_for() {
        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("token");
        std::fs::write(&token, "t0ken\n").unwrap();
        let access = Access {
            headers: vec!["us=X-Scope-OrgID: mine".into(), "X-Scope-OrgID: all".into()],
            bearer_token_files: vec![format!("eu={}", token.display())],
            ..Access::default()
        };
        let us = access.headers_for("us").unwrap();
        assert_eq!(us["x-scope-orgid"], "mine");
        assert!(us.get(AUTHORIZATION).is_none());
        let eu = access.headers_for("eu").unwrap();
        assert_eq!(
            (&eu["x-scope-orgid"], &eu[AUTHORIZATION]),
            (&"all".parse().unwrap(), &"Bearer t0ken".parse().unwrap())
        );
        assert!(!format!("{eu:?}").contains("t0ken"));
        for wrong in ["X-A", "b d: x", "X-A: a\nb", "X-A: env:SIGNAL_TRACE_NO_SUCH_VARIABLE", "X-A: file:/nowhere"] {
            let access = Access { headers: vec![wrong.into()], ..Access::default() };
            assert!(access.headers_for("").is_err(), "{wrong}");
        }
    }
}
