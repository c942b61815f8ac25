//! Lines that break, anywhere.

use super::host::{Host, hosts};
use super::meet::{assert_in_sync, met};
use super::{FAST, SLOW, Wire, run};
use crate::model::pack::Lane;
use crate::sync::session::Settings;
use crate::sync::transfer::Link;

/// Records so short that what is sent fills many.
const SHORT: Settings = Settings {
    link: Link {
        record: 256,
        frame: 256,
        window: 512,
    },
    live: false,
};

/// Two that have something for each other, in several lanes, some of it longer than records are.
fn two(strangers: bool) -> [Host; 2] {
    let [mut a, mut b] = if strangers { hosts() } else { met() };
    (a.block, b.block) = (250, 250);
    for (lane, len) in [
        (Lane::P3, 600),
        (Lane::P0, 40),
        (Lane::P2, 100),
        (Lane::P1, 260),
    ] {
        a.write(lane, len, &[]);
        b.write(lane, len / 2, &[]);
    }
    [a, b]
}

fn cut_everywhere(strangers: bool, settings: Settings, step: usize) {
    let fresh = two(strangers);
    let [mut a, mut b] = fresh.clone();
    let whole = run(&mut a, &mut b, settings);
    assert_in_sync(&whole, &a, &b);
    let written = a.log.len();
    let total = whole.bytes.iter().sum::<usize>();
    for cut in (0..=total).step_by(step) {
        let [mut a, mut b] = fresh.clone();
        let outcome = Wire::new(&mut a, &mut b, [settings; 2], cut).run();
        assert!(outcome.endings.iter().all(Option::is_some));
        let outcome = run(&mut a, &mut b, settings);
        assert_in_sync(&outcome, &a, &b);
        assert_eq!(a.log.len(), written, "cut at {cut}");
        // Only what was cut off within a record, before it could be read, came again.
        assert_eq!((a.again, b.again), (0, 0), "cut at {cut}");
    }
}

#[test]
fn a_line_cut_at_every_byte_loses_nothing_and_repeats_nothing() {
    cut_everywhere(false, SHORT, 1);
}

#[test]
fn strangers_whose_line_is_cut_lose_nothing() {
    cut_everywhere(true, SHORT, 11);
}

#[test]
fn a_fast_line_cut_anywhere_loses_nothing() {
    cut_everywhere(false, FAST, 17);
}

#[test]
fn it_completes_even_if_each_connection_carries_one_frame() {
    let [mut a, mut b] = two(false);
    let mut connections = 0;
    while a.ids() != b.ids() {
        let mut wire = Wire::new(&mut a, &mut b, [SLOW; 2], usize::MAX);
        // The Hello, and one more.
        wire.frames_max = 2;
        drop(wire.run());
        connections += 1;
        assert!(connections < 200, "it does not come to an end");
    }
    assert_eq!((a.again, b.again), (0, 0));
    let outcome = run(&mut a, &mut b, SLOW);
    assert_in_sync(&outcome, &a, &b);
}

#[test]
fn a_full_disk_ends_the_session_and_the_next_goes_on() {
    use crate::sync::step::Ending;
    use crate::sync::wire::Refused;
    let [mut a, mut b] = two(false);
    b.is_full = true;
    let outcome = run(&mut a, &mut b, SLOW);
    let told = Some(Ending::TurnedAway(Refused::Unavailable));
    assert_eq!(outcome.endings, [told, Some(Ending::Unavailable)]);
    b.is_full = false;
    let outcome = run(&mut a, &mut b, SLOW);
    assert_in_sync(&outcome, &a, &b);
    assert_eq!((a.again, b.again), (0, 0));
}
