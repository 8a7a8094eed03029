//! Why a server gave no answer, and what to do about it.

use std::path::PathBuf;

/// One question that was not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("cannot be reached ({reason}): check the address, the network and the port")]
    Unreachable { reason: String },
    #[error("did not answer within {seconds} s: raise --timeout, or ask for a shorter period")]
    TimedOut { seconds: u64 },
    #[error("its certificate is not accepted ({reason}): name the authority that signed it with --ca")]
    Certificate { reason: String },
    #[error("refuses our certificate, or wants one ({reason}): give --client-cert and --client-key")]
    ClientCertificate { reason: String },
    #[error("refuses the credentials ({status}): are they given, and has the token expired?")]
    Credentials { status: u16 },
    #[error("redirects{}: is there a login page in front? Give credentials, or the address behind it", place(to))]
    Redirected { to: Option<String> },
    #[error(
        "answered with a web page ({status}) and not with data: is there a login page in front, or is it the address of a user interface?"
    )]
    Html { status: u16 },
    #[error("has no Prometheus API there (404): give the address that /api/v1 is below")]
    NoApi,
    #[error("its answer ends in the middle")]
    Truncated,
    #[error("its answer is longer than {limit} MiB: ask for fewer workloads with --selector")]
    TooLong { limit: usize },
    #[error("gave no answer of Prometheus ({reason})")]
    NotJson { reason: String },
    #[error("answered with status {status}")]
    Status { status: u16 },
    #[error("it refuses the query ({kind}): {message}")]
    Refused { kind: String, message: String },
    #[error("the query is too much for it ({message}): ask for a shorter period")]
    TooMuch { message: String },
}

fn place(to: &Option<String>) -> String {
    to.as_ref().map(|to| format!(" to {to}")).unwrap_or_default()
}

/// An endpoint that cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// No address.
    #[error("`{url}` is no address: use [NAME=]http://HOST:PORT or https://HOST")]
    Address {
        /// What was given, without its password.
        url: String,
    },
    /// A header that cannot be sent.
    #[error("the header `{name}` cannot be sent: {why}")]
    Header {
        /// Its name.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// A variable that is not set.
    #[error("the variable {name} of a header is not set")]
    Variable {
        /// Which.
        name: String,
    },
    /// A file that cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// No certificate or key in a file.
    #[error("{} holds no {what} in PEM", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// TLS cannot be set up.
    #[error("TLS cannot be set up with these certificates")]
    Tls(#[from] rustls::Error),
}
