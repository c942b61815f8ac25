//! Progress on standard error, for people who wait.

use crate::cli::Global;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// A line that shows that work goes on; nothing where nobody looks.
pub(crate) fn spinner(global: &Global, what: &'static str) -> ProgressBar {
    // indicatif itself draws nothing where standard error is no terminal.
    let target = match global.json {
        true => ProgressDrawTarget::hidden(),
        false => ProgressDrawTarget::stderr(),
    };
    let style = ProgressStyle::with_template("{spinner} {prefix} {msg} [{elapsed}]");
    let bar = ProgressBar::with_draw_target(None, target).with_prefix(what);
    if let Ok(style) = style {
        bar.set_style(style);
    }
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(120));
    }
    bar
}
