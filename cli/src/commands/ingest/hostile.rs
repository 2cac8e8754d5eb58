//! What hostile files do to the reading of files: nothing. The committed inputs of `tests/hostile`, as they are and mutated.

use std::path::{Path, PathBuf};

use super::formats;
use super::frames::Frames;

/// Mutations of each input.
const MUTATIONS: u64 = 200;

fn inputs(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(inputs(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What a file holds: events, batches and single events of sessions, and refusals, each of which must have a reason.
fn read(bytes: &[u8]) -> (usize, usize, usize) {
    let mut frames = Frames::new(bytes);
    let (mut kept, mut of_sessions, mut refused) = (0, 0, 0);
    let mut last = 0;
    while let Some(frame) = frames.next().unwrap() {
        assert!(frame.line >= last, "lines are read in order");
        last = frame.line;
        let Ok(text) = frame.text else {
            refused += 1;
            continue;
        };
        let found = match formats::items(&text) {
            Ok(formats::Items::One(text)) => vec![formats::read(text, false)],
            Ok(formats::Items::Each(items)) => items.iter().map(|item| formats::read(item.get(), true)).collect(),
            Err(reason) => {
                assert!(!reason.is_empty());
                refused += 1;
                continue;
            }
        };
        for found in found {
            of_sessions += found.sessions.len() + found.session_events.len();
            for (_, event) in found.events {
                match event {
                    Ok(_) => kept += 1,
                    Err((_, reason)) => {
                        assert!(!reason.is_empty());
                        refused += 1;
                    }
                }
            }
        }
    }
    (kept, of_sessions, refused)
}

/// The next of a row of numbers that follow from the first (SplitMix64).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn mutated(whole: &[u8], state: &mut u64) -> Vec<u8> {
    let mut body = whole.to_vec();
    for _ in 0..=next(state) % 5 {
        let at = usize::try_from(next(state)).unwrap() % (body.len() + 1);
        let to = (at + usize::try_from(next(state) % 256).unwrap()).min(body.len());
        let byte = next(state).to_le_bytes()[0];
        match next(state) % 4 {
            0 if at < body.len() => body[at] = byte,
            1 => body.insert(at, byte),
            2 => drop(body.drain(at..to)),
            _ => {
                let part = body[at..to].to_vec();
                body.splice(at..at, part);
            }
        }
    }
    body
}

#[test]
fn no_file_and_no_mutation_of_one_stops_the_reading() {
    let files = inputs(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/hostile")));
    assert!(files.len() > 40);
    let mut state = 5;
    for file in files {
        let whole = std::fs::read(&file).unwrap();
        read(&whole);
        for _ in 0..MUTATIONS {
            read(&mutated(&whole, &mut state));
        }
    }
}

#[test]
fn the_good_lines_around_a_hostile_one_are_read() {
    let good =
        r#"{"event_type":"tool.called","run_id":"r","agent_id":"a","agent_version":"v","step_index":1,"payload":{}}"#;
    let of_session = r#"{"event_type":"error","source_type":"system","session_id":"s"}"#;
    let deep = "[".repeat(100_000);
    for hostile in [b"\xff\xfe".as_slice(), b"NaN", b"{\"event_type\":", b"\0\0", b"7", deep.as_bytes()] {
        let file = [good.as_bytes(), hostile, of_session.as_bytes(), good.as_bytes()].join(&b'\n');
        let shown = String::from_utf8_lossy(&hostile[..hostile.len().min(20)]);
        assert_eq!(read(&file), (2, 1, 1), "{shown}");
    }
}

#[test]
fn of_each_file_of_lines_for_loki_the_first_and_the_last_line_are_kept_and_each_between_them_is_told_of() {
    let files = inputs(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/hostile/loki")));
    assert!(files.len() > 3);
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(read(&bytes), (2, 0, lines - 2), "{}", file.display());
    }
}

#[test]
fn of_a_batch_over_several_lines_the_items_around_a_broken_one_are_kept() {
    let files = inputs(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/hostile/ingest/kept")));
    assert!(files.len() > 5);
    for file in files {
        let (kept, _, _) = read(&std::fs::read(&file).unwrap());
        assert!(kept >= 2, "{}: {kept}", file.display());
    }
}
