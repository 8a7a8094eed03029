//! The log of records: lines that go to a writer, standard output say, by a thread of its own.
//!
//! Whoever reads them may stop reading for a while, as a container runtime does that is started again; what follows the
//! kernel may not wait for that. What finds no room is refused. It does not know what a line says.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Lines that wait at most: those of some hundred pods that are deleted at once.
const ROOM: usize = 512;
/// How long the last lines may take when the agent ends.
const LAST_LINES: Duration = Duration::from_millis(150);

/// A writer that never waits. Each write is one line; it is an error while the lines before it cannot be written.
pub(super) struct Log {
    lines: Option<SyncSender<Vec<u8>>>,
    lost: Arc<dyn Fn() + Send + Sync>,
    /// Why the last line was not written.
    failure: Arc<Mutex<Option<io::ErrorKind>>>,
    /// Disconnected once all is written.
    written: Receiver<()>,
}

impl Log {
    /// To this writer; `lost` is told of each line that does not get there.
    ///
    /// # Errors
    ///
    /// There can be no other thread.
    pub(super) fn to(
        mut writer: impl Write + Send + 'static,
        lost: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (lines, queue) = sync_channel::<Vec<u8>>(ROOM);
        let (done, written) = channel();
        let lost: Arc<dyn Fn() + Send + Sync> = Arc::new(lost);
        let failure = Arc::new(Mutex::new(None));
        let (told, counted) = (Arc::clone(&failure), Arc::clone(&lost));
        thread::Builder::new().name("log".into()).spawn(move || {
            for line in queue {
                let problem = writer.write_all(&line).and_then(|()| writer.flush()).err();
                if problem.is_some() {
                    counted();
                }
                *told.lock().unwrap_or_else(PoisonError::into_inner) = problem.map(|problem| problem.kind());
            }
            drop(done);
        })?;
        Ok(Self { lines: Some(lines), lost, failure, written })
    }
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let sent = self.lines.as_ref().map(|lines| lines.try_send(line.to_owned()));
        if !matches!(sent, Some(Ok(()))) {
            (self.lost)();
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "nobody reads it"));
        }
        let failure = *self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.map_or(Ok(line.len()), |kind| Err(kind.into()))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.lines = None;
        // Disconnected, or too late: either way there is nothing more to do.
        let _ = self.written.recv_timeout(LAST_LINES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes once it is allowed to, and tells what.
    struct Slow {
        allowed: Receiver<()>,
        wrote: std::sync::mpsc::Sender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Nobody is left who could allow it: it goes on.
            let _ = self.allowed.recv();
            self.wrote.send(bytes.to_owned()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stops_reading_holds_nobody_up_and_gets_all_that_had_room() {
        let ((allow, allowed), (wrote, lines), (count, lost)) = (channel(), channel(), channel());
        let mut log = Log::to(Slow { allowed, wrote }, move || count.send(()).unwrap()).unwrap();
        let refusal = (0..=ROOM + 1).find_map(|n| log.write_all(format!("{n}\n").as_bytes()).err());
        assert_eq!(refusal.unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(allow);
        drop(log);
        let lines: Vec<_> = lines.iter().collect();
        assert!(lines.len() >= ROOM && lines[0] == b"0\n", "{}", lines.len());
        assert_eq!(lost.iter().count(), 1);
    }

    #[test]
    fn each_line_that_cannot_be_written_is_counted_and_the_next_is_told() {
        let ((wrote, lines), (_, allowed), (count, lost)) = (channel(), channel(), channel());
        drop(lines);
        let mut log = Log::to(Slow { allowed, wrote }, move || count.send(()).unwrap()).unwrap();
        log.write_all(b"1\n").unwrap();
        lost.recv().unwrap();
        // What is counted is told a moment later.
        let mut told = std::iter::repeat_with(|| log.write(b"2\n").err()).flatten();
        assert!(told.any(|error| error.kind() == io::ErrorKind::BrokenPipe));
    }
}
