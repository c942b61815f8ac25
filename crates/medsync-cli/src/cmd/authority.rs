//! The workspace's authority, and what puts another one in its place.

use crate::cli::{Authority, Global};
use crate::cmd::init::{keep, numbered, reserve};
use crate::exit::{Done, Failure, NOT_FOUND};
use crate::session;
use crate::show;
use medsync_core::ids::hex;
use medsync_core::model::json::Json;
use medsync_core::vault::{Vault, Vote};

/// Digits of a key that tell it apart.
const PREFIX_MIN: usize = 8;

pub(super) fn run(global: &Global, command: &Authority) -> Done {
    match command {
        Authority::Show => show_it(global, &session::reader(global)?),
        Authority::Rotate { words_file } => rotate(global, words_file.as_deref()),
        Authority::Agree { key } => {
            let authority = session::write(global, |vault| {
                let to = voted_for(&vault.votes(), key)?;
                vault.agree_to_authority(&to)?;
                Ok(vault.current_authority())
            })?;
            let authority = authority.map(|key| hex(&key));
            if global.json {
                let authority = show::maybe(authority.as_deref());
                return show::json(&show::object([("authority", authority)]));
            }
            show::line("The workspace has the new authority; the old words sign nothing new.")?;
            show::line("Others learn of it as they meet.")
        }
    }
}

fn rotate(global: &Global, words_file: Option<&std::path::Path>) -> Done {
    let file = reserve(words_file)?;
    let words = session::write(global, |vault| Ok(vault.rotate_authority()?))?;
    let to = medsync_core::ledger::certificate::authority_key(words.entropy().expose());
    let to = hex(&to.public());
    let words = keep(file, words)?;
    if global.json {
        let phrase = words.map_or(Json::Null, |words| Json::string(&words.phrase()));
        return show::json(&show::object([
            ("authority_words", phrase),
            ("votes_for", Json::string(&to)),
        ]));
    }
    if let Some(words) = &words {
        show::line("The new authority's 24 words, shown this once:\n")?;
        show::line(numbered(words))?;
        show::line("")?;
    }
    show::line(format!("Its key is {to}."))?;
    show::line("Read its first digits to another admin, who agrees with medsync authority agree")?;
    show::line("after an exchange. Until then the old authority stays.")
}

fn voted_for(votes: &[Vote], text: &str) -> Done<[u8; 32]> {
    let is_it =
        |vote: &&Vote| text.len() >= PREFIX_MIN && hex(&vote.to).starts_with(&text.to_lowercase());
    votes.iter().find(is_it).map(|vote| vote.to).ok_or_else(|| {
        Failure::new(
            NOT_FOUND,
            "nobody voted for an authority with this key",
            "give 8 or more digits; exchange with the other admin first, then medsync authority show",
        )
    })
}

fn show_it(global: &Global, vault: &Vault) -> Done {
    let authority = vault.current_authority().map(|key| hex(&key));
    if global.json {
        let vote = |vote: &Vote| {
            show::object([
                ("by", Json::string(vote.name.expose())),
                ("votes_for", Json::string(&hex(&vote.to))),
            ])
        };
        return show::json(&show::object([
            ("authority", show::maybe(authority.as_deref())),
            (
                "votes",
                Json::Array(vault.votes().iter().map(vote).collect()),
            ),
        ]));
    }
    show::line(authority.unwrap_or_else(|| "This vault belongs to no workspace yet.".to_owned()))?;
    for vote in vault.votes() {
        let (name, to) = (show::clean(vote.name.expose()), hex(&vote.to));
        show::line(format!("{name} votes for {to}"))?;
    }
    Ok(())
}
