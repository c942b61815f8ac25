//! A text that is too large is skipped without being held. Alone in its binary: it measures.

use medsync_fhir::read::{Options, Reader, Reject};
use std::io::{BufReader, Cursor, Read};

/// The most memory this process ever held, in KiB.
#[cfg(target_os = "linux")]
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the process's status");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("a peak");
    line.split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .expect("a number")
}

#[cfg(not(target_os = "linux"))]
fn peak_kib() -> u64 {
    0
}

#[test]
fn what_is_read_is_not_held() {
    a_resource_of_100_mb_is_skipped_and_the_next_one_read();
    a_transaction_is_taken_entry_by_entry_and_too_large_a_one_not_at_all();
}

fn a_transaction_is_taken_entry_by_entry_and_too_large_a_one_not_at_all() {
    let entry = |n| {
        format!(
            "{{\"resource\":{{\"resourceType\":\"Patient\",\"id\":\"p{n}\",\"active\":true,\
             \"name\":[{{\"family\":\"Devi\",\"given\":[\"Asha\",\"K.\"]}}],\
             \"telecom\":[{{\"system\":\"phone\",\"value\":\"555-0100\"}}]}}}}"
        )
    };
    let entries: Vec<String> = (0..60_000).map(entry).collect();
    let text = format!(
        "{{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[{}]}}",
        entries.join(",")
    );
    drop(entries);
    let before = peak_kib();
    for (lenient, good, bad) in [(false, 0, 1), (true, 60_000, 0)] {
        let input = Box::new(Cursor::new(text.clone()));
        let reader = Reader::stream("input", input, Options { lenient });
        let mut found = (0, 0);
        for item in reader {
            match item.outcome {
                Ok(_) => found.0 += 1,
                Err(_) => found.1 += 1,
            }
        }
        assert_eq!(found, (good, bad), "lenient: {lenient}");
    }
    // The text, its copy and room to grow, and the names: the resources would be 300 MiB.
    let grown = peak_kib().saturating_sub(before);
    let limit = 5 * text.len() as u64 / 1024;
    assert!(grown < limit, "{grown} KiB held, {limit} are few");
}

fn a_resource_of_100_mb_is_skipped_and_the_next_one_read() {
    let before = peak_kib();
    for line_break in ["", "\n"] {
        let head = format!(
            "{{{line_break}\"resourceType\":\"Binary\",\"id\":\"a\",\"data\":\"{line_break}"
        );
        let body = std::io::repeat(b'A').take(100_000_000);
        let tail = "\"}\n{\"resourceType\":\"Patient\",\"id\":\"p\"}\n";
        let input = Cursor::new(head).chain(body).chain(Cursor::new(tail));
        let stream = Box::new(BufReader::new(input));
        let mut reader = Reader::stream("input", stream, Options::default());
        let first = reader.next().expect("an item");
        assert_eq!(first.outcome, Err(Reject::TooLarge));
        if line_break.is_empty() {
            let second = reader.next().expect("an item").outcome.expect("good");
            assert_eq!(second.resources()[0].id.as_str(), "Patient/p");
        }
        assert!(reader.next().is_none(), "a document ends with its input");
    }
    let grown = peak_kib() - before;
    assert!(grown < 8 * 1024, "{grown} KiB held");
}
