//! What a lean block holds can be written again, and is then read as the same. An input is read as
//! one that stands alone, and as two that follow each other in a session over a known history.

#![no_main]

use libfuzzer_sys::fuzz_target;
use medsync_core::doc::lean::{Known, Nothing, Reader, Run, Writer};
use medsync_fuzz::lean;
use std::sync::Once;

static HOOK: Once = Once::new();

fuzz_target!(|input: &[u8]| {
    // Automerge panics on some changes, and the engine contains it: see the target `change`.
    HOOK.call_once(|| std::panic::set_hook(Box::new(|info| eprintln!("{info}"))));
    if let Ok(run) = Reader::standalone(input) {
        again(&mut Nothing, &mut Nothing, &run);
    }
    let (mut held, mut reader) = (lean::held(), Reader::new());
    for part in [&lean::first_block()[..], input, input] {
        let Ok(run) = reader.block(&mut held, part) else {
            return;
        };
        again(&mut lean::held(), &mut held, &run);
    }
});

/// Writes commits until a block is too large for them, and reads them back.
fn again(sender: &mut dyn Known, receiver: &mut dyn Known, run: &Run) {
    let (mut writer, mut reader) = (Writer::new(), Reader::new());
    let mut rest = run.clone();
    while !rest.commits.is_empty() {
        let Ok(block) = writer.block(sender, &rest, 4096) else {
            return;
        };
        let read = match block.standalone {
            true => Reader::standalone(&block.bytes),
            false => reader.block(receiver, &block.bytes),
        };
        let mut sent = rest.clone();
        sent.commits.truncate(block.commits);
        assert_eq!(read, Ok(sent));
        rest.commits.drain(..block.commits);
        let next = rest.first.checked_add(block.commits as u64);
        rest.first = next.expect("the reader refuses what overflows");
    }
}
