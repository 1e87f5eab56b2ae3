//! Decompression of single blocks, into buffers of a size that is known before.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use flate2::{Decompress, FlushDecompress, Status};
use liblzma::stream;
use zstd_safe::DCtx;

use crate::Flaw;

/// What an image's blocks are compressed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compressor {
    /// zlib streams; mksquashfs calls them gzip.
    Gzip,
    /// xz streams.
    Xz,
    /// LZO1X blocks.
    Lzo,
    /// lz4 blocks.
    Lz4,
    /// zstd frames.
    Zstd,
}

/// The memory that an xz stream may ask for: its dictionary is no larger than a block of 1 MiB,
/// the decoder adds less than as much.
const XZ_MEMORY: u64 = 8 << 20;

/// More decoders than this are not kept for the next block.
const KEPT: usize = 64;

impl Compressor {
    pub(crate) fn numbered(number: u16) -> Result<Self, Flaw> {
        match number {
            1 => Ok(Compressor::Gzip),
            2 => Err(Flaw::Compressor { name: "lzma" }),
            3 => Ok(Compressor::Lzo),
            4 => Ok(Compressor::Xz),
            5 => Ok(Compressor::Lz4),
            6 => Ok(Compressor::Zstd),
            _ => Err(Flaw::Unknown { what: "compression", value: number.into() }),
        }
    }
}

impl fmt::Display for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compressor::Gzip => "gzip",
            Compressor::Xz => "xz",
            Compressor::Lzo => "lzo",
            Compressor::Lz4 => "lz4",
            Compressor::Zstd => "zstd",
        })
    }
}

/// Decoders for as many threads as ever decompressed at once.
pub(crate) struct Decoders {
    compressor: Compressor,
    idle: Mutex<Vec<Decoder>>,
}

/// What a thread needs to decompress: a buffer for what is read, and the state of a decoder.
pub(crate) struct Decoder {
    input: Vec<u8>,
    state: State,
}

enum State {
    Gzip(Decompress),
    Zstd(DCtx<'static>),
    /// Nothing that could be used again.
    Fresh(Compressor),
}

impl Decoders {
    pub(crate) fn new(compressor: Compressor) -> Self {
        Decoders { compressor, idle: Mutex::new(Vec::new()) }
    }

    /// Lends a decoder.
    pub(crate) fn lend<T>(&self, work: impl FnOnce(&mut Decoder) -> T) -> T {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle().pop();
        let mut decoder = kept.unwrap_or_else(|| Decoder::new(self.compressor));
        let result = work(&mut decoder);
        let mut idle = idle();
        if idle.len() < KEPT {
            idle.push(decoder);
        }
        result
    }
}

impl Decoder {
    fn new(compressor: Compressor) -> Self {
        let state = match compressor {
            Compressor::Gzip => State::Gzip(Decompress::new(true)),
            Compressor::Zstd => State::Zstd(DCtx::create()),
            Compressor::Xz | Compressor::Lzo | Compressor::Lz4 => State::Fresh(compressor),
        };
        Decoder { input: Vec::new(), state }
    }

    /// A buffer for so many bytes that are to be decompressed.
    pub(crate) fn input(&mut self, size: usize) -> &mut [u8] {
        if self.input.len() < size {
            self.input.resize(size, 0);
        }
        &mut self.input[..size]
    }

    /// Decompresses so many bytes of the buffer; gives the number of bytes that came out, nothing
    /// if they are no block or more than fit.
    pub(crate) fn decompress(&mut self, size: usize, output: &mut [u8]) -> Option<usize> {
        let input = self.input.get(..size)?;
        match &mut self.state {
            State::Gzip(state) => {
                state.reset(true);
                let status = state.decompress(input, output, FlushDecompress::Finish).ok()?;
                (status == Status::StreamEnd).then(|| state.total_out() as usize)
            }
            State::Zstd(state) => state.decompress(output, input).ok(),
            State::Fresh(Compressor::Lz4) => lz4_flex::block::decompress_into(input, output).ok(),
            State::Fresh(Compressor::Lzo) => lzokay::decompress::decompress(input, output).ok(),
            State::Fresh(_) => {
                let mut state = stream::Stream::new_stream_decoder(XZ_MEMORY, 0).ok()?;
                let status = state.process(input, output, stream::Action::Finish).ok()?;
                (status == stream::Status::StreamEnd).then(|| state.total_out() as usize)
            }
        }
    }
}
