//! The log of records: lines that go to a writer, standard output say, by a thread of its own.
//!
//! Whoever reads them may stop reading for a while, as a container runtime does that is started again; what follows the
//! kernel may not wait for that. What finds no room is refused. It does not know what a line says.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Lines that wait at most: those of some hundred pods that are deleted at once.
const ROOM: usize = 512;
/// How long the last lines may take when the agent ends.
const LAST_LINES: Duration = Duration::from_millis(500);

/// A writer that never waits. Each write is one line; why an earlier one was not written is told by a later.
pub(super) struct Log {
    lines: Option<SyncSender<Vec<u8>>>,
    failure: Arc<Mutex<Option<io::Error>>>,
    /// Disconnected once all is written.
    written: Receiver<()>,
}

impl Log {
    /// To this writer.
    ///
    /// # Errors
    ///
    /// There can be no other thread.
    pub(super) fn to(mut writer: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, queue) = sync_channel::<Vec<u8>>(ROOM);
        let (done, written) = channel();
        let failure = Arc::new(Mutex::new(None));
        let told = Arc::clone(&failure);
        thread::Builder::new().name("log".into()).spawn(move || {
            for line in queue {
                if let Err(error) = writer.write_all(&line).and_then(|()| writer.flush()) {
                    *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
            }
            drop(done);
        })?;
        Ok(Self { lines: Some(lines), failure, written })
    }
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let sent = self.lines.as_ref().map(|lines| lines.try_send(line.to_owned()));
        match sent {
            Some(Err(TrySendError::Full(_))) => {
                return Err(io::Error::new(io::ErrorKind::WouldBlock, "nobody reads it"));
            }
            Some(Err(TrySendError::Disconnected(_))) | None => return Err(io::ErrorKind::BrokenPipe.into()),
            Some(Ok(())) => {}
        }
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.map_or(Ok(line.len()), Err)
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
        let ((allow, allowed), (wrote, lines)) = (channel(), channel());
        let mut log = Log::to(Slow { allowed, wrote }).unwrap();
        let refusal = (0..=ROOM + 1).find_map(|n| log.write_all(format!("{n}\n").as_bytes()).err());
        assert_eq!(refusal.unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(allow);
        drop(log);
        let lines: Vec<_> = lines.iter().collect();
        assert!(lines.len() >= ROOM && lines[0] == b"0\n", "{}", lines.len());
    }

    #[test]
    fn a_failure_is_told_by_a_later_write() {
        let (wrote, lines) = channel();
        drop(lines);
        let (_, allowed) = channel();
        let mut log = Log::to(Slow { allowed, wrote }).unwrap();
        // Until the thread gets there, it is told that there is no room.
        let mut failures = std::iter::repeat_with(|| log.write(b"x\n").err()).flatten();
        assert!(failures.any(|failure| failure.kind() == io::ErrorKind::BrokenPipe));
    }
}
