//! What can be typed to meet other vaults over a wire.

use clap::{Args, ValueEnum};
use std::net::SocketAddr;

/// Meet another vault over a wire, until both hold the same.
///
/// The other side runs medsync serve. Both belong to one workspace; whoever is not of it, or was
/// revoked, is turned away. The session encrypts itself: any network will do. A line that breaks is
/// no harm: run it again, and it goes on where it stopped.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  medsync sync --with tcp://10.0.0.7:7421
  medsync sync --with tcp://10.0.0.7:7421 --peer 3fa81c02 --link slow")]
pub(crate) struct Sync {
    /// Where the other side listens
    #[arg(long, value_name = "tcp://HOST:PORT")]
    pub(crate) with: String,
    /// The other device, by the first digits of its key, if it was met before: one round trip less
    #[arg(long, value_name = "KEY")]
    pub(crate) peer: Option<String>,
    /// How good the line is
    #[arg(long, value_enum, default_value_t = LinkKind::Fast)]
    pub(crate) link: LinkKind,
}

/// Let other vaults of the workspace meet this one over a wire.
///
/// Prints the address it listens on, and a line for each session. It goes on until it is stopped.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  medsync serve --tcp 0.0.0.0:7421
  medsync serve --tcp 127.0.0.1:0 --once")]
pub(crate) struct Serve {
    /// The address and port to listen on; port 0 chooses a free one
    #[arg(long, value_name = "ADDR")]
    pub(crate) tcp: SocketAddr,
    /// End after the first session
    #[arg(long)]
    pub(crate) once: bool,
    /// How good the line is
    #[arg(long, value_enum, default_value_t = LinkKind::Fast)]
    pub(crate) link: LinkKind,
}

/// How good a line is.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LinkKind {
    /// Tens of kilobits a second: short records, so that a break costs little
    Slow,
    /// Megabits a second
    Fast,
}
