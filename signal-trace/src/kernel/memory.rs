//! Giving memory back.

/// Returns to the system what was allocated and freed: glibc keeps the tens of megabytes that the kernel's types took
/// for a while, and would keep them for ever.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library's function has no safe wrapper")]
pub(super) fn give_back() {
    // SAFETY: the function may be called at any time.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators return large blocks by themselves.
#[cfg(not(target_env = "gnu"))]
pub(super) fn give_back() {}
