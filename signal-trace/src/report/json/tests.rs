//! The contract, held to: golden files, the schema against real records, and the way back.

use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::judge::shutdown::Shutdown;
use crate::report::clock::WallClock;
use crate::report::escape::is_hidden;
use crate::report::{any, fixtures};

fn line_of(shutdown: &Shutdown, clock: WallClock) -> String {
    let mut out = Vec::new();
    write_line(&mut out, &Record::new(shutdown, "worker-1", clock)).unwrap();
    let line = String::from_utf8(out).unwrap();
    line.strip_suffix('\n').unwrap().to_owned()
}

fn value_of(shutdown: &Shutdown) -> serde_json::Value {
    serde_json::from_str(&line_of(shutdown, fixtures::clock())).unwrap()
}

static SCHEMA: LazyLock<jsonschema::Validator> =
    LazyLock::new(|| jsonschema::draft202012::new(schema().as_value()).unwrap());

fn valid(record: &serde_json::Value) -> bool {
    SCHEMA.is_valid(record)
}

#[test]
fn a_record_as_it_is_written() {
    // One field a line here, in the order of the text.
    let line = line_of(&fixtures::shell_wrapper(), fixtures::clock());
    insta::assert_snapshot!(line.replace(r#","#, ",\n"));
}

#[test]
fn the_schema_is_as_published() {
    insta::assert_snapshot!(schema_text());
}

#[test]
fn the_schema_is_a_schema() {
    assert!(jsonschema::meta::is_valid(schema().as_value()));
}

#[test]
fn every_field_is_there_though_nothing_is_known() {
    let known = value_of(&fixtures::shell_wrapper());
    let unknown = value_of(&fixtures::nothing_known());
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&known), keys(&unknown));
    assert_eq!(keys(&known["container"]), keys(&unknown["container"]));
    assert_eq!(keys(&known["grace"]), keys(&unknown["grace"]));
    for field in ["pod", "stop_signal", "prestop_seconds", "stop_to_kill_seconds", "stop_to_exit_seconds", "init"] {
        assert!(unknown[field].is_null(), "{field}");
    }
    assert!(unknown["grace"]["seconds"].is_null());
}

#[test]
fn every_fixture_keeps_to_the_schema() {
    for (name, shutdown) in fixtures::all() {
        let record = value_of(&shutdown);
        let errors: Vec<_> = SCHEMA.iter_errors(&record).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
}

#[test]
fn the_schema_refuses_what_is_no_record() {
    let good = value_of(&fixtures::shell_wrapper());
    assert!(valid(&good));
    for field in good.as_object().unwrap().keys() {
        let mut without = good.clone();
        without.as_object_mut().unwrap().remove(field);
        assert!(!valid(&without), "{field} is not required");
    }
    let wrong = [
        ("/outcome", "fine"),
        ("/cause", ""),
        ("/confidence", "sure"),
        ("/trigger", "fun"),
        ("/killed_by", "me"),
        ("/init_disposition", "x"),
        ("/grace/source", "y"),
        ("/timeline/0/what", "z"),
        ("/timeline/0/from/where", "w"),
        ("/timeline/0/result", "v"),
        ("/schema", "signal-trace.dev/shutdown/v2"),
        ("/time", "yesterday"),
        ("/stop_signal", "TERM"),
        ("/stop_to_kill_seconds", "30"),
        ("/init/pid", "1"),
    ];
    for (pointer, value) in wrong {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value.into();
        assert!(!valid(&bad), "{pointer} may be {value:?}");
    }
    let mut more = good;
    more["later"] = 1.into();
    assert!(valid(&more), "fields may be added");
}

#[test]
fn records_of_others_do_not_read_and_later_fields_do_no_harm() {
    let line = line_of(&fixtures::shell_wrapper(), fixtures::clock());
    let later = line.replacen('{', r#"{"later": [1], "#, 1);
    assert_eq!(read_line(&later).unwrap(), read_line(&line).unwrap());
    let error = read_line(&line.replace("shutdown/v1", "shutdown/v2")).unwrap_err().to_string();
    assert!(error.contains(r#"schema "signal-trace.dev/shutdown/v2" is not signal-trace.dev/shutdown/v1"#), "{error}");
    let error = read_line(&line.replace("not_forwarded", "not_heard")).unwrap_err().to_string();
    assert!(error.contains(r#"no Cause: "not_heard""#), "{error}");
    assert!(read_line("").is_err());
}

#[test]
fn names_of_strangers_cannot_act_on_a_terminal() {
    let shutdown = fixtures::hostile_names();
    let line = line_of(&shutdown, fixtures::clock());
    assert!(!line.contains(is_hidden), "{line}");
    assert!(line.contains(r#""comm":"\u001b[2J\u202ehs""#), "{line}");
    let record = read_line(&line).unwrap();
    assert_eq!(record.init.unwrap().comm, "\u{1b}[2J\u{202e}hs", "nothing is lost");
    assert!(record.missed[0].process.comm.contains('\u{fffd}'), "what is no UTF-8 is replaced");
}

#[test]
fn seconds_are_rounded_to_microseconds() {
    let text = |nanos| serde_json::to_string(&Seconds::from(Duration::from_nanos(nanos))).unwrap();
    assert_eq!(text(30_010_000_000), "30.01");
    assert_eq!(text(200_499), "0.0002");
    assert_eq!(text(200_500), "0.000201");
    assert_eq!(text(0), "0.0");
    assert!(serde_json::from_str::<Seconds>("-1.0").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_record_reads_back_as_it_was_written(shutdown in any::shutdown()) {
        let clock = fixtures::clock();
        let line = line_of(&shutdown, clock);
        prop_assert!(!line.contains(is_hidden), "{line}");
        prop_assert_eq!(read_line(&line).unwrap(), Record::new(&shutdown, "worker-1", clock));
        prop_assert!(valid(&serde_json::from_str(&line).unwrap()), "{line}");
    }
}
