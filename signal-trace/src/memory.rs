//! Giving memory back that only the start needed.
#![expect(unsafe_code, reason = "the C library's functions have no safe wrappers")]

use std::ptr;

/// Returns to the system what was allocated and freed: glibc keeps the tens of megabytes that the kernel's types took
/// for a while, and would keep them for ever.
#[cfg(target_env = "gnu")]
pub(crate) fn give_back() {
    // SAFETY: the function may be called at any time.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators return large blocks by themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn give_back() {}

/// Lets go of the pages of the program's own file: most of them were for the start alone, and what is still needed comes
/// back from the system's cache as it is run. They would count as this process's memory for as long as it lives.
pub(crate) fn forget_start() {
    let Ok(mappings) = std::fs::read_to_string("/proc/self/smaps") else { return };
    for (start, length) in untouched(&mappings) {
        let start = ptr::with_exposed_provenance_mut(start);
        // SAFETY: a mapping of a file that has no page of its own: whatever is read there comes from the file again.
        unsafe { libc::madvise(start, length, libc::MADV_DONTNEED) };
    }
}

/// Where files are mapped that can only be read and of which no page was ever written: not what the loader wrote
/// addresses into.
fn untouched(smaps: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut current = None;
    for line in smaps.lines() {
        if line.starts_with(|c: char| c.is_ascii_digit() || c.is_ascii_lowercase()) {
            current = mapping(line);
        } else if line.split_whitespace().eq(["Anonymous:", "0", "kB"]) {
            found.extend(current.take());
        }
    }
    found
}

/// Start and length, from the line that begins a mapping, if it is one of a file and nobody may write to it.
fn mapping(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let permissions = words.next()?;
    let is_file = words.nth(3)?.starts_with('/');
    let start = usize::from_str_radix(start, 16).ok()?;
    let length = usize::from_str_radix(end, 16).ok()?.checked_sub(start)?;
    (is_file && matches!(permissions, "r-xp" | "r--p")).then_some((start, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_the_file_s_alone_is_let_go() {
        let smaps = "7f00-7f10 r-xp 000ac000 fe:00 575 /usr/bin/x y\nRss: 64 kB\nAnonymous:             0 kB\nVmFlags: rd ex\n\
                     7f10-7f30 r--p 011be000 fe:00 575 /usr/bin/x\nAnonymous:            64 kB\n\
                     7f30-7f40 rw-p 011be000 fe:00 575 /usr/bin/x\nAnonymous:             0 kB\n\
                     7f40-7f50 r--s 00001000 00:10 103 anon_inode:bpf-map\nAnonymous:             0 kB\n\
                     7f50-7f60 r-xp 00000000 00:00 0 [vdso]\nAnonymous:             0 kB\n\
                     7f60-7f70 r--p 00000000 00:00 0\nAnonymous:             0 kB\n";
        assert_eq!(untouched(smaps), [(0x7f00, 0x10)]);
    }

    #[test]
    fn the_program_goes_on_when_it_has_let_go() {
        let before = std::fs::read_to_string("/proc/self/smaps").unwrap();
        assert!(!untouched(&before).is_empty());
        forget_start();
        assert_eq!(untouched(&before).len(), untouched(&std::fs::read_to_string("/proc/self/smaps").unwrap()).len());
    }
}
