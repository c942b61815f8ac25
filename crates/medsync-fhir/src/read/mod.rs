//! Reads FHIR R4 resources from files, directories and streams, one at a time.
//!
//! The form is told by the content, not by the name: NDJSON, one JSON document however printed, or
//! Bundles, also inside an NDJSON line. At most one line, or one Bundle, is held at any time; a
//! text that is too large is skipped as it streams by.

mod bundle;
mod source;

use bundle::Bundle;
use medsync_core::error::{Error, Result as CoreResult};
use medsync_core::ids::RecordId;
use medsync_core::model::json::Json;
use source::{Chunk, Chunks, Files};
use std::collections::VecDeque;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

/// Largest resource, and largest line that is not a Bundle, in bytes as written.
pub const RESOURCE_MAX_BYTES: usize = 256 * 1024;

/// Largest Bundle, in bytes as written.
pub const BUNDLE_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Most entries of a transaction Bundle that is taken as a whole: it becomes one commit.
pub const TRANSACTION_MAX_ENTRIES: usize = medsync_core::ledger::commit::ENTRIES_MAX;

/// Most that the resources of such a transaction may take, in bytes of canonical JSON.
pub const TRANSACTION_MAX_BYTES: usize = 32 * 1024 * 1024;

/// One resource: its name, its content and where it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// `Kind/id`.
    pub id: RecordId,
    /// The whole resource, `resourceType` and `id` included.
    pub json: Json,
    /// The line it starts on, from 1.
    pub line: u64,
    /// The entry of a Bundle, from 1.
    pub entry: Option<u32>,
}

/// What is taken or left as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unit {
    /// One resource by itself.
    Resource(Resource),
    /// The resources of a transaction Bundle: all or nothing, each `Kind/id` once.
    Transaction(Vec<Resource>),
}

impl Unit {
    /// Its resources, in their order.
    pub fn resources(&self) -> &[Resource] {
        match self {
            Self::Resource(one) => std::slice::from_ref(one),
            Self::Transaction(all) => all,
        }
    }

    /// Its resources, in their order, and nothing else.
    pub fn into_resources(self) -> Vec<Resource> {
        match self {
            Self::Resource(one) => vec![one],
            Self::Transaction(all) => all,
        }
    }
}

/// What was found at one place of the input.
#[derive(Debug)]
pub struct Item {
    /// The file as it was found, or the name that the caller gave the stream.
    pub source_name: Arc<str>,
    /// The line it starts on, from 1; 0 for the file as a whole.
    pub line: u64,
    /// The entry of a Bundle, from 1.
    pub entry: Option<u32>,
    /// What it holds, or why it was refused.
    pub outcome: Result<Unit, Reject>,
}

/// Why an input was refused. The texts are fixed: they never quote the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Reject {
    /// The file or directory cannot be read.
    #[error("cannot be read")]
    Unreadable,
    /// Not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// Not JSON.
    #[error("not valid JSON")]
    NotJson,
    /// A member stands twice in one object.
    #[error("a member stands twice")]
    DuplicateMember,
    /// JSON nested deeper than is read.
    #[error("JSON is nested too deep")]
    TooDeep,
    /// Above [`RESOURCE_MAX_BYTES`].
    #[error("larger than 256 KiB")]
    TooLarge,
    /// Above [`BUNDLE_MAX_BYTES`].
    #[error("a Bundle larger than 64 MiB; split it or use NDJSON")]
    BundleTooLarge,
    /// JSON, but not an object.
    #[error("not a JSON object")]
    NotAnObject,
    /// No `resourceType`, or not the name of a type.
    #[error("no resourceType")]
    NoResourceType,
    /// No `id`, and no `fullUrl` of the form `urn:uuid:..` to take it from.
    #[error("no id")]
    NoId,
    /// An `id` that FHIR does not allow.
    #[error("the id is not 1 to 64 letters, digits, - and .")]
    BadId,
    /// A `PUT` whose url names another resource.
    #[error("the url of the PUT does not name this resource")]
    UrlMismatch,
    /// A Bundle without a type that is read here, or with malformed entries.
    #[error("not a Bundle of resources")]
    BadBundle,
    /// A history Bundle holds versions of resources, in no order an import could follow.
    #[error("a history Bundle holds versions, not resources")]
    History,
    /// A Bundle as a resource of a Bundle.
    #[error("a Bundle inside a Bundle")]
    NestedBundle,
    /// An entry without a resource.
    #[error("an entry without a resource")]
    NoResource,
    /// Clinical records are retracted, stopped or entered-in-error, with a reason.
    #[error("DELETE is not imported: retract the record, with a reason")]
    Delete,
    /// Another method than `POST` and `PUT`, or a url with a condition.
    #[error("only POST, and PUT to Kind/id, are imported")]
    Method,
    /// The second entry of a transaction for the same `Kind/id`.
    #[error("a transaction names one resource twice")]
    Twice,
    /// Some entry of the transaction was refused, so all of it is.
    #[error("the transaction is refused as a whole: an entry of it was")]
    Transaction,
    /// Above [`TRANSACTION_MAX_ENTRIES`] or [`TRANSACTION_MAX_BYTES`].
    #[error("a transaction of more than 4,096 entries or 32 MiB; split it, or be lenient")]
    TransactionTooLarge,
}

impl From<Error> for Reject {
    /// What `Json::parse` says, without its details.
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid { what, .. } => match what {
                "not UTF-8" => Self::NotUtf8,
                "a member stands twice" => Self::DuplicateMember,
                "JSON is nested too deep" => Self::TooDeep,
                _ => Self::NotJson,
            },
            _ => Self::NotJson,
        }
    }
}

/// How to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Take the good entries of a transaction that has bad ones, too: its entries come one by one,
    /// however many there are.
    pub lenient: bool,
}

/// Reads resources from a file, a directory or a stream.
pub struct Reader {
    options: Options,
    files: Files,
    /// The input being read, and its name.
    open: Option<(Arc<str>, Chunks)>,
    /// The Bundle being read.
    bundle: Option<Bundle>,
    /// Found and not yet handed out.
    ready: VecDeque<Item>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// Over a file, or over every `.json` and `.ndjson` file of a directory, in order of path.
    ///
    /// # Errors
    /// [`Error::Storage`] when the path itself cannot be read; what is inside it and cannot be is
    /// an [`Item`].
    pub fn open(path: &Path, options: Options) -> CoreResult<Self> {
        let meta = std::fs::metadata(path).map_err(|e| Error::io("open the input", &e))?;
        let mut reader = Self::empty(options);
        if meta.is_dir() {
            reader.files = Files::below(path).map_err(|e| Error::io("list the directory", &e))?;
        } else {
            let file = std::fs::File::open(path).map_err(|e| Error::io("open the input", &e))?;
            reader.begin(&path.display().to_string(), Box::new(BufReader::new(file)));
        }
        Ok(reader)
    }

    /// Over a stream, such as standard input.
    pub fn stream(name: &str, input: Box<dyn BufRead>, options: Options) -> Self {
        let mut reader = Self::empty(options);
        reader.begin(name, input);
        reader
    }

    fn empty(options: Options) -> Self {
        Self {
            options,
            files: Files::default(),
            open: None,
            bundle: None,
            ready: VecDeque::new(),
        }
    }

    fn begin(&mut self, name: &str, input: Box<dyn BufRead>) {
        self.open = Some((name.into(), Chunks::new(input)));
    }

    /// Opens the next file; false when there is none.
    fn next_file(&mut self) -> bool {
        let Some(next) = self.files.next_file() else {
            return false;
        };
        let (path, opened) = next;
        let name = path.display().to_string();
        match opened {
            Ok(file) => self.begin(&name, Box::new(BufReader::new(file))),
            Err(_) => self.ready.push_back(Item {
                source_name: name.as_str().into(),
                line: 0,
                entry: None,
                outcome: Err(Reject::Unreadable),
            }),
        }
        true
    }

    /// Reads the next text of the open input into `ready` or `bundle`; false at its end.
    fn next_text(&mut self) -> bool {
        let Some((name, chunks)) = &mut self.open else {
            return false;
        };
        let (line, outcome) = match chunks.next_chunk() {
            Chunk::End => {
                self.open = None;
                return true;
            }
            Chunk::Refused(line, reject) => (line, Err(reject)),
            Chunk::Text(line, text) => match read_text(text, line) {
                Ok(Text::Resource(resource)) => (line, Ok(Unit::Resource(resource))),
                Ok(Text::Bundle(bundle)) => {
                    self.bundle = Some(bundle);
                    return true;
                }
                Err((line, reject)) => (line, Err(reject)),
            },
        };
        let source_name = name.clone();
        self.ready.push_back(Item {
            source_name,
            line,
            entry: None,
            outcome,
        });
        true
    }

    /// Reads the next entry of the Bundle, or all of a transaction, into `ready`.
    fn next_entry(&mut self) -> bool {
        let Some(bundle) = &mut self.bundle else {
            return false;
        };
        let name = self
            .open
            .as_ref()
            .map_or("".into(), |(name, _)| name.clone());
        let item = |line, entry, outcome| Item {
            source_name: name.clone(),
            line,
            entry,
            outcome,
        };
        if bundle.is_transaction() && !self.options.lenient {
            let line = bundle.line();
            match bundle.transaction() {
                Ok(unit) => self
                    .ready
                    .extend(unit.map(|unit| item(line, None, Ok(unit)))),
                Err(refused) => {
                    for (line, entry, reject) in refused {
                        self.ready.push_back(item(line, entry, Err(reject)));
                    }
                }
            }
            self.bundle = None;
        } else if let Some((line, entry, outcome)) = bundle.next_entry() {
            let outcome = outcome.map(Unit::Resource);
            self.ready.push_back(item(line, Some(entry), outcome));
        } else {
            self.bundle = None;
        }
        true
    }
}

impl Iterator for Reader {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            if !(self.next_entry() || self.next_text() || self.next_file()) {
                return None;
            }
        }
    }
}

/// One text of the input.
enum Text {
    Resource(Resource),
    Bundle(Bundle),
}

/// A Bundle is told apart before its entries are parsed: one bad entry must not spoil the others.
fn read_text(text: Vec<u8>, line: u64) -> Result<Text, (u64, Reject)> {
    let small = text.len() <= RESOURCE_MAX_BYTES;
    let parsed = if small {
        Json::parse(&text)
    } else {
        Ok(Json::Null)
    };
    let is_bundle = |json: &Json| json.get("resourceType").and_then(Json::as_str) == Some("Bundle");
    match parsed {
        Ok(json) if small && !is_bundle(&json) => resource(json, None, (line, None))
            .map(Text::Resource)
            .map_err(|reject| (line, reject)),
        Ok(_) => Bundle::read(text, line)?
            .map(Text::Bundle)
            .ok_or((line, Reject::TooLarge)),
        Err(error) => match Bundle::read(text, line) {
            Ok(Some(bundle)) => Ok(Text::Bundle(bundle)),
            Ok(None) => Err((line, error.into())),
            Err((line, _)) => Err((line, error.into())),
        },
    }
}

/// Names a resource; an id that it lacks is taken from its `fullUrl`.
fn resource(
    mut json: Json,
    full_url: Option<&str>,
    (line, entry): (u64, Option<u32>),
) -> Result<Resource, Reject> {
    if !matches!(json, Json::Object(_)) {
        return Err(Reject::NotAnObject);
    }
    let kind = json.get("resourceType").and_then(Json::as_str);
    let kind = kind
        .filter(|kind| is_kind(kind))
        .ok_or(Reject::NoResourceType)?;
    let id = match json.get("id") {
        Some(Json::String(id)) => id.clone(),
        Some(_) => return Err(Reject::BadId),
        None => full_url
            .and_then(|url| url.strip_prefix("urn:uuid:"))
            .ok_or(Reject::NoId)?
            .into(),
    };
    if !is_id(&id) {
        return Err(Reject::BadId);
    }
    let name = RecordId::new(kind, &id).map_err(|_| Reject::BadId)?;
    if json.get("id").is_none() {
        json.set("id", Json::String(id));
    }
    Ok(Resource {
        id: name,
        json,
        line,
        entry,
    })
}

fn is_kind(kind: &str) -> bool {
    kind.len() <= 64
        && kind.starts_with(|c: char| c.is_ascii_uppercase())
        && kind.bytes().all(|b| b.is_ascii_alphabetic())
}

/// FHIR R4, datatypes: id.
fn is_id(id: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    (1..=64).contains(&id.len()) && id.bytes().all(allowed)
}
