//! Texts in columns: each column learns which shapes and values come in it.

use crate::doc::lean::Fault;
use crate::doc::lean::coder::{Bit, Coder, Freq, Num};
use crate::doc::lean::shape::{self, Token};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// What the tables of one session may hold, in about bytes: then nothing new is entered.
pub(super) const TABLES_MAX: usize = 24 << 20;
const COLUMNS_MAX: usize = 4096;
const SHAPES_MAX: usize = 1 << 16;
const SHAPE_LEN_MAX: usize = 192;
const LOCAL_MAX: usize = 1024;
const GUESSES_MAX: usize = 256;
const GUESS_LEN_MAX: usize = 64;
const DIGITS_MAX: usize = 48;
/// Longest text of one value.
pub(super) const TEXT_MAX: usize = 1 << 20;

/// What else is known where a text stands, that may be the same text.
#[derive(Clone, Copy, Default)]
pub(super) struct Hints<'a> {
    /// The name of the item that the value is.
    pub(super) element: &'a str,
    /// The record's patient.
    pub(super) subject: &'a str,
    /// The text before, hashed.
    pub(super) before: u64,
    /// The first text of the value, hashed.
    pub(super) first: u64,
}

impl Hints<'_> {
    /// Goes on behind a text.
    pub(super) fn pass(&mut self, text: &str) {
        self.before = fnv(text);
        if self.first == 0 {
            self.first = self.before;
        }
    }
}

pub(super) fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Where a text comes from.
const ANEW: usize = 0;
const ELEMENT: usize = 1;
const SUBJECT: usize = 2;
const AFTER_BEFORE: usize = 3;
const AFTER_FIRST: usize = 4;
const LAST: usize = 5;
const SOURCES: usize = 6;

/// Hashes of small tables, whose keys are hashes or numbers: mixed once.
type Plain = BuildHasherDefault<Mixed>;

#[derive(Clone, Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u64(&mut self, n: u64) {
        let mixed = (self.0 ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }
}

/// Which text followed another.
#[derive(Clone, Default)]
struct Guess {
    after: HashMap<u64, Box<str>, Plain>,
    tries: u32,
    hits: u32,
}

impl Guess {
    fn is_off(&self) -> bool {
        self.tries >= 64 && self.hits * 8 < self.tries
    }

    fn get(&self, after: u64) -> &str {
        self.after.get(&after).map_or("", |text| text)
    }

    fn learn(&mut self, after: u64, text: &str, held: &mut usize) {
        if self.is_off() {
            if !self.after.is_empty() {
                *held -= self.after.len() * 192;
                self.after = HashMap::default();
            }
            return;
        }
        self.tries += 1;
        if let Some(known) = self.after.get_mut(&after) {
            if **known == *text {
                self.hits += 1;
            } else if text.len() <= GUESS_LEN_MAX {
                *known = text.into();
            }
        } else if text.len() <= GUESS_LEN_MAX
            && self.after.len() < GUESSES_MAX
            && *held < TABLES_MAX
        {
            *held += 192;
            self.after.insert(after, text.into());
        }
    }
}

/// One column.
#[derive(Clone)]
struct Column {
    source: Freq,
    fresh: Bit,
    elsewhere: Bit,
    length: Num,
    shapes: Vec<u32>,
    local: HashMap<u64, usize, Plain>,
    freq: Freq,
    digits: Vec<(u32, Freq)>,
    last: String,
    before: Guess,
    first: Guess,
    changed: Bit,
}

impl Column {
    fn new() -> Self {
        Self {
            source: Freq::new(SOURCES),
            fresh: Bit::default(),
            elsewhere: Bit::default(),
            length: Num::default(),
            shapes: Vec::new(),
            local: HashMap::default(),
            freq: Freq::default(),
            digits: Vec::new(),
            last: String::new(),
            before: Guess::default(),
            first: Guess::default(),
            changed: Bit::default(),
        }
    }

    fn given<'a>(&'a self, source: usize, hints: &Hints<'a>) -> &'a str {
        match source {
            ELEMENT => hints.element,
            SUBJECT => hints.subject,
            AFTER_BEFORE => self.before.get(hints.before),
            AFTER_FIRST => self.first.get(hints.first),
            _ => &self.last,
        }
    }

    fn source_of(&self, text: &str, hints: &Hints<'_>) -> usize {
        let same = |source: &usize| self.given(*source, hints) == text;
        (ELEMENT..=LAST).find(same).unwrap_or(ANEW)
    }
}

/// All columns and the shapes they share.
#[derive(Clone, Default)]
pub(super) struct Texts {
    columns: Vec<Column>,
    names: HashMap<Box<str>, usize>,
    shapes: Vec<Arc<str>>,
    places: HashMap<Arc<str>, u32>,
    /// What all tables hold, in about bytes.
    pub(super) held: usize,
}

impl Texts {
    /// The column of a name. When there are too many, those that come later share the first.
    pub(super) fn column(&mut self, name: &str) -> usize {
        if let Some(column) = self.names.get(name) {
            return *column;
        }
        if self.columns.is_empty() {
            self.columns.push(Column::new());
        }
        if self.columns.len() >= COLUMNS_MAX || self.held >= TABLES_MAX {
            return 0;
        }
        self.held += 3000 + name.len();
        self.columns.push(Column::new());
        self.names.insert(name.into(), self.columns.len() - 1);
        self.columns.len() - 1
    }

    /// Whether a value differs from the one it replaces.
    pub(super) fn changed<C: Coder>(
        &mut self,
        c: &mut C,
        column: usize,
        changed: bool,
    ) -> Result<bool, Fault> {
        c.bit(&mut self.columns[column].changed, changed)
    }

    /// Codes a text of a column; a reader appends it to `out`.
    pub(super) fn text<C: Coder>(
        &mut self,
        c: &mut C,
        column: usize,
        text: &str,
        hints: &mut Hints<'_>,
        out: &mut String,
    ) -> Result<(), Fault> {
        c.spend(48)?;
        let at = out.len();
        let known = &mut self.columns[column];
        let source = if C::WRITES {
            known.source_of(text, hints)
        } else {
            0
        };
        let source = c.symbol(&mut known.source, source)?;
        if source == ANEW {
            self.anew(c, column, text, out)?;
        } else if !C::WRITES {
            out.push_str(self.columns[column].given(source, hints));
        }
        let text = if C::WRITES {
            text
        } else {
            out.get(at..).unwrap_or_default()
        };
        c.spend(text.len())?;
        let known = &mut self.columns[column];
        known.before.learn(hints.before, text, &mut self.held);
        known.first.learn(hints.first, text, &mut self.held);
        known.last.clear();
        if text.len() <= SHAPE_LEN_MAX {
            known.last.push_str(text);
        }
        hints.pass(text);
        Ok(())
    }

    fn anew<C: Coder>(
        &mut self,
        c: &mut C,
        column: usize,
        text: &str,
        out: &mut String,
    ) -> Result<(), Fault> {
        let (mut shape, mut tokens) = (String::new(), Vec::new());
        if C::WRITES {
            shape::split(text, &mut shape, &mut tokens);
        }
        let shape = self.shape(c, column, &shape)?;
        let column = &mut self.columns[column];
        if C::WRITES {
            for (i, token) in tokens.into_iter().enumerate() {
                number(c, column, i, token, &mut self.held)?;
            }
            return Ok(());
        }
        let mut i = 0;
        let held = &mut self.held;
        shape::join(&shape, out, |token| {
            i += 1;
            c.spend(4)?;
            number(c, column, i - 1, token, held)
        })
    }

    fn shape<C: Coder>(
        &mut self,
        c: &mut C,
        column: usize,
        shape: &str,
    ) -> Result<Arc<str>, Fault> {
        let known = &mut self.columns[column];
        let place = if C::WRITES {
            self.places.get(shape).copied()
        } else {
            None
        };
        let local = place.and_then(|p| known.local.get(&p.into()).copied());
        if !c.bit(&mut known.fresh, local.is_none())? {
            let local = c.symbol(&mut known.freq, local.unwrap_or(0))?;
            let place = known.shapes.get(local).ok_or(Fault::Malformed)?;
            return self
                .shapes
                .get(*place as usize)
                .cloned()
                .ok_or(Fault::Malformed);
        }
        let place = if c.bit(&mut known.elsewhere, place.is_some())? {
            let bits = usize::BITS - self.shapes.len().leading_zeros();
            let place = c.raw(bits, place.unwrap_or(0).into())?;
            let place = usize::try_from(place).map_err(|_| Fault::Malformed)?;
            if place >= self.shapes.len() {
                return Err(Fault::Malformed);
            }
            u32::try_from(place).map_err(|_| Fault::Malformed)?
        } else {
            let bytes = c.literal(&mut known.length, shape.as_bytes(), TEXT_MAX)?;
            let read = String::from_utf8(bytes).map_err(|_| Fault::Malformed)?;
            let shape: Arc<str> = if C::WRITES { shape.into() } else { read.into() };
            let full = self.shapes.len() >= SHAPES_MAX || self.held >= TABLES_MAX;
            // A reader could be told of one twice: it is entered once.
            if shape.len() > SHAPE_LEN_MAX || full || self.places.contains_key(&shape) {
                return Ok(shape);
            }
            let place = u32::try_from(self.shapes.len()).unwrap_or(u32::MAX);
            self.held += shape.len() + 128;
            self.shapes.push(Arc::clone(&shape));
            self.places.insert(shape, place);
            place
        };
        if known.shapes.len() < LOCAL_MAX && self.held < TABLES_MAX {
            self.held += 64;
            if known
                .local
                .insert(place.into(), known.shapes.len())
                .is_some()
            {
                return Err(Fault::Malformed);
            }
            known.shapes.push(place);
            known.freq.push();
        }
        self.shapes
            .get(place as usize)
            .cloned()
            .ok_or(Fault::Malformed)
    }
}

/// Codes a number of a text: digits two by two, each pair by what came at its place.
fn number<C: Coder>(
    c: &mut C,
    column: &mut Column,
    index: usize,
    token: Token,
    held: &mut usize,
) -> Result<Token, Fault> {
    Ok(match token {
        Token::Uuid(bits) => {
            let high = c.raw(64, u64::try_from(bits >> 64).unwrap_or(0))?;
            let low = c.raw(64, u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0))?;
            Token::Uuid(u128::from(high) << 64 | u128::from(low))
        }
        Token::Hex(width, value) => {
            let bits = u32::try_from(width * 4).unwrap_or(64);
            Token::Hex(width, c.raw(bits, value)?)
        }
        Token::Digits(width, value) => {
            let mut out = 0;
            let mut left = width;
            while left > 0 {
                let some = 2 - left % 2;
                left -= some;
                let below = 10u64.pow(u32::try_from(left).unwrap_or(0));
                let size = if some == 2 { 100 } else { 10 };
                let part = usize::try_from(value / below % size).unwrap_or(0);
                let key = (index.min(31) * 32 + width) * 32 + left;
                let key = u32::try_from(key).unwrap_or(0);
                let part = match column.pair(key, size, held) {
                    Some(freq) => c.symbol(freq, part)? as u64,
                    None => c.raw(7, part as u64)?,
                };
                if part >= size {
                    return Err(Fault::Malformed);
                }
                out = out * size + part;
            }
            Token::Digits(width, out)
        }
    })
}

impl Column {
    fn pair(&mut self, key: u32, size: u64, held: &mut usize) -> Option<&mut Freq> {
        let at = self.digits.iter().position(|(known, _)| *known == key);
        let at = match at {
            Some(at) => at,
            None if self.digits.len() < DIGITS_MAX && *held < TABLES_MAX => {
                *held += 256;
                let size = usize::try_from(size).unwrap_or(100);
                self.digits.push((key, Freq::new(size)));
                self.digits.len() - 1
            }
            None => return None,
        };
        self.digits.get_mut(at).map(|(_, freq)| freq)
    }
}
