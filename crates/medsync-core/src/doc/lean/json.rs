//! Canonical JSON taken apart: what is the same in every value of a field is named once, what
//! differs goes into a column of its own.
//!
//! A template is a value's text with its strings, numbers and arrays taken out. Where a value
//! replaces another of the same template, only what differs is sent.

use crate::doc::lean::Fault;
use crate::doc::lean::coder::{Bit, Coder, Freq, Num};
use crate::doc::lean::text::{Hints, TABLES_MAX, TEXT_MAX, Texts};
use std::collections::HashMap;
use std::sync::Arc;

const STRING: char = '\u{1}';
const NUMBER: char = '\u{2}';
const ARRAY: char = '\u{3}';
const TEMPLATE_MAX: usize = 4096;
const SLOTS_MAX: usize = 128;
const PLACES_MAX: usize = 2048;
const LOCAL_MAX: usize = 512;
const DEPTH_MAX: usize = 64;
const ITEMS_MAX: usize = 1 << 16;
const PATH_MAX: usize = 256;

/// Where a template has a hole.
#[derive(Debug, Clone, Copy)]
enum Slot {
    /// A string or a number: its column.
    Leaf(usize),
    /// An array: the place of its items.
    Array(usize),
}

struct Template {
    parts: Vec<Box<str>>,
    slots: Vec<Slot>,
}

/// A place in the records where values stand: a field, or the items of an array in one.
#[derive(Clone, Default)]
struct Place {
    path: Box<str>,
    literal: Bit,
    same: Bit,
    fresh: Bit,
    freq: Freq,
    templates: Vec<Arc<Template>>,
    known: HashMap<Box<str>, usize>,
    length: Num,
    items: Num,
    ahead: Num,
    behind: Num,
}

/// All places.
#[derive(Clone, Default)]
pub(super) struct Shapes {
    places: Vec<Place>,
    paths: HashMap<Box<str>, usize>,
}

/// A value taken apart.
#[derive(Default)]
struct Apart<'a> {
    template: String,
    holes: Vec<&'a str>,
}

impl Shapes {
    /// The place of a path. When there are too many, those that come later share the first.
    pub(super) fn place(&mut self, texts: &mut Texts, path: &str) -> usize {
        if let Some(place) = self.paths.get(path) {
            return *place;
        }
        if self.places.is_empty() {
            self.places.push(Place::default());
        }
        if self.places.len() >= PLACES_MAX || texts.held >= TABLES_MAX || path.len() > PATH_MAX {
            return 0;
        }
        texts.held += 5000 + path.len() * 2;
        self.places.push(Place {
            path: path.into(),
            ..Place::default()
        });
        self.paths.insert(path.into(), self.places.len() - 1);
        self.places.len() - 1
    }

    /// Codes a value at a place; `old` is the value it replaces. A reader appends it to `out`.
    pub(super) fn value<C: Coder>(
        &mut self,
        c: &mut C,
        texts: &mut Texts,
        (at, depth): (usize, usize),
        (text, old): (&str, Option<&str>),
        hints: &mut Hints<'_>,
        out: &mut String,
    ) -> Result<(), Fault> {
        c.spend(48)?;
        if depth > DEPTH_MAX {
            return Err(Fault::TooLarge);
        }
        let apart = if C::WRITES { take_apart(text) } else { None };
        let old = old.and_then(take_apart);
        let old_template = old
            .as_ref()
            .and_then(|old| self.enter(texts, at, &old.template));
        let old = old.filter(|_| old_template.is_some());
        let usable = |apart: &Apart<'_>| {
            self.places[at].known.contains_key(&*apart.template) || self.has_room(texts, at)
        };
        let apart = apart.filter(usable);
        let place = &mut self.places[at];
        if c.bit(&mut place.literal, apart.is_none())? {
            let bytes = c.literal(&mut place.length, text.as_bytes(), TEXT_MAX)?;
            out.push_str(std::str::from_utf8(&bytes).map_err(|_| Fault::Malformed)?);
            return Ok(());
        }
        let apart = apart.unwrap_or_default();
        let mut same = false;
        if let Some(old) = &old {
            same = c.bit(&mut place.same, old.template == apart.template)?;
        }
        let index = match old_template {
            Some(index) if same => index,
            _ => self.template(c, texts, at, &apart.template)?,
        };
        let template = self.places[at].templates.get(index).cloned();
        let template = template.ok_or(Fault::Malformed)?;
        let old = old.filter(|_| same);
        let mut parts = template.parts.iter();
        push::<C>(out, parts.next().map_or("", |part| part));
        for (i, (slot, part)) in template.slots.iter().zip(parts).enumerate() {
            let hole = apart.holes.get(i).copied().unwrap_or_default();
            let old = old.as_ref().and_then(|old| old.holes.get(i).copied());
            match *slot {
                Slot::Leaf(column) => leaf(c, texts, column, hole, old, hints, out)?,
                Slot::Array(items) => {
                    self.array(c, texts, (items, depth), (hole, old), hints, out)?;
                }
            }
            push::<C>(out, part);
        }
        Ok(())
    }

    fn array<C: Coder>(
        &mut self,
        c: &mut C,
        texts: &mut Texts,
        (at, depth): (usize, usize),
        (text, old): (&str, Option<&str>),
        hints: &mut Hints<'_>,
        out: &mut String,
    ) -> Result<(), Fault> {
        let items = if C::WRITES { items(text) } else { Vec::new() };
        let before = old.map(self::items);
        let place = &mut self.places[at];
        let count = c.below(&mut place.items, items.len(), ITEMS_MAX)?;
        let (mut ahead, mut behind) = (0, 0);
        if let Some(before) = &before {
            let room = count.min(before.len());
            let same = |(a, b): &(&&str, &&str)| a == b;
            ahead = items.iter().zip(before).take_while(same).count();
            ahead = c.below(&mut place.ahead, ahead, room + 1)?;
            let rest = room - ahead;
            let back = items.iter().rev().zip(before.iter().rev());
            behind = back.take_while(same).count().min(rest);
            behind = c.below(&mut place.behind, behind, rest + 1)?;
        }
        let before = before.unwrap_or_default();
        push::<C>(out, "[");
        for i in 0..count {
            if i > 0 {
                push::<C>(out, ",");
            }
            let (tail, moved) = (count - behind, before.len().wrapping_sub(count));
            if i < ahead || i >= tail {
                let kept = if i < ahead { i } else { i.wrapping_add(moved) };
                let kept = before.get(kept).copied().unwrap_or_default();
                c.spend(kept.len() + 1)?;
                push::<C>(out, kept);
                continue;
            }
            let item = items.get(i).copied().unwrap_or_default();
            let old = before.get(i).copied().filter(|_| moved == 0);
            self.value(c, texts, (at, depth + 1), (item, old), hints, out)?;
        }
        push::<C>(out, "]");
        Ok(())
    }

    fn template<C: Coder>(
        &mut self,
        c: &mut C,
        texts: &mut Texts,
        at: usize,
        template: &str,
    ) -> Result<usize, Fault> {
        let place = &mut self.places[at];
        let known = place.known.get(template).copied();
        if !c.bit(&mut place.fresh, known.is_none())? {
            return c.symbol(&mut place.freq, known.unwrap_or(0));
        }
        let bytes = c.literal(&mut place.length, template.as_bytes(), TEMPLATE_MAX)?;
        let read = String::from_utf8(bytes).map_err(|_| Fault::Malformed)?;
        let template = if C::WRITES { template } else { &read };
        if self.places[at].known.contains_key(template) {
            return Err(Fault::Malformed);
        }
        self.enter(texts, at, template).ok_or(Fault::Malformed)
    }

    fn has_room(&self, texts: &Texts, at: usize) -> bool {
        let place = &self.places[at];
        place.templates.len() < LOCAL_MAX && texts.held < TABLES_MAX
    }

    /// The index of a template, entered if it is new and there is room.
    fn enter(&mut self, texts: &mut Texts, at: usize, template: &str) -> Option<usize> {
        if let Some(index) = self.places[at].known.get(template) {
            return Some(*index);
        }
        if !self.has_room(texts, at) {
            return None;
        }
        let made = self.make(texts, at, template)?;
        texts.held += template.len() * 3 + made.slots.len() * 32 + 300;
        let place = &mut self.places[at];
        place.known.insert(template.into(), place.templates.len());
        place.templates.push(Arc::new(made));
        place.freq.push();
        Some(place.templates.len() - 1)
    }

    fn make(&mut self, texts: &mut Texts, at: usize, template: &str) -> Option<Template> {
        let root = self.places[at].path.clone();
        let mut made = Template {
            parts: Vec::new(),
            slots: Vec::new(),
        };
        let mut names: Vec<&str> = Vec::new();
        let (mut from, mut rest) = (0, template.char_indices());
        while let Some((i, c)) = rest.next() {
            match c {
                '{' => names.push(""),
                '}' => drop(names.pop()),
                '"' => {
                    let start = i + 1;
                    let mut end = start;
                    let mut escaped = false;
                    for (i, c) in rest.by_ref() {
                        end = i;
                        if c == '"' && !escaped {
                            break;
                        }
                        escaped = c == '\\' && !escaped;
                    }
                    let name = template.get(start..end).unwrap_or_default();
                    if let Some(last) = names.last_mut() {
                        *last = name;
                    }
                }
                STRING | NUMBER | ARRAY => {
                    let mut path = format!("{root}.{}", names.join("."));
                    if c == ARRAY {
                        path.push_str("[]");
                    }
                    made.parts.push(template.get(from..i)?.into());
                    from = i + 1;
                    made.slots.push(match c {
                        ARRAY => Slot::Array(self.place(texts, &path)),
                        _ => Slot::Leaf(texts.column(&path)),
                    });
                }
                _ => {}
            }
            if made.slots.len() > SLOTS_MAX || names.len() > DEPTH_MAX {
                return None;
            }
        }
        made.parts.push(template.get(from..)?.into());
        // The marks of strings are written with their quotes.
        quote(&mut made, template);
        Some(made)
    }
}

/// Only a reader builds a value.
fn push<C: Coder>(out: &mut String, part: &str) {
    if !C::WRITES {
        out.push_str(part);
    }
}

/// Puts the quotes of strings into the parts around them.
fn quote(made: &mut Template, template: &str) {
    let marks = template
        .chars()
        .filter(|c| matches!(*c, STRING | NUMBER | ARRAY));
    for (i, mark) in marks.enumerate() {
        if mark == STRING {
            if let Some(part) = made.parts.get_mut(i) {
                *part = format!("{part}\"").into();
            }
            if let Some(part) = made.parts.get_mut(i + 1) {
                *part = format!("\"{part}").into();
            }
        }
    }
}

fn leaf<C: Coder>(
    c: &mut C,
    texts: &mut Texts,
    column: usize,
    text: &str,
    old: Option<&str>,
    hints: &mut Hints<'_>,
    out: &mut String,
) -> Result<(), Fault> {
    if let Some(old) = old
        && !texts.changed(c, column, text != old)?
    {
        c.spend(old.len() + 4)?;
        push::<C>(out, old);
        hints.pass(old);
        return Ok(());
    }
    texts.text(c, column, text, hints, out)
}

/// Takes canonical text apart; `None` where that does not pay or is not possible.
fn take_apart(text: &str) -> Option<Apart<'_>> {
    let mut apart = Apart::default();
    let end = walk(text, 0, 0, &mut apart)?;
    let fits = apart.template.len() <= TEMPLATE_MAX && apart.holes.len() <= SLOTS_MAX;
    (fits && end == text.len()).then_some(apart)
}

fn walk<'a>(text: &'a str, at: usize, depth: usize, apart: &mut Apart<'a>) -> Option<usize> {
    let bytes = text.as_bytes();
    if depth > DEPTH_MAX {
        return None;
    }
    let (mark, hole, end) = match bytes.get(at)? {
        b'"' => {
            let end = string_end(bytes, at)?;
            (STRING, (at + 1, end - 1), end)
        }
        b'[' => {
            let end = skip(bytes, at)?;
            (ARRAY, (at, end), end)
        }
        b'-' | b'0'..=b'9' => {
            let end = skip(bytes, at)?;
            (NUMBER, (at, end), end)
        }
        b'{' => return object(text, at, depth, apart),
        _ => {
            let end = skip(bytes, at)?;
            apart.template.push_str(text.get(at..end)?);
            return Some(end);
        }
    };
    apart.template.push(mark);
    apart.holes.push(text.get(hole.0..hole.1)?);
    Some(end)
}

fn object<'a>(text: &'a str, at: usize, depth: usize, apart: &mut Apart<'a>) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = at + 1;
    apart.template.push('{');
    if bytes.get(at) == Some(&b'}') {
        apart.template.push('}');
        return Some(at + 1);
    }
    loop {
        let name = string_end(bytes, at)?;
        if bytes.get(name) != Some(&b':') {
            return None;
        }
        apart.template.push_str(text.get(at..name + 1)?);
        at = walk(text, name + 1, depth + 1, apart)?;
        let next = *bytes.get(at)?;
        at += 1;
        match next {
            b',' => apart.template.push(','),
            b'}' => {
                apart.template.push('}');
                return Some(at);
            }
            _ => return None,
        }
    }
}

/// Behind the string that starts here.
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at) != Some(&b'"') {
        return None;
    }
    let mut i = at + 1;
    loop {
        match bytes.get(i)? {
            b'"' => return Some(i + 1),
            b'\\' => i += 2,
            _ => i += 1,
        }
    }
}

/// Behind the value that starts here.
fn skip(bytes: &[u8], at: usize) -> Option<usize> {
    let (mut i, mut depth) = (at, 0usize);
    loop {
        match bytes.get(i) {
            Some(b'"') => {
                i = string_end(bytes, i)?;
                if depth == 0 {
                    return Some(i);
                }
                continue;
            }
            Some(b'{' | b'[') => depth += 1,
            Some(b'}' | b']') if depth <= 1 => return Some(if depth == 1 { i + 1 } else { i }),
            Some(b'}' | b']') => depth -= 1,
            Some(b',') | None if depth == 0 => return Some(i).filter(|i| *i > at),
            None => return None,
            _ => {}
        }
        i += 1;
    }
}

/// The items of an array's text.
fn items(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let mut items = Vec::new();
    let mut at = 1;
    while let Some(end) = bytes
        .get(at)
        .and_then(|_| skip(bytes, at))
        .filter(|end| *end > at)
    {
        items.extend(text.get(at..end));
        at = end + 1;
    }
    items
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod json_tests;
