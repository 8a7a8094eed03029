//! The records of a BTF blob (Documentation/bpf/btf.rst): finds them by id, and says what they say.
//!
//! Records differ in length and have no table of contents. One pass walks them all, keeps where every 64th begins, and
//! collects the ids of the few names that are asked for; any other record is found by walking on from the mark before
//! it. The marks take a hundredth of the blob in memory at most. Knows nothing of the kernel's structs.

#[cfg(test)]
mod tests;

use std::fmt;

use super::BtfError;

/// How deep typedefs and modifiers, anonymous members, or arrays of arrays may nest; the kernel's own limit is 32 too.
pub(super) const MAX_DEPTH: u32 = 32;
/// A mark is kept for the first of so many records.
const STRIDE: u32 = 64;
/// So many types of one name are looked at: more than one is already a flaw of the kernel's build.
const MAX_NAMESAKES: usize = 64;
/// Records and members looked at over all look-ups: a hundred times what a real kernel takes, and gone in some tens of
/// milliseconds.
const BUDGET: u32 = 2 << 20;

const MAGIC: u16 = 0xeb9f;
const HEADER_BYTES: usize = 24;
/// Later headers (include/uapi/linux/btf.h of 7.2) may go on to say where the lengths of each kind of record are.
const HEADER_BYTES_WITH_LAYOUT: usize = 32;
/// Bytes that every record begins with.
const HEAD_BYTES: usize = 12;

/// `BTF_KIND_*`: what a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind(pub(super) u8);

impl Kind {
    pub(super) const VOID: Self = Self(0);
    pub(super) const INT: Self = Self(1);
    pub(super) const PTR: Self = Self(2);
    pub(super) const ARRAY: Self = Self(3);
    pub(super) const STRUCT: Self = Self(4);
    pub(super) const UNION: Self = Self(5);
    pub(super) const ENUM: Self = Self(6);
    pub(super) const FWD: Self = Self(7);
    pub(super) const TYPEDEF: Self = Self(8);
    pub(super) const VOLATILE: Self = Self(9);
    pub(super) const CONST: Self = Self(10);
    pub(super) const RESTRICT: Self = Self(11);
    pub(super) const FUNC: Self = Self(12);
    pub(super) const FUNC_PROTO: Self = Self(13);
    pub(super) const VAR: Self = Self(14);
    pub(super) const DATASEC: Self = Self(15);
    pub(super) const FLOAT: Self = Self(16);
    pub(super) const DECL_TAG: Self = Self(17);
    pub(super) const TYPE_TAG: Self = Self(18);
    pub(super) const ENUM64: Self = Self(19);

    /// Bytes after a record's head: once, and for each of its rows.
    fn tail_bytes(self) -> Option<(u8, u8)> {
        match self {
            Self::INT | Self::VAR | Self::DECL_TAG => Some((4, 0)),
            Self::ARRAY => Some((12, 0)),
            Self::STRUCT | Self::UNION | Self::DATASEC | Self::ENUM64 => Some((0, 12)),
            Self::ENUM | Self::FUNC_PROTO => Some((0, 8)),
            Self::PTR | Self::FWD | Self::FUNC | Self::FLOAT => Some((0, 0)),
            _ => self.is_other_name().then_some((0, 0)),
        }
    }

    /// A kind that only gives another type a name or a qualifier.
    fn is_other_name(self) -> bool {
        matches!(self, Self::TYPEDEF | Self::VOLATILE | Self::CONST | Self::RESTRICT | Self::TYPE_TAG)
    }
}

/// A type to look for in the pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub(super) kind: Kind,
    pub(super) name: &'static str,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::STRUCT => "struct ",
            Kind::ENUM => "enum ",
            Kind::TYPEDEF => "typedef ",
            _ => "",
        };
        write!(f, "{kind}{}", self.name)
    }
}

/// One record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Type<'a> {
    pub(super) id: u32,
    pub(super) kind: Kind,
    /// Where its name is, for [`Types::is_named`].
    pub(super) name: u32,
    /// The size in bytes, or the id of the type that it refers to: which of them depends on the kind.
    pub(super) word: u32,
    flag: bool,
    tail: &'a [u8],
}

impl<'a> Type<'a> {
    const VOID: Self = Self { id: 0, kind: Kind::VOID, name: 0, word: 0, flag: false, tail: &[] };

    /// What follows the record's head, in rows of so many words.
    pub(super) fn rows<const WORDS: usize>(self) -> impl Iterator<Item = [u32; WORDS]> + 'a {
        let (words, _) = self.tail.as_chunks();
        let (rows, _) = words.as_chunks();
        rows.iter().map(|row| row.map(u32::from_ne_bytes))
    }

    pub(super) fn is_aggregate(self) -> bool {
        self.kind == Kind::STRUCT || self.kind == Kind::UNION
    }

    /// The members of a struct or union; nothing else has any.
    pub(super) fn members(self) -> impl Iterator<Item = Member> + 'a {
        let aggregate = if self.is_aggregate() { self } else { Self::VOID };
        aggregate.rows().map(move |[name, id, place]| {
            let (bits, bit) = if self.flag { (place >> 24, place & 0x00ff_ffff) } else { (0, place) };
            Member { name, id, bit, is_bit_field: bits != 0 }
        })
    }

    /// An integer or enumeration of so many bytes.
    pub(super) fn is_number(self, bytes: u32) -> bool {
        (self.kind == Kind::INT || self.kind == Kind::ENUM) && self.word == bytes && !self.is_bit_field()
    }

    /// An integer of fewer bits than its bytes have: a bit field, where the members have no room to say so.
    pub(super) fn is_bit_field(self) -> bool {
        let in_part = |[data]: [u32; 1]| u64::from(data & 0x00ff_00ff) != u64::from(self.word) * 8;
        self.kind == Kind::INT && self.rows().any(in_part)
    }

    /// Element type and length of an array.
    pub(super) fn array(self) -> Option<(u32, u32)> {
        let [element, _index, length] = self.rows().next().filter(|_| self.kind == Kind::ARRAY)?;
        Some((element, length))
    }
}

/// One member of a struct or union.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) name: u32,
    pub(super) id: u32,
    pub(super) bit: u32,
    pub(super) is_bit_field: bool,
}

/// All records of a blob.
#[derive(Debug)]
pub(super) struct Types<'a> {
    records: &'a [u8],
    names: &'a [u8],
    /// Four bytes for each kind: bytes after a record's head, bytes for each row, and flags.
    layout: &'a [u8],
    /// Where records 1, 1 + `STRIDE`, 1 + 2 * `STRIDE` .. begin.
    marks: Vec<usize>,
    count: u32,
    budget: u32,
}

impl<'a> Types<'a> {
    /// Walks all records once, and tells the ids of those of these kinds and names, in their order.
    pub(super) fn index<const N: usize>(btf: &'a [u8], wanted: [Named; N]) -> Result<(Self, [Vec<u32>; N]), BtfError> {
        let mut types = Self::open(btf)?;
        let mut found = [const { Vec::new() }; N];
        let mut at = 0;
        while at < types.records.len() {
            if types.count.is_multiple_of(STRIDE) {
                types.marks.push(at);
            }
            let (ty, next) = types.record(types.count + 1, at)?;
            for (named, ids) in wanted.iter().zip(&mut found) {
                if ty.kind == named.kind && types.is_named(ty.name, named.name)? {
                    if ids.len() == MAX_NAMESAKES {
                        return Err(BtfError::TooMany { name: named.name, limit: MAX_NAMESAKES });
                    }
                    ids.push(ty.id);
                }
            }
            (types.count, at) = (ty.id, next);
        }
        Ok((types, found))
    }

    /// The record of an id; id 0 is `void` and has none.
    pub(super) fn get(&mut self, id: u32) -> Result<Type<'a>, BtfError> {
        let Some(index) = id.checked_sub(1) else { return Ok(Type::VOID) };
        let (mark, steps) = ((index / STRIDE) as usize, index % STRIDE);
        let nowhere = BtfError::TypeId { id, count: self.count };
        let Some(&mark) = self.marks.get(mark).filter(|_| id <= self.count) else { return Err(nowhere) };
        self.spend(1 + steps)?;
        let mut at = mark;
        for _ in 0..steps {
            (_, at) = self.record(id, at)?;
        }
        Ok(self.record(id, at)?.0)
    }

    /// The type behind typedefs and qualifiers.
    pub(super) fn bare(&mut self, id: u32) -> Result<Type<'a>, BtfError> {
        let mut ty = self.get(id)?;
        for _ in 0..MAX_DEPTH {
            if !ty.kind.is_other_name() {
                return Ok(ty);
            }
            ty = self.get(ty.word)?;
        }
        Err(BtfError::Cycle { id })
    }

    /// The bare type that a pointer points to; none where the type is no pointer.
    pub(super) fn pointee(&mut self, id: u32) -> Result<Option<Type<'a>>, BtfError> {
        let pointer = self.bare(id)?;
        if pointer.kind != Kind::PTR {
            return Ok(None);
        }
        self.bare(pointer.word).map(Some)
    }

    /// Bytes that a value of the type takes; none for what has no values (`void`, functions, forward declarations).
    pub(super) fn size(&mut self, id: u32) -> Result<Option<u32>, BtfError> {
        let mut ty = self.bare(id)?;
        let mut copies = Some(1_u32);
        for _ in 0..MAX_DEPTH {
            let size = match ty.kind {
                // BTF does not say; `unsigned long` in the signal masks is what tells a 32-bit kernel.
                Kind::PTR => 8,
                Kind::INT | Kind::STRUCT | Kind::UNION | Kind::ENUM | Kind::FLOAT | Kind::ENUM64 => ty.word,
                _ => {
                    let Some((element, length)) = ty.array() else { return Ok(None) };
                    copies = copies.and_then(|copies| copies.checked_mul(length));
                    ty = self.bare(element)?;
                    continue;
                }
            };
            return Ok(copies.and_then(|copies| copies.checked_mul(size)));
        }
        Err(BtfError::Cycle { id })
    }

    /// Whether the string at this place is this one.
    pub(super) fn is_named(&self, at: u32, name: &str) -> Result<bool, BtfError> {
        let rest = self.string_at(at)?.strip_prefix(name.as_bytes());
        Ok(rest.is_some_and(|rest| rest.first() == Some(&0)))
    }

    /// A type's name to print: the blob's own text, escaped, and no longer than identifiers are.
    pub(super) fn printable(&self, ty: Type<'_>) -> String {
        let text = self.string_at(ty.name).unwrap_or_default();
        let text = text.get(..64).unwrap_or(text);
        match text.split(|&byte| byte == 0).next() {
            None | Some([]) => "(anonymous)".to_owned(),
            Some(name) => name.escape_ascii().to_string(),
        }
    }

    /// Takes from what may be spent on look-ups, so that no input can make them long.
    pub(super) fn spend(&mut self, steps: u32) -> Result<(), BtfError> {
        self.budget = self.budget.checked_sub(steps).ok_or(BtfError::Entangled)?;
        Ok(())
    }

    fn open(btf: &'a [u8]) -> Result<Self, BtfError> {
        let cut_off = || truncated("header", HEADER_BYTES, btf.len());
        let &[first, second, version, flags] = btf.first_chunk().ok_or_else(cut_off)?;
        match u16::from_ne_bytes([first, second]) {
            MAGIC => {}
            found if found == MAGIC.swap_bytes() => return Err(BtfError::ForeignEndian),
            found => return Err(BtfError::Magic { found }),
        }
        if (version, flags) != (1, 0) {
            return Err(BtfError::Format { version, flags });
        }
        let [_, header, types_at, types_bytes, names_at, names_bytes] = words(btf).ok_or_else(cut_off)?;
        let header = header as usize;
        if header < HEADER_BYTES {
            return Err(truncated("header", HEADER_BYTES, header));
        }
        let body = btf.get(header..).ok_or_else(|| truncated("header", header, btf.len()))?;
        let layout = match words(btf) {
            Some([_, _, _, _, _, _, at, bytes]) if header >= HEADER_BYTES_WITH_LAYOUT => {
                section(body, "layout", at, bytes)?
            }
            _ => &[],
        };
        Ok(Self {
            records: section(body, "types", types_at, types_bytes)?,
            names: section(body, "names", names_at, names_bytes)?,
            layout,
            marks: Vec::new(),
            count: 0,
            budget: BUDGET,
        })
    }

    /// The record that begins at this byte of the section, and where the next one begins.
    fn record(&self, id: u32, at: usize) -> Result<(Type<'a>, usize), BtfError> {
        let rest = self.records.get(at..).unwrap_or_default();
        let [name, info, word] = words(rest).ok_or_else(|| truncated("last type", HEAD_BYTES, rest.len()))?;
        // Before the headers of 7.2 a kind had 5 bits and the number of rows 16; the bits that both gained were zero.
        let [flag_and_kind, ..] = info.to_be_bytes();
        let kind = Kind(flag_and_kind & 0x7f);
        let rows = (info & 0x00ff_ffff) as usize;
        let (once, per_row) = self.tail_bytes(kind).ok_or(BtfError::UnknownKind { id, kind: kind.0 })?;
        let bytes = rows.saturating_mul(per_row.into()).saturating_add(usize::from(once) + HEAD_BYTES);
        let tail = rest.get(HEAD_BYTES..bytes).ok_or_else(|| truncated("last type", bytes, rest.len()))?;
        Ok((Type { id, kind, name, word, flag: flag_and_kind & 0x80 != 0, tail }, at + bytes))
    }

    /// As known here, or else as the blob itself says: a kind of tomorrow can be stepped over.
    fn tail_bytes(&self, kind: Kind) -> Option<(u8, u8)> {
        kind.tail_bytes().or_else(|| {
            let (layouts, _) = self.layout.as_chunks();
            let &[once, per_row, _, _] = layouts.get(usize::from(kind.0)).filter(|_| kind != Kind::VOID)?;
            Some((once, per_row))
        })
    }

    fn string_at(&self, at: u32) -> Result<&'a [u8], BtfError> {
        let nowhere = BtfError::NameOffset { offset: at, length: self.names.len() };
        self.names.get(at as usize..).filter(|rest| !rest.is_empty()).ok_or(nowhere)
    }
}

fn words<const N: usize>(bytes: &[u8]) -> Option<[u32; N]> {
    let (words, _) = bytes.as_chunks();
    words.first_chunk::<N>().map(|words| words.map(u32::from_ne_bytes))
}

fn section<'a>(body: &'a [u8], name: &'static str, at: u32, bytes: u32) -> Result<&'a [u8], BtfError> {
    let rest = body.get(at as usize..).unwrap_or_default();
    rest.get(..bytes as usize).ok_or_else(|| truncated(name, bytes as usize, rest.len()))
}

fn truncated(section: &'static str, needed: usize, have: usize) -> BtfError {
    BtfError::Truncated { section, needed, have }
}
