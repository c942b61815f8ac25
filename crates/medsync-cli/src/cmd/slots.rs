//! The vault's key slots, and new keys for all of it.

use crate::cli::{AddKey, Global, Keys, Rekey};
use crate::cmd::init::{keep, numbered, reserve};
use crate::exit::Done;
use crate::helper::Helper;
use crate::progress;
use crate::secrets::{self, WordsFile};
use crate::session;
use crate::show;
use medsync_core::crypto::{KeyWrapper, Secret, SlotInfo, SlotKind, envelope};
use medsync_core::model::json::Json;

pub(super) fn run(global: &Global, command: &Keys) -> Done {
    match command {
        Keys::List => {
            let slots = session::reader(global)?.key_slots()?;
            if global.json {
                return show::json(&Json::Array(slots.iter().map(as_json).collect()));
            }
            let mut table = show::table(&["opened by", "name", "public key"]);
            for slot in &slots {
                table.add_row([kind(slot), show::clean(&slot.name), recipient(slot)]);
            }
            show::print(&table, "Nothing opens this vault.")
        }
        Keys::Add(AddKey::Host { name, helper }) => {
            session::reader(global)?.put_host_slot(name, &Helper::new(helper))?;
            changed(global, "The key store opens the vault, with --key-helper.")
        }
        Keys::Add(AddKey::Escrow { name, recipient }) => {
            let recipient = envelope::parse_recipient(recipient)?;
            session::reader(global)?.put_escrow_slot(name, &recipient)?;
            changed(
                global,
                "The identity opens the vault, with --identity-file.",
            )
        }
        Keys::Remove { kind, name } => {
            session::reader(global)?.remove_slot((*kind).into(), name)?;
            changed(
                global,
                "It opens the vault no more; a copy of the old key file still opens with it, and \
                 medsync rekey ends that.",
            )
        }
        Keys::Identity { file } => {
            let file = WordsFile::reserve(file)?;
            let secret = Secret::random(&*session::env());
            let public = envelope::recipient_text(&envelope::public_of(&secret))?;
            file.write_line(&envelope::identity_text(&secret)?)?;
            match global.json {
                true => show::json(&show::object([("recipient", Json::string(&public))])),
                false => show::line(public),
            }
        }
    }
}

fn changed(global: &Global, text: &str) -> Done {
    match global.json {
        true => show::json(&show::object([("changed", Json::Bool(true))])),
        false => show::line(text),
    }
}

fn kind(slot: &SlotInfo) -> String {
    match slot.kind {
        SlotKind::Passphrase => "passphrase".to_owned(),
        SlotKind::Recovery => "recovery".to_owned(),
        SlotKind::Host => "host".to_owned(),
        SlotKind::Escrow => "escrow".to_owned(),
        SlotKind::Unknown(number) => format!("unknown ({number})"),
    }
}

fn recipient(slot: &SlotInfo) -> String {
    let text = slot.recipient.map(|key| envelope::recipient_text(&key));
    text.and_then(Result::ok).unwrap_or_default()
}

fn as_json(slot: &SlotInfo) -> Json {
    show::object([
        ("kind", Json::string(&kind(slot))),
        ("name", Json::string(&slot.name)),
        (
            "recipient",
            show::maybe(slot.recipient.map(|_| recipient(slot)).as_deref()),
        ),
    ])
}

pub(super) fn rekey(global: &Global, args: &Rekey) -> Done {
    let words_file = reserve(args.words_file.as_deref())?;
    let by_passphrase = global.identity_file.is_none() && global.key_helper.is_none();
    let vault = session::reader(global)?;
    let new = match &args.new_passphrase_file {
        None if by_passphrase && global.passphrase_file.is_some() => session::passphrase(global)?,
        file => secrets::read_new(file.as_deref(), "passphrase", "--new-passphrase-file")?,
    };
    let helper = global.key_helper.as_deref().map(Helper::new);
    let wrapper = helper.as_ref().map(|helper| helper as &dyn KeyWrapper);
    let bar = progress::spinner(global, "copying under new keys");
    let done = vault.rekey(&new, session::kdf()?, wrapper, &mut |done, total| {
        bar.set_message(format!("{done} of {total} rows under new keys"));
    })?;
    bar.finish_and_clear();
    let words = keep(words_file, done.recovery)?;
    if global.json {
        let phrase = words.map_or(Json::Null, |words| Json::string(&words.phrase()));
        return show::json(&show::object([
            ("lost", Json::Array(done.lost.iter().map(as_json).collect())),
            ("recovery_words", phrase),
        ]));
    }
    if let Some(words) = &words {
        show::line("The new recovery words, shown this once:\n")?;
        show::line(numbered(words))?;
        show::line("")?;
    }
    for slot in &done.lost {
        let (kind, name) = (kind(slot), show::clean(&slot.name));
        show::line(format!("The key slot {kind} {name} is gone; add it anew."))?;
    }
    show::line("The vault has new keys; nothing of before opens what is written from now on.")
}
