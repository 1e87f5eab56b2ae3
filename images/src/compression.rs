//! Compressed streams, told apart by their first bytes.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// Zstandard, RFC 8878.
    Zstd,
    /// xz.
    Xz,
    /// bzip2.
    Bzip2,
}

/// What an xz stream may ask for: the largest dictionary there is, and the decoder. The kernel gives
/// only as much of it as is written to; `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = (4 << 30) + (64 << 20);

/// The same of zstd, as a power of two: `zstd --long=31`.
const ZSTD_WINDOW: u32 = 31;

impl Compression {
    /// Tells it by the first bytes.
    pub fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            // A frame that is to be skipped, as zstd:chunked and pzstd begin, has another number.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Compression::Bzip2,
            _ => Compression::None,
        }
    }
}

/// The stream as it was before it was compressed, and how it was.
///
/// # Errors
///
/// Fails as reading the first bytes fails.
pub fn decoder<'a>(
    stream: impl Read + Send + 'a,
) -> io::Result<(Compression, Box<dyn Read + Send + 'a>)> {
    // A chain of the first bytes and the rest: a pipe may give them one by one.
    let mut stream = BufReader::with_capacity(1 << 17, stream);
    let mut start = Vec::new();
    while start.len() < 6 {
        let more = match stream.fill_buf() {
            Ok(more) => more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let count = more.len().min(6 - start.len());
        if count == 0 {
            break;
        }
        start.extend_from_slice(&more[..count]);
        stream.consume(count);
    }
    let compression = Compression::of(&start);
    let whole = io::Cursor::new(start).chain(stream);
    let decoder: Box<dyn Read + Send + 'a> = match compression {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(Gzip { member: Some(GzDecoder::new(whole)) }),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(whole)?;
            decoder.window_log_max(ZSTD_WINDOW)?;
            Box::new(decoder)
        }
        Compression::Xz => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(whole, stream))
        }
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(whole)),
    };
    Ok((compression, decoder))
}

/// A gzip stream: members one after another, and zeros behind them, which gzip(1) and tar(1) pass over;
/// tapes and block devices end so.
struct Gzip<R> {
    /// The member that is read; nothing behind the last one.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(member) = &mut self.member else { return Ok(0) };
            let count = member.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let rest = self.member.take().map(GzDecoder::into_inner);
            if let Some(mut rest) = rest
                && has_another(&mut rest)?
            {
                self.member = Some(GzDecoder::new(rest));
            }
        }
    }
}

/// Whether a member follows; zeros are read to the end.
fn has_another(rest: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let more = match rest.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            more => more?,
        };
        let (count, zeros) = (more.len(), more.iter().take_while(|byte| **byte == 0).count());
        rest.consume(zeros);
        if zeros < count {
            return Ok(true);
        }
        if count == 0 {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Gives one byte at a time, as a slow pipe does.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(1);
            self.0.read(&mut buffer[..count])
        }
    }

    #[track_caller]
    fn reads(packed: &[u8], compression: Compression, wanted: &[u8]) {
        let (found, mut decoder) = decoder(Slow(packed)).unwrap();
        assert_eq!(found, compression);
        let mut text = Vec::new();
        decoder.read_to_end(&mut text).unwrap();
        assert_eq!(text, wanted);
    }

    #[test]
    fn every_compression_is_known_in_several_parts() {
        let text = b"some text, some text, some text".repeat(100);
        let twice = text.repeat(2);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let gzip = gzip.finish().unwrap();
        reads(&gzip.repeat(2), Compression::Gzip, &twice);
        reads(&[&gzip[..], &[0; 5000]].concat(), Compression::Gzip, &text);
        let zstd = zstd::encode_all(&text[..], 3).unwrap();
        reads(&zstd.repeat(2), Compression::Zstd, &twice);
        let mut long = zstd::Encoder::new(Vec::new(), 1).unwrap();
        long.window_log(30).unwrap();
        long.include_contentsize(false).unwrap();
        long.write_all(&text).unwrap();
        reads(&long.finish().unwrap(), Compression::Zstd, &text);
        let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2][..], &zstd].concat();
        reads(&skipped, Compression::Zstd, &text);
        let mut xz = Vec::new();
        liblzma::read::XzEncoder::new(&text[..], 1).read_to_end(&mut xz).unwrap();
        reads(&xz.repeat(2), Compression::Xz, &twice);
        let mut bzip2 = Vec::new();
        let level = bzip2::Compression::fast();
        bzip2::read::BzEncoder::new(&text[..], level).read_to_end(&mut bzip2).unwrap();
        reads(&bzip2.repeat(2), Compression::Bzip2, &twice);
        reads(&text, Compression::None, &text);
        reads(b"", Compression::None, b"");
    }
}
