//! Steps as data: what happens in a world is a list made from its seed, so that a failing one is
//! made smaller by leaving steps out.

/// What somebody writes. Where a record's kind has no such field, a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A field of which the latest value stands.
    Note,
    /// Takes the note away.
    NoNote,
    /// A field that a person has to decide on: a code, a gender, a dose.
    Code,
    /// Takes it away.
    NoCode,
    /// Another item of a list.
    Tag,
    /// Takes an item of a list away.
    NoTag,
    /// A status, by its number.
    Status(u8),
    /// Takes the status away.
    NoStatus,
    /// Adds to a stock.
    Count(i8),
}

/// What a hostile member puts on a stick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trick {
    /// Two different commits at one place, each on a stick of its own.
    Equivocate,
    /// A change whose operations do not follow its causes.
    StartOp,
    /// A change in somebody else's name.
    Actor,
    /// A change of another time than its commit's.
    Time,
    /// A commit that changes one record twice.
    Twice,
    /// A change that replaces what did not stand there.
    Predecessors,
    /// A commit far ahead of all others of its chain.
    FarAhead,
    /// A change whose causes nobody has.
    NoCause,
    /// An edit by somebody who says they saw nothing.
    SawNothing,
    /// An edit ten years from now.
    Future,
    /// The same change in two commits.
    TwoCommits,
    /// A review by whoever it is.
    Review,
    /// Certificates and a revocation by somebody who is no admin.
    Usurp,
    /// A pack by somebody who is no admin.
    Pack,
    /// Many commits.
    Flood,
    /// Entries, items and a pack that only a newer engine knows.
    Newer,
    /// A commit without one of its entries.
    Withheld,
}

/// What happens next. Numbers are taken modulo what there is.
#[expect(
    missing_docs,
    reason = "the fields' names say it: who does it, to what, with which stick"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A person reads a record and edits it; the power goes at the `cut`-th write, 0: it does not.
    Edit {
        who: u8,
        record: u8,
        change: Change,
        cut: u8,
    },
    /// One commit over several records.
    Several {
        who: u8,
        first: u8,
        count: u8,
        cut: u8,
    },
    /// A source brings its records, some of them changed.
    Import { who: u8, salt: u8, cut: u8 },
    /// A form is opened ..
    OpenForm { who: u8, record: u8 },
    /// .. and saved, whatever came meanwhile.
    SaveForm { who: u8, change: Change, cut: u8 },
    /// A question is read ..
    Ask { who: u8, pick: u8 },
    /// .. and decided.
    Decide { who: u8, how: u8, cut: u8 },
    /// A stick is put in; it is pulled at the `pull`-th write, 0: it is not.
    Exchange {
        who: u8,
        stick: u8,
        pull: u8,
        cut: u8,
    },
    /// All files of one stick are copied over another's.
    Mix { from: u8, to: u8 },
    /// A stick is copied for later ..
    Keep { stick: u8 },
    /// .. and is as it was then.
    PutBack { stick: u8, which: u8 },
    /// A file of a stick is damaged, lost, renamed, swapped or replaced.
    Tamper { stick: u8, salt: u16 },
    /// The power goes, whatever is not synced with it.
    PowerCut { who: u8 },
    /// The process dies and starts again.
    Restart { who: u8 },
    /// The disk is copied for later ..
    Backup { who: u8 },
    /// .. and is as it was then.
    Restore { who: u8, which: u8 },
    /// The disk is copied, and both go on.
    Clone { who: u8 },
    /// A clock jumps by so many days.
    Clock { who: u8, days: i16 },
    /// An admin revokes a person ..
    RevokePerson { by: u8, whom: u8, cut: u8 },
    /// .. or a device.
    RevokeDevice { by: u8, whom: u8, cut: u8 },
    /// An admin puts a new pack into force.
    Pack { who: u8, cut: u8 },
    /// Another device joins.
    Join { by: u8, roles: u8 },
    /// A hostile member leaves something on a stick.
    Hostile {
        who: u8,
        trick: Trick,
        stick: u8,
        salt: u16,
    },
    /// Everything that follows from the ledger is made again.
    Rebuild { who: u8 },
    /// All meet until nobody has anything new, and everything is checked.
    Quiet,
}
