//! An RGB picture in memory: rectangles, smooth lines, text in a built-in font, PNG out.
//!
//! The font is Noto Sans Mono (SIL Open Font License), rasterised in the crate
//! `noto-sans-mono-bitmap`, so that pictures look the same on every machine.

use std::path::Path;

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use crate::atomic::{AtomicError, write_atomic};

/// Red, green, blue, 0 to 255.
pub type Color = [u8; 3];

/// Height of a line of text in pixels.
pub const TEXT_HEIGHT: usize = 16;

/// Longest side of a picture in pixels; a sheet beyond it is a mistake, not a picture.
pub const MAX_SIDE: usize = 30_000;

/// An RGB picture, row-major, origin at the top left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<Color>,
}

/// Width of a text in pixels; the font is monospaced.
pub fn text_width(text: &str) -> usize {
    text.chars().count() * get_raster_width(FontWeight::Regular, RasterHeight::Size16)
}

impl Canvas {
    /// A picture of one colour.
    ///
    /// # Panics
    /// If a side is 0 or longer than [`MAX_SIDE`].
    pub fn new(width: usize, height: usize, color: Color) -> Self {
        let sides = 1..=MAX_SIDE;
        assert!(
            sides.contains(&width) && sides.contains(&height),
            "{width} x {height} pixels"
        );
        Self {
            width,
            height,
            pixels: vec![color; width * height],
        }
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Colour of a pixel; `None` outside.
    pub fn get(&self, x: usize, y: usize) -> Option<Color> {
        (x < self.width && y < self.height).then(|| self.pixels[y * self.width + x])
    }

    /// Sets a pixel; nothing happens outside.
    pub fn set(&mut self, x: usize, y: usize, color: Color) {
        if x < self.width && y < self.height {
            self.pixels[y * self.width + x] = color;
        }
    }

    /// Mixes a colour in with weight `alpha` in 0 to 1; nothing happens outside.
    pub fn blend(&mut self, x: usize, y: usize, color: Color, alpha: f64) {
        let Some(old) = self.get(x, y) else { return };
        let mix = |i: usize| {
            (f64::from(old[i]) + (f64::from(color[i]) - f64::from(old[i])) * alpha).round() as u8
        };
        self.set(x, y, [mix(0), mix(1), mix(2)]);
    }

    /// Fills a rectangle.
    pub fn fill(&mut self, x: usize, y: usize, width: usize, height: usize, color: Color) {
        for row in y..(y + height).min(self.height) {
            let end = (x + width).min(self.width);
            if x < end {
                self.pixels[row * self.width + x..row * self.width + end].fill(color);
            }
        }
    }

    /// A line of text with its top left corner at `(x, y)`. Characters that the font lacks are
    /// drawn as `?`.
    pub fn text(&mut self, x: usize, y: usize, text: &str, color: Color) {
        let mut left = x;
        for c in text.chars() {
            let glyph = get_raster(c, FontWeight::Regular, RasterHeight::Size16)
                .or_else(|| get_raster('?', FontWeight::Regular, RasterHeight::Size16));
            let Some(glyph) = glyph else { continue };
            for dy in 0..glyph.height() {
                for dx in 0..glyph.width() {
                    let weight = glyph.pixel(dx, dy).unwrap_or(0);
                    if weight > 0 {
                        self.blend(left + dx, y + dy, color, f64::from(weight) / 255.0);
                    }
                }
            }
            left += glyph.width();
        }
    }

    /// A straight line of the given thickness with smooth edges.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), thickness: f64, color: Color) {
        let reach = thickness / 2.0 + 1.0;
        let span = |a: f64, b: f64, size: usize| {
            let low = (a.min(b) - reach).max(0.0) as usize;
            let high = ((a.max(b) + reach).ceil().max(0.0) as usize).min(size);
            low..high
        };
        for y in span(from.1, to.1, self.height) {
            for x in span(from.0, to.0, self.width) {
                let distance = segment_distance((x as f64, y as f64), from, to);
                let cover = (thickness / 2.0 + 0.5 - distance).clamp(0.0, 1.0);
                if cover > 0.0 {
                    self.blend(x, y, color, cover);
                }
            }
        }
    }

    /// Copies another picture in with its top left corner at `(x, y)`.
    pub fn paste(&mut self, x: usize, y: usize, other: &Self) {
        for (row, line) in other.pixels.chunks_exact(other.width).enumerate() {
            for (column, &color) in line.iter().enumerate() {
                self.set(x + column, y + row, color);
            }
        }
    }

    /// The picture as PNG.
    pub fn to_png(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder
            .write_header()
            .expect("sizes are checked and memory is written");
        writer
            .write_image_data(self.pixels.as_flattened())
            .expect("as many bytes as pixels");
        writer.finish().expect("memory is written");
        bytes
    }

    /// Writes a PNG file, whole or not at all.
    ///
    /// # Errors
    /// [`AtomicError`] when the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), AtomicError> {
        write_atomic(path, &self.to_png())
    }
}

fn segment_distance(p: (f64, f64), a: (f64, f64), b: (f64, f64)) -> f64 {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let length = dx * dx + dy * dy;
    let along = if length > 0.0 {
        ((p.0 - a.0) * dx + (p.1 - a.1) * dy) / length
    } else {
        0.0
    };
    let t = along.clamp(0.0, 1.0);
    (p.0 - a.0 - t * dx).hypot(p.1 - a.1 - t * dy)
}
