//! Where a C expression like `signal->shared_pending.signal.sig[0]` lies: members found by name, through whatever
//! anonymous structs and unions, typedefs and qualifiers the kernel has put around them, and checked for the load.
//!
//! Knows the shape of structs, none of their names.

use super::BtfError;
use super::types::{Kind, MAX_DEPTH, Member, Type, Types};

/// What to load, from a pointer to a struct.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    /// Members as C writes them; `[]` stands for the one element of an array that is meant.
    pub(super) text: &'static str,
    /// Which element that is.
    pub(super) element: u32,
    pub(super) load: Load,
}

/// How it is loaded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    /// As an address: eight bytes.
    Pointer,
    /// As an integer or enumeration of exactly so many bytes.
    Number(u32),
    /// As the first so many bytes of an array of characters.
    Text(u32),
}

/// The byte offset of what the path leads to, within the struct that its last arrow leads to.
pub(super) fn offset<'a>(types: &mut Types<'a>, start: Type<'a>, path: &Path) -> Result<u32, BtfError> {
    let (way, last) = path.text.rsplit_once("->").map_or((None, path.text), |(way, last)| (Some(way), last));
    let mut holder = start;
    for text in way.into_iter().flat_map(|way| way.split("->")) {
        holder = Hop { types, holder, text, element: path.element }.follow()?;
    }
    Hop { types, holder, text: last, element: path.element }.load(path.load)
}

/// The part of a path between two arrows.
struct Hop<'t, 'a> {
    types: &'t mut Types<'a>,
    holder: Type<'a>,
    text: &'static str,
    element: u32,
}

impl<'a> Hop<'_, 'a> {
    fn follow(&mut self) -> Result<Type<'a>, BtfError> {
        let (_, pointer) = self.place()?;
        let target = self.types.pointee(pointer.id)?;
        target.filter(|target| target.is_aggregate()).ok_or_else(|| self.not("a pointer to a struct with members"))
    }

    fn load(&mut self, load: Load) -> Result<u32, BtfError> {
        let (offset, ty) = self.place()?;
        match load {
            Load::Pointer if ty.kind == Kind::PTR => Ok(offset),
            Load::Pointer => Err(self.not("a pointer")),
            Load::Number(bytes) if ty.is_number(bytes) => Ok(offset),
            Load::Number(_) if ty.is_bit_field() => Err(BtfError::BitField { what: self.name() }),
            Load::Number(wanted) if ty.kind == Kind::INT || ty.kind == Kind::ENUM => {
                Err(BtfError::Size { what: self.name(), found: ty.word, wanted })
            }
            Load::Number(_) => Err(self.not("a number")),
            Load::Text(wanted) => {
                let Some((element, found)) = ty.array() else { return Err(self.not("an array of characters")) };
                if !self.types.bare(element)?.is_number(1) {
                    return Err(self.not("an array of characters"));
                }
                if found < wanted {
                    return Err(BtfError::Size { what: self.name(), found, wanted });
                }
                Ok(offset)
            }
        }
    }

    /// Where the hop ends, and the bare type of what is there.
    fn place(&mut self) -> Result<(u32, Type<'a>), BtfError> {
        let (mut at, mut ty) = (0, self.holder);
        for part in self.text.split('.') {
            let name = part.trim_end_matches("[]");
            let Some((offset, id)) = self.find(ty, name, MAX_DEPTH)? else {
                return Err(BtfError::Missing { what: self.name() });
            };
            at = self.sum(at, offset)?;
            ty = self.types.bare(id)?;
            if name != part {
                let (offset, id) = self.pick(ty)?;
                at = self.sum(at, offset)?;
                ty = self.types.bare(id)?;
            }
        }
        Ok((at, ty))
    }

    /// A member by name, also of anonymous members: its offset and type.
    fn find(&mut self, within: Type<'a>, name: &str, depth: u32) -> Result<Option<(u32, u32)>, BtfError> {
        for member in within.members() {
            self.types.spend(1)?;
            let found = if self.types.is_named(member.name, name)? {
                Some((0, member.id))
            } else if self.types.is_named(member.name, "")? {
                let anonymous = self.types.bare(member.id)?;
                let depth = depth.checked_sub(1).ok_or(BtfError::Cycle { id: anonymous.id })?;
                self.find(anonymous, name, depth)?
            } else {
                None
            };
            if let Some((offset, id)) = found {
                let start = self.start(within, member)?;
                return Ok(Some((self.sum(start, offset)?, id)));
            }
        }
        Ok(None)
    }

    /// The byte at which a member begins, which must be one, and leave it room within its struct.
    fn start(&mut self, within: Type<'a>, member: Member) -> Result<u32, BtfError> {
        if member.is_bit_field || !member.bit.is_multiple_of(8) {
            return Err(BtfError::BitField { what: self.name() });
        }
        let start = member.bit / 8;
        let end = self.types.size(member.id)?.and_then(|size| start.checked_add(size));
        if end.is_none_or(|end| end > within.word) {
            return Err(BtfError::Outside { what: self.name() });
        }
        Ok(start)
    }

    /// The element of an array that is meant: its offset and type.
    fn pick(&mut self, array: Type<'a>) -> Result<(u32, u32), BtfError> {
        let Some((id, _)) = array.array().filter(|&(_, length)| self.element < length) else {
            return Err(self.not("an array of that many elements"));
        };
        let offset = self.types.size(id)?.and_then(|stride| stride.checked_mul(self.element));
        Ok((offset.ok_or_else(|| BtfError::Outside { what: self.name() })?, id))
    }

    fn sum(&self, a: u32, b: u32) -> Result<u32, BtfError> {
        a.checked_add(b).ok_or_else(|| BtfError::Outside { what: self.name() })
    }

    fn not(&self, wanted: &'static str) -> BtfError {
        BtfError::Shape { what: self.name(), wanted }
    }

    /// The hop as `struct.member`.
    fn name(&self) -> String {
        format!("{}.{}", self.types.printable(self.holder), self.text.replace("[]", ""))
    }
}
