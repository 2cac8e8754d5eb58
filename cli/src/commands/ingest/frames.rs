//! Cutting a file into JSON texts: one per line, or one or more documents over several lines.
//!
//! Must hold: memory is bounded by the longest line, or by the largest document; a line that is no JSON costs itself.

use std::io::{self, BufRead, Cursor, Read};

/// Bytes of a line at most.
const LONGEST_LINE: usize = 32 << 20;
/// Bytes of a file of documents at most.
const LARGEST_FILE: usize = 128 << 20;

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
    /// What was read of it ahead, and is to be read as lines after all.
    ahead: Cursor<Vec<u8>>,
    line: usize,
    /// Whether the first text was seen, which tells lines from documents.
    begun: bool,
    /// Whether it began as a document that is broken: its items may stand on lines of their own.
    broken: bool,
    /// Frames that are ready, last one first.
    ready: Vec<Frame>,
    longest_line: usize,
    largest_file: usize,
}

impl<R: BufRead> Frames<R> {
    pub(super) fn new(input: R) -> Self {
        Self::bounded(input, LONGEST_LINE, LARGEST_FILE)
    }

    fn bounded(input: R, longest_line: usize, largest_file: usize) -> Self {
        let (ahead, ready) = (Cursor::default(), Vec::new());
        Self { input, ahead, line: 0, begun: false, broken: false, ready, longest_line, largest_file }
    }

    /// The last line that was read, from 1; 0 before the first.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// The next frame.
    pub(super) fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.ready.pop() {
                return Ok(Some(frame));
            }
            let Some(mut bytes) = self.read_line()? else { return Ok(None) };
            if self.broken {
                let end = bytes.trim_ascii_end();
                let length = end.strip_suffix(b",").unwrap_or(end).len();
                bytes.truncate(length);
            }
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let first = !std::mem::replace(&mut self.begun, true);
            if first && bytes.len() <= self.longest_line && is_beginning(&bytes) {
                self.read_documents(bytes)?;
                continue;
            }
            return Ok(Some(Frame { line: self.line, text: text(bytes, self.longest_line) }));
        }
    }

    /// The next line, without what is too long of it.
    fn read_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        let most = self.longest_line + 1;
        let ends = |bytes: &[u8]| bytes.last() == Some(&b'\n');
        let room = |bytes: &[u8]| u64::try_from(most - bytes.len()).unwrap_or(u64::MAX);
        self.ahead.by_ref().take(room(&[])).read_until(b'\n', &mut bytes)?;
        if !ends(&bytes) && bytes.len() < most {
            self.ahead = Cursor::default();
            let room = room(&bytes);
            self.input.by_ref().take(room).read_until(b'\n', &mut bytes)?;
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.len() > self.longest_line && !ends(&bytes) {
            let skipped = self.ahead.skip_until(b'\n')?;
            let at = usize::try_from(self.ahead.position()).unwrap_or(0);
            let ended = skipped > 0 && self.ahead.get_ref().get(at.saturating_sub(1)) == Some(&b'\n');
            if !ended {
                self.input.skip_until(b'\n')?;
            }
        }
        self.line += 1;
        // What some editors of Windows begin a file with.
        if self.line == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
            bytes.drain(..3);
        }
        Ok(Some(bytes))
    }

    /// Takes the whole file as documents; if it holds none, each of its lines stands for itself after all.
    fn read_documents(&mut self, first: Vec<u8>) -> io::Result<()> {
        let (began, length) = (self.line, first.len());
        let mut bytes = first;
        let room = u64::try_from(self.largest_file + 1).unwrap_or(u64::MAX);
        self.input.by_ref().take(room.saturating_sub(length as u64)).read_to_end(&mut bytes)?;
        let is_whole = bytes.len() <= self.largest_file;
        let mut frames = if is_whole { documents(&bytes, began) } else { Vec::new() };
        let holds_none = frames.first().is_none_or(|frame| frame.text.is_err());
        if !is_whole && !is_line(bytes.get(length..).unwrap_or_default()) {
            let most = self.largest_file;
            let reason = format!("the document has more than {most} bytes; write one request per line");
            // What is left of it is no line of its own.
            io::copy(&mut self.input, &mut io::sink())?;
            frames = vec![Frame { line: began, text: Err(reason) }];
        } else if holds_none {
            let rest = bytes.split_off(length);
            self.ahead = Cursor::new(rest);
            self.broken = true;
            frames = vec![Frame { line: began, text: text(bytes, self.longest_line) }];
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

/// Whether the first line here is JSON by itself, as in a file of lines.
fn is_line(rest: &[u8]) -> bool {
    let mut lines = rest.split(|byte| *byte == b'\n').filter(|line| !line.iter().all(u8::is_ascii_whitespace));
    let first = lines.next().unwrap_or_default();
    let is_object = first.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    is_object && serde_json::from_slice::<serde::de::IgnoredAny>(first).is_ok()
}

fn text(bytes: Vec<u8>, longest: usize) -> Result<String, String> {
    if bytes.len() > longest {
        return Err(format!("the line has more than {longest} bytes; write one event per line"));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err("it is UTF-16, not UTF-8; convert the file (iconv -f UTF-16 -t UTF-8)".to_owned());
    }
    let text = String::from_utf8(bytes);
    let text = text.map_err(|error| format!("it is no UTF-8 at its byte {}", error.utf8_error().valid_up_to() + 1))?;
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
                let (at, column) = (began + error.line().saturating_sub(1), error.column());
                let reason = format!(
                    "the document is no JSON at line {at}, column {column} of the file; it and what follows it are not read"
                );
                frames.push(Frame { line, text: Err(reason) });
                return frames;
            }
        }
    }
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
        assert!(broken[1].1.starts_with("! the document is no JSON at line 5, column "), "{broken:?}");
    }

    #[test]
    fn a_first_line_that_was_cut_off_costs_itself() {
        let text = "{\"a\":\n{\"b\":2}\n{\"c\":3}\n";
        let expected = [(1, "{\"a\":"), (2, "{\"b\":2}"), (3, "{\"c\":3}")];
        assert_eq!(frames(text), expected.map(|(line, text)| (line, text.to_owned())));
    }

    #[test]
    fn items_on_lines_of_their_own_outlive_the_document_that_one_of_them_breaks() {
        let read = frames("[\n{\"a\":1},\n{\"b\":NaN},\r\n{\"c\":[1,2]} ,\n{\"d\":4}\n]\n");
        let lines: Vec<&str> = read.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(lines, ["[", "{\"a\":1}", "{\"b\":NaN}", "{\"c\":[1,2]}", "{\"d\":4}", "]"]);
        assert_eq!(read[3].0, 4);
    }

    #[test]
    fn what_is_no_text_is_said_to_be_none() {
        let mut frames = Frames::new(&b"1\n\xff\xfe\n2"[..]);
        let lines: Vec<bool> = std::iter::from_fn(|| frames.next().unwrap()).map(|frame| frame.text.is_ok()).collect();
        assert_eq!(lines, [true, false, true]);
    }

    /// With lines of at most 20 bytes and files of documents of at most 60.
    fn of_small(text: impl AsRef<[u8]>) -> Vec<(usize, Result<String, String>)> {
        let mut frames = Frames::bounded(text.as_ref(), 20, 60);
        std::iter::from_fn(|| frames.next().unwrap()).map(|frame| (frame.line, frame.text)).collect()
    }

    #[test]
    fn a_line_that_is_too_long_costs_itself_and_no_more_memory_than_a_line_may_have() {
        let long = "x".repeat(1_000);
        let read = of_small(format!("{{\"a\":1}}\n{long}\n{{\"b\":2}}\n{{{long}"));
        assert_eq!(
            read.iter().map(|(line, text)| (*line, text.is_ok())).collect::<Vec<_>>(),
            [(1, true), (2, false), (3, true), (4, false)]
        );
        assert!(read[1].1.as_ref().unwrap_err().contains("more than 20 bytes"), "{read:?}");
        let first = of_small(format!("{{\"a\": \"{long}\"}}\n{{\"b\":2}}\n"));
        assert_eq!((first[0].1.is_ok(), &first[1]), (false, &(2, Ok("{\"b\":2}".to_owned()))));

        // A line without an end, as of /dev/zero: what is kept of it is what a line may have.
        struct Endless(u64, usize);
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let some = buffer.len().min(usize::try_from(self.0).unwrap_or(usize::MAX));
                buffer[..some].fill(0);
                self.0 -= some as u64;
                self.1 = self.1.max(buffer.len());
                Ok(some)
            }
        }
        let mut frames = Frames::bounded(io::BufReader::new(Endless(64 << 20, 0)), 1 << 16, 1 << 20);
        assert!(frames.next().unwrap().unwrap().text.is_err());
        assert_eq!(frames.next().unwrap(), None);
        assert!(frames.input.get_ref().1 <= 1 << 16);
    }

    #[test]
    fn a_document_that_is_too_large_is_refused_as_one_and_lines_behind_a_cut_off_first_one_are_kept() {
        let items = "  {\"a\": 1},\n".repeat(100);
        let document = of_small(format!("\n[\n{items}{{}}]\n"));
        assert_eq!((document.len(), document[0].0), (1, 2));
        assert!(document[0].1.as_ref().unwrap_err().contains("more than 60 bytes"), "{document:?}");

        let lines: String = (0..100).map(|n| format!("{{\"a\":{n}}}\n")).collect();
        for cut_off in ["{\"a\":", "[1,"] {
            let read = of_small(format!("{cut_off}\n{lines}"));
            assert_eq!(read.len(), 101, "{cut_off}");
            assert_eq!(read[0], (1, Ok(cut_off.to_owned())));
            for (n, line) in read[1..].iter().enumerate() {
                assert_eq!(*line, (n + 2, Ok(format!("{{\"a\":{n}}}"))), "none is lost where reading went on");
            }
        }
    }

    #[test]
    fn what_editors_and_shells_of_windows_write_is_read_or_named() {
        assert_eq!(frames("\u{feff}{\"a\":1}\r\n{\"b\":2}\r\n").len(), 2);
        assert_eq!(frames("\u{feff}{\"a\":1}\r\n")[0].1, "{\"a\":1}");
        let utf16: Vec<u8> = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let said = Frames::new(&utf16[..]).next().unwrap().unwrap().text.unwrap_err();
        assert!(said.contains("UTF-16") && said.contains("iconv"), "{said}");
        let said = Frames::new(&b"{\"a\":\"\xff\"}"[..]).next().unwrap().unwrap().text.unwrap_err();
        assert_eq!(said, "it is no UTF-8 at its byte 7");
    }
}
