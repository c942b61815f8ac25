//! Bundles, entry by entry: the text is kept, entries are parsed one at a time.

use super::{
    RESOURCE_MAX_BYTES, Reject, Resource, TRANSACTION_MAX_BYTES, TRANSACTION_MAX_ENTRIES, Unit,
    is_kind, resource,
};
use medsync_core::ids::RecordId;
use medsync_core::model::json::Json;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

/// A refusal: line, entry (none: the Bundle as a whole), reason.
pub(super) type Refused = (u64, Option<u32>, Reject);

/// Whether a Bundle is a transaction, and where its entries stand.
type Frame = (bool, Vec<Range<usize>>);

/// A Bundle and how far it was read.
pub(super) struct Bundle {
    text: Vec<u8>,
    transaction: bool,
    entries: std::vec::IntoIter<Range<usize>>,
    first_line: u64,
    /// The names that a transaction had so far.
    names: BTreeSet<RecordId>,
    /// Where the last entry began: its place in the text, its line and its number.
    at: (usize, u64, u32),
}

impl Bundle {
    /// Reads the frame of a Bundle; none when the text is another resource.
    pub(super) fn read(text: Vec<u8>, line: u64) -> Result<Option<Self>, (u64, Reject)> {
        match Self::frame(&text) {
            Ok(Some((transaction, entries))) => Ok(Some(Self {
                transaction,
                entries: entries.into_iter(),
                first_line: line,
                names: BTreeSet::new(),
                at: (0, line, 0),
                text,
            })),
            Ok(None) => Ok(None),
            Err(Reject::NotJson) => Err((line + broken_at(&text), Reject::NotJson)),
            Err(reject) => Err((line, reject)),
        }
    }

    /// Whether it is a transaction, and where its entries stand.
    fn frame(text: &[u8]) -> Result<Option<Frame>, Reject> {
        let utf8 = std::str::from_utf8(text).map_err(|_| Reject::NotUtf8)?;
        let members = members(utf8)?;
        if string(&members, "resourceType")?.as_deref() != Some("Bundle") {
            return Ok(None);
        }
        let transaction = match string(&members, "type")?.as_deref() {
            Some("transaction") => true,
            Some("history") => return Err(Reject::History),
            Some(
                "batch"
                | "batch-response"
                | "collection"
                | "document"
                | "message"
                | "searchset"
                | "transaction-response",
            ) => false,
            _ => return Err(Reject::BadBundle),
        };
        let entries: Vec<&RawValue> = match raw(&members, "entry") {
            Some(list) => serde_json::from_str(list.get()).map_err(|_| Reject::BadBundle)?,
            None => Vec::new(),
        };
        let start = utf8.as_ptr().addr();
        let entries: Vec<Range<usize>> = entries
            .into_iter()
            .map(|entry| {
                let from = entry.get().as_ptr().addr() - start;
                from..from + entry.get().len()
            })
            .collect();
        Ok(Some((transaction, entries)))
    }

    pub(super) fn is_transaction(&self) -> bool {
        self.transaction
    }

    /// The line that the Bundle starts on.
    pub(super) fn line(&self) -> u64 {
        self.first_line
    }

    /// The next entry: its line, its number from 1, and its resource.
    pub(super) fn next_entry(&mut self) -> Option<(u64, u32, Result<Resource, Reject>)> {
        loop {
            let range = self.entries.next()?;
            let (from, line, number) = self.at;
            let breaks = self.text[from..range.start].iter().filter(|b| **b == b'\n');
            self.at = (
                range.start,
                line + breaks.count() as u64,
                number.saturating_add(1),
            );
            // What the server said about the search is no record.
            if let Some(outcome) = entry(&self.text[range], (self.at.1, self.at.2)).transpose() {
                let outcome = outcome.and_then(|resource| {
                    let again = self.transaction && !self.names.insert(resource.id.clone());
                    if again {
                        Err(Reject::Twice)
                    } else {
                        Ok(resource)
                    }
                });
                return Some((self.at.1, self.at.2, outcome));
            }
        }
    }

    /// All of a transaction that is taken or left as a whole, or why it is left. What is too much
    /// for one commit is not held: nothing else is said of its entries.
    pub(super) fn transaction(&mut self) -> Result<Option<Unit>, Vec<Refused>> {
        let too_large = |line| Err(vec![(line, None, Reject::TransactionTooLarge)]);
        if self.entries.len() > TRANSACTION_MAX_ENTRIES {
            return too_large(self.first_line);
        }
        let (mut good, mut refused, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some((line, number, outcome)) = self.next_entry() {
            match outcome {
                // What is left anyway is not kept.
                Ok(_) if !refused.is_empty() => {}
                Ok(resource) => {
                    bytes += resource.json.text().len();
                    if bytes > TRANSACTION_MAX_BYTES {
                        return too_large(self.first_line);
                    }
                    good.push(resource);
                }
                Err(reject) => {
                    good = Vec::new();
                    refused.push((line, Some(number), reject));
                }
            }
        }
        if !refused.is_empty() {
            refused.push((self.first_line, None, Reject::Transaction));
            return Err(refused);
        }
        Ok((!good.is_empty()).then_some(Unit::Transaction(good)))
    }
}

/// How many lines below its first a text ceases to be JSON.
pub(super) fn broken_at(text: &[u8]) -> u64 {
    let fault = serde_json::from_slice::<IgnoredAny>(text).err();
    fault.map_or(0, |fault| (fault.line() as u64).saturating_sub(1))
}

/// The resource of one entry; none for the outcome of a search.
fn entry(text: &[u8], at: (u64, u32)) -> Result<Option<Resource>, Reject> {
    let text = std::str::from_utf8(text).map_err(|_| Reject::NotUtf8)?;
    let members = members(text).map_err(|reject| match reject {
        Reject::NotAnObject => Reject::BadBundle,
        other => other,
    })?;
    let small = |name| match raw(&members, name) {
        Some(raw) if raw.get().len() > RESOURCE_MAX_BYTES => Err(Reject::TooLarge),
        Some(raw) => Json::parse(raw.get().as_bytes())
            .map(Some)
            .map_err(Reject::from),
        None => Ok(None),
    };
    if small("search")?.is_some_and(|s| s.get("mode").and_then(Json::as_str) == Some("outcome")) {
        return Ok(None);
    }
    let request = small("request")?;
    let asked = |name| request.as_ref().and_then(|r| r.get(name)?.as_str());
    let method = asked("method");
    match method {
        None if request.is_some() => return Err(Reject::Method),
        Some("DELETE") => return Err(Reject::Delete),
        None | Some("POST" | "PUT") => {}
        Some(_) => return Err(Reject::Method),
    }
    let json = small("resource")?.ok_or(Reject::NoResource)?;
    if json.get("resourceType").and_then(Json::as_str) == Some("Bundle") {
        return Err(Reject::NestedBundle);
    }
    let full_url = string(&members, "fullUrl")?;
    let resource = resource(json, full_url.as_deref(), (at.0, Some(at.1)))?;
    if method == Some("PUT") {
        let url = asked("url").ok_or(Reject::UrlMismatch)?;
        let (kind, id) = url.split_once('/').ok_or(Reject::Method)?;
        if !is_kind(kind) || url.contains('?') {
            return Err(Reject::Method);
        }
        if (kind, id) != (resource.id.kind(), resource.id.id()) {
            return Err(Reject::UrlMismatch);
        }
    }
    Ok(Some(resource))
}

type Members<'a> = Vec<(Box<str>, &'a RawValue)>;

/// The members of one object, unread: names unique, values as they stand.
fn members(text: &str) -> Result<Members<'_>, Reject> {
    let found: Object<'_> = serde_json::from_str(text).map_err(|_| {
        let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
        if is_json {
            Reject::NotAnObject
        } else {
            Reject::NotJson
        }
    })?;
    let mut names = BTreeSet::new();
    if !found.0.iter().all(|(name, _)| names.insert(name)) {
        return Err(Reject::DuplicateMember);
    }
    Ok(found.0)
}

fn raw<'a>(members: &Members<'a>, name: &str) -> Option<&'a RawValue> {
    let mut all = members.iter();
    all.find(|(n, _)| &**n == name).map(|(_, raw)| *raw)
}

/// A member that has to be a string where it stands.
fn string(members: &Members<'_>, name: &str) -> Result<Option<String>, Reject> {
    raw(members, name)
        .map(|raw| serde_json::from_str(raw.get()).map_err(|_| Reject::BadBundle))
        .transpose()
}

struct Object<'a>(Members<'a>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<Box<str>, &'de RawValue>()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        d.deserialize_map(All).map(Object)
    }
}
