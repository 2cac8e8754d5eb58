//! Cutting a file into JSON texts: one per line, or one or more documents over several lines.
//!
//! Must hold: memory is bounded by the longest line, or by the largest document; a line that is no JSON costs itself.

use std::io::{self, BufRead, Read};

/// Bytes of a line at most.
const LONGEST_LINE: u64 = 32 << 20;
/// Bytes of a file of documents at most.
const LARGEST_FILE: u64 = 128 << 20;

/// One JSON text of a file, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    /// The line it begins on, from 1.
    pub(super) line: usize,
    /// The text.
    pub(super) text: Result<String, String>,
}

/// The frames of a file.
pub(super) struct Frames<R> {
    input: R,
    line: usize,
    /// Whether the first text was seen, which tells lines from documents.
    begun: bool,
    /// Frames that are ready, last one first.
    ready: Vec<Frame>,
}

impl<R: BufRead> Frames<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, line: 0, begun: false, ready: Vec::new() }
    }

    /// The next frame.
    pub(super) fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.ready.pop() {
                return Ok(Some(frame));
            }
            let Some(bytes) = self.read_line()? else { return Ok(None) };
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let first = !std::mem::replace(&mut self.begun, true);
            if first && is_beginning(&bytes) {
                self.read_documents(bytes)?;
                continue;
            }
            return Ok(Some(Frame { line: self.line, text: text(bytes) }));
        }
    }

    /// The next line, without what is too long of it.
    fn read_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        let read = self.input.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        if read as u64 > LONGEST_LINE && bytes.last() != Some(&b'\n') {
            self.input.skip_until(b'\n')?;
        }
        Ok(Some(bytes))
    }

    /// Takes the whole file as documents; if it holds none, each of its lines stands for itself after all.
    fn read_documents(&mut self, first: Vec<u8>) -> io::Result<()> {
        let began = self.line;
        let mut bytes = first;
        let read = self.input.by_ref().take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
        if read as u64 > LARGEST_FILE {
            let reason = format!("the document has more than {LARGEST_FILE} bytes; write one request per line");
            // What is left of it is no line of its own.
            io::copy(&mut self.input, &mut io::sink())?;
            self.ready = vec![Frame { line: began, text: Err(reason) }];
            return Ok(());
        }
        let mut frames = documents(&bytes, began);
        if frames.first().is_none_or(|frame| frame.text.is_err()) {
            frames = lines(&bytes, began);
        }
        frames.reverse();
        self.ready = frames;
        Ok(())
    }
}

/// Whether the line is the beginning of JSON that goes on.
fn is_beginning(line: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(line).is_err_and(|error| error.is_eof())
}

fn text(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.len() as u64 > LONGEST_LINE {
        return Err(format!("the line has more than {LONGEST_LINE} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is no UTF-8".to_owned())?;
    Ok(text.trim().to_owned())
}

fn documents(bytes: &[u8], began: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut stream = serde_json::Deserializer::from_slice(bytes).into_iter::<Box<serde_json::value::RawValue>>();
    let line_at = |offset: usize| {
        let blank = bytes[offset..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        began + bytes[..offset + blank].iter().filter(|byte| **byte == b'\n').count()
    };
    loop {
        let line = line_at(stream.byte_offset());
        match stream.next() {
            None => return frames,
            Some(Ok(raw)) => frames.push(Frame { line, text: Ok(raw.get().to_owned()) }),
            Some(Err(error)) => {
                let reason = format!("the document is no JSON at its line {}, column {}", error.line(), error.column());
                frames.push(Frame { line, text: Err(reason) });
                return frames;
            }
        }
    }
}

fn lines(bytes: &[u8], began: usize) -> Vec<Frame> {
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    lines
        .filter(|(_, line)| !line.iter().all(u8::is_ascii_whitespace))
        .map(|(number, line)| Frame { line: began + number, text: text(line.to_vec()) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(text: &str) -> Vec<(usize, String)> {
        let mut frames = Frames::new(text.as_bytes());
        std::iter::from_fn(|| frames.next().unwrap())
            .map(|frame| (frame.line, frame.text.unwrap_or_else(|reason| format!("! {reason}"))))
            .collect()
    }

    #[test]
    fn each_line_is_a_text_of_its_own() {
        let text = "{\"a\":1}\n\n  {\"b\":2}\r\nnot json\n{\"c\":";
        let expected = [(1, "{\"a\":1}"), (3, "{\"b\":2}"), (4, "not json"), (5, "{\"c\":")];
        assert_eq!(frames(text), expected.map(|(line, text)| (line, text.to_owned())));
        assert_eq!(frames(""), []);
    }

    #[test]
    fn a_document_over_several_lines_is_one_text() {
        let text = "\n{\n  \"a\": 1\n}\n\n{\n  \"b\": 2\n}\n";
        let expected = [(2, "{\n  \"a\": 1\n}"), (6, "{\n  \"b\": 2\n}")];
        assert_eq!(frames(text), expected.map(|(line, text)| (line, text.to_owned())));
        let broken = frames("[\n1,\n2]\n{\n  \"b\": nonsense\n}\n");
        assert_eq!(broken[0], (1, "[\n1,\n2]".to_owned()));
        assert!(broken[1].1.starts_with("! the document is no JSON at its line"), "{broken:?}");
    }

    #[test]
    fn a_first_line_that_was_cut_off_costs_itself() {
        let text = "{\"a\":\n{\"b\":2}\n{\"c\":3}\n";
        let expected = [(1, "{\"a\":"), (2, "{\"b\":2}"), (3, "{\"c\":3}")];
        assert_eq!(frames(text), expected.map(|(line, text)| (line, text.to_owned())));
    }

    #[test]
    fn what_is_no_text_is_said_to_be_none() {
        let mut frames = Frames::new(&b"1\n\xff\xfe\n2"[..]);
        let lines: Vec<bool> = std::iter::from_fn(|| frames.next().unwrap()).map(|frame| frame.text.is_ok()).collect();
        assert_eq!(lines, [true, false, true]);
    }
}
