//! What is to be sent: messages gathered into records, records into frames.

use crate::error::Result;
use crate::sync::handshake::Channel;
use crate::sync::wire::{Message, record};

/// Messages on their way into frames.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    messages: Vec<Vec<u8>>,
    bytes: usize,
    /// What stands before the first record's body: pattern and version, or an answer to them.
    first: Option<Vec<u8>>,
}

impl Outbox {
    /// An outbox whose first record begins with these bytes, in clear.
    pub(crate) const fn after(first: Vec<u8>) -> Self {
        Self {
            messages: Vec::new(),
            bytes: 0,
            first: Some(first),
        }
    }

    pub(crate) fn push(&mut self, message: &Message) {
        let bytes = message.to_bytes();
        self.bytes += bytes.len();
        self.messages.push(bytes);
    }

    /// How many bytes of messages wait.
    pub(crate) const fn len(&self) -> usize {
        self.bytes
    }

    /// One record with everything: a message of a handshake, even with nothing in it.
    pub(crate) fn shake(&mut self, channel: &mut Channel) -> Result<Vec<u8>> {
        let payload = std::mem::take(&mut self.messages).concat();
        self.bytes = 0;
        self.seal(channel, &payload)
    }

    fn seal(&mut self, channel: &mut Channel, payload: &[u8]) -> Result<Vec<u8>> {
        let sealed = channel.seal(payload)?;
        let body = [self.first.take().unwrap_or_default(), sealed].concat();
        record(&body)
    }

    /// Frames with everything: records of at most `record_max` bytes, unless a message is longer, and
    /// frames of at most `frame_max`.
    pub(crate) fn flush(
        &mut self,
        channel: &mut Channel,
        record_max: usize,
        frame_max: usize,
    ) -> Result<Vec<Vec<u8>>> {
        let (mut frames, mut frame, mut payload) = (Vec::new(), Vec::new(), Vec::new());
        let room = record_max.saturating_sub(2 + crate::sync::handshake::TAG_BYTES);
        let messages = std::mem::take(&mut self.messages);
        self.bytes = 0;
        let mut close = |payload: &mut Vec<u8>, frame: &mut Vec<u8>| -> Result<()> {
            if payload.is_empty() {
                return Ok(());
            }
            let record = self.seal(channel, &std::mem::take(payload))?;
            if !frame.is_empty() && frame.len() + record.len() > frame_max {
                frames.push(std::mem::take(frame));
            }
            frame.extend(record);
            Ok(())
        };
        for message in messages {
            if payload.len() + message.len() > room {
                close(&mut payload, &mut frame)?;
            }
            payload.extend(message);
        }
        close(&mut payload, &mut frame)?;
        if !frame.is_empty() {
            frames.push(frame);
        }
        Ok(frames)
    }
}
