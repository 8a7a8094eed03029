//! What a process said: a thread reads its pipe to the end, so that it never waits for us, and keeps the beginning.
//!
//! It knows lines and a bound, not what they mean.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How much is kept; what comes after it is read, counted and forgotten.
const KEPT_BYTES: usize = 64 * 1024;

/// The output of one process, as far as it came.
#[derive(Debug)]
pub struct Capture {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    said: Mutex<Said>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Said {
    kept: Vec<u8>,
    total_bytes: u64,
    ended: bool,
}

impl Capture {
    /// Reads `stream` until nobody holds its other end any more.
    ///
    /// # Errors
    ///
    /// No thread could be started.
    pub fn start(stream: impl Read + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let reader = Arc::clone(&shared);
        thread::Builder::new().name("capture".into()).spawn(move || reader.read_all(stream))?;
        Ok(Self { shared })
    }

    /// Waits until `line` was said `times` times: false if the output ended or `within` passed before that.
    pub fn wait_for_lines(&self, line: &str, times: usize, within: Duration) -> bool {
        let is_it = |said: &&[u8]| said.strip_suffix(b"\n") == Some(line.as_bytes());
        let count = |said: &Said| said.kept.split_inclusive(|b| *b == b'\n').filter(is_it).count();
        let said = self.wait_while(within, |said| count(said) < times && !said.ended);
        count(&said) >= times
    }

    /// Waits until the output ended: false if `within` passed before that.
    pub fn wait_for_end(&self, within: Duration) -> bool {
        self.wait_while(within, |said| !said.ended).ended
    }

    /// The first 64 KiB of it so far, with what is not UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.shared.lock().kept).into_owned()
    }

    /// How much came so far, kept or not.
    pub fn total_bytes(&self) -> u64 {
        self.shared.lock().total_bytes
    }

    fn wait_while(&self, within: Duration, unsettled: impl Fn(&Said) -> bool) -> MutexGuard<'_, Said> {
        let waited = self.shared.more.wait_timeout_while(self.shared.lock(), within, |said| unsettled(said));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_all(&self, mut stream: impl Read) {
        let mut chunk = [0; 16 * 1024];
        loop {
            let read = match stream.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::debug!(%error, "output of a sandbox could not be read to its end");
                    break;
                }
            };
            let mut said = self.lock();
            let room = KEPT_BYTES.saturating_sub(said.kept.len());
            said.kept.extend_from_slice(&chunk[..read.min(room)]);
            said.total_bytes += read as u64;
            self.more.notify_all();
        }
        self.lock().ended = true;
        self.more.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn lines_are_waited_for_and_counted_whole() {
        let (reader, writer) = std::io::pipe().unwrap();
        let capture = Capture::start(reader).unwrap();
        assert!(!capture.wait_for_lines("ready", 1, Duration::ZERO));
        std::io::Write::write_all(&mut &writer, b"already\nready\nready").unwrap();
        assert!(capture.wait_for_lines("ready", 1, SOON));
        assert!(!capture.wait_for_lines("ready", 2, Duration::ZERO));
        std::io::Write::write_all(&mut &writer, b"\n").unwrap();
        assert!(capture.wait_for_lines("ready", 2, SOON));
        drop(writer);
        assert!(!capture.wait_for_lines("ready", 3, SOON), "the end ends the wait");
        assert!(capture.wait_for_end(SOON));
    }

    #[test]
    fn only_the_beginning_is_kept() {
        let long = vec![b'x'; KEPT_BYTES + 1000];
        let capture = Capture::start(std::io::Cursor::new(long)).unwrap();
        assert!(capture.wait_for_end(SOON));
        assert_eq!(capture.text().len(), KEPT_BYTES);
        assert_eq!(capture.total_bytes(), KEPT_BYTES as u64 + 1000);
    }
}
