//! The people of the workspace, and its devices.

use crate::cli::{Global, Person};
use crate::exit::Done;
use crate::secrets;
use crate::session;
use crate::show;
use medsync_core::ledger::certificate::Role;
use medsync_core::model::json::Json;
use medsync_core::vault::{PersonInfo, Vault};

const OWNER_OPEN: &str = "Whoever has the vault's passphrase still acts as its owner; \
                          medsync person reset-pin gives the owner a PIN too.";

pub(super) fn run(global: &Global, command: &Person) -> Done {
    match command {
        Person::Add { name, role, pin } => {
            let roles: Vec<Role> = role.iter().map(|role| (*role).into()).collect();
            let file = pin.new_pin_file.as_deref();
            let (key, owner_open) = session::write(global, |vault| {
                let pin = secrets::read_new(file, "PIN", "--new-pin-file")?;
                let key = vault.add_person(name, &roles, pin.as_bytes(), session::kdf()?)?;
                let owner = vault.owner();
                let by_passphrase = |p: &PersonInfo| p.key == owner && p.here == Some(false);
                Ok((key, vault.people()?.iter().any(by_passphrase)))
            })?;
            if global.json {
                return show::json(&show::object([
                    ("key", Json::string(&key.to_string())),
                    ("name", Json::string(name)),
                ]));
            }
            let name = show::clean(name);
            show::line(format!("{name} acts with --as '{name}' and their PIN."))?;
            match owner_open {
                true => show::line(OWNER_OPEN),
                false => Ok(()),
            }
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
            if person.revoked { "revoked" } else { "" }.to_owned(),
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
