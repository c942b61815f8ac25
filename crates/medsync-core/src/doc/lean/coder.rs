//! Numbers as a range coder's bytes: adaptive models over the `constriction` crate.
//!
//! One trait serves both directions: what writes hands in a value and gets it back, what reads hands
//! in anything and gets what was written. So a format is written down once, and cannot be read
//! otherwise than it is written.

use crate::doc::lean::Fault;
use constriction::backends::Cursor;
use constriction::stream::model::{DecoderModel, EncoderModel, EntropyModel};
use constriction::stream::queue::{DefaultRangeDecoder, DefaultRangeEncoder};
use constriction::stream::{Decode as _, Encode as _};
use std::borrow::Borrow;
use std::num::NonZeroU32;

/// Bits of a probability.
const PRECISION: usize = 16;
const WHOLE: u32 = 1 << PRECISION;
/// A symbol's first and later weight, and the sum at which weights are halved.
const STEP: u16 = 24;
const SUM_MAX: u32 = 1 << 15;
/// What one block's symbols may cost, in units of about a byte rebuilt.
pub(super) const COST_MAX: usize = 12 << 20;

/// Codes numbers in one direction.
pub(super) trait Coder {
    /// Whether it writes.
    const WRITES: bool;

    /// Codes the part `left..left + width` of [`WHOLE`] that a symbol has; a reader finds it.
    fn slice(
        &mut self,
        at: (u32, u32),
        find: impl Fn(u32) -> (usize, u32, u32),
    ) -> Result<usize, Fault>;

    /// Takes from what the block may cost.
    fn spend(&mut self, cost: usize) -> Result<(), Fault>;

    /// Bytes of the block's text, which is compressed apart; a writer gets none back.
    fn literal(&mut self, model: &mut Num, value: &[u8], max: usize) -> Result<Vec<u8>, Fault>;

    /// A symbol of a model.
    fn symbol(&mut self, model: &mut Freq, value: usize) -> Result<usize, Fault> {
        // Nothing can be named where nothing is known yet.
        if model.len() == 0 {
            return Err(Fault::Malformed);
        }
        let at = if Self::WRITES {
            model.slice(value)
        } else {
            (0, 1)
        };
        let found = self.slice(at, |quantile| model.find(quantile))?;
        let value = if Self::WRITES { value } else { found };
        model.add(value);
        Ok(value)
    }

    /// Yes or no, by a model that learns how often.
    fn bit(&mut self, model: &mut Bit, value: bool) -> Result<bool, Fault> {
        let no = model.no();
        let at = if value { (no, WHOLE - no) } else { (0, no) };
        let found = self.slice(at, |quantile| match quantile < no {
            true => (0, 0, no),
            false => (1, no, WHOLE - no),
        })?;
        let value = if Self::WRITES { value } else { found == 1 };
        model.add(value);
        Ok(value)
    }

    /// The lowest `bits` of a number, which nothing is known of.
    fn raw(&mut self, bits: u32, value: u64) -> Result<u64, Fault> {
        let (mut left, mut out) = (bits, 0u64);
        while left > 0 {
            let some = left.min(12);
            left -= some;
            let part = (value >> left) & ((1 << some) - 1);
            let width = WHOLE >> some;
            let part = u32::try_from(part).unwrap_or(0);
            let found = self.slice((part * width, width), |quantile| {
                let part = quantile / width;
                (part as usize, part * width, width)
            })?;
            let part = if Self::WRITES {
                u64::from(part)
            } else {
                found as u64
            };
            out = (out << some) | part;
        }
        Ok(out)
    }

    /// Bytes that nothing is known of.
    fn bytes<const N: usize>(&mut self, value: [u8; N]) -> Result<[u8; N], Fault> {
        let mut out = value;
        for byte in &mut out {
            *byte = u8::try_from(self.raw(8, u64::from(*byte))?).unwrap_or(0);
        }
        Ok(out)
    }

    /// A number of any size.
    fn number(&mut self, model: &mut Num, value: u64) -> Result<u64, Fault> {
        let length = 64 - value.leading_zeros() as usize;
        let length = self.symbol(&mut model.length, length)?;
        let Some(below) = u32::try_from(length).ok().and_then(|l| l.checked_sub(1)) else {
            return Ok(0);
        };
        if below == 0 {
            return Ok(1);
        }
        // The two bits under the first are learned, the others sent as they are.
        let high = below.min(2);
        let rest = below - high;
        while model.high.len() <= length {
            model.high.push(Freq::new(4));
        }
        let top = usize::try_from((value >> rest) & ((1 << high) - 1)).unwrap_or(0);
        let top = self.symbol(&mut model.high[length], top)? as u64;
        if top >= 1 << high {
            return Err(Fault::Malformed);
        }
        let rest_bits = self.raw(rest, value & ((1 << rest) - 1))?;
        Ok((1 << below) | (top << rest) | rest_bits)
    }

    /// A number that is as often below zero as above.
    fn signed(&mut self, model: &mut Num, value: i64) -> Result<i64, Fault> {
        let folded = ((value << 1) ^ (value >> 63)).cast_unsigned();
        let folded = self.number(model, folded)?;
        Ok((folded >> 1).cast_signed() ^ -((folded & 1).cast_signed()))
    }

    /// A number that has to lie below a limit.
    fn below(&mut self, model: &mut Num, value: usize, limit: usize) -> Result<usize, Fault> {
        let value = self.number(model, value as u64)?;
        let value = usize::try_from(value).map_err(|_| Fault::Malformed)?;
        if value < limit {
            Ok(value)
        } else {
            Err(Fault::Malformed)
        }
    }
}

/// How often each of a few symbols came.
#[derive(Clone, Default)]
pub(super) struct Freq {
    weights: Vec<u16>,
    sum: u32,
}

impl Freq {
    /// A model of `n` symbols that are equally likely at first.
    pub(super) fn new(n: usize) -> Self {
        let sum = u32::try_from(n).unwrap_or(0);
        Self {
            weights: vec![1; n],
            sum,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.weights.len()
    }

    /// Adds a symbol that was just seen.
    pub(super) fn push(&mut self) {
        self.weights.push(STEP);
        self.sum += u32::from(STEP);
        self.halve();
    }

    fn scaled(&self, weight: u32) -> u32 {
        (weight << PRECISION) / self.sum.max(1)
    }

    fn slice(&self, value: usize) -> (u32, u32) {
        let before: u32 = self.weights.iter().take(value).map(|w| u32::from(*w)).sum();
        let weight = self.weights.get(value).copied().unwrap_or(0);
        let left = self.scaled(before);
        (left, self.scaled(before + u32::from(weight)) - left)
    }

    fn find(&self, quantile: u32) -> (usize, u32, u32) {
        let at = ((u64::from(quantile) + 1) * u64::from(self.sum) - 1) >> PRECISION;
        let mut before = 0u32;
        for (index, weight) in self.weights.iter().enumerate() {
            let next = before + u32::from(*weight);
            if at < u64::from(next) {
                let left = self.scaled(before);
                return (index, left, self.scaled(next) - left);
            }
            before = next;
        }
        // Not reached: `at` lies below the sum, which the weights add up to.
        (0, 0, 1)
    }

    fn add(&mut self, value: usize) {
        if let Some(weight) = self.weights.get_mut(value) {
            *weight += STEP;
            self.sum += u32::from(STEP);
            self.halve();
        }
    }

    fn halve(&mut self) {
        if self.sum > SUM_MAX {
            for weight in &mut self.weights {
                *weight = weight.div_ceil(2);
            }
            self.sum = self.weights.iter().map(|w| u32::from(*w)).sum();
        }
    }
}

/// How often yes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bit {
    /// The probability of no, in parts of [`WHOLE`].
    no: u16,
    seen: u8,
}

impl Default for Bit {
    fn default() -> Self {
        Self {
            no: 1 << 15,
            seen: 0,
        }
    }
}

impl Bit {
    fn no(self) -> u32 {
        u32::from(self.no).clamp(48, WHOLE - 48)
    }

    fn add(&mut self, value: bool) {
        let target: i32 = if value { 0 } else { 0xffff };
        let gap = target - i32::from(self.no);
        let next = i32::from(self.no) + gap * 2 / (2 * i32::from(self.seen) + 3);
        self.no = u16::try_from(next).unwrap_or(1 << 15);
        self.seen = (self.seen + 1).min(60);
    }
}

/// How large numbers are.
#[derive(Clone)]
pub(super) struct Num {
    length: Freq,
    high: Vec<Freq>,
}

impl Default for Num {
    fn default() -> Self {
        Self {
            length: Freq::new(65),
            high: Vec::new(),
        }
    }
}

struct Part(u32, u32);

impl EntropyModel<PRECISION> for Part {
    type Symbol = ();
    type Probability = u32;
}

impl EncoderModel<PRECISION> for Part {
    fn left_cumulative_and_probability(&self, _: impl Borrow<()>) -> Option<(u32, NonZeroU32)> {
        Some((self.0, NonZeroU32::new(self.1)?))
    }
}

struct Find<F>(F);

impl<F> EntropyModel<PRECISION> for Find<F> {
    type Symbol = usize;
    type Probability = u32;
}

impl<F: Fn(u32) -> (usize, u32, u32)> DecoderModel<PRECISION> for Find<F> {
    fn quantile_function(&self, quantile: u32) -> (usize, u32, NonZeroU32) {
        let (symbol, left, width) = (self.0)(quantile);
        (
            symbol,
            left,
            NonZeroU32::new(width).unwrap_or(NonZeroU32::MIN),
        )
    }
}

/// Writes.
pub(super) struct Encoder {
    range: DefaultRangeEncoder,
    room: usize,
    /// The block's text.
    pub(super) text: Vec<u8>,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self {
            range: DefaultRangeEncoder::new(),
            room: COST_MAX,
            text: Vec::new(),
        }
    }

    /// The bytes: words big-endian, without the zeros at the end, which a reader adds by itself;
    /// and the text.
    pub(super) fn finish(self) -> (Vec<u8>, Vec<u8>) {
        let words = match self.range.into_compressed() {
            Ok(words) => words,
            Err(never) => match never {},
        };
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let end = bytes
            .iter()
            .rposition(|b| *b != 0)
            .map_or(0, |last| last + 1);
        bytes.truncate(end);
        (bytes, self.text)
    }
}

impl Coder for Encoder {
    const WRITES: bool = true;

    fn slice(
        &mut self,
        (left, width): (u32, u32),
        _: impl Fn(u32) -> (usize, u32, u32),
    ) -> Result<usize, Fault> {
        let coded = self.range.encode_symbol((), Part(left, width));
        coded.map_err(|_| Fault::TooLarge)?;
        Ok(0)
    }

    fn literal(&mut self, model: &mut Num, value: &[u8], max: usize) -> Result<Vec<u8>, Fault> {
        if value.len() > max {
            return Err(Fault::TooLarge);
        }
        self.number(model, value.len() as u64)?;
        self.spend(value.len())?;
        self.text.extend_from_slice(value);
        Ok(Vec::new())
    }

    fn spend(&mut self, cost: usize) -> Result<(), Fault> {
        self.room = self.room.checked_sub(cost).ok_or(Fault::TooLarge)?;
        Ok(())
    }
}

/// Reads.
pub(super) struct Decoder {
    range: DefaultRangeDecoder<Cursor<u32, Vec<u32>>>,
    room: usize,
    text: Vec<u8>,
    at: usize,
}

impl Decoder {
    pub(super) fn new(bytes: &[u8], text: Vec<u8>) -> Result<Self, Fault> {
        let word = |part: &[u8]| {
            let mut word = [0; 4];
            word.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
            u32::from_be_bytes(word)
        };
        let words: Vec<u32> = bytes.chunks(4).map(word).collect();
        let range = DefaultRangeDecoder::from_compressed(words).map_err(|_| Fault::Malformed)?;
        Ok(Self {
            range,
            room: COST_MAX,
            text,
            at: 0,
        })
    }

    /// Whether all of the text was read; the block's text, to go on with.
    pub(super) fn finish(self) -> Result<Vec<u8>, Fault> {
        if self.at == self.text.len() {
            Ok(self.text)
        } else {
            Err(Fault::Malformed)
        }
    }
}

impl Coder for Decoder {
    const WRITES: bool = false;

    fn slice(
        &mut self,
        _: (u32, u32),
        find: impl Fn(u32) -> (usize, u32, u32),
    ) -> Result<usize, Fault> {
        let found = self.range.decode_symbol(Find(find));
        found.map_err(|_| Fault::Malformed)
    }

    fn literal(&mut self, model: &mut Num, _: &[u8], max: usize) -> Result<Vec<u8>, Fault> {
        let length = self.below(model, 0, max.saturating_add(1))?;
        self.spend(length)?;
        let end = self.at.saturating_add(length);
        let bytes = self.text.get(self.at..end).ok_or(Fault::Malformed)?;
        self.at = end;
        Ok(bytes.to_vec())
    }

    fn spend(&mut self, cost: usize) -> Result<(), Fault> {
        self.room = self.room.checked_sub(cost).ok_or(Fault::TooLarge)?;
        Ok(())
    }
}
