//! The contact sheet of the first stamps.

use crate::failure::Failure;
use galgen_io::atomic::AtomicFile;
use galgen_io::sheet::{SheetOptions, Tile, sheet};
use std::path::Path;

/// Stamps on a sheet at most.
const TILES: usize = 100;
/// Pixels of all tiles together at most, so that a sheet of large images stays a picture.
const PIXELS: usize = 4 << 20;

/// Collects stamps while they are drawn.
pub struct Picture {
    file: AtomicFile,
    width: usize,
    height: usize,
    /// As in photographs: for plain images.
    y_down: bool,
    limit: usize,
    stamps: Vec<(String, Vec<f32>)>,
}

impl Picture {
    /// Begins a sheet at `path` of stamps of `height x width` pixels, the first row at
    /// the top if `y_down`. Fails if it cannot be written.
    pub fn create(path: &Path, height: usize, width: usize, y_down: bool) -> Result<Self, Failure> {
        let limit = (PIXELS / (height * width)).clamp(1, TILES);
        let file = AtomicFile::create(path)?;
        Ok(Self {
            file,
            width,
            height,
            y_down,
            limit,
            stamps: Vec::new(),
        })
    }

    /// Adds a stamp while there is room.
    pub fn add(&mut self, caption: impl FnOnce() -> String, stamp: &[f32]) {
        if self.stamps.len() < self.limit {
            self.stamps.push((caption(), stamp.to_vec()));
        }
    }

    /// Draws the sheet; it appears with [`AtomicFile::commit`] of the result.
    pub fn draw(mut self, title: &str, of: u64) -> Result<AtomicFile, Failure> {
        let tiles: Vec<Tile> = self
            .stamps
            .iter()
            .map(|(caption, pixels)| Tile {
                pixels,
                width: self.width,
                height: self.height,
                caption: caption.clone(),
            })
            .collect();
        let title = format!("{title}, first {} of {of}", tiles.len());
        let options = SheetOptions {
            title,
            y_down: self.y_down,
            ..SheetOptions::default()
        };
        self.file.put(&sheet(&tiles, &options).to_png())?;
        Ok(self.file)
    }
}
