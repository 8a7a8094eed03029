//! The archive format of an initramfs ("newc", Documentation/driver-api/early-userspace/buffer-format.rst), as far as a
//! guest needs it: directories and files, all root's own. Pure, so that the same files give the same bytes.

/// An archive under construction.
#[derive(Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

impl Archive {
    /// Adds a directory; parents come before children.
    pub(crate) fn directory(&mut self, path: &str) {
        self.entry(path, DIRECTORY, &[]);
    }

    /// Adds an executable file.
    pub(crate) fn program(&mut self, path: &str, content: &[u8]) {
        self.entry(path, PROGRAM, content);
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let links = 1;
        // inode, mode, uid, gid, links, time, size, device of the file, its own device number, length of the name, checksum
        let fields =
            [self.entries as usize, mode as usize, 0, 0, links, 0, content.len(), 0, 0, 0, 0, path.len() + 1, 0];
        self.bytes.extend(b"070701");
        self.bytes.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
        self.bytes.extend(path.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_aligned_entries_and_a_trailer() {
        let mut archive = Archive::default();
        archive.directory("bin");
        archive.program("bin/sh", b"#!");
        let text = String::from_utf8(archive.finish()).unwrap();
        let entry = |number: &str, mode: &str, size: &str, name: &str| {
            let zero = "00000000";
            format!("070701{number}{mode}{zero}{zero}00000001{zero}{size}{zero}{zero}{zero}{zero}{name}{zero}")
        };
        let expected = [
            &entry("00000001", "000041ed", "00000000", "00000004"),
            "bin\0\0\0",
            &entry("00000002", "000081ed", "00000002", "00000007"),
            "bin/sh\0\0\0\0",
            "#!\0\0",
            &entry("00000003", "00000000", "00000000", "0000000b"),
            "TRAILER!!!\0\0\0\0",
        ];
        assert_eq!(text, expected.concat());
    }
}
