//! The people of the workspace, and its devices.

use crate::cli::{Admin, Global, Person};
use crate::exit::Done;
use crate::secrets;
use crate::session;
use crate::show;
use medsync_core::ledger::certificate::Role;
use medsync_core::model::json::Json;
use medsync_core::vault::{PersonInfo, Vault};
use std::path::Path;
use zeroize::Zeroizing;

pub(super) fn run(global: &Global, command: &Person) -> Done {
    match command {
        Person::Add {
            name,
            role,
            pin,
            own_pin_file,
        } => {
            let roles: Vec<Role> = role.iter().map(|role| (*role).into()).collect();
            let file = pin.new_pin_file.as_deref();
            let key = session::write(global, |vault| {
                let pin = secrets::read_new(file, "PIN", "--new-pin-file")?;
                let own = owner_pin(vault, own_pin_file.as_deref())?;
                let own = own.as_ref().map(|own| own.as_bytes());
                Ok(vault.add_person(name, &roles, pin.as_bytes(), own, session::kdf()?)?)
            })?;
            if global.json {
                return show::json(&show::object([
                    ("key", Json::string(&key.to_string())),
                    ("name", Json::string(name)),
                ]));
            }
            let name = show::clean(name);
            show::line(format!("{name} acts with --as '{name}' and their PIN."))
        }
        Person::ChangePin { pin } => {
            let file = pin.new_pin_file.as_deref();
            session::change_pin(global, || secrets::read_new(file, "PIN", "--new-pin-file"))?;
            if global.json {
                return show::json(&show::object([("changed", Json::Bool(true))]));
            }
            show::line("The new PIN unlocks the key; the old one does not any more.")
        }
        Person::ResetPin { name, pin } => {
            let file = pin.new_pin_file.as_deref();
            let key = session::write(global, |vault| {
                let pin = secrets::read_new(file, "PIN", "--new-pin-file")?;
                Ok(vault.reset_pin(name, pin.as_bytes(), session::kdf()?)?)
            })?;
            if global.json {
                return show::json(&show::object([
                    ("key", Json::string(&key.to_string())),
                    ("name", Json::string(name)),
                ]));
            }
            let name = show::clean(name);
            show::line(format!("{name} has a new key under the new PIN."))
        }
        Person::List => list(global, &session::reader(global)?),
    }
}

/// The owner's first PIN, where the passphrase stood for it until now.
fn owner_pin(vault: &Vault, file: Option<&Path>) -> Done<Option<Zeroizing<String>>> {
    if file.is_none() && !vault.owner_lacks_pin()? {
        return Ok(None);
    }
    secrets::read_new(file, "PIN for yourself", "--own-pin-file").map(Some)
}

pub(super) fn admin(global: &Global, command: &Admin) -> Done {
    let Admin::Renew { words_file } = command;
    let words = secrets::words(words_file)?;
    session::write(global, |vault| Ok(vault.renew_admin(&words)?))?;
    if global.json {
        return show::json(&show::object([("renewed", Json::Bool(true))]));
    }
    show::line("You hold the role admin for another term.")
}

pub(super) const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Clinician => "clinician",
        Role::Pharmacist => "pharmacist",
        Role::Reviewer => "reviewer",
        Role::Admin => "admin",
        Role::Archive => "archive",
    }
}

fn roles(person: &PersonInfo) -> Vec<&'static str> {
    person.roles.iter().map(|role| role_name(*role)).collect()
}

/// Where a person's signing key is, as far as this vault knows.
const fn key_place(person: &PersonInfo) -> &'static str {
    match person.here {
        None => "elsewhere",
        Some(true) => "here, under their PIN",
        Some(false) => "here, under the passphrase",
    }
}

fn list(global: &Global, vault: &Vault) -> Done {
    let people = vault.people()?;
    let own = vault.device_key();
    if global.json {
        let person = |person: &PersonInfo| {
            show::object([
                ("forked", Json::Bool(person.forked)),
                ("here", Json::Bool(person.here.is_some())),
                ("key", Json::string(&person.key.to_string())),
                ("name", Json::string(person.name.expose())),
                ("pin", person.here.map_or(Json::Null, Json::Bool)),
                ("revoked", Json::Bool(person.revoked)),
                ("roles", show::strings(roles(person))),
            ])
        };
        let device = |device: &medsync_core::ledger::membership::Device| {
            show::object([
                ("key", Json::string(&device.key.to_string())),
                ("name", Json::string(device.name.expose())),
                (
                    "roles",
                    show::strings(device.roles.iter().map(|r| role_name(*r))),
                ),
                ("this", Json::Bool(device.key == own)),
            ])
        };
        return show::json(&show::object([
            (
                "devices",
                Json::Array(vault.devices().map(device).collect()),
            ),
            ("people", Json::Array(people.iter().map(person).collect())),
        ]));
    }
    let mut table = show::table(&["person", "roles", "key", "key is", ""]);
    for person in &people {
        table.add_row([
            show::clean(person.name.expose()),
            roles(person).join(", "),
            person.key.short(),
            key_place(person).to_owned(),
            match (person.revoked, person.forked) {
                (true, true) => "revoked, chain forked",
                (true, false) => "revoked",
                (false, true) => "chain forked",
                (false, false) => "",
            }
            .to_owned(),
        ]);
    }
    show::print(&table, "Nobody was admitted yet.")?;
    let mut table = show::table(&["device", "key", ""]);
    for device in vault.devices() {
        let this = if device.key == own { "this one" } else { "" };
        table.add_row([
            show::clean(device.name.expose()),
            device.key.short(),
            this.to_owned(),
        ]);
    }
    show::line("")?;
    show::print(&table, "No device was admitted yet.")
}
