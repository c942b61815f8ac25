//! Typed fields: an app's own kinds, with the policy in the field's type.
//!
//! A field knows its policy, so that misuse does not compile: there is no `add` on a field that
//! escalates and no `set` on a set.
//!
//! ```
//! use medsync_core::model::field::{Counter, Escalate, Field, Kind, LastWriterWins, SetUnion};
//!
//! const CODE: Field<Escalate<String>> = Field::new("code");
//! const NOTE: Field<LastWriterWins<String>> = Field::new("note");
//! const REACTION: Field<SetUnion<String>> = Field::new("reaction");
//! const STOCK: Field<Counter> = Field::new("stock");
//!
//! let allergy = Kind::new("Allergy").with(CODE).with(NOTE).with(REACTION);
//! let shelf = Kind::new("Shelf").with(STOCK);
//! let pack = Kind::pack("my-clinic", 1, [allergy, shelf]);
//! assert_eq!(pack.kinds.len(), 2);
//! ```
//!
//! ```compile_fail
//! # use medsync_core::model::field::{Escalate, Field};
//! # use medsync_core::vault::{Draft, Version};
//! const CODE: Field<Escalate<String>> = Field::new("code");
//! let mut draft = Draft::new("Allergy/a".parse().unwrap(), Version::default());
//! draft.add(CODE, "penicillin".to_owned()); // a field that escalates has no items
//! ```

use crate::model::json::Json;
use crate::model::pack::{
    ElementKey, FieldPolicy, Interim, KindPolicy, Lane, Lattice, PACK_FORMAT, PolicyPack,
    PolicyRow, Risk,
};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// A value that a typed field holds.
pub trait Value: Sized {
    /// As JSON.
    fn into_json(self) -> Json;
    /// From JSON; `None` if it is something else.
    fn from_json(json: &Json) -> Option<Self>;
}

impl Value for String {
    fn into_json(self) -> Json {
        Json::string(&self)
    }
    fn from_json(json: &Json) -> Option<Self> {
        json.as_str().map(Self::from)
    }
}

impl Value for bool {
    fn into_json(self) -> Json {
        Json::Bool(self)
    }
    fn from_json(json: &Json) -> Option<Self> {
        match json {
            Json::Bool(b) => Some(*b),
            _ => None,
        }
    }
}

impl Value for i64 {
    fn into_json(self) -> Json {
        Json::Number(self.to_string().into())
    }
    fn from_json(json: &Json) -> Option<Self> {
        match json {
            Json::Number(lexeme) => lexeme.parse().ok(),
            _ => None,
        }
    }
}

impl Value for Json {
    fn into_json(self) -> Json {
        self
    }
    fn from_json(json: &Json) -> Option<Self> {
        Some(json.clone())
    }
}

/// A policy as a type.
pub trait Policy {
    /// What the field holds, or one item of it.
    type Value: Value;
    /// The row that a pack has for it.
    fn row() -> FieldPolicy;
}

/// A field that is set as a whole.
pub trait Whole: Policy {}

/// A field of items.
pub trait Items: Policy {}

macro_rules! policy_type {
    ($(#[$doc:meta])* $name:ident, $marker:ident, $list:expr, $row:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name<T>(PhantomData<T>);
        impl<T: Value> Policy for $name<T> {
            type Value = T;
            fn row() -> FieldPolicy {
                row($row, $list)
            }
        }
        impl<T: Value> $marker for $name<T> {}
    };
}

policy_type!(
    /// The latest value wins; the others stay in history.
    LastWriterWins, Whole, None, PolicyRow::Lww
);
policy_type!(
    /// A person decides where two people disagreed; the last agreed value is shown meanwhile.
    Escalate, Whole, None,
    PolicyRow::Escalate { interim: Interim::LastAgreed, order: vec![], by: String::new() }
);
policy_type!(
    /// Union by item; a retraction beside an edit is contested.
    SetUnion, Items, Some(ElementKey::default()),
    PolicyRow::Set { contest_edits: true, contest_retractions: true }
);

/// A sum of what each replica counted. Below zero it is contested.
#[derive(Debug, Clone, Copy)]
pub struct Counter;

impl Policy for Counter {
    type Value = i64;
    fn row() -> FieldPolicy {
        row(PolicyRow::Counter { floor: Some(0) }, None)
    }
}

const fn row(policy: PolicyRow, list: Option<ElementKey>) -> FieldPolicy {
    FieldPolicy {
        policy,
        list,
        members: Vec::new(),
        risk: None,
        judgement: false,
        why: String::new(),
    }
}

/// A field of a kind, with its policy in its type.
pub struct Field<P> {
    name: &'static str,
    policy: PhantomData<P>,
}

impl<P> Clone for Field<P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P> Copy for Field<P> {}

impl<P> fmt::Debug for Field<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Field({})", self.name)
    }
}

impl<P> Field<P> {
    /// A field of this name.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            policy: PhantomData,
        }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// What a draft can set to a `V`: a typed field that is set whole, or any field by name.
pub trait Settable<V> {
    /// The member and its value.
    fn set_to(self, value: V) -> (String, Json);
}

/// What a draft can add a `V` to: a typed set, or any list by name.
pub trait Addable<V> {
    /// The field and the item.
    fn with_item(self, item: V) -> (String, Json);
}

/// What a draft can count on: a typed counter, or any counter by name.
pub trait Countable {
    /// The field.
    fn counter(self) -> String;
}

impl Settable<Json> for &str {
    fn set_to(self, value: Json) -> (String, Json) {
        (self.to_owned(), value)
    }
}

impl Addable<Json> for &str {
    fn with_item(self, item: Json) -> (String, Json) {
        (self.to_owned(), item)
    }
}

impl Countable for &str {
    fn counter(self) -> String {
        self.to_owned()
    }
}

impl<P: Whole, V: Into<P::Value>> Settable<V> for Field<P> {
    fn set_to(self, value: V) -> (String, Json) {
        (self.name.to_owned(), value.into().into_json())
    }
}

impl<P: Items, V: Into<P::Value>> Addable<V> for Field<P> {
    fn with_item(self, item: V) -> (String, Json) {
        (self.name.to_owned(), item.into().into_json())
    }
}

impl Countable for Field<Counter> {
    fn counter(self) -> String {
        self.name.to_owned()
    }
}

/// A kind of an app's own.
#[derive(Debug, Clone)]
pub struct Kind {
    name: String,
    policy: KindPolicy,
}

impl Kind {
    /// A kind without fields yet. Members without a field escalate.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            policy: KindPolicy::default(),
        }
    }

    /// Adds a field with the policy of its type.
    #[must_use]
    pub fn with<P: Policy>(mut self, field: Field<P>) -> Self {
        self.policy.fields.insert(field.name.to_owned(), P::row());
        self
    }

    /// Adds a status field, whose codes only rise.
    #[must_use]
    pub fn with_status(mut self, field: &str, lattice: Lattice) -> Self {
        let row = row(PolicyRow::Lattice(lattice), None);
        self.policy.fields.insert(field.to_owned(), row);
        self
    }

    /// Sets the lane and the risk of the kind's escalations.
    #[must_use]
    pub const fn urgent(mut self, lane: Lane, risk: Risk) -> Self {
        self.policy.lane = lane;
        self.policy.risk = risk;
        self
    }

    /// The reference that names the patient a record belongs to (`subject`).
    #[must_use]
    pub fn of_patient(mut self, member: &str) -> Self {
        self.policy.patient = Some(member.to_owned());
        self
    }

    /// A pack of kinds.
    pub fn pack(name: &str, version: u32, kinds: impl IntoIterator<Item = Self>) -> PolicyPack {
        PolicyPack {
            format: PACK_FORMAT,
            name: name.to_owned(),
            version,
            kinds: kinds
                .into_iter()
                .map(|kind| (kind.name, kind.policy))
                .collect(),
            housekeeping: BTreeMap::new(),
            rules: Vec::new(),
        }
    }
}
