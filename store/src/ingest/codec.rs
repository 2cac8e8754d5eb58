//! How events lie in a row of the log: one after the other, in chunks that may be compressed.
//!
//! Owns the byte format. Must hold: what was packed unpacks to the same events; bytes that were changed are an error,
//! never a panic; a chunk unpacks to no more than it says, and to no more than [`LARGEST_CHUNK`].
//!
//! A row: version 1, then chunks. A chunk: kind (0 as is, 1 zstd), its unpacked length, its length (both u32, little
//! end first), its bytes. An event: `received_at` and `occurred_at` (i64), SHA-256, which of the optional texts there are
//! (a bit each), the step (LEB128), then texts, each with its length (LEB128) before it.

use std::cell::RefCell;

use super::check::Checked;
use crate::StoreError;

const VERSION: u8 = 1;
const AS_IS: u8 = 0;
const ZSTD: u8 = 1;
/// Compressing less than this saves nothing.
const WORTH_PACKING: usize = 2_048;
/// The fast end of zstd: what is sealed is compressed harder.
const LEVEL: i32 = 1;
/// Unpacked bytes of a chunk at most.
pub(super) const LARGEST_CHUNK: usize = 64 << 20;
const HEAD: usize = 9;

/// Appends an event.
pub(super) fn encode(checked: &Checked, received_at: i64, out: &mut Vec<u8>) {
    let event = &checked.event;
    out.extend_from_slice(&received_at.to_le_bytes());
    out.extend_from_slice(&checked.occurred_at.to_le_bytes());
    out.extend_from_slice(&checked.sha256);
    let optional =
        [&event.parent_run_id, &event.trace_id, &event.conversation_id, &event.event_id, &checked.session_id];
    let present = optional.iter().enumerate().fold(0, |bits, (bit, text)| bits | (u8::from(text.is_some()) << bit));
    out.push(present);
    number(event.step_index.unsigned_abs(), out);
    for text in [&event.event_type, &event.run_id, &event.agent_id, &event.agent_version] {
        string(text, out);
    }
    for text in optional.into_iter().flatten() {
        string(text, out);
    }
    string(&checked.payload, out);
}

fn number(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn string(text: &str, out: &mut Vec<u8>) {
    number(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

/// An event in the bytes of an unpacked chunk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stored<'a> {
    pub received_at: i64,
    pub occurred_at: i64,
    pub sha256: &'a [u8],
    pub step_index: i64,
    pub event_type: &'a str,
    pub run_id: &'a str,
    pub agent_id: &'a str,
    pub agent_version: &'a str,
    pub parent_run_id: Option<&'a str>,
    pub trace_id: Option<&'a str>,
    pub conversation_id: Option<&'a str>,
    pub event_id: Option<&'a str>,
    pub session_id: Option<&'a str>,
    pub payload: &'a str,
}

fn corrupt(reason: &str) -> StoreError {
    StoreError::Corrupt { what: "row of the event log", reason: reason.to_owned() }
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], StoreError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(|| corrupt("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        self.take(N)?.try_into().map_err(|_| corrupt("it ends too early"))
    }

    fn byte(&mut self) -> Result<u8, StoreError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn number(&mut self) -> Result<u64, StoreError> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(corrupt("a number is too long"))
    }

    fn string(&mut self) -> Result<&'a str, StoreError> {
        let length = usize::try_from(self.number()?).map_err(|_| corrupt("a text is too long"))?;
        std::str::from_utf8(self.take(length)?).map_err(|_| corrupt("a text is not UTF-8"))
    }

    fn event(&mut self) -> Result<Stored<'a>, StoreError> {
        let received_at = i64::from_le_bytes(self.array()?);
        let occurred_at = i64::from_le_bytes(self.array()?);
        let sha256 = self.take(32)?;
        let present = self.byte()?;
        let step_index = i64::try_from(self.number()?).map_err(|_| corrupt("a step is too large"))?;
        let [event_type, run_id, agent_id, agent_version] =
            [self.string()?, self.string()?, self.string()?, self.string()?];
        let mut optional = [None; 5];
        for (bit, text) in optional.iter_mut().enumerate() {
            if present & (1 << bit) != 0 {
                *text = Some(self.string()?);
            }
        }
        let [parent_run_id, trace_id, conversation_id, event_id, session_id] = optional;
        Ok(Stored {
            received_at,
            occurred_at,
            sha256,
            step_index,
            event_type,
            run_id,
            agent_id,
            agent_version,
            parent_run_id,
            trace_id,
            conversation_id,
            event_id,
            session_id,
            payload: self.string()?,
        })
    }
}

/// Goes through the events of an unpacked chunk, in order.
pub(super) fn for_each<E: From<StoreError>>(
    unpacked: &[u8],
    mut each: impl FnMut(Stored<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut bytes = Bytes(unpacked);
    while !bytes.0.is_empty() {
        each(bytes.event()?)?;
    }
    Ok(())
}

thread_local! {
    static PACKER: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
}

/// The chunk of some encoded events.
pub(super) fn chunk(events: &[u8]) -> Vec<u8> {
    let packed = if events.len() < WORTH_PACKING { None } else { pack(events) };
    let (kind, bytes) = match &packed {
        Some(packed) if packed.len() < events.len() => (ZSTD, packed.as_slice()),
        _ => (AS_IS, events),
    };
    let mut chunk = Vec::with_capacity(HEAD + bytes.len());
    chunk.push(kind);
    // Bounded by LARGEST_CHUNK, far below u32.
    chunk.extend_from_slice(&(events.len() as u32).to_le_bytes());
    chunk.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    chunk.extend_from_slice(bytes);
    chunk
}

/// Compresses; `None` when the compressor cannot, which leaves the bytes as they are.
fn pack(events: &[u8]) -> Option<Vec<u8>> {
    PACKER.with_borrow_mut(|packer| {
        if packer.is_none() {
            *packer = zstd::bulk::Compressor::new(LEVEL).ok();
        }
        packer.as_mut()?.compress(events).ok()
    })
}

/// The row of some chunks.
pub(super) fn row<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut row = vec![VERSION];
    for chunk in chunks {
        row.extend_from_slice(chunk);
    }
    row
}

/// Goes through the events of a row, in order.
pub(super) fn for_each_of_row<E: From<StoreError>>(
    row: &[u8],
    mut each: impl FnMut(Stored<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut bytes = Bytes(row);
    if bytes.byte()? != VERSION {
        return Err(corrupt("another version of Tripline wrote it").into());
    }
    while !bytes.0.is_empty() {
        let kind = bytes.byte()?;
        let unpacked = u32::from_le_bytes(bytes.array()?) as usize;
        let length = u32::from_le_bytes(bytes.array()?) as usize;
        let packed = bytes.take(length)?;
        if unpacked > LARGEST_CHUNK {
            return Err(corrupt("a chunk is too large").into());
        }
        match kind {
            AS_IS if unpacked == length => for_each(packed, &mut each)?,
            ZSTD => {
                let events =
                    zstd::bulk::decompress(packed, unpacked).map_err(|_| corrupt("a chunk cannot be unpacked"))?;
                if events.len() != unpacked {
                    return Err(corrupt("a chunk has another length").into());
                }
                for_each(&events, &mut each)?;
            }
            _ => return Err(corrupt("a chunk is of no known kind").into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::wire::WireEvent;
    use super::*;
    use proptest::prelude::*;

    fn checked() -> impl Strategy<Value = Checked> {
        let text = "[a-zé\u{1F600}]{0,40}";
        let optional = || prop::option::of("[a-z0-9-]{0,40}");
        (
            ([text, text, text, text], 0..i64::MAX, any::<i64>(), text, any::<[u8; 32]>()),
            (optional(), optional(), optional(), optional(), optional()),
        )
            .prop_map(|(([a, b, c, d], step_index, occurred_at, payload, sha256), optional)| Checked {
                event: WireEvent {
                    event_type: a,
                    run_id: b,
                    agent_id: c,
                    agent_version: d,
                    step_index,
                    parent_run_id: optional.0,
                    trace_id: optional.1,
                    conversation_id: optional.2,
                    event_id: optional.3,
                    ..WireEvent::default()
                },
                session_id: optional.4,
                occurred_at,
                payload,
                sha256,
            })
    }

    fn read(row: &[u8]) -> Result<usize, StoreError> {
        let mut count = 0;
        for_each_of_row(row, |_| {
            count += 1;
            Ok::<_, StoreError>(())
        })?;
        Ok(count)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_packed_unpacks_to_the_same(events in prop::collection::vec(checked(), 0..60)) {
            let (one, two) = events.split_at(events.len() / 2);
            let chunks = [one, two].map(|events| {
                let mut bytes = Vec::new();
                for event in events {
                    encode(event, 7, &mut bytes);
                }
                chunk(&bytes)
            });
            let row = row(chunks.iter().map(Vec::as_slice));
            let mut expected = events.iter();
            for_each_of_row(&row, |stored| {
                let Some(event) = expected.next() else { return Err(corrupt("one too many")) };
                let wire = &event.event;
                assert_eq!(stored, Stored {
                    received_at: 7,
                    occurred_at: event.occurred_at,
                    sha256: &event.sha256,
                    step_index: wire.step_index,
                    event_type: &wire.event_type,
                    run_id: &wire.run_id,
                    agent_id: &wire.agent_id,
                    agent_version: &wire.agent_version,
                    parent_run_id: wire.parent_run_id.as_deref(),
                    trace_id: wire.trace_id.as_deref(),
                    conversation_id: wire.conversation_id.as_deref(),
                    event_id: wire.event_id.as_deref(),
                    session_id: event.session_id.as_deref(),
                    payload: &event.payload,
                });
                Ok::<_, StoreError>(())
            }).unwrap();
            prop_assert!(expected.next().is_none());
        }

        #[test]
        fn bytes_that_were_changed_are_an_error_and_never_a_panic(
            events in prop::collection::vec(checked(), 1..40), at in any::<prop::sample::Index>(), to in any::<u8>()
        ) {
            let mut bytes = Vec::new();
            for event in &events {
                encode(event, 7, &mut bytes);
            }
            let mut row = row([chunk(&bytes).as_slice()]);
            let at = at.index(row.len());
            row[at] = to;
            let _ = read(&row);
            row.truncate(at);
            // A row cut off between two chunks is a shorter row; anywhere else it is an error.
            prop_assert!(read(&row).is_err() || row.len() <= 1);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }
    }
}
