//! The servers on the command line, and the bar that shows how far they have answered.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::audit::source::Window;
use crate::audit::source::prometheus::{Access, Endpoint, Names, QUESTIONS, Question, Webhook};
use crate::audit::tally::Tallies;

/// Where to ask, and how.
#[derive(Debug, Args)]
pub(super) struct Servers {
    /// A server with Prometheus' HTTP API: Prometheus, Thanos, Mimir, VictoriaMetrics. CLUSTER=URL says whose series
    /// these are. Repeatable; two of the same cluster are replicas
    #[arg(long, value_name = "[CLUSTER=]URL", group = "source", conflicts_with = "records")]
    prometheus: Vec<String>,

    /// A header to send, as in "X-Scope-OrgID: a|b"; its value may be env:VARIABLE or file:PATH. Repeatable
    #[arg(long, value_name = "[CLUSTER=]NAME: VALUE")]
    header: Vec<String>,

    /// A file with a bearer token
    #[arg(long, value_name = "[CLUSTER=]FILE")]
    bearer_token_file: Vec<String>,

    /// A user, and a file with the password
    #[arg(long, value_name = "[CLUSTER=]USER:FILE")]
    basic_auth: Vec<String>,

    /// Certificates of authorities to trust besides the system's, in PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// A certificate of our own, in PEM
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,

    /// Its key, in PEM
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,

    /// The time for one query, and for the webhook
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = crate::cli::duration)]
    timeout: Duration,

    /// The label that tells clusters apart, where one server has several
    #[arg(long, value_name = "LABEL", default_value = "cluster", value_parser = label)]
    cluster_label: String,

    /// More matchers for the agents' series, as in env="prod"
    #[arg(long, value_name = "MATCHERS", default_value = "")]
    selector: String,
}

impl Servers {
    pub(super) fn is_empty(&self) -> bool {
        self.prometheus.is_empty()
    }

    /// Where the report goes, with headers of its own: the servers' secrets are theirs.
    pub(super) fn webhook(&self, url: &str, headers: &[String]) -> anyhow::Result<Webhook> {
        let access =
            Access { headers: headers.to_vec(), bearer_token_files: vec![], basic_auth: vec![], ..self.access() };
        Ok(access.webhook(url)?)
    }

    fn access(&self) -> Access {
        Access {
            headers: self.header.clone(),
            bearer_token_files: self.bearer_token_file.clone(),
            basic_auth: self.basic_auth.clone(),
            ca: self.ca.clone(),
            client_certificate: self.client_cert.clone(),
            client_key: self.client_key.clone(),
            timeout: self.timeout,
        }
    }

    pub(super) fn endpoints(&self) -> anyhow::Result<Vec<Endpoint>> {
        let access = self.access();
        self.prometheus.iter().map(|argument| access.endpoint(argument).map_err(Into::into)).collect()
    }

    pub(super) fn question(&self, window: Window, nodes: Option<u64>) -> anyhow::Result<Question> {
        let names = Names { cluster_label: self.cluster_label.clone(), selector: self.selector.clone() };
        Question::new(window, names, nodes).context("give the begin of the period: --since or --from")
    }
}

/// Asks them all, with a bar on standard error where that is a terminal.
pub(super) fn ask(question: &Question, endpoints: &[Endpoint], tallies: &mut Tallies) -> anyhow::Result<()> {
    let all = u64::try_from(QUESTIONS * endpoints.len()).unwrap_or(u64::MAX);
    let bar = ProgressBar::new(all).with_message("queries");
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos} of {len} {msg}, {elapsed}") {
        bar.set_style(style);
    }
    crate::cli::runtime()?.block_on(question.ask(endpoints, tallies, &|| bar.inc(1)));
    bar.finish_and_clear();
    if tallies.containers.is_empty() && tallies.watched.is_empty() && !tallies.gaps.is_empty() {
        let gaps: Vec<&str> = tallies.gaps.iter().map(|gap| gap.message.as_str()).collect();
        bail!("no server gave any number: {}", crate::audit::render::words::sentence(&gaps.join("; ")));
    }
    Ok(())
}

/// A label's name, as it stands in a query.
fn label(text: &str) -> Result<String, String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_label = !text.is_empty() && text.chars().all(is_name) && !text.starts_with(|c: char| c.is_ascii_digit());
    if is_label {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no label: use letters, digits and underscores"))
    }
}
