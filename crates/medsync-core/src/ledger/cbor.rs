//! Small steps of strict CBOR: every length has a limit before anything is copied.

use crate::error::{Error, Result};
use minicbor::Encoder;
use minicbor::data::Type;
use minicbor::decode::Decoder;
use std::convert::Infallible;

type Encoded = std::result::Result<(), minicbor::encode::Error<Infallible>>;

/// Writes CBOR into a vector.
pub(crate) fn encode(write: impl FnOnce(&mut Encoder<Vec<u8>>) -> Encoded) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    write(&mut encoder).expect("a vector takes every byte");
    encoder.into_writer()
}

/// What comes next, where several things may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Null,
    Number,
    List,
    Other,
}

/// Reads one thing of foreign bytes; `what` names it in errors.
pub(crate) struct Reader<'b> {
    decoder: Decoder<'b>,
    what: &'static str,
}

impl<'b> Reader<'b> {
    /// A reader over `bytes`, of which there may be at most `max`.
    pub(crate) fn new(bytes: &'b [u8], max: usize, what: &'static str) -> Result<Self> {
        if bytes.len() > max {
            return Err(Error::integrity_at(
                what,
                format!("longer than {max} bytes"),
            ));
        }
        Ok(Self {
            decoder: Decoder::new(bytes),
            what,
        })
    }

    /// The error for what stands here.
    pub(crate) fn fault(&self) -> Error {
        Error::integrity_at(self.what, format!("at byte {}", self.decoder.position()))
    }

    fn step<T>(
        &mut self,
        read: impl FnOnce(&mut Decoder<'b>) -> std::result::Result<T, minicbor::decode::Error>,
    ) -> Result<T> {
        read(&mut self.decoder).map_err(|_| self.fault())
    }

    /// A value of a type that limits itself (an id).
    pub(crate) fn value<T: minicbor::Decode<'b, ()>>(&mut self) -> Result<T> {
        self.step(|d| d.decode())
    }

    /// The head of an array of at most `max` items.
    pub(crate) fn list(&mut self, max: usize) -> Result<usize> {
        let count = self.step(|d| d.array())?;
        match count.and_then(|n| usize::try_from(n).ok()) {
            Some(n) if n <= max => Ok(n),
            _ => Err(self.fault()),
        }
    }

    /// The head of an array of exactly `n` items.
    pub(crate) fn array(&mut self, n: usize) -> Result<()> {
        if self.list(n)? == n {
            Ok(())
        } else {
            Err(self.fault())
        }
    }

    /// The format number, which must be `known`.
    pub(crate) fn format(&mut self, known: u32) -> Result<()> {
        match self.value::<u32>()? {
            found if found == known => Ok(()),
            found => Err(Error::TooNew {
                what: self.what,
                found,
                known,
            }),
        }
    }

    /// A byte string of at most `max` bytes.
    pub(crate) fn bytes(&mut self, max: usize) -> Result<&'b [u8]> {
        let bytes = self.step(|d| d.bytes())?;
        if bytes.len() > max {
            Err(self.fault())
        } else {
            Ok(bytes)
        }
    }

    /// A byte string of exactly `N` bytes.
    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.bytes(N)?.try_into().map_err(|_| self.fault())
    }

    /// A text of at most `max` bytes.
    pub(crate) fn text(&mut self, max: usize) -> Result<&'b str> {
        let text = self.step(|d| d.str())?;
        if text.len() > max {
            Err(self.fault())
        } else {
            Ok(text)
        }
    }

    /// Nothing, or what `read` reads.
    pub(crate) fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<Option<T>> {
        if self.step(|d| d.datatype())? == Type::Null {
            self.step(|d| d.null())?;
            return Ok(None);
        }
        read(self).map(Some)
    }

    /// Whether nothing, a number or something else comes next.
    pub(crate) fn what(&mut self) -> Result<What> {
        Ok(match self.step(|d| d.datatype())? {
            Type::Null => {
                self.step(|d| d.null())?;
                What::Null
            }
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => What::Number,
            Type::Array => What::List,
            _ => What::Other,
        })
    }

    /// Steps over one item, whatever it is.
    pub(crate) fn skip(&mut self) -> Result<()> {
        self.step(|d| d.skip())
    }

    /// Whether everything was read.
    pub(crate) fn is_done(&self) -> bool {
        self.decoder.position() >= self.decoder.input().len()
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'b [u8] {
        let input: &'b [u8] = self.decoder.input();
        input.get(self.decoder.position()..).unwrap_or_default()
    }

    /// Nothing may follow.
    pub(crate) fn end(self) -> Result<()> {
        if self.decoder.position() == self.decoder.input().len() {
            Ok(())
        } else {
            Err(self.fault())
        }
    }

    /// Nothing may follow, and what was read has this one encoding: two encodings would be two
    /// hashes of one fact.
    pub(crate) fn end_as(self, canonical: &[u8]) -> Result<()> {
        if self.decoder.input() != canonical {
            return Err(self.fault());
        }
        self.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_lies_is_refused_before_anything_is_allocated() {
        // An array, a byte string and a text that claim 2^63 items.
        for head in [0x9b, 0x5b, 0x7b] {
            let bytes = [head, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
            let reader = || Reader::new(&bytes, 100, "test").unwrap();
            assert!(reader().list(10).is_err());
            assert!(reader().bytes(10).is_err());
            assert!(reader().text(10).is_err());
            assert!(reader().skip().is_err());
        }
    }

    #[test]
    fn a_second_encoding_is_refused() {
        // 1 as one byte and as two.
        let mut short = Reader::new(&[0x01], 9, "test").unwrap();
        assert_eq!(short.value::<u8>(), Ok(1));
        assert_eq!(short.end_as(&[0x01]), Ok(()));
        let mut long = Reader::new(&[0x18, 0x01], 9, "test").unwrap();
        assert_eq!(long.value::<u8>(), Ok(1));
        assert!(long.end_as(&[0x01]).is_err());
    }

    #[test]
    fn another_format_is_told_from_damage() {
        let mut reader = Reader::new(&[0x02], 9, "test").unwrap();
        assert!(matches!(
            reader.format(1),
            Err(Error::TooNew {
                found: 2,
                known: 1,
                ..
            })
        ));
    }
}
