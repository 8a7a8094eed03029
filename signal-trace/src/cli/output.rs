//! Where verdicts go: blocks for people, or one JSON object a line, flushed one by one.

use std::io::{self, Write};

use crate::judge::shutdown::Shutdown;
use crate::kernel::boot_time;
use crate::report::clock::WallClock;
use crate::report::json::{Record, write_line};
use crate::report::style::Style;
use crate::report::text::write_block;

/// A stream of verdicts.
pub(super) enum Output {
    /// For people.
    Text(Style),
    /// For programs, with the node's name.
    Json(String),
}

impl Output {
    /// Blocks on standard output, as wide and as coloured as that is.
    pub(super) fn text() -> Self {
        Self::Text(Style::of(&io::stdout()))
    }

    /// Records on standard output.
    pub(super) fn json(node: String) -> Self {
        Self::Json(node)
    }

    /// Writes one verdict and flushes it.
    pub(super) fn write(&mut self, shutdown: &Shutdown, clock: WallClock) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self {
            Self::Text(style) => {
                let mut text = String::new();
                write_block(&mut text, shutdown, clock, style).map_err(io::Error::other)?;
                writeln!(out, "{text}")?;
            }
            Self::Json(node) => write_line(&mut out, &Record::new(shutdown, node, clock))?,
        }
        out.flush()
    }
}

/// What the wall clock says now, read anew for each verdict: it may have been set.
pub(super) fn wall_clock() -> WallClock {
    WallClock::new(boot_time(), jiff::Timestamp::now())
}

/// What records call this machine.
pub(super) fn node_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
