//! Writes a recording, line by line.
//!
//! A recording that cannot be written must not stop the verdicts: the first failure ends it and is kept for whoever
//! asked for the recording.

use std::io::{self, Write};

use tracing::warn;

use super::{Header, Line};
use crate::event::KernelTime;
use crate::judge::Input;
use crate::report::json::write_line;

/// A recording in the making.
pub struct Recorder {
    out: Box<dyn Write>,
    failure: Option<io::Error>,
}

impl Recorder {
    /// Begins with the header.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn start(out: impl Write + 'static, header: &Header) -> io::Result<Self> {
        let mut recorder = Self { out: Box::new(out), failure: None };
        write_line(&mut recorder.out, header)?;
        recorder.out.flush()?;
        Ok(recorder)
    }

    /// The judge is told this at `now`.
    pub fn note(&mut self, now: KernelTime, input: &Input) {
        let line = Line { now: now.0, input: input.clone() };
        self.attempt(|out| write_line(out, &line));
    }

    /// Lets go of what is buffered, so that readers see whole lines.
    pub fn flush(&mut self) {
        self.attempt(Write::flush);
    }

    /// Why the recording ended early, if it did.
    pub fn failure(&self) -> Option<&io::Error> {
        self.failure.as_ref()
    }

    fn attempt(&mut self, work: impl FnOnce(&mut Box<dyn Write>) -> io::Result<()>) {
        if self.failure.is_none() {
            self.failure = work(&mut self.out).err();
            if let Some(error) = &self.failure {
                warn!(%error, "the recording ends here, the verdicts go on");
            }
        }
    }
}
