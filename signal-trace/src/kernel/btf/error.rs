//! Why the offsets of a kernel cannot be told, in words an operator can act on.
//!
//! Knows nothing of how BTF is read. Text that comes from the input is escaped and cut before it gets here.

use thiserror::Error;

/// Why [`resolve`](super::resolve) refused a BTF.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BtfError {
    /// The first two bytes are not BTF's.
    #[error("not BTF: it begins with {found:#06x} instead of 0xeb9f; read /sys/kernel/btf/vmlinux, as it is")]
    Magic {
        /// The first two bytes in this machine's order.
        found: u16,
    },
    /// The first two bytes are BTF's, swapped.
    #[error("the BTF has the byte order of another machine; read the /sys/kernel/btf/vmlinux of this one")]
    ForeignEndian,
    /// Another format than the only one there is so far.
    #[error("the BTF has version {version} and flags {flags:#x}, not 1 and 0: a newer signal-trace may know them")]
    Format {
        /// As the header has it.
        version: u8,
        /// As the header has it.
        flags: u8,
    },
    /// The input ends before something it says it has.
    #[error("the BTF is cut off: its {section} needs {needed} bytes and {have} are there; read the whole file")]
    Truncated {
        /// The header, or which of its sections or records.
        section: &'static str,
        /// Bytes it would need.
        needed: usize,
        /// Bytes that are there.
        have: usize,
    },
    /// A record of a kind that neither this program nor the BTF itself can tell the length of.
    #[error("the BTF's type {id} is of kind {kind}, unknown here: a newer signal-trace may know it")]
    UnknownKind {
        /// Its number.
        id: u32,
        /// The kind's number.
        kind: u8,
    },
    /// A reference to a type that is not there.
    #[error("the BTF is damaged: it refers to type {id} of {count}")]
    TypeId {
        /// What it refers to.
        id: u32,
        /// How many types there are.
        count: u32,
    },
    /// A reference to a string that is not there.
    #[error("the BTF is damaged: it refers to byte {offset} of {length} bytes of names")]
    NameOffset {
        /// What it refers to.
        offset: u32,
        /// Length of the string section.
        length: usize,
    },
    /// A type that contains or renames itself.
    #[error("the BTF is damaged: type {id} leads back to itself, or is nested deeper than any kernel's")]
    Cycle {
        /// Where the patience ended.
        id: u32,
    },
    /// More steps than any real kernel needs a hundredth of.
    #[error("the BTF is damaged: its types are too entangled to follow")]
    Entangled,
    /// More types of one name than a kernel has for any reason but a broken build.
    #[error("the BTF has more than {limit} types named {name}: the kernel's build did not deduplicate its types")]
    TooMany {
        /// Their name.
        name: &'static str,
        /// How many are tolerated.
        limit: usize,
    },
    /// Several types of one name, each complete, that contradict each other.
    #[error("the BTF has several types named {name} that disagree: the kernel's build did not deduplicate its types")]
    Ambiguous {
        /// Their name.
        name: &'static str,
    },
    /// `struct.member`, or a type, that the programs need.
    #[error("the kernel's BTF has no {what}: {KERNELS}")]
    Missing {
        /// `struct.member`, or the type with its kind.
        what: String,
    },
    /// It is there and is something else.
    #[error("the kernel's BTF has {what}, but not as {wanted}: {KERNELS}")]
    Shape {
        /// `struct.member`, or the name of the type.
        what: String,
        /// What the programs take it for.
        wanted: &'static str,
    },
    /// It is there in another size.
    #[error("the kernel's BTF has {what} in {found} bytes where {wanted} are loaded: {KERNELS}")]
    Size {
        /// `struct.member`.
        what: String,
        /// Its size.
        found: u32,
        /// The size of the load.
        wanted: u32,
    },
    /// It has no byte offset.
    #[error("the kernel's BTF has {what} as a bit field, which cannot be loaded by a byte offset: {KERNELS}")]
    BitField {
        /// `struct.member`.
        what: String,
    },
    /// It would reach past the end of what contains it.
    #[error("the BTF is damaged: {what} does not fit into its struct")]
    Outside {
        /// `struct.member`.
        what: String,
    },
}

const KERNELS: &str = "signal-trace needs Linux 5.10 or later; on a later one update signal-trace, \
                       and if that does not help report the output of `uname -r`";

impl BtfError {
    /// The input can be read, and one type in it is not the one that is meant: another of the same name may be.
    pub(super) fn is_of_shape(&self) -> bool {
        match self {
            Self::Missing { .. }
            | Self::Shape { .. }
            | Self::Size { .. }
            | Self::BitField { .. }
            | Self::Outside { .. } => true,
            Self::Magic { .. }
            | Self::ForeignEndian
            | Self::Format { .. }
            | Self::Truncated { .. }
            | Self::UnknownKind { .. }
            | Self::TypeId { .. }
            | Self::NameOffset { .. }
            | Self::Cycle { .. }
            | Self::Entangled
            | Self::TooMany { .. }
            | Self::Ambiguous { .. } => false,
        }
    }
}
