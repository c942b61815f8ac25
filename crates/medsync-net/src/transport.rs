//! What carries a session.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// The half of a transport that is read.
pub type Reading = Box<dyn AsyncRead + Send + Unpin>;
/// The half of a transport that is written.
pub type Writing = Box<dyn AsyncWrite + Send + Unpin>;

/// Two streams of bytes, each of which keeps its order. Sessions encrypt and authenticate
/// themselves: a transport need not.
pub trait Transport: Send {
    /// Its two halves.
    fn split(self) -> (Reading, Writing);
}

impl Transport for TcpStream {
    fn split(self) -> (Reading, Writing) {
        // Records are gathered into frames already: waiting for more costs a round trip. Where it
        // cannot be set, it only is slower.
        self.set_nodelay(true).unwrap_or_default();
        let (reading, writing) = self.into_split();
        (Box::new(reading), Box::new(writing))
    }
}

impl Transport for tokio::io::DuplexStream {
    fn split(self) -> (Reading, Writing) {
        let (reading, writing) = tokio::io::split(self);
        (Box::new(reading), Box::new(writing))
    }
}

/// Standard input and output: over ssh, a serial line, or any program that carries bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stdio;

impl Transport for Stdio {
    fn split(self) -> (Reading, Writing) {
        (Box::new(tokio::io::stdin()), Box::new(tokio::io::stdout()))
    }
}
