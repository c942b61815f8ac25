//! Fractional indexes: the place of an item in a list, as a short text between its neighbours.
//!
//! A place is an integer and perhaps a fraction, in digits of base 62 whose text order is the order
//! of places. The integer's first letter says its length: `a` to `j` for 0 and above with 1 to 10
//! digits, `Z` down to `Q` for those below. So appending and prepending cost the logarithm of the
//! list's length, and only insertions into one gap make a fraction grow.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Longest place that is read. One gap takes some twenty thousand insertions to get there.
pub const MAX_ORDER: usize = 4 * 1024;

const BASE: i64 = 62;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Most digits of the integer: more than there are items, less than overflows.
const LONGEST: u32 = 10;

/// A place in a list: compares as text; there is room between any two different places.
///
/// Two replicas can make the same place for different items; those then stand in the order of
/// their keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Order(Box<str>);

impl Order {
    /// The place of item `index` of a fresh list.
    pub fn nth(index: usize) -> Self {
        let index = i64::try_from(index).unwrap_or(i64::MAX);
        Self(integer(index.min(count(LONGEST) - 1)).into())
    }

    /// A place between two others; `None` is the list's end on that side. Where `after` does not
    /// stand before `before`, as in a list that two people sorted, it is a place behind `after`.
    pub fn between(after: Option<&Self>, before: Option<&Self>) -> Self {
        let place = match (after.map(Self::split), before.map(Self::split)) {
            (None, None) => integer(0),
            (Some((int, frac)), None) => behind(int, frac),
            (None, Some((int, frac))) => ahead(int, frac),
            (Some(a), Some(b)) if a < b => inside(a, b),
            (Some((int, frac)), Some(_)) => behind(int, frac),
        };
        Self(place.into())
    }

    /// Reads a place.
    ///
    /// # Errors
    /// [`Error::Invalid`] for anything that this module would not have written.
    pub fn parse(text: &str) -> Result<Self> {
        const WHAT: Error = Error::invalid("not a place in a list");
        let bytes = text.as_bytes();
        let length = match bytes.first() {
            Some(head @ b'a'..=b'j') => usize::from(head - b'a') + 2,
            Some(head @ b'Q'..=b'Z') => usize::from(b'Z' - head) + 2,
            _ => return Err(WHAT),
        };
        // No trailing zero: the same place would have two texts, with no room between them. And
        // nothing fits ahead of the least integer.
        let fits = (length..=MAX_ORDER).contains(&bytes.len())
            && bytes.iter().all(u8::is_ascii_alphanumeric)
            && (bytes.len() == length || bytes.last() != Some(&b'0'));
        let place = Self(text.into());
        if fits && place.split() != (-count(LONGEST), &b""[..]) {
            Ok(place)
        } else {
            Err(WHAT)
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The integer and the fraction's digits. Their order is the text's order.
    fn split(&self) -> (i64, &[u8]) {
        let bytes = self.0.as_bytes();
        let head = bytes.first().copied().unwrap_or(b'a');
        let below = head < b'a';
        let length = if below { b'Z' - head } else { head - b'a' } + 1;
        let (body, frac) = bytes
            .get(1..)
            .and_then(|rest| rest.split_at_checked(length.into()))
            .unwrap_or_default();
        let value = body.iter().fold(0, |sum, d| sum * BASE + digit(*d));
        let length = u32::from(length);
        if below {
            (value - count(length), frac)
        } else {
            (value + count(length - 1), frac)
        }
    }
}

/// How many integers have at most this many digits, on one side of zero.
const fn count(digits: u32) -> i64 {
    let mut sum = 0;
    let mut n = 0;
    while n < digits {
        n += 1;
        sum += BASE.pow(n);
    }
    sum
}

fn digit(c: u8) -> i64 {
    i64::from(match c {
        b'a'..=b'z' => c - b'a' + 36,
        b'A'..=b'Z' => c - b'A' + 10,
        _ => c.saturating_sub(b'0'),
    })
}

fn text_of(digits: impl IntoIterator<Item = i64>) -> String {
    digits
        .into_iter()
        .map(|d| char::from(DIGITS[usize::try_from(d % BASE).unwrap_or(0)]))
        .collect()
}

/// The text of an integer within `-count(LONGEST)..count(LONGEST)`.
fn integer(value: i64) -> String {
    let distance = if value < 0 { -1 - value } else { value };
    let length = (1..LONGEST)
        .find(|n| distance < count(*n))
        .unwrap_or(LONGEST);
    let mut rest = distance - count(length - 1);
    if value < 0 {
        rest = BASE.pow(length) - 1 - rest;
    }
    let digits = (0..length).rev().map(|n| rest / BASE.pow(n) % BASE);
    let step = u8::try_from(length - 1).unwrap_or(0);
    let head = if value < 0 { b'Z' - step } else { b'a' + step };
    format!("{}{}", char::from(head), text_of(digits))
}

fn behind(int: i64, frac: &[u8]) -> String {
    if int + 1 < count(LONGEST) {
        integer(int + 1)
    } else {
        integer(int) + &middle(frac, None)
    }
}

fn ahead(int: i64, frac: &[u8]) -> String {
    let least = -count(LONGEST);
    if int > least && !frac.is_empty() {
        integer(int)
    } else if int - 1 > least {
        integer(int - 1)
    } else if int > least {
        integer(least) + &middle(b"", None)
    } else {
        integer(int) + &middle(b"", Some(frac))
    }
}

fn inside(a: (i64, &[u8]), b: (i64, &[u8])) -> String {
    if a.0 == b.0 {
        integer(a.0) + &middle(a.1, Some(b.1))
    } else if (a.0 + 1, &b""[..]) < b {
        integer(a.0 + 1)
    } else {
        integer(a.0) + &middle(a.1, None)
    }
}

/// A fraction between two; `a < b`, neither ends in zero, and neither does what is returned.
fn middle(a: &[u8], b: Option<&[u8]>) -> String {
    let mut digits = Vec::new();
    let mut bound = b;
    for i in 0.. {
        let low = a.get(i).map_or(0, |d| digit(*d));
        let high = bound.map_or(BASE, |b| b.get(i).map_or(0, |d| digit(*d)));
        if high - low > 1 {
            digits.push((low + high) / 2);
            break;
        }
        digits.push(low);
        // Below the bound already: from here on only `a` matters.
        if low < high {
            bound = None;
        }
    }
    text_of(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_fresh_list_is_ordered_and_short() {
        let mut last = Order::nth(0);
        for i in 1..100_000 {
            let next = Order::nth(i);
            assert!(last < next, "{last:?} {next:?}");
            assert!(next.as_str().len() <= 4);
            assert_eq!(next, Order::between(Some(&last), None));
            last = next;
        }
    }

    #[test]
    fn prepending_and_appending_stay_short() {
        let mut first = Order::nth(0);
        for _ in 0..10_000 {
            let before = Order::between(None, Some(&first));
            assert!(before < first && before.as_str().len() <= 4);
            first = before;
        }
    }

    #[test]
    fn one_gap_takes_many_insertions() {
        let (mut low, high) = (Order::nth(3), Order::nth(4));
        for _ in 0..2_000 {
            let next = Order::between(Some(&low), Some(&high));
            assert!(low < next && next < high);
            low = next;
        }
        assert!(low.as_str().len() < MAX_ORDER / 8);
        Order::parse(low.as_str()).expect("own places are read");
    }

    #[test]
    fn what_was_not_written_here_is_refused() {
        for text in [
            "",
            "a",
            "a0/",
            "b0",
            "a00",
            "a0V0",
            "k0",
            "P0",
            "0",
            "A0",
            "a\u{e9}",
            "Q0000000000",
        ] {
            assert!(Order::parse(text).is_err(), "{text}");
        }
        assert!(Order::parse(&format!("a0{}", "1".repeat(MAX_ORDER))).is_err());
        for text in ["a0", "Zz", "a0V", "b01", "jzzzzzzzzzz", "Q0000000000V"] {
            Order::parse(text).expect("valid");
        }
    }

    #[test]
    fn there_is_room_at_the_ends_of_the_scale() {
        let most = Order::parse("jzzzzzzzzzz").expect("valid");
        let least = Order::parse("Q0000000000V").expect("valid");
        for (after, before) in [(Some(&most), None), (None, Some(&least))] {
            let place = Order::between(after, before);
            assert!(after < Some(&place) && before.is_none_or(|b| place < *b));
            Order::parse(place.as_str()).expect("own places are read");
        }
        assert_eq!(Order::nth(usize::MAX), most);
    }

    proptest! {
        #[test]
        fn any_sequence_of_insertions_keeps_its_order(
            at in proptest::collection::vec(any::<proptest::sample::Index>(), 1..200)
        ) {
            let mut list: Vec<Order> = Vec::new();
            for index in at {
                let i = index.index(list.len() + 1);
                let after = i.checked_sub(1).map(|i| list[i].clone());
                list.insert(i, Order::between(after.as_ref(), list.get(i)));
            }
            prop_assert!(list.is_sorted_by(|a, b| a < b));
            for place in &list {
                prop_assert_eq!(&Order::parse(place.as_str()).expect("own places are read"), place);
            }
        }

        #[test]
        fn there_is_room_between_any_two_places(a in "[a-jQ-Z][0-9A-Za-z]{1,12}", b in "[a-jQ-Z][0-9A-Za-z]{1,12}") {
            let (Ok(a), Ok(b)) = (Order::parse(&a), Order::parse(&b)) else { return Ok(()) };
            let place = Order::between(Some(&a), Some(&b));
            prop_assert!(a < place);
            prop_assert!(a >= b || place < b);
            prop_assert!(Order::between(None, Some(&a)) < a);
            prop_assert!(Order::parse(place.as_str()).is_ok());
        }
    }
}
