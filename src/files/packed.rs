//! What is packed, as it was before: the layers of images.
//!
//! How something is packed is told by its first bytes, as containerd does, and not by what somebody
//! says of it: registries and tools that pack anew leave the old media type.

use std::io::{self, BufRead, Read, Take};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::FrameDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, DEFAULT_MAX_WINDOW_SIZE};

/// How something is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// RFC 1952, several members one after the other included.
    Gzip,
    /// RFC 8878, several frames one after the other included, and what is to be skipped.
    Zstd,
}

impl Packing {
    /// As the first bytes tell.
    #[must_use]
    pub const fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

/// What comes out of a reader that is packed in one of the ways that are known, or in none.
pub fn unpacked<'a>(mut packed: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match Packing::of(packed.fill_buf()?) {
        Packing::Plain => Box::new(packed),
        Packing::Gzip => Box::new(MultiGzDecoder::new(packed)),
        Packing::Zstd => Box::new(Frames::new(packed)),
    })
}

/// The content of zstd's frames. One that wants a larger window than zstd itself takes is refused:
/// it would want as much memory.
struct Frames<R> {
    packed: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> Frames<R> {
    fn new(packed: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(DEFAULT_MAX_WINDOW_SIZE);
        Self {
            packed,
            decoder,
            in_frame: false,
        }
    }

    /// Goes to the next frame with content; false at the end.
    fn next(&mut self) -> io::Result<bool> {
        while !self.packed.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.packed) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => skip((&mut self.packed).take(length.into()))?,
                Err(error) => return Err(broken(&error)),
            }
        }
        Ok(false)
    }

    /// Ends a frame whose content was read.
    fn end(&mut self) -> io::Result<()> {
        self.in_frame = false;
        let said = self.decoder.get_checksum_from_data();
        if said.is_some() && said != self.decoder.get_calculated_checksum() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "zstd: its checksum is another one",
            ));
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !buffer.is_empty() {
            if !self.in_frame {
                if !self.next()? {
                    return Ok(0);
                }
                self.in_frame = true;
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                let decoded = self.decoder.decode_blocks(&mut self.packed, one);
                decoded.map_err(|error| broken(&error))?;
            }

            let count = self.decoder.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            self.end()?;
        }
        Ok(0)
    }
}

fn broken(error: &FrameDecoderError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("zstd: {error}"))
}

/// Reads to the end of what is to be skipped.
fn skip<R: Read>(mut what: Take<R>) -> io::Result<()> {
    io::copy(&mut what, &mut io::sink())?;
    if what.limit() > 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    fn all(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        unpacked(packed)?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    #[test]
    fn what_comes_out_is_what_was_put_in_however_it_is_packed() {
        let text = "one layer of many words, ".repeat(40_000).into_bytes();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&text).expect("packed");
        let gzip = gzip.finish().expect("packed");
        let skipped = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"any"].concat();
        let two = [&zstd(&text[..5])[..], &skipped, &zstd(&text[5..]), &skipped].concat();

        for packed in [
            &text,
            &gzip,
            &zstd(&text),
            &two,
            &[&skipped[..], &two].concat(),
        ] {
            assert!(all(packed).expect("it can be read") == text);
        }
        assert_eq!(all(b"").expect("nothing"), b"");
        assert_eq!(all(&zstd(b"")).expect("nothing"), b"");
    }

    #[test]
    fn what_is_cut_off_or_changed_is_an_error() {
        let text = (0..100_000_u32)
            .flat_map(u32::to_le_bytes)
            .collect::<Vec<_>>();
        let whole = zstd(&text);
        for end in [3, 5, 9, whole.len() / 2, whole.len() - 1] {
            let cut = all(&whole[..end]);
            assert!(end == 3 || cut.is_err(), "{end} bytes of it");
        }
        let mut other = whole.clone();
        *other.last_mut().expect("a checksum") ^= 1;
        assert!(all(&other).is_err());
        assert!(all(&[&whole[..], &[0x5a, 0x2a, 0x4d, 0x18, 9, 0, 0, 0, 1]].concat()).is_err());
    }

    /// A frame may say that it wants 3.75 TiB.
    #[test]
    fn a_frame_that_wants_all_memory_is_refused() {
        let greedy = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf7, 0x01, 0x00, 0x00];
        let error = all(&greedy).expect_err("refused");
        assert!(error.to_string().contains("zstd"), "{error}");
    }
}
