//! What a server answered: its samples, borrowed from the text, or why there are none.

use std::borrow::Cow;

use serde::Deserialize;

use super::error::AskError;

/// Bytes of a server's own words that are passed on, and warnings of one answer.
const LONGEST: usize = 512;
const WARNINGS: usize = 16;

/// A good answer.
#[derive(Debug, Default)]
pub(super) struct Answer<'t> {
    pub(super) series: Vec<Series<'t>>,
    /// What makes it less than whole, in the server's own words.
    pub(super) warnings: Vec<String>,
}

/// One series of it: one value, or several.
#[derive(Debug, Deserialize)]
pub(super) struct Series<'t> {
    #[serde(borrow, default)]
    pub(super) metric: Labels<'t>,
    value: Option<Point<'t>>,
    #[serde(default)]
    values: Vec<Point<'t>>,
}

/// The labels that are asked for. What a query does not sum by is not there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Labels<'t> {
    #[serde(borrow)]
    pub(super) cluster: Cow<'t, str>,
    #[serde(borrow)]
    pub(super) namespace: Cow<'t, str>,
    #[serde(borrow)]
    pub(super) workload: Cow<'t, str>,
    #[serde(borrow)]
    pub(super) workload_type: Cow<'t, str>,
    #[serde(borrow)]
    pub(super) container: Cow<'t, str>,
    #[serde(borrow)]
    pub(super) outcome: Cow<'t, str>,
    #[serde(borrow)]
    pub(super) cause: Cow<'t, str>,
    #[serde(borrow)]
    pub(super) le: Cow<'t, str>,
    #[serde(borrow)]
    pub(super) reason: Cow<'t, str>,
}

/// Seconds since 1970, and the value as text.
#[derive(Debug, Deserialize)]
struct Point<'t>(f64, #[serde(borrow)] Cow<'t, str>);

#[derive(Deserialize)]
struct Envelope<'t> {
    #[serde(borrow)]
    status: Cow<'t, str>,
    #[serde(borrow)]
    data: Option<Data<'t>>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    error: Option<String>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Data<'t> {
    #[serde(borrow, default)]
    result: Vec<Series<'t>>,
}

impl Series<'_> {
    /// Times and values, without what is no number.
    pub(super) fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        let points = self.value.iter().chain(&self.values);
        points.filter_map(|Point(time, value)| value.parse().ok().filter(|v: &f64| v.is_finite()).map(|v| (*time, v)))
    }

    /// The only value, or the last one.
    pub(super) fn last(&self) -> Option<f64> {
        self.points().last().map(|(_, value)| value)
    }
}

/// Reads an answer with that status.
pub(super) fn parse(status: u16, body: &[u8]) -> Result<Answer<'_>, AskError> {
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(|error| not_json(status, body, &error))?;
    let warnings = envelope.warnings.unwrap_or_default().into_iter().take(WARNINGS).map(brief).collect();
    match (&*envelope.status, envelope.data) {
        ("success", Some(data)) if status == 200 => Ok(Answer { series: data.result, warnings }),
        _ => {
            let kind = envelope.error_type.unwrap_or_else(|| status.to_string());
            let message = envelope.error.unwrap_or_else(|| "no reason given".to_owned());
            let too_much = is_too_much(&message);
            let (kind, message) = (brief(kind), brief(message));
            Err(if too_much { AskError::TooMuch { message } } else { AskError::Refused { kind, message } })
        }
    }
}

fn brief(mut words: String) -> String {
    words.truncate(words.floor_char_boundary(LONGEST));
    words
}

/// As Prometheus, Thanos, Mimir and VictoriaMetrics say it.
fn is_too_much(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let signs =
        ["too many samples", "exceeded the limit", "exceeds the limit", "limit exceeded", "max-samples", "maxsamples"];
    signs.iter().any(|sign| message.contains(sign))
}

fn not_json(status: u16, body: &[u8], error: &serde_json::Error) -> AskError {
    let start = String::from_utf8_lossy(&body[..body.len().min(512)]).trim_start().to_ascii_lowercase();
    match status {
        401 | 403 => AskError::Credentials { status },
        300..=399 => AskError::Redirected { to: None },
        _ if start.starts_with("<!doctype html") || start.starts_with("<html") => AskError::Html { status },
        404 => AskError::NoApi,
        200 if error.is_eof() => AskError::Truncated,
        200 => AskError::NotJson { reason: brief(error.to_string()) },
        status => AskError::Status { status },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, body: &str) -> String {
        parse(status, body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn samples_are_read_and_what_is_no_number_is_left_out() {
        let body = r#"{"status":"success","warnings":["partial"],"data":{"resultType":"matrix","result":[
            {"metric":{"workload":"a\"b","other":"x"},"values":[[1.5,"2"],[3,"NaN"],[4,"+Inf"],[5,"7"]]},
            {"metric":{},"value":[9,"1"]}]}}"#;
        let answer = parse(200, body.as_bytes()).unwrap();
        assert_eq!(answer.warnings, ["partial"]);
        assert_eq!(answer.series[0].metric.workload, "a\"b");
        assert_eq!(answer.series[0].points().collect::<Vec<_>>(), [(1.5, 2.0), (5.0, 7.0)]);
        assert_eq!((answer.series[0].last(), answer.series[1].last()), (Some(7.0), Some(1.0)));
    }

    #[test]
    fn a_server_is_not_quoted_at_length() {
        let long = "ü".repeat(10_000);
        let refused = format!(r#"{{"status":"error","errorType":"{long}","error":"{long}"}}"#);
        assert!(error(400, &refused).len() < 1200);
        let too_much = format!(r#"{{"status":"error","error":"{long} too many samples"}}"#);
        assert!(
            matches!(parse(422, too_much.as_bytes()), Err(AskError::TooMuch { message }) if message.len() <= LONGEST)
        );
        assert!(error(200, &format!("\"{long}\"")).len() < 1200, "what is wrong in it is named in full by the parser");
        let warnings = vec![format!(r#""{long}""#); 100].join(",");
        let warned = format!(r#"{{"status":"success","warnings":[{warnings}],"data":{{"result":[]}}}}"#);
        let answer = parse(200, warned.as_bytes()).unwrap();
        assert!(answer.warnings.len() == WARNINGS && answer.warnings.iter().all(|warning| warning.len() <= LONGEST));
    }

    #[test]
    fn whatever_else_comes_is_named() {
        let too_many = r#"{"status":"error","errorType":"execution","error":"query processing would load too many samples into memory in query execution"}"#;
        assert!(matches!(parse(422, too_many.as_bytes()), Err(AskError::TooMuch { .. })));
        let wrong = r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\""}"#;
        assert_eq!(error(400, wrong), "it refuses the query (bad_data): invalid parameter \"query\"");
        assert!(error(200, "<!DOCTYPE html><title>Sign in</title>").contains("login page"));
        assert!(error(401, "no").contains("expired"));
        assert!(error(200, "{\"status\":\"succ").contains("ends in the middle"));
        assert!(error(404, "404 page not found").contains("/api/v1"));
        assert!(error(500, "oops").contains("500"));
        assert!(error(200, "[1, 2]").contains("no answer of Prometheus"));
    }
}
