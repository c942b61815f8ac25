//! Meets other vaults over a wire.

use crate::cli::{Global, LinkKind, Serve, Sync};
use crate::exit::{Done, FAILED, Failure, NOT_FOUND};
use crate::session;
use crate::show;
use medsync_core::error::Error;
use medsync_core::ids::DeviceKey;
use medsync_core::model::json::Json;
use medsync_core::sync::credential::Refusal;
use medsync_core::sync::session::Settings;
use medsync_core::sync::step::Ending;
use medsync_core::sync::transfer::Link;
use medsync_core::sync::wire::Refused;
use medsync_core::vault::{SharedVault, Vault};
use medsync_net::{Report, answer, call};
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

pub(super) fn run(global: &Global, args: &Sync) -> Done {
    let address = args.with.strip_prefix("tcp://").ok_or_else(|| {
        Failure::usage(
            "with whom?",
            "name the other side as tcp://HOST:PORT; folders are for medsync exchange",
        )
    })?;
    let vault = session::carrier(global)?;
    let peer = args.peer.as_deref().map(|key| named(&vault, key));
    let peer = peer.transpose()?;
    let vault = vault.share();
    let report = runtime()?.block_on(async {
        let stream = TcpStream::connect(address).await.map_err(|error| {
            Failure::new(
                FAILED,
                format!("{address} cannot be reached ({:?})", error.kind()),
                "is medsync serve running there, and is the port open?",
            )
        })?;
        Ok::<_, Failure>(call(&vault, stream, peer, settings(args.link)).await?)
    })?;
    tell(global, &vault, &report)?;
    judge(&report)
}

/// A peer that was met before, by the first digits of its key.
fn named(vault: &Vault, key: &str) -> Done<DeviceKey> {
    let peers = vault.peers()?;
    let mut fits = peers
        .iter()
        .filter(|peer| peer.device.to_string().starts_with(key));
    match (fits.next(), fits.next()) {
        (Some(peer), None) => Ok(peer.device),
        (None, _) => Err(Failure::new(
            NOT_FOUND,
            "no such peer was met before",
            "leave --peer out for the first session; medsync peers lists the others",
        )),
        _ => Err(Failure::usage(
            "several peers begin with this",
            "give more digits of the key; medsync peers lists them",
        )),
    }
}

fn settings(link: LinkKind) -> Settings {
    let link = match link {
        LinkKind::Slow => Link::SLOW,
        LinkKind::Fast => Link::FAST,
    };
    Settings { link, live: false }
}

fn runtime() -> Done<Runtime> {
    Runtime::new().map_err(|error| Error::io("starting to listen", &error).into())
}

pub(super) fn serve(global: &Global, args: &Serve) -> Done {
    let vault = session::carrier(global)?.share();
    runtime()?.block_on(listen(global, args, vault))
}

async fn listen(global: &Global, args: &Serve, vault: SharedVault) -> Done {
    let taken = |error: std::io::Error| {
        Failure::new(
            FAILED,
            format!("{} cannot be listened on ({:?})", args.tcp, error.kind()),
            "another program may use the port; choose another one, or 0 for any",
        )
    };
    let listener = TcpListener::bind(args.tcp).await.map_err(taken)?;
    listening(global, listener.local_addr().map_err(taken)?)?;
    let settings = settings(args.link);
    if args.once {
        let (stream, _) = listener.accept().await.map_err(taken)?;
        let report = answer(&vault, stream, settings).await?;
        tell(global, &vault, &report)?;
        return judge(&report);
    }
    // One after another: sessions of one vault share its store, and a peer that stalls is given up.
    loop {
        let (stream, _) = listener.accept().await.map_err(taken)?;
        let report = answer(&vault, stream, settings).await?;
        tell(global, &vault, &report)?;
    }
}

fn listening(global: &Global, address: SocketAddr) -> Done {
    if global.json {
        return show::json(&Json::object([(
            "listening",
            Json::string(&address.to_string()),
        )]));
    }
    show::line(format!("listening on tcp://{address}"))
}

fn tell(global: &Global, vault: &SharedVault, report: &Report) -> Done {
    if global.json {
        let text = serde_json::to_vec(report).map_err(std::io::Error::other)?;
        let mut json = Json::parse(&text)?;
        json.set("in_sync", Json::Bool(report.is_in_sync()));
        return show::json(&json);
    }
    let counts = &report.counts;
    let name = vault.with(|vault| {
        let mut devices = vault.devices();
        let device = devices.find(|device| Some(device.key) == report.peer);
        Ok(device.map(|device| show::clean(device.name.expose())))
    })?;
    let name = name.unwrap_or_else(|| "somebody unknown".to_owned());
    show::line(format!(
        "{name}: {} commits sent, {} new ones received; {} bytes sent, {} received, {} round trips",
        counts.commits_sent,
        counts.commits_received,
        counts.bytes_sent,
        counts.bytes_received,
        report.round_trips
    ))
}

/// What a session that did not end well means for people.
fn judge(report: &Report) -> Done {
    let (error, hint) = match report.ending {
        Some(Ending::InSync) => return Ok(()),
        None | Some(Ending::Stopped | Ending::Stalled) => (
            "the line broke before both held the same",
            "what came is kept; run it again, and it goes on from there",
        ),
        Some(Ending::Unequal) => (
            "everything was sent, and yet the two do not hold the same",
            "run it again: the next session compares them anew",
        ),
        Some(Ending::Refused(Refusal::Revoked)) => (
            "the other device was revoked and is not let in",
            "an admin can admit it again under a new key",
        ),
        Some(Ending::Refused(Refusal::Stranger)) => (
            "nobody here knows who admitted the other device",
            "exchange with the device of the admin who did first",
        ),
        Some(Ending::TurnedAway(Refused::Revoked)) => (
            "the other side says that this device was revoked",
            "ask an admin to admit it again",
        ),
        Some(Ending::TurnedAway(Refused::Unavailable)) => (
            "the other side's disk cannot take more now",
            "what it took is kept; make room there and run it again",
        ),
        Some(Ending::TurnedAway(_)) => (
            "the other side does not know this device",
            "let it exchange with the device of the admin who admitted this one",
        ),
        Some(Ending::Elsewhere) => (
            "the other side is of another workspace, or another device than before",
            "check the address; leave --peer out to meet it anew",
        ),
        Some(Ending::Incompatible { .. }) => (
            "the other side speaks another version of the protocol",
            "upgrade the older one of the two",
        ),
        Some(Ending::Unavailable) => (
            "this vault's disk cannot take more now",
            "make room and run it again: it goes on where it stopped",
        ),
        Some(Ending::Misbehaved(what)) => (
            what,
            "nothing of it was kept; the device there needs a look",
        ),
        Some(Ending::Misused) => (
            "the session was ended by a fault of this program",
            "run it again; please report it",
        ),
    };
    Err(Failure::new(FAILED, error, hint))
}

pub(super) fn peers(global: &Global) -> Done {
    let vault = session::reader(global)?;
    let peers = vault.peers()?;
    if global.json {
        let one = |peer: &medsync_core::vault::connect::PeerInfo| {
            let at = peer.in_sync_ms.map_or(Json::Null, |ms| {
                show::number(u64::try_from(ms).unwrap_or(0))
            });
            let device = Json::string(&peer.device.to_string());
            Json::object([("device", device), ("in_sync_ms", at)])
        };
        return show::json(&Json::Array(peers.iter().map(one).collect()));
    }
    let mut table = show::table(&["device", "key", "held the same"]);
    for peer in &peers {
        let mut devices = vault.devices();
        let device = devices.find(|device| device.key == peer.device);
        let name = device.map_or_else(String::new, |device| show::clean(device.name.expose()));
        let when = peer
            .in_sync_ms
            .map_or_else(|| "never".to_owned(), show::time);
        table.add_row([name, peer.device.short(), when]);
    }
    show::print(&table, "no session has met anybody yet")
}

pub(super) fn receipts(global: &Global) -> Done {
    let vault = session::reader(global)?;
    let receipts = vault.receipts()?;
    let commits = |ranges: &medsync_core::ledger::receipt::Ranges| {
        let ranges = ranges.values().flatten();
        ranges.map(|(first, last)| last - first + 1).sum::<u64>()
    };
    if global.json {
        let one = |receipt: &medsync_core::ledger::receipt::Receipt| {
            let terms = receipt.terms();
            let issued = u64::try_from(terms.issued.ms()).unwrap_or(0);
            Json::object([
                ("receiver", Json::string(&terms.receiver.to_string())),
                ("issued_ms", show::number(issued)),
                ("commits", show::number(commits(&terms.ranges))),
            ])
        };
        return show::json(&Json::Array(receipts.iter().map(one).collect()));
    }
    let mut table = show::table(&["receiver", "when", "commits"]);
    for receipt in &receipts {
        let terms = receipt.terms();
        let when = show::time(terms.issued.ms());
        let many = commits(&terms.ranges).to_string();
        table.add_row([terms.receiver.short(), when, many]);
    }
    show::print(&table, "no peer has signed a receipt yet")
}
