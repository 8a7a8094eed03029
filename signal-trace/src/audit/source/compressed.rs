//! A stream as it is, or what gzip or zstd made of it: known by its first bytes, not by a file's name.
//!
//! Files that were appended to hold several compressed parts one after the other; all of them are read.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The plain text of the stream.
///
/// # Errors
///
/// Those of the stream.
pub fn plain<R: Read + 'static>(stream: R) -> io::Result<Box<dyn BufRead>> {
    let mut stream = BufReader::with_capacity(1 << 16, stream);
    let head = stream.fill_buf()?;
    if head.starts_with(&GZIP) {
        return Ok(Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(stream))));
    }
    if head.starts_with(&ZSTD) {
        return Ok(Box::new(BufReader::with_capacity(1 << 16, Frames { state: State::Between(stream) })));
    }
    Ok(Box::new(stream))
}

/// Every frame of a zstd file.
struct Frames<R: BufRead> {
    state: State<R>,
}

enum State<R: BufRead> {
    Between(R),
    In(Box<StreamingDecoder<R, FrameDecoder>>),
    Over,
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(&mut self.state, State::Over) {
                State::Over => return Ok(0),
                State::Between(mut stream) => {
                    if stream.fill_buf()?.is_empty() {
                        return Ok(0);
                    }
                    let decoder = StreamingDecoder::new(stream).map_err(broken)?;
                    self.state = State::In(Box::new(decoder));
                }
                State::In(mut decoder) => {
                    let read = decoder.read(buffer)?;
                    if read == 0 && !buffer.is_empty() {
                        self.state = State::Between(decoder.into_inner());
                        continue;
                    }
                    self.state = State::In(decoder);
                    return Ok(read);
                }
            }
        }
    }
}

fn broken(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no zstd: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &str) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(text.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn read(bytes: Vec<u8>) -> io::Result<String> {
        let mut text = String::new();
        plain(io::Cursor::new(bytes))?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn whatever_it_was_the_text_comes_out() {
        let text = "line\n".repeat(50_000);
        for bytes in [text.clone().into_bytes(), gzip(&text), zstd(&text)] {
            assert!(read(bytes).unwrap() == text);
        }
        assert_eq!(read(Vec::new()).unwrap(), "");
    }

    #[test]
    fn parts_one_after_the_other_are_one_text() {
        assert_eq!(read([gzip("one\n"), gzip("two\n")].concat()).unwrap(), "one\ntwo\n");
        assert_eq!(read([zstd("one\n"), zstd("two\n")].concat()).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn what_ends_too_early_is_an_error() {
        let text = "line\n".repeat(50_000);
        for mut bytes in [gzip(&text), zstd(&text)] {
            bytes.truncate(bytes.len() / 2);
            assert!(read(bytes).is_err());
        }
    }
}
