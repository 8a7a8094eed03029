//! The three formats of a page, and which of them a scraper gets.
//!
//! prometheus-client writes OpenMetrics text and protobuf. The older Prometheus text differs from the former in its
//! comments alone, and is made from it. Pure, but that everything is in memory at once.

use std::fmt;

use prometheus_client::encoding::{prometheus_protobuf, text};
use prometheus_client::registry::Registry;

use super::page::Page;
use super::process::Process;

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus protobuf, delimited: the only one with native histograms.
    Protobuf,
    /// OpenMetrics text 1.0.0.
    OpenMetrics,
    /// Prometheus text 0.0.4: what everybody can read.
    Text,
}

/// A page that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the metrics as {format}: {source}")]
pub struct RenderError {
    format: Format,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl Format {
    /// In the order of our preference.
    const ALL: [Self; 3] = [Self::Protobuf, Self::OpenMetrics, Self::Text];

    /// The format for a request with this `Accept`: the one it likes best, of several the one that we like best.
    /// Whoever accepts none of them gets the text, as from every other Prometheus client.
    pub fn negotiate(accept: &str) -> Self {
        let mut best = (0, Self::Text);
        for format in Self::ALL {
            let liked = accept.split(',').filter_map(|range| format.liking(range)).max().unwrap_or(0);
            if liked > best.0 {
                best = (liked, format);
            }
        }
        best.1
    }

    /// The `Content-Type` of a page.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    pub(super) fn render(self, page: Page, process: Process) -> Result<Vec<u8>, RenderError> {
        let mut registry = Registry::default();
        registry.sub_registry_with_prefix("signal_trace").register_collector(Box::new(page));
        registry.sub_registry_with_prefix("process").register_collector(Box::new(process));
        let written = match self {
            Self::Protobuf => prometheus_protobuf::encode_to_vec(&registry).map_err(Into::into),
            Self::OpenMetrics => open_metrics(&registry).map(String::into_bytes).map_err(Into::into),
            Self::Text => {
                open_metrics(&registry).map(|text| to_prometheus_text(&text).into_bytes()).map_err(Into::into)
            }
        };
        written.map_err(|source| RenderError { format: self, source })
    }

    /// How much one range of an `Accept` likes this format, in thousandths; none if the range is not about it.
    fn liking(self, range: &str) -> Option<u32> {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next()?.to_ascii_lowercase();
        let mut liking = 1000;
        let mut version = None;
        let mut proto = None;
        let mut encoding = None;
        for part in parts {
            let (name, value) = part.split_once('=')?;
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => liking = thousandths(value)?,
                "version" => version = Some(value),
                "proto" => proto = Some(value),
                "encoding" => encoding = Some(value),
                _ => {}
            }
        }
        let matches = match (self, media_type.as_str()) {
            (Self::Protobuf, "application/vnd.google.protobuf") => {
                proto == Some("io.prometheus.client.MetricFamily") && encoding == Some("delimited")
            }
            (Self::OpenMetrics, "application/openmetrics-text") => version.is_none_or(|version| version == "1.0.0"),
            (Self::Text, "text/plain") => version.is_none_or(|version| version == "0.0.4"),
            (Self::Text, "text/*" | "*/*") => true,
            (Self::Protobuf | Self::OpenMetrics | Self::Text, _) => false,
        };
        matches.then_some(liking)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Protobuf => "protobuf",
            Self::OpenMetrics => "OpenMetrics text",
            Self::Text => "Prometheus text",
        })
    }
}

/// A quality value: at most 1, with at most three digits after the point.
fn thousandths(value: &str) -> Option<u32> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if whole.len() != 1 || fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = format!("{whole}{fraction:0<3}").parse::<u32>().ok()?;
    (number <= 1000).then_some(number)
}

fn open_metrics(registry: &Registry) -> Result<String, fmt::Error> {
    let mut page = String::new();
    text::encode(&mut page, registry)?;
    Ok(page)
}

/// In the older format a description names the sample, suffix and all, there are neither units nor an end, and what it
/// has no type for is a gauge. A sample never begins with `#`: its label values have no line breaks left.
fn to_prometheus_text(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    let mut help = ("", "");
    for line in page.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ').unwrap_or((described, ""));
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.rsplit_once(' ').unwrap_or((typed, "untyped"));
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                kind => ("", kind),
            };
            let (_, help) = help;
            text.extend(["# HELP ", name, suffix, " ", help, "\n# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            text.extend([line, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrapers_get_what_they_ask_for() {
        let cases = [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Format::Text),
            ("application/json", Format::Text),
            ("text/plain", Format::Text),
            // Prometheus 2
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            // Prometheus 2 with native histograms
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                 application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::Protobuf,
            ),
            // Prometheus 3
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Format::OpenMetrics,
            ),
            // Equals: ours
            ("text/plain;version=0.0.4, application/openmetrics-text; version=1.0.0", Format::OpenMetrics),
            ("text/plain;q=0.9,application/openmetrics-text;q=0.8", Format::Text),
            ("application/openmetrics-text; version=\"1.0.0\"", Format::OpenMetrics),
            ("Application/OpenMetrics-Text", Format::OpenMetrics),
            // Not ours
            ("application/openmetrics-text;version=2.0.0", Format::Text),
            ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text", Format::Text),
            ("application/vnd.google.protobuf", Format::Text),
            // Refused, and broken
            ("application/openmetrics-text;q=0", Format::Text),
            ("application/openmetrics-text;q=2", Format::Text),
            ("application/openmetrics-text;q=NaN,;;;=,", Format::Text),
        ];
        for (accept, expected) in cases {
            assert_eq!(Format::negotiate(accept), expected, "{accept}");
        }
    }

    #[test]
    fn qualities_have_three_digits() {
        assert_eq!(thousandths("1"), Some(1000));
        assert_eq!(thousandths("0.75"), Some(750));
        assert_eq!(thousandths("0."), Some(0));
        for wrong in ["", "1.001", "0.1234", "-1", "+1", ".5", "0.+5", "inf"] {
            assert_eq!(thousandths(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_the_comments_differ_in_the_older_text() {
        let page = "# HELP a_b Says # TYPE.\n# TYPE a_b counter\n# UNIT a_b b\na_b_total{x=\"# EOF\"} 1\n\
                    # HELP c C.\n# TYPE c info\nc_info{v=\"1\"} 1\n# HELP g G.\n# TYPE g gauge\ng 2\n# EOF\n";
        let expected = "# HELP a_b_total Says # TYPE.\n# TYPE a_b_total counter\na_b_total{x=\"# EOF\"} 1\n\
                        # HELP c_info C.\n# TYPE c_info gauge\nc_info{v=\"1\"} 1\n# HELP g G.\n# TYPE g gauge\ng 2\n";
        assert_eq!(to_prometheus_text(page), expected);
    }
}
