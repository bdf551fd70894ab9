//! Parts of an archive file, read at their place, and decompressed into a file without a name where they are packed.

use super::ImportError;
use crate::images::build::decompressor;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// First bytes of a packed file, and the program that unpacks it.
const PACKED: [(&[u8], &str); 4] = [
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
];

/// A range of a file.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    file: Arc<File>,
    start: u64,
    length: u64,
}

impl Blob {
    pub(super) fn of_file(file: File) -> Result<Self, ImportError> {
        let found = file
            .metadata()
            .map_err(ImportError::io("look at", "the archive"))?;
        if !found.is_file() {
            return Err(ImportError::Broken("it is not a regular file".to_owned()));
        }
        Ok(Self {
            file: Arc::new(file),
            start: 0,
            length: found.len(),
        })
    }

    /// A part of this part.
    pub(super) fn part(&self, start: u64, length: u64) -> Result<Self, ImportError> {
        let end = start.checked_add(length).filter(|end| *end <= self.length);
        end.map(|_| Self {
            file: self.file.clone(),
            start: self.start + start,
            length,
        })
        .ok_or_else(|| ImportError::Broken("it ends too early".to_owned()))
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn reader(&self) -> Reader {
        Reader {
            blob: self.clone(),
            at: 0,
        }
    }

    /// All of it, if it is small.
    pub(super) fn read_small(&self, most: u64) -> Result<Vec<u8>, ImportError> {
        if self.length > most {
            return Err(ImportError::Broken(format!(
                "a description in it is larger than {most} bytes"
            )));
        }
        let mut bytes = Vec::new();
        let read = self.reader().read_to_end(&mut bytes);
        read.map_err(ImportError::io("read", "the archive"))?;
        Ok(bytes)
    }

    /// SHA-256, as hexadecimal digits.
    pub(super) fn digest(&self) -> Result<String, ImportError> {
        let mut digest = Sha256::new();
        let mut reader = self.reader();
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = reader
                .read(&mut buffer)
                .map_err(ImportError::io("read", "the archive"))?;
            if count == 0 {
                break;
            }
            digest.update(&buffer[..count]);
        }
        let digest: [u8; 32] = digest.finalize().into();
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Itself, or what it is when it is unpacked. The file for that is made in `scratch`, has no name and is gone with the
    /// blob.
    pub(super) fn decompressed(&self, scratch: &Path, most: u64) -> Result<Self, ImportError> {
        let mut first = [0; 6];
        let known = self
            .reader()
            .read(&mut first)
            .map_err(ImportError::io("read", "the archive"))?;
        let packed = PACKED.iter().find(|(magic, _)| first[..known].starts_with(magic));
        let Some((_, tool)) = packed else {
            return Ok(self.clone());
        };
        let file = tempfile::tempfile_in(scratch).map_err(ImportError::io("make a file in", scratch))?;
        let length = self.unpack_into(&file, tool, most)?;
        Ok(Self {
            file: Arc::new(file),
            start: 0,
            length,
        })
    }

    fn unpack_into(&self, mut file: &File, tool: &'static str, most: u64) -> Result<u64, ImportError> {
        let failed = |error: io::Error| {
            if error.kind() == io::ErrorKind::NotFound {
                return ImportError::NoTool(tool);
            }
            ImportError::io("unpack", "the archive")(error)
        };
        let mut child = decompressor(tool).map_err(failed)?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(mut input), Some(output)) = (input, output) else {
            return Err(ImportError::Broken(format!("{tool} has no input")));
        };
        let copied = std::thread::scope(|scope| {
            let mut packed = self.reader();
            // Ends with an error when the program is gone, which its status tells better.
            scope.spawn(move || drop(io::copy(&mut packed, &mut input)));
            let copied = io::copy(&mut output.take(most.saturating_add(1)), &mut file);
            if copied.as_ref().is_ok_and(|copied| *copied > most) {
                child.kill().ok();
            }
            copied
        });
        let status = child.wait().map_err(failed)?;
        let copied = copied.map_err(ImportError::io("write", "a layer"))?;
        if copied > most {
            return Err(ImportError::TooLarge { most, what: "bytes" });
        }
        if !status.success() {
            return Err(ImportError::Broken(format!("{tool} cannot unpack it ({status})")));
        }
        file.flush().map_err(ImportError::io("write", "a layer"))?;
        Ok(copied)
    }
}

/// Reads a blob without moving anybody else's place in the file.
#[derive(Debug)]
pub(super) struct Reader {
    blob: Blob,
    at: u64,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.blob.length.saturating_sub(self.at);
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self
            .blob
            .file
            .read_at(&mut buffer[..most], self.blob.start + self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.blob.length.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
