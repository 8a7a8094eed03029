//! `signal-trace events`: the Kubernetes events that the agents wrote, as a table that a person can read.

use std::fmt;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, presets};
use jiff::Timestamp;

use super::cluster::Cluster;
use super::runtime;
use crate::kube::fleet::{Told, events};
use crate::pattern::glob;
use crate::report::escape;
use crate::report::style::Style;

/// Columns that a name may take, and a note: an event's note has 1024 bytes at most.
const NAME: usize = 64;
const NOTE: usize = 1024;

/// Show the Kubernetes events of shutdowns that did not go well, the latest last.
///
/// It takes the right to list events of events.k8s.io, of that namespace or of all. The API server keeps them for an hour,
/// unless it is set otherwise.
#[derive(Debug, Args)]
pub struct Events {
    #[command(flatten)]
    cluster: Cluster,

    /// Only of this namespace; without it, of all
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Only of this workload or pod: cart, deployment/cart, or with * for any text
    #[arg(long, value_name = "PATTERN")]
    workload: Option<String>,
}

impl Events {
    /// Asks and shows.
    ///
    /// # Errors
    ///
    /// There is no way to the API server, or it refuses.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut told = runtime()?.block_on(async {
            let clients = self.cluster.connect().await?;
            anyhow::Ok(events(&clients.requests, self.namespace.as_deref()).await?)
        })?;
        if let Some(pattern) = &self.workload {
            told.retain(|event| is_of(event, pattern));
        }
        let mut text = String::new();
        write(&mut text, &told, Timestamp::now(), &Style::of(&std::io::stdout())).context("cannot draw the table")?;
        print!("{text}");
        Ok(ExitCode::SUCCESS)
    }
}

fn is_of(event: &Told, pattern: &str) -> bool {
    let workload = event.workload.as_deref().unwrap_or_default();
    let name = workload.split_once('/').map_or(workload, |(_, name)| name);
    [workload, name, &event.pod].into_iter().any(|name| glob(pattern, name))
}

fn write(out: &mut String, told: &[Told], now: Timestamp, style: &Style) -> fmt::Result {
    use fmt::Write as _;
    if told.is_empty() {
        return writeln!(
            out,
            "No events: nothing that was stopped lately stopped badly, or the events are older than an hour."
        );
    }
    let rule = style.glyphs().dash.chars().next().unwrap_or('-');
    let mut table = Table::new();
    table.load_style(presets::NOTHING.header_separator(LineStyle::none().fill(rule).junction(rule)));
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(style.width()).unwrap_or(u16::MAX));
    table.set_header(["ago", "n", "workload", "container", "what"]);
    for event in told {
        let word = |text: &str, longest: usize| escape::word(text, longest, style.charset());
        let workload = event.workload.clone().unwrap_or_else(|| format!("pod/{}", event.pod));
        table.add_row([
            event.at.map_or_else(|| "-".to_owned(), |at| ago(at, now)),
            event.count.to_string(),
            word(&format!("{}/{workload}", event.namespace), NAME),
            word(&event.container, NAME),
            word(&format!("{}: {}", event.reason, event.note), NOTE),
        ]);
    }
    for column in 0..2 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// `3m`, `2h`: as kubectl writes ages.
fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        _ => format!("{}h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::style::{Charset, Colors};

    fn told(at: &str, workload: Option<&str>, reason: &str, note: &str) -> Told {
        Told {
            at: Some(at.parse().unwrap()),
            count: 2,
            namespace: "shop".into(),
            pod: "cart-7d9f-x2k".into(),
            container: "app".into(),
            workload: workload.map(str::to_owned),
            reason: reason.into(),
            note: note.into(),
        }
    }

    fn shown(told: &[Told]) -> String {
        let now = "2026-11-22T11:00:00Z".parse().unwrap();
        let mut text = String::new();
        write(&mut text, told, now, &Style::new(80, Charset::Unicode, Colors::Plain)).unwrap();
        text
    }

    #[test]
    fn each_event_is_a_row_and_names_of_strangers_stay_names() {
        let note = "Killed when its grace period ran out: sh·1 passed SIGTERM on to nobody. Start cart with exec.";
        insta::assert_snapshot!(shown(&[
            told("2026-11-22T08:00:00Z", None, "StopSignalIgnored", "an escape \u{1b}[31m of a stranger"),
            told("2026-11-22T10:59:18Z", Some("deployment/cart"), "StopSignalNotForwarded", note),
        ]));
        assert!(shown(&[]).starts_with("No events: "));
    }

    #[test]
    fn a_workload_is_found_by_any_of_its_names() {
        let event = told("2026-11-22T08:00:00Z", Some("deployment/cart"), "X", "");
        for (pattern, found) in
            [("cart", true), ("deployment/cart", true), ("cart-7d9f-*", true), ("car", false), ("statefulset/*", false)]
        {
            assert_eq!(is_of(&event, pattern), found, "{pattern}");
        }
    }
}
