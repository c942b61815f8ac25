//! Newcomers, the revoked and strangers.

use super::{World, copy_all, exchange, files, has_note, note};
use medsync_core::error::Error;
use medsync_core::vault::exchange::Outgoing;
use std::fs;

#[test]
fn a_newcomer_reads_what_was_written_before_after_a_members_next_exchange() {
    let mut world = World::new(2);
    note(&mut world.vaults[0], "p1", "old", "before");
    world.exchange(0);
    note(&mut world.vaults[1], "p1", "old2", "before");
    world.exchange(1);
    world.join();
    // Nothing there is sealed for the newcomer yet.
    let report = world.exchange(2);
    assert_eq!(report.received.commits, 0);
    assert!(
        report
            .problems
            .iter()
            .any(|p| p.what.contains("not sealed"))
    );
    world.exchange(0);
    let report = world.exchange(2);
    assert!(report.received.commits > 0, "{report:?}");
    assert!(has_note(&world.vaults[2], "old") && has_note(&world.vaults[2], "old2"));
    world.converge();
    world.assert_equal();
}

#[test]
fn a_revoked_device_reads_nothing_that_came_after() {
    let mut world = World::new(3);
    note(&mut world.vaults[0], "p1", "before", "shared");
    world.converge();
    let revoked = world.vaults[2].device_key();
    world.vaults[0].revoke(&revoked.0, "lost").expect("revokes");
    note(&mut world.vaults[0], "p1", "after", "not for the lost one");
    let report = world.exchange(0);
    assert_eq!(report.outgoing, Outgoing::Complete);
    assert_eq!(report.peers.len(), 1);
    assert_eq!(report.strangers, [revoked]);
    world.exchange(1);
    assert!(has_note(&world.vaults[1], "after"));
    // The lost device does not know yet: it finds nothing that it can open.
    let report = world.exchange(2);
    assert_eq!(report.received.commits, 0);
    assert!(!has_note(&world.vaults[2], "after"));
    assert!(
        report
            .problems
            .iter()
            .any(|p| p.what.contains("not sealed"))
    );
    // What it writes is kept, with or without authority.
    note(&mut world.vaults[2], "p1", "late", "by the lost one");
    world.exchange(2);
    let report = world.exchange(1);
    assert!(report.received.commits > 0, "{report:?}");
    assert_eq!(report.strangers, [revoked]);
}

#[test]
fn a_device_that_knows_it_is_revoked_only_takes_up() {
    let mut world = World::new(2);
    world.converge();
    note(&mut world.vaults[1], "p1", "theirs", "before");
    world.exchange(1);
    let own = world.vaults[0].device_key().0;
    let refused = world.vaults[0].revoke(&own, "handed in");
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    world.vaults[0].revoke_itself().expect("revokes");
    let before = files(&world.folder);
    let report = world.exchange(0);
    assert_eq!(report.outgoing, Outgoing::NotCurrent);
    assert!(report.received.commits > 0 && has_note(&world.vaults[0], "theirs"));
    assert_eq!(files(&world.folder), before);
}

#[test]
fn what_a_device_left_before_it_was_revoked_is_still_read() {
    let mut world = World::new(2);
    world.converge();
    note(&mut world.vaults[1], "p7", "left", "the only copy");
    world.exchange(1);
    let revoked = world.vaults[1].device_key();
    world.vaults[0]
        .revoke(&revoked.0, "stolen")
        .expect("revokes");
    // Nobody vouches for the data keys it left, but they open what was signed.
    let report = world.exchange(0);
    assert!(report.received_keys > 0, "{report:?}");
    assert!(has_note(&world.vaults[0], "left"));
}

#[test]
fn another_workspace_in_the_same_folder_is_left_alone() {
    let mut ours = World::new(2);
    let mut theirs = World::new(1);
    note(&mut ours.vaults[0], "p1", "a", "ours");
    ours.exchange(0);
    let before = files(&ours.folder);
    exchange(&mut theirs.vaults[0], &ours.folder).expect("exchanges");
    let after = files(&ours.folder);
    assert!(
        before
            .iter()
            .all(|(path, bytes)| after.get(path) == Some(bytes))
    );
    // Their files under our workspace's name.
    let dir = ours.dir_of(0);
    let ours_root = dir.parent().expect("a parent");
    let theirs_dir = theirs.dir_of(0);
    let theirs_dir = ours
        .folder
        .join(theirs_dir.strip_prefix(&theirs.folder).expect("below"));
    copy_all(&theirs_dir, &ours_root.join("0123456789abcdef"));
    fs::write(ours_root.join("readme.txt"), b"hello").expect("a file");
    let report = ours.exchange(1);
    assert!(has_note(&ours.vaults[1], "a"));
    assert_eq!(report.problems.len(), 1, "{report:?}");
}
