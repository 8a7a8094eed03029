//! Options that were found sound: what the agent goes by.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

use super::options::{CPU_LIMIT, Options};
use super::scope::{Scope, ScopeError};
use crate::containers::bundles::Bundles;
use crate::judge::shutdown::{Cause, Outcome, Verdict};
use crate::report::http::{Access, Token, TokenError};
use crate::report::metrics::{self, PodLabel};
use crate::suggest::nearest;

/// What the agent goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node.
    pub node: String,
    /// How to reach the API server; none for where everybody looks.
    pub kubeconfig: Option<PathBuf>,
    /// Where pages are served.
    pub listen: SocketAddr,
    /// Who may read the pages that name processes.
    pub access: Access,
    /// A certificate and its key; none for plain HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Whose shutdowns are told.
    pub scope: Scope,
    /// What Kubernetes events are written about.
    pub events: EventRule,
    /// Bounds and form of the metrics.
    pub metrics: metrics::Settings,
    /// Where bundles are; none where they are not to be read.
    pub bundles: Option<Bundles>,
    /// The host's `/proc`.
    pub proc: PathBuf,
    /// Percent of a core that may be taken; none for no bound.
    pub cpu_limit: Option<u32>,
    /// Whether privileges are given up once the programs are attached.
    pub confine: bool,
}

/// Which verdicts are worth an event, besides what the verdict itself says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EventRule {
    /// None.
    #[default]
    Never,
    /// All but these.
    AllBut(Vec<Name>),
}

/// An outcome or a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// How it ended.
    Outcome(Outcome),
    /// Why.
    Cause(Cause),
}

/// Options that make no sense.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// No such verdict.
    #[error("--no-event-for {name}: neither an outcome nor a cause{}; `signal-trace explain` lists them", meant(.nearest.as_ref()))]
    UnknownName {
        /// What was said.
        name: String,
        /// What may have been meant.
        nearest: Option<&'static str>,
    },
    /// A namespace or label that cannot be one.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// The token cannot be read.
    #[error("cannot read the token in {path}")]
    TokenFile {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The token is none.
    #[error("the token in {path} is none")]
    Token {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        source: TokenError,
    },
    /// A token that nobody has.
    #[error("--token-for-metrics asks for a token, and --token-file names none")]
    NoToken,
    /// A certificate without its key, or the other way round.
    #[error("TLS takes both --tls-certificate and --tls-key")]
    HalfTls,
    /// Nothing could be counted.
    #[error("--label-sets 0 leaves no room for any workload: use 1 or more")]
    NoSeries,
}

fn meant(nearest: Option<&&'static str>) -> String {
    nearest.map(|name| format!(", did you mean {name}?")).unwrap_or_default()
}

impl Settings {
    /// From options with their defaults; `host_name` is for where no node is named. Reads the token.
    ///
    /// # Errors
    ///
    /// See [`SettingsError`].
    pub fn new(options: Options, host_name: String) -> Result<Self, SettingsError> {
        let label_sets = options.label_sets.unwrap_or(metrics::Settings::default().label_sets);
        if label_sets == 0 {
            return Err(SettingsError::NoSeries);
        }
        let except = options.no_event_for.iter().map(|name| Name::parse(name)).collect::<Result<_, _>>()?;
        let pod_label = if options.pod_label == Some(true) { PodLabel::On } else { PodLabel::Off };
        Ok(Self {
            node: options.node_name.unwrap_or(host_name),
            kubeconfig: options.kubeconfig,
            listen: options.listen.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 9469))),
            access: access(options.token_file, options.token_for_metrics)?,
            tls: match (options.tls_certificate, options.tls_key) {
                (Some(certificate), Some(key)) => Some((certificate, key)),
                (None, None) => None,
                (Some(_), None) | (None, Some(_)) => return Err(SettingsError::HalfTls),
            },
            scope: Scope::new(&options.namespaces, &options.exclude_namespaces, &options.pod_selector)?,
            events: if options.events == Some(false) { EventRule::Never } else { EventRule::AllBut(except) },
            metrics: metrics::Settings { label_sets, pod_label, ..metrics::Settings::default() },
            bundles: (options.bundles == Some(true)).then(|| Bundles::with_state_in(&options.runtime_state)),
            proc: options.proc.unwrap_or_else(|| "/proc".into()),
            cpu_limit: Some(options.cpu_limit.unwrap_or(CPU_LIMIT)).filter(|percent| *percent > 0),
            confine: options.confine != Some(false),
        })
    }
}

fn access(token_file: Option<PathBuf>, for_metrics: Option<bool>) -> Result<Access, SettingsError> {
    let for_all = for_metrics == Some(true);
    let Some(path) = token_file else {
        return if for_all { Err(SettingsError::NoToken) } else { Ok(Access::Loopback) };
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(SettingsError::TokenFile { path, source }),
    };
    let token = Token::new(&text).map_err(|source| SettingsError::Token { path, source })?;
    Ok(if for_all { Access::BearerForAll(token) } else { Access::Bearer(token) })
}

impl EventRule {
    /// Whether an event may be written about such a verdict.
    pub fn allows(&self, verdict: Verdict) -> bool {
        match self {
            Self::Never => false,
            Self::AllBut(names) => !names.iter().any(|name| name.is_of(verdict)),
        }
    }
}

impl Name {
    fn parse(text: &str) -> Result<Self, SettingsError> {
        let outcomes = Outcome::ALL.into_iter().map(|outcome| (outcome.name(), Self::Outcome(outcome)));
        let causes = Cause::ALL.into_iter().map(|cause| (cause.name(), Self::Cause(cause)));
        // `unknown` is both: the outcome, which was listed last, is what was meant.
        let known: BTreeMap<_, _> = causes.chain(outcomes).collect();
        let unknown = || SettingsError::UnknownName {
            name: text.escape_debug().to_string(),
            nearest: nearest(known.keys().copied(), text),
        };
        known.get(text).copied().ok_or_else(unknown)
    }

    fn is_of(self, verdict: Verdict) -> bool {
        match self {
            Self::Outcome(outcome) => verdict.outcome == outcome,
            Self::Cause(cause) => verdict.cause == cause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(options: Options) -> Result<Settings, String> {
        Settings::new(options.or_default(), "host".into()).map_err(|error| error.to_string())
    }

    #[test]
    fn without_any_option_the_defaults_of_the_contract_hold() {
        let settings = settings(Options::default()).unwrap();
        assert_eq!((settings.node.as_str(), settings.listen.to_string().as_str()), ("host", "0.0.0.0:9469"));
        assert_eq!((settings.events, settings.access), (EventRule::AllBut(Vec::new()), Access::Loopback));
        assert!(settings.bundles.is_none(), "bundles hold secrets");
        assert_eq!((settings.cpu_limit, settings.confine), (Some(50), true));
    }

    #[test]
    fn events_are_switched_off_by_outcome_and_by_cause() {
        let rule = |names: &[&str]| {
            let no_event_for = names.iter().map(ToString::to_string).collect();
            settings(Options { no_event_for, ..Options::default() }).map(|settings| settings.events)
        };
        let verdict = Verdict { outcome: Outcome::GraceExceeded, cause: Cause::NotForwarded };
        assert!(rule(&["children_killed", "no_handler"]).unwrap().allows(verdict));
        assert!(!rule(&["grace_exceeded"]).unwrap().allows(verdict));
        assert!(!rule(&["not_forwarded"]).unwrap().allows(verdict));
        assert_eq!(
            rule(&["not-forwarded"]).unwrap_err(),
            "--no-event-for not-forwarded: neither an outcome nor a cause, did you mean not_forwarded?; \
             `signal-trace explain` lists them"
        );
        let never = settings(Options { events: Some(false), ..Options::default() }).unwrap().events;
        assert!(!never.allows(verdict));
    }

    #[test]
    fn a_token_that_cannot_be_had_is_named() {
        let from = |path: &std::path::Path| {
            settings(Options { token_file: Some(path.to_owned()), ..Options::default() })
                .map(|settings| settings.access)
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        assert!(from(&path).unwrap_err().starts_with("cannot read the token in "));
        fs::write(&path, "\n").unwrap();
        assert!(from(&path).unwrap_err().starts_with("the token in "));
        fs::write(&path, "s3cret\n").unwrap();
        assert_eq!(from(&path), Ok(Access::Bearer(Token::new("s3cret").unwrap())));
    }

    #[test]
    fn zero_is_no_bound_on_the_processor() {
        let none = settings(Options { cpu_limit: Some(0), ..Options::default() }).unwrap();
        assert_eq!(none.cpu_limit, None);
    }

    #[test]
    fn half_of_what_belongs_together_is_a_mistake() {
        let certificate = Options { tls_certificate: Some("/tls.crt".into()), ..Options::default() };
        assert!(settings(certificate).unwrap_err().contains("--tls-key"));
        let token = Options { token_for_metrics: Some(true), ..Options::default() };
        assert!(settings(token).unwrap_err().contains("--token-file"));
    }

    #[test]
    fn no_room_at_all_is_a_mistake() {
        assert!(
            settings(Options { label_sets: Some(0), ..Options::default() }).unwrap_err().contains("--label-sets 0")
        );
    }
}
