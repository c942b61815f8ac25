//! An input is read as the text of a request and of a grant, and as the signed body of each.

#![no_main]

use libfuzzer_sys::fuzz_target;
use medsync_core::ledger::enrol::{Grant, Request};
use medsync_fuzz::{grant_text, request, request_text, workspace};
use std::sync::LazyLock;

static ASKED: LazyLock<Request> = LazyLock::new(request);

fuzz_target!(|input: &[u8]| {
    let plain = std::str::from_utf8(input).unwrap_or_default();
    for text in [plain, &request_text(input)] {
        if let Ok(request) = Request::from_text(text) {
            assert_eq!(Request::from_text(&request.to_text()), Ok(request));
        }
    }
    for text in [plain, &grant_text(input)] {
        if let Ok(grant) = Grant::open(text, &ASKED, None) {
            assert!(grant.membership.is_current_device(&ASKED.device()));
            let ours = *grant.membership.workspace() == workspace();
            assert_eq!(Grant::open(text, &ASKED, Some(&workspace())).is_ok(), ours);
        }
    }
});
