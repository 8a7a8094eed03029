//! Every format as it is written, and none of them taken over by a name.

use super::super::fixtures::{self, HOSTILE};
use super::super::report::{Report, schema, schema_text};
use super::super::tally::{Gap, Tallies};
use super::*;
use crate::report::escape::is_hidden;

fn text(report: &Report, format: Format) -> String {
    String::from_utf8(render(report, format, &file_style()).unwrap()).unwrap()
}

fn json(report: &Report, format: Format) -> serde_json::Value {
    serde_json::from_str(&text(report, format)).unwrap()
}

#[test]
fn as_a_table() {
    let at = |width, charset, colors| {
        let style = Style::new(width, charset, colors);
        String::from_utf8(render(&fixtures::report(), Format::Table, &style).unwrap()).unwrap()
    };
    let wide = at(120, Charset::Unicode, Colors::Plain);
    let narrow = at(60, Charset::Ascii, Colors::Plain);
    assert!(narrow.is_ascii(), "{narrow}");
    insta::assert_snapshot!([wide, at(90, Charset::Unicode, Colors::Ansi), narrow].join("\n=====\n"));
}

#[test]
fn as_csv() {
    insta::assert_snapshot!(text(&fixtures::report(), Format::Csv).replace("\r\n", "\n"));
}

#[test]
fn as_markdown() {
    insta::assert_snapshot!(text(&fixtures::report(), Format::Markdown));
}

#[test]
fn as_junit() {
    insta::assert_snapshot!(text(&fixtures::report(), Format::Junit));
}

#[test]
fn as_sarif() {
    let mut sarif = json(&fixtures::report(), Format::Sarif);
    let rules = sarif["runs"][0]["tool"]["driver"]["rules"].take();
    let ids: Vec<&str> = rules.as_array().unwrap().iter().map(|rule| rule["id"].as_str().unwrap()).collect();
    for result in sarif["runs"][0]["results"].as_array().unwrap() {
        assert!(ids.contains(&result["ruleId"].as_str().unwrap()), "{result}");
    }
    let mut unique = ids.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), ids.len());
    insta::assert_snapshot!(format!("{sarif:#}"));
}

#[test]
fn as_policy_reports() {
    let open = json(&fixtures::report(), Format::OpenReports);
    insta::assert_snapshot!(format!("{open:#}"));
    let mut older = json(&fixtures::report(), Format::PolicyReport);
    for object in older["items"].as_array_mut().unwrap() {
        assert_eq!(object["apiVersion"], "wgpolicyk8s.io/v1alpha2");
        assert_eq!(object["kind"], "PolicyReport");
        object["apiVersion"] = "openreports.io/v1alpha1".into();
        object["kind"] = "Report".into();
        object["source"] = "signal-trace".into();
    }
    assert_eq!(older, open);
}

#[test]
fn as_json_by_the_published_schema() {
    insta::assert_snapshot!("schema", schema_text());
    let validator = jsonschema::draft202012::new(schema().as_value()).unwrap();
    for report in [fixtures::report(), fixtures::hostile()] {
        let value = json(&report, Format::Json);
        let errors: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
    insta::assert_snapshot!("json", text(&fixtures::report(), Format::Json));
}

#[test]
fn what_is_missing_stands_on_the_first_line() {
    let mut tallies = fixtures::tallies();
    tallies.gaps.push(Gap { cluster: Some("us".to_owned()), message: "us: connection refused".to_owned() });
    let report = super::super::assess(&tallies, &fixtures::policy(), fixtures::period(), fixtures::now());
    let says = "INCOMPLETE: 1 of 2 clusters could not be read whole (us)";
    for format in [Format::Table, Format::Markdown] {
        let text = text(&report, format);
        assert!(text.lines().next().unwrap().contains(says), "{text}");
    }
    let html = text(&report, Format::Html);
    assert!(html.find(says).unwrap() < html.find("<h1>").unwrap());
    assert!(text(&report, Format::Junit).lines().nth(1).unwrap().contains(says));
    assert_eq!(json(&report, Format::Sarif)["runs"][0]["invocations"][0]["executionSuccessful"], false);
    assert_eq!(json(&report, Format::Json)["complete"], false);
}

#[test]
fn no_name_is_more_than_a_name() {
    let report = fixtures::hostile();
    for format in Format::ALL {
        let text = text(&report, format);
        let lays_out = |c: char| matches!(c, '\n' | '\r' | ' ');
        let hidden = text.chars().find(|c| is_hidden(*c) && !lays_out(*c));
        assert_eq!(hidden, None, "{}", format.name());
        assert!(!text.contains('\r') || format == Format::Csv, "{}", format.name());
    }
    let html = text(&report, Format::Html);
    assert!(!html.contains("<script>alert") && !html.contains("]]>&lt;"));
    assert_eq!(html.matches("<script>").count(), 1);
    let markdown = text(&report, Format::Markdown);
    assert!(!markdown.contains("<script") && !markdown.contains("@everyone") && !markdown.contains("[x](javascript"));
    let rows = markdown.lines().filter(|line| line.starts_with("| ")).count();
    assert_eq!(rows, HOSTILE.len() + 1, "{markdown}");
    let csv = text(&report, Format::Csv);
    let mut reader = ::csv::Reader::from_reader(csv.as_bytes());
    let cells: Vec<String> =
        reader.records().flat_map(|row| row.unwrap().iter().map(str::to_owned).collect::<Vec<_>>()).collect();
    assert_eq!(cells.len(), HOSTILE.len() * 26);
    assert!(cells.iter().all(|cell| !cell.starts_with(['=', '+', '@', '\t'])), "{cells:?}");
    let sarif = json(&report, Format::Sarif);
    for result in sarif["runs"][0]["results"].as_array().unwrap() {
        let uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap();
        assert!(uri.is_ascii() && !uri.contains("..") && !uri.contains(' '), "{uri}");
    }
}

#[test]
fn a_page_stands_alone() {
    let html = text(&fixtures::report(), Format::Html);
    for outside in ["http://", "https://prometheus.eu.example\"", "src=", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert!(html.contains("<html lang=\"en\">") && html.contains("name=\"viewport\""));
    // Every row is there without a script.
    assert_eq!(html.matches("<td class=\"name\">").count(), 7 + 7);
}

#[test]
fn nothing_is_a_report_too() {
    let report = super::super::assess(&Tallies::default(), &Default::default(), fixtures::period(), fixtures::now());
    for format in Format::ALL {
        assert!(!text(&report, format).is_empty(), "{}", format.name());
    }
}
