//! Reader of stamps: files of [`super::StampWriter`], plain FITS images and cubes, `.npy` arrays, and the IDX
//! arrays of MNIST.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::npy::{NpyHeader, read_header};
use super::{INDEX_HDU, STAMPS_HDU, StampError};
use crate::fits::{FitsFile, HduKind, HduSelect, Header, split_name};
use crate::idx;
use crate::table::Table;

#[derive(Debug)]
enum Source {
    Fits {
        file: FitsFile,
        hdu: usize,
    },
    Npy {
        file: File,
        header: NpyHeader,
    },
    /// In memory.
    Idx(Vec<u8>),
}

/// An open file of stamps, read a few at a time.
///
/// An array of two axes is one stamp, of three `[N, height, width]`, of four
/// `[N, bands, height, width]`. The bytes of an IDX array are divided by 255.
#[derive(Debug)]
pub struct StampFile {
    path: PathBuf,
    source: Source,
    count: usize,
    bands: usize,
    height: usize,
    width: usize,
}

impl StampFile {
    /// Opens FITS (the HDU in brackets after its name, see [`split_name`], else the HDU `STAMPS`, else the first
    /// image), `.npy`, or IDX, plain or `.gz`.
    ///
    /// # Errors
    /// [`StampError`] when the file is none of them, is truncated, or holds no stamps.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StampError> {
        let (path, hdu) = split_name(path.as_ref());
        let path = &path;
        let mut magic = Vec::new();
        File::open(path)
            .and_then(|f| f.take(6).read_to_end(&mut magic))
            .map_err(|source| StampError::Io {
                path: path.into(),
                source,
            })?;
        let fits = !(magic == b"\x93NUMPY" || idx::is_idx(&magic));
        if !fits && hdu.is_some() {
            let problem = "it is not FITS: leave out the HDU in brackets";
            return Err(unreadable(path, problem.into()));
        }
        if magic == b"\x93NUMPY" {
            Self::open_npy(path)
        } else if idx::is_idx(&magic) {
            let array = idx::read(path).map_err(|e| unreadable(path, e.reason))?;
            let shape: Vec<u64> = array.shape.iter().map(|&n| n as u64).collect();
            Self::with_shape(path, &shape, Source::Idx(array.values))
        } else {
            Self::open_fits(path, hdu)
        }
    }

    fn open_fits(path: &Path, select: Option<HduSelect>) -> Result<Self, StampError> {
        let file = FitsFile::open(path)?;
        let hdu = match (select, file.find(STAMPS_HDU)) {
            (Some(select), _) => file.find(select)?,
            (None, Ok(hdu)) => hdu,
            (None, Err(_)) => file.find(HduSelect::FirstImage)?,
        };
        let HduKind::Image { axes, .. } = &hdu.kind else {
            return Err(unreadable(
                path,
                format!(
                    "HDU {} is not an image; the file has: {}",
                    hdu.label(),
                    file.list()
                ),
            ));
        };
        let shape: Vec<u64> = axes.iter().rev().copied().collect();
        let hdu = hdu.index;
        Self::with_shape(path, &shape, Source::Fits { file, hdu })
    }

    fn open_npy(path: &Path) -> Result<Self, StampError> {
        let io = |source| StampError::Io {
            path: path.into(),
            source,
        };
        let mut file = File::open(path).map_err(io)?;
        let available = file.metadata().map_err(io)?.len();
        let header = read_header(&mut file).map_err(|reason| unreadable(path, reason))?;
        let numbers = header.shape.iter().try_fold(1u64, |p, &a| p.checked_mul(a));
        let declared = numbers.and_then(|n| {
            n.checked_mul(header.size as u64)?
                .checked_add(header.data_start)
        });
        if declared.is_none_or(|d| d > available) {
            return Err(unreadable(
                path,
                format!(
                    "truncated: an array {:?} of {} bytes each does not fit in the {available} bytes of the file",
                    header.shape, header.size
                ),
            ));
        }
        let shape = header.shape.clone();
        Self::with_shape(path, &shape, Source::Npy { file, header })
    }

    fn with_shape(path: &Path, shape: &[u64], source: Source) -> Result<Self, StampError> {
        let [count, bands, height, width] = match *shape {
            [h, w] => [1, 1, h, w],
            [n, h, w] => [n, 1, h, w],
            [n, b, h, w] => [n, b, h, w],
            _ => [0; 4],
        };
        if [count, bands, height, width].contains(&0) {
            return Err(unreadable(
                path,
                format!(
                    "an array of shape {shape:?}: expected [height, width], [N, height, width] or [N, bands, height, width] with pixels"
                ),
            ));
        }
        let [count, bands, height, width] = [count, bands, height, width].map(|v| v as usize);
        Ok(Self {
            path: path.into(),
            source,
            count,
            bands,
            height,
            width,
        })
    }

    /// Number of stamps.
    pub fn count(&self) -> usize {
        self.count
    }

    /// `(bands, height, width)` of a stamp.
    pub fn shape(&self) -> (usize, usize, usize) {
        (self.bands, self.height, self.width)
    }

    /// Pixels of a stamp, all bands.
    pub fn stamp_len(&self) -> usize {
        self.bands * self.height * self.width
    }

    /// Header of the image HDU; `None` without FITS.
    pub fn header(&self) -> Option<&Header> {
        match &self.source {
            Source::Fits { file, hdu } => Some(&file.hdus()[*hdu].header),
            Source::Npy { .. } | Source::Idx(_) => None,
        }
    }

    /// Header of the primary HDU, where provenance stands; `None` without FITS.
    pub fn primary_header(&self) -> Option<&Header> {
        match &self.source {
            Source::Fits { file, .. } => Some(&file.hdus()[0].header),
            Source::Npy { .. } | Source::Idx(_) => None,
        }
    }

    /// The index table, if the file has one; a table of another length than the cube is an error.
    ///
    /// # Errors
    /// [`StampError::Table`] or [`StampError::Unreadable`].
    pub fn index(&self) -> Result<Option<Table>, StampError> {
        let Source::Fits { file, hdu } = &self.source else {
            return Ok(None);
        };
        // The table is of the stamps, not of another cube that was asked for.
        let other = file.find(STAMPS_HDU).is_ok_and(|own| own.index != *hdu);
        if other || file.find(INDEX_HDU).is_err() {
            return Ok(None);
        }
        let table = Table::open_hdu(&self.path, INDEX_HDU)?;
        match table.rows() {
            Some(rows) if rows != self.count as u64 => Err(unreadable(
                &self.path,
                format!(
                    "{} stamps but {rows} rows in {INDEX_HDU}: write the file again",
                    self.count
                ),
            )),
            _ => Ok(Some(table)),
        }
    }

    /// Fills `out` with whole stamps from `first` on, row-major `[bands, height, width]` each.
    ///
    /// # Errors
    /// [`StampError::Fits`] or [`StampError::Io`] when reading fails.
    ///
    /// # Panics
    /// If `out` is not a whole number of stamps or reaches past the last.
    pub fn read(&mut self, first: usize, out: &mut [f32]) -> Result<(), StampError> {
        let size = self.stamp_len();
        assert!(out.len().is_multiple_of(size), "whole stamps");
        assert!(
            first + out.len() / size <= self.count,
            "stamps past the last"
        );
        match &mut self.source {
            Source::Fits { file, hdu } => Ok(file.read_planes(*hdu, first * self.bands, out)?),
            Source::Npy { file, header } => {
                read_npy(file, header, first * size, out).map_err(|source| StampError::Io {
                    path: self.path.clone(),
                    source,
                })
            }
            Source::Idx(values) => {
                let from = &values[first * size..first * size + out.len()];
                for (out, &byte) in out.iter_mut().zip(from) {
                    *out = f32::from(byte) / 255.0;
                }
                Ok(())
            }
        }
    }
}

fn unreadable(path: &Path, reason: String) -> StampError {
    StampError::Unreadable {
        path: path.into(),
        reason,
    }
}

fn read_npy(
    file: &mut File,
    header: &NpyHeader,
    first: usize,
    out: &mut [f32],
) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(
        header.data_start + (first * header.size) as u64,
    ))?;
    let mut bytes = vec![0u8; header.size * out.len().min(1 << 16)];
    for values in out.chunks_mut(1 << 16) {
        let raw = &mut bytes[..values.len() * header.size];
        file.read_exact(raw)?;
        for (value, number) in values.iter_mut().zip(raw.chunks_exact_mut(header.size)) {
            if header.big_endian {
                number.reverse();
            }
            *value = match *number {
                [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
                [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]) as f32,
                _ => unreachable!("numbers of 4 or 8 bytes"),
            };
        }
    }
    Ok(())
}
