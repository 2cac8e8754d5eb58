//! Files that are packed with gzip, told by their first bytes, and unpacked while they are read.
//!
//! Must hold: nothing is unpacked into memory or onto disk as a whole; what unpacks to far more than logs do is read no further.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;

/// Bytes that any file may unpack to.
const ANY: u64 = 64 << 20;
/// Beyond these: times its own size. Logs have some twenty, and gzip knows no more than a thousand.
const TIMES: u64 = 250;

/// Reads a file as it is, or unpacked.
///
/// # Errors
/// When its first bytes cannot be read.
pub(super) fn reader(mut input: Box<dyn Read + Send>) -> io::Result<Box<dyn BufRead + Send>> {
    let mut head = Vec::with_capacity(2);
    input.by_ref().take(2).read_to_end(&mut head)?;
    let is_gzip = head == [0x1f, 0x8b];
    let whole = Cursor::new(head).chain(input);
    Ok(match is_gzip {
        false => Box::new(BufReader::new(whole)),
        true => Box::new(BufReader::new(Unpacked {
            decoder: MultiGzDecoder::new(Counted { input: whole, count: 0 }),
            count: 0,
        })),
    })
}

struct Counted<R> {
    input: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.count += read as u64;
        Ok(read)
    }
}

struct Unpacked<R: Read> {
    decoder: MultiGzDecoder<Counted<R>>,
    count: u64,
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(buffer).map_err(|error| {
            let kind = error.kind();
            io::Error::new(kind, format!("what is packed with gzip is broken or cut off there ({error})"))
        })?;
        self.count += read as u64;
        let packed = self.decoder.get_ref().count;
        if self.count > ANY && self.count / TIMES > packed {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it unpacks to more than {TIMES} times its size; unpack it with gunzip and look at what it is"),
            ));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn packed(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// What is read of a file, and what ends it, if it is not its end.
    fn read(bytes: Vec<u8>) -> (u64, Option<String>) {
        let mut input = reader(Box::new(Cursor::new(bytes))).unwrap();
        let mut count = 0;
        let mut buffer = vec![0; 1 << 16];
        loop {
            match input.read(&mut buffer) {
                Ok(0) => return (count, None),
                Ok(some) => count += some as u64,
                Err(error) => return (count, Some(error.to_string())),
            }
        }
    }

    #[test]
    fn files_are_read_as_they_are_or_unpacked_also_when_several_were_joined() {
        assert_eq!(read(b"{}".to_vec()), (2, None));
        assert_eq!(read(b"{".to_vec()), (1, None));
        assert_eq!(read(Vec::new()), (0, None));
        let twice = [packed(b"one\n"), packed(b"two\n")].concat();
        assert_eq!(read(twice), (8, None));
    }

    #[test]
    fn a_bomb_is_read_no_further_than_it_is_known_to_be_one() {
        let part = packed(&vec![0; 8 << 20]);
        let (count, said) = read(part.repeat(50));
        assert!(said.unwrap().contains("250 times its size"));
        assert!(count <= ANY + (1 << 16), "{count}");
        assert_eq!(read(part.repeat(8)), (64 << 20, None), "as much as any file may");
    }

    #[test]
    fn what_is_broken_is_read_up_to_there() {
        let whole = packed("a line of a log\n".repeat(10_000).as_bytes());
        let (count, said) = read(whole[..whole.len() - 9].to_vec());
        assert!(count > 0 && said.unwrap().contains("cut off"), "{count}");
        assert!(read(vec![0x1f, 0x8b, 7, 7, 7]).1.is_some());
    }
}
