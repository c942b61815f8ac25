//! Two vaults that meet over a wire.

use crate::exchange::two;
use crate::harness::{Ran, World};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

/// The ward, listening for one session, and the address.
fn serving(world: &World) -> (Child, BufReader<std::process::ChildStdout>, String) {
    let ward = ["--vault", "ward", "--passphrase-file", "pw"];
    let mut child = world
        .command()
        .args(ward)
        .args(["serve", "--tcp", "127.0.0.1:0", "--once"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a run");
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    let address = line
        .trim()
        .strip_prefix("listening on ")
        .expect("an address");
    let address = address.to_owned();
    (child, out, address)
}

fn sync(world: &World, more: &[&str]) -> Ran {
    let (mut child, _out, address) = serving(world);
    let with = ["--json", "sync", "--with", &address];
    let ran = world.on("tablet", &[&with, more].concat());
    child.wait().expect("it ends");
    ran
}

#[test]
fn two_vaults_meet_over_tcp_until_both_hold_the_same() {
    let world = two("clinician");
    let report = sync(&world, &[]).done().json();
    assert_eq!(report["in_sync"], true);
    world
        .on("tablet", &["get", "Patient/p1"])
        .done()
        .says("Devi");
    // The second time they know each other, and have nothing to say.
    let peers = world.on("tablet", &["--json", "peers"]).done().json();
    let key = peers[0]["device"].as_str().expect("a key").to_owned();
    let digits = key.get(..8).expect("a key has more");
    let report = sync(&world, &["--peer", digits]).done().json();
    assert_eq!(report["commits_received"], 0);
    let bytes = [&report["bytes_sent"], &report["bytes_received"]];
    let bytes: u64 = bytes.iter().filter_map(|n| n.as_u64()).sum();
    assert!(bytes <= 450, "{bytes} bytes");
    let receipts = world.ward(&["--json", "receipts"]).done().json();
    assert!(receipts[0]["commits"].as_u64().is_some_and(|n| n > 0));
}

#[test]
fn nobody_there_and_a_wrong_address_are_told_with_what_to_do() {
    let world = World::new();
    let ran = world.ward(&["sync", "--with", "/media/usb"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    let ran = world.ward(&["sync", "--with", "tcp://127.0.0.1:1"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("medsync serve"), "{ran:?}");
    let ran = world.ward(&["sync", "--with", "tcp://127.0.0.1:1", "--peer", "00"]);
    assert_eq!(ran.code, 3, "{ran:?}");
}
