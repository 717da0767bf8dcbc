//! A sheet of the first stamps beside what was made of them.

use crate::failure::Failure;
use galgen_io::atomic::AtomicFile;
use galgen_io::sheet::{SheetOptions, Stretch, Tile, side_by_side};
use std::path::Path;

/// Stamps of a panel at most, and their pixels together.
const TILES: usize = 32;
const PIXELS: usize = 1 << 20;

/// Panels side by side, each with one tile for a stamp, plain images all.
pub struct Panels {
    file: AtomicFile,
    side: usize,
    titles: Vec<String>,
    /// The tiles of each panel.
    tiles: Vec<Vec<Vec<f32>>>,
    limit: usize,
}

impl Panels {
    /// Begins a sheet at `path`; fails if it cannot be written.
    pub fn create(path: &Path, side: usize, titles: &[&str]) -> Result<Self, Failure> {
        Ok(Panels {
            file: AtomicFile::create(path)?,
            side,
            titles: titles.iter().map(|t| t.to_string()).collect(),
            tiles: vec![Vec::new(); titles.len()],
            limit: (PIXELS / (side * side)).clamp(1, TILES),
        })
    }

    /// Adds a stamp while there is room: its tile of each panel.
    pub fn add(&mut self, tiles: &[&[f32]]) {
        if self.tiles[0].len() < self.limit {
            for (panel, tile) in self.tiles.iter_mut().zip(tiles) {
                panel.push(tile.to_vec());
            }
        }
    }

    /// Puts the sheet in place.
    pub fn finish(mut self, title: &str) -> Result<(), Failure> {
        let tile = |pixels| Tile {
            pixels,
            width: self.side,
            height: self.side,
            caption: String::new(),
        };
        let tiles: Vec<Vec<Tile>> = self
            .tiles
            .iter()
            .map(|panel| panel.iter().map(|pixels| tile(&pixels[..])).collect())
            .collect();
        let named = self.titles.iter().zip(&tiles);
        let panels: Vec<(&str, &[Tile])> = named.map(|(t, p)| (t.as_str(), &p[..])).collect();
        let options = SheetOptions {
            title: format!("{title}, first {}", tiles[0].len()),
            columns: 4,
            stretch: Stretch::PerTile,
            y_down: true,
            ..SheetOptions::default()
        };
        let png = side_by_side(&panels, &options).to_png();
        self.file.put(&png)?;
        self.file.commit()?;
        Ok(())
    }
}
