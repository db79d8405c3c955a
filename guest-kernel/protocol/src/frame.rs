//! Framing: a length, then postcard.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::MAX_FRAME_BYTES;

const LENGTH_BYTES: usize = 4;

/// Why a message has no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// It would be longer than [`MAX_FRAME_BYTES`]; its length.
    TooLong(usize),
    /// It has a form postcard lacks.
    Form,
}

/// Why bytes are no message. The connection they came from cannot be trusted any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The length is 0 or beyond the decoder's bound; the length.
    Length(usize),
    /// The payload is not the message's encoding.
    Payload,
    /// Bytes follow the message within its frame; how many.
    Trailing(usize),
}

impl std::fmt::Display for EncodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong(len) => {
                write!(f, "a message of {len} bytes, at most {MAX_FRAME_BYTES} are allowed")
            }
            Self::Form => f.write_str("the message cannot be encoded"),
        }
    }
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Length(len) => write!(f, "a frame of {len} bytes is not allowed"),
            Self::Payload => f.write_str("a frame that is no known message"),
            Self::Trailing(len) => write!(f, "{len} bytes after the message in its frame"),
        }
    }
}

impl std::error::Error for EncodeError {}
impl std::error::Error for DecodeError {}

/// The frame of `message`.
///
/// # Errors
/// The message is too long.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, EncodeError> {
    let mut frame = Vec::new();
    encode_into(message, &mut frame)?;
    Ok(frame)
}

/// Appends the frame of `message` to `out`, which on an error stays as it was.
///
/// # Errors
/// The message is too long.
pub fn encode_into<T: Serialize>(message: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let payload = postcard::to_allocvec(message).map_err(|_| EncodeError::Form)?;
    let length = u32::try_from(payload.len())
        .ok()
        .filter(|_| payload.len() <= MAX_FRAME_BYTES)
        .ok_or(EncodeError::TooLong(payload.len()))?;
    out.reserve(LENGTH_BYTES + payload.len());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&payload);
    Ok(())
}

/// The message of one frame's payload (without the length).
///
/// # Errors
/// The payload is not exactly one message.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(payload) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(DecodeError::Trailing(rest.len())),
        Err(_) => Err(DecodeError::Payload),
    }
}

/// Makes messages of bytes as they arrive.
///
/// After an error the decoder is at a loss where the next frame begins: the connection must be closed.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
    max_frame_bytes: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(MAX_FRAME_BYTES)
    }
}

impl Decoder {
    /// A decoder that takes payloads of up to `max_frame_bytes` (at most [`MAX_FRAME_BYTES`]).
    pub fn new(max_frame_bytes: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, max_frame_bytes: max_frame_bytes.min(MAX_FRAME_BYTES) }
    }

    /// Takes in bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the next message out, or nothing while its frame is incomplete.
    ///
    /// # Errors
    /// The bytes are no frame of such a message.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, DecodeError> {
        let held = &self.buffer[self.start..];
        let Some((length, rest)) = held.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length == 0 || length > self.max_frame_bytes {
            return Err(DecodeError::Length(length));
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let message = decode(payload)?;
        self.start += LENGTH_BYTES + length;
        Ok(Some(message))
    }

    /// How many bytes still lack before [`Decoder::take`] can say anything new, at least 1. Who reads no more than
    /// that never takes bytes of what follows the frame.
    pub fn missing_bytes(&self) -> usize {
        let held = &self.buffer[self.start..];
        let wanted = match held.split_first_chunk::<LENGTH_BYTES>() {
            None => LENGTH_BYTES,
            Some((length, _)) => {
                let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
                LENGTH_BYTES + length.min(self.max_frame_bytes)
            }
        };
        wanted.saturating_sub(held.len()).max(1)
    }
}
