//! Header blocks to fields (RFC 7541 §3, §6).

use bytes::Bytes;

use super::field::Name;
use super::table::Table;
use super::{Field, compression, huffman, known};
use crate::{Error, Reason};

/// The table of a connection whose settings say nothing of it (RFC 9113 §6.5.2).
const INITIAL_TABLE: usize = 4096;

/// Room for strings that is kept between blocks.
const SCRATCH: usize = 4096;

/// What a field takes of the table beside its text (RFC 7541 §4.1).
const OVERHEAD: usize = 32;

/// Reads the header blocks of a connection, in the order in which they come; holds the table that they share.
pub struct Decoder {
    table: Table,
    /// What the table may be set to.
    most: usize,
    /// What the fields that a block refers to may come to.
    most_by_reference: usize,
    /// Where Huffman-coded strings are decoded.
    scratch: Vec<u8>,
}

/// What becomes of a literal field (RFC 7541 §6.2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Literal {
    /// It goes into the table.
    Indexed,
    Plain,
    /// Nobody on the way is to put it in a table.
    NeverIndexed,
}

impl Decoder {
    /// A decoder whose table takes at most `table_size` bytes (as RFC 7541 §4.1 counts): what our SETTINGS_HEADER_TABLE_SIZE says.
    /// The table begins with 4096 at most; one that is allowed less is for peers that were told so before their first block.
    #[must_use]
    pub fn new(table_size: usize) -> Self {
        Self {
            table: Table::new(table_size.min(INITIAL_TABLE)),
            most: table_size,
            most_by_reference: usize::MAX,
            scratch: Vec::new(),
        }
    }

    /// A decoder of blocks that refer to fields of at most so many bytes, as RFC 7541 §4.1 counts: a byte may stand for a field of
    /// thousands (RFC 7541 §7.3), and each is looked up.
    #[must_use]
    pub fn with_limit(mut self, most_by_reference: usize) -> Self {
        self.most_by_reference = most_by_reference;
        self
    }

    /// Reads a whole header block (all fragments joined). `field` gets each field with its size as RFC 7541 §4.1 counts it (name +
    /// value + 32), and says whether to go on wanting them: after `false` the rest is still decoded for the table's sake, but not
    /// handed out. Work is bounded by the block's length; values that are not in the table share the block's bytes.
    ///
    /// # Errors
    /// COMPRESSION_ERROR: the block cannot be decoded, and the table is lost with it; the connection must end. ENHANCE_YOUR_CALM: it refers
    /// to too much.
    pub fn decode(&mut self, block: &Bytes, field: &mut impl FnMut(Field, usize) -> bool) -> Result<(), Error> {
        let mut input = Input { rest: block };
        let (mut begun, mut wanted) = (false, true);
        let mut by_reference = 0_usize;
        while let Some(&first) = input.rest.first() {
            if first & 0x80 != 0 {
                let (found, size) = self.indexed(input.integer(0x7f)?)?;
                by_reference = by_reference.saturating_add(size);
                if by_reference > self.most_by_reference {
                    let what = "a header block that refers to far more than what is accepted";
                    return Err(Error::new(Reason::ENHANCE_YOUR_CALM, what));
                }
                if wanted {
                    wanted = field(found.clone(), size);
                }
            } else if first & 0x40 != 0 {
                self.literal(block, &mut input, Literal::Indexed, &mut wanted, field)?;
            } else if first & 0x20 != 0 {
                let size = input.integer(0x1f)?;
                if begun {
                    return Err(compression(
                        "a table size update after a field: they come first in a block",
                    ));
                }
                if size > self.most {
                    return Err(compression("a table size update above SETTINGS_HEADER_TABLE_SIZE"));
                }
                self.table.resize(size);
                continue;
            } else {
                let never = first & 0x10 != 0;
                let literal = if never { Literal::NeverIndexed } else { Literal::Plain };
                self.literal(block, &mut input, literal, &mut wanted, field)?;
            }
            begun = true;
        }
        if self.scratch.capacity() > SCRATCH {
            self.scratch = Vec::new();
        }
        Ok(())
    }

    #[inline]
    fn indexed(&self, index: usize) -> Result<(&Field, usize), Error> {
        match index.checked_sub(known::STATIC + 1) {
            None => known::field(index),
            Some(at) => self.table.field(at),
        }
        .ok_or_else(no_index)
    }

    fn name(&self, index: usize) -> Result<Name, Error> {
        match index.checked_sub(known::STATIC + 1) {
            // The only one that is bad is the first: `:authority` without a value.
            None => known::field(index).map(|(field, _)| Name::of(field).unwrap_or(Name::Authority)),
            Some(at) => self.table.name(at),
        }
        .ok_or_else(no_index)
    }

    /// Reads a literal field.
    fn literal(
        &mut self,
        block: &Bytes,
        input: &mut Input<'_>,
        literal: Literal,
        wanted: &mut bool,
        field: &mut impl FnMut(Field, usize) -> bool,
    ) -> Result<(), Error> {
        let index = input.integer(if literal == Literal::Indexed { 0x3f } else { 0x0f })?;
        if literal != Literal::Indexed && !*wanted {
            return self.skip(input, index);
        }
        let name = if index == 0 {
            Name::read(input.string()?.read(&mut self.scratch)?)
        } else {
            self.name(index)?
        };
        let coded = input.string()?;
        let value = coded.read(&mut self.scratch)?;
        let size = name.length() + value.len() + OVERHEAD;
        if literal == Literal::Indexed {
            let stays = self.table.make_room(size);
            if !stays && !*wanted {
                return Ok(());
            }
            // Copied: the table would hold all of the block otherwise.
            let (new, name) = match name.field(value, || Bytes::copy_from_slice(value)) {
                Ok(new) => (new, None),
                Err((malformed, name)) => (Field::Bad(malformed), Some(Box::new(name))),
            };
            if *wanted {
                *wanted = field(new.clone(), size);
            }
            if stays {
                self.table.add(new, name, size);
            }
        } else {
            let shared = || {
                if coded.huffman {
                    Bytes::copy_from_slice(value)
                } else {
                    block.slice_ref(value)
                }
            };
            let mut new = name
                .field(value, shared)
                .unwrap_or_else(|(malformed, _)| Field::Bad(malformed));
            if let (Field::Header(_, value), Literal::NeverIndexed) = (&mut new, literal) {
                value.set_sensitive(true);
            }
            *wanted = field(new, size);
        }
        Ok(())
    }

    /// Reads the rest of a literal field that nobody wants, and that is not for the table.
    fn skip(&mut self, input: &mut Input<'_>, index: usize) -> Result<(), Error> {
        if index == 0 {
            input.string()?.read(&mut self.scratch)?;
        } else if index > known::STATIC {
            self.indexed(index)?;
        }
        input.string()?.read(&mut self.scratch)?;
        Ok(())
    }
}

fn no_index() -> Error {
    compression("an index beyond the tables")
}

/// What is left of a block.
struct Input<'a> {
    rest: &'a [u8],
}

/// A string as it is written (RFC 7541 §5.2).
#[derive(Clone, Copy)]
struct Coded<'a> {
    text: &'a [u8],
    huffman: bool,
}

impl<'a> Coded<'a> {
    /// What it says; in `scratch` where it must be decoded.
    #[inline]
    fn read<'b>(self, scratch: &'b mut Vec<u8>) -> Result<&'b [u8], Error>
    where
        'a: 'b,
    {
        if self.huffman {
            huffman::decode(self.text, scratch)?;
            Ok(scratch)
        } else {
            Ok(self.text)
        }
    }
}

impl<'a> Input<'a> {
    #[inline]
    fn byte(&mut self) -> Result<u8, Error> {
        let (&byte, rest) = self.rest.split_first().ok_or_else(cut_off)?;
        self.rest = rest;
        Ok(byte)
    }

    /// Reads an integer whose first bits are those of `mask` (RFC 7541 §5.1).
    #[inline]
    fn integer(&mut self, mask: u8) -> Result<usize, Error> {
        let first = self.byte()? & mask;
        if first < mask {
            Ok(usize::from(first))
        } else {
            self.rest_of_integer(mask)
        }
    }

    /// Reads the rest of an integer that does not fit its first byte: at most 5 bytes, more than any that is in use needs.
    fn rest_of_integer(&mut self, mask: u8) -> Result<usize, Error> {
        let mut value = u64::from(mask);
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            value += u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return usize::try_from(value).map_err(|_| too_long());
            }
        }
        Err(too_long())
    }

    #[inline]
    fn string(&mut self) -> Result<Coded<'a>, Error> {
        let huffman = self.rest.first().is_some_and(|first| first & 0x80 != 0);
        let length = self.integer(0x7f)?;
        let (text, rest) = self.rest.split_at_checked(length).ok_or_else(cut_off)?;
        self.rest = rest;
        Ok(Coded { text, huffman })
    }
}

#[cold]
fn cut_off() -> Error {
    compression("a header block that ends within a field")
}

#[cold]
fn too_long() -> Error {
    compression("an integer of more than 5 bytes after the first")
}
