//! Contact sheets: a grid of stamps, light galaxies on dark ground.
//!
//! The asinh stretch (Lupton et al. 1999, 2004) is linear for faint pixels and logarithmic for
//! bright ones, so cores and outer arms are seen together.

use crate::canvas::{Canvas, Color, TEXT_HEIGHT, text_width};

const GROUND: Color = [16, 17, 20];
const LETTERS: Color = [205, 208, 214];
/// Pixels between tiles.
const GAP: usize = 3;
/// Tiles are enlarged by a whole factor to at least this side.
const TILE_SIDE: usize = 96;
/// Least softening of the stretch, in units of the white level.
const SOFTENING: f64 = 0.02;
/// Softening in units of the noise of a pixel, where that is more: sky noise then stays dark.
const SOFTENING_NOISE: f64 = 2.0;
/// Share of the pixels of a tile below its white level.
const WHITE_QUANTILE: f64 = 0.999;

/// One stamp of a sheet.
#[derive(Debug, Clone)]
pub struct Tile<'a> {
    /// Row-major `[bands, height, width]`; the number of bands follows from the length. Three bands
    /// are shown as red, green, blue; of any other number the sum.
    pub pixels: &'a [f32],
    /// Pixels of a row.
    pub width: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Text below the tile, cut at its width; empty for none.
    pub caption: String,
}

/// Whether tiles can be compared in brightness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stretch {
    /// Every tile has its own white level.
    #[default]
    PerTile,
    /// One white level, the median of the tiles' own.
    Shared,
}

/// How a sheet looks.
#[derive(Debug, Clone, Default)]
pub struct SheetOptions {
    /// Tiles in a row; 0 chooses a grid about as wide as high.
    pub columns: usize,
    /// Whole factor of enlargement; 0 chooses one for tiles of at least 96 pixels.
    pub enlarge: usize,
    /// Brightness of the tiles.
    pub stretch: Stretch,
    /// Text above the sheet; empty for none.
    pub title: String,
    /// Row 0 of a stamp at the top, as in photographs. By default it is at the bottom, so that
    /// angles run counter-clockwise from +x as position angles do.
    pub y_down: bool,
}

/// The two levels of the asinh stretch, in units of the pixels.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Levels {
    /// Shown as full brightness; 0 for a tile without light.
    white: f64,
    /// Linear below, logarithmic above.
    soft: f64,
}

impl Levels {
    /// A high quantile of the finite pixels is white, so that one hot pixel does not darken the
    /// rest; noise is measured on differences of neighbours, where galaxies are smooth.
    fn of(values: &[f32]) -> Self {
        let white = quantile(values.to_vec(), WHITE_QUANTILE).max(0.0);
        let steps = values.windows(2).map(|w| (w[1] - w[0]).abs()).collect();
        // The median of |a - b| of two normal variables is 0.954 sigma.
        let noise = quantile(steps, 0.5) / 0.954;
        Self {
            white,
            soft: (SOFTENING * white).max(SOFTENING_NOISE * noise),
        }
    }

    /// Brightness in 0 to 1 of a pixel value; what is not finite or below 0 is black.
    fn brightness(self, value: f64) -> f64 {
        if !value.is_finite() || value <= 0.0 || self.white <= 0.0 {
            return 0.0;
        }
        ((value / self.soft).asinh() / (self.white / self.soft).asinh()).min(1.0)
    }
}

/// Quantile of the finite values; 0 if there are none.
fn quantile(mut values: Vec<f32>, share: f64) -> f64 {
    values.retain(|v| v.is_finite());
    if values.is_empty() {
        return 0.0;
    }
    let at = ((values.len() - 1) as f64 * share).round() as usize;
    f64::from(*values.select_nth_unstable_by(at, f32::total_cmp).1)
}

impl Tile<'_> {
    fn bands(&self) -> usize {
        let size = self.width * self.height;
        assert!(
            size > 0 && self.pixels.len().is_multiple_of(size),
            "pixels of a tile"
        );
        self.pixels.len() / size
    }

    /// Mean over the bands, `[height, width]`.
    fn intensity(&self) -> Vec<f32> {
        let (size, bands) = (self.width * self.height, self.bands());
        (0..size)
            .map(|i| {
                (0..bands).map(|b| self.pixels[b * size + i]).sum::<f32>() / bands.max(1) as f32
            })
            .collect()
    }

    /// The tile enlarged, as a picture of its own.
    fn draw(&self, enlarge: usize, levels: Levels, y_down: bool) -> Canvas {
        let mut canvas = Canvas::new(self.width * enlarge, self.height * enlarge, GROUND);
        let size = self.width * self.height;
        let color = self.bands() == 3;
        for (i, mean) in self.intensity().into_iter().map(f64::from).enumerate() {
            let bright = levels.brightness(mean);
            let level = |share: f64| (255.0 * (bright * share).clamp(0.0, 1.0)).round() as u8;
            let rgb = if color && mean > 0.0 {
                // The stretch is that of the mean: hues keep their ratios.
                [0, 1, 2].map(|b| level(f64::from(self.pixels[b * size + i]) / mean))
            } else {
                [level(1.0); 3]
            };
            let (x, row) = (i % self.width, i / self.width);
            let y = if y_down { row } else { self.height - 1 - row };
            canvas.fill(x * enlarge, y * enlarge, enlarge, enlarge, rgb);
        }
        canvas
    }
}

/// Draws the tiles row by row, the first at the top left. Tiles smaller than the largest are
/// enlarged by their own whole factor to fill their cell.
///
/// # Panics
/// If a tile's pixels are not a whole number of bands, or the sheet grows beyond
/// [`crate::canvas::MAX_SIDE`].
pub fn sheet(tiles: &[Tile], options: &SheetOptions) -> Canvas {
    let levels: Vec<Levels> = tiles.iter().map(|t| Levels::of(&t.intensity())).collect();
    draw_sheet(tiles, &shared(levels, options.stretch), options)
}

/// Sheets side by side under their titles, for example real and generated galaxies. A shared stretch is
/// shared by all of them.
///
/// # Panics
/// As [`sheet`].
pub fn side_by_side(panels: &[(&str, &[Tile])], options: &SheetOptions) -> Canvas {
    let all = panels.iter().flat_map(|(_, tiles)| *tiles);
    let levels = shared(
        all.map(|t| Levels::of(&t.intensity())).collect(),
        options.stretch,
    );
    let mut first = 0;
    let mut draw = |&(title, tiles): &(&str, &[Tile])| {
        let own = &levels[first..first + tiles.len()];
        first += tiles.len();
        let options = SheetOptions {
            title: title.into(),
            ..options.clone()
        };
        draw_sheet(tiles, own, &options)
    };
    let sheets: Vec<Canvas> = panels.iter().map(&mut draw).collect();
    let top = if options.title.is_empty() {
        0
    } else {
        TEXT_HEIGHT + 2 * GAP
    };
    let gutter = 8 * GAP;
    let widths = sheets.iter().map(|s| s.width() + gutter).sum::<usize>();
    let width = widths.max(text_width(&options.title) + 4 * GAP + gutter) - gutter;
    let height = sheets.iter().map(Canvas::height).max().unwrap_or(1);
    let mut canvas = Canvas::new(width, top + height, GROUND);
    canvas.text(2 * GAP, 2 * GAP, &options.title, LETTERS);
    let mut left = 0;
    for sheet in &sheets {
        canvas.paste(left, top, sheet);
        left += sheet.width() + gutter;
    }
    canvas
}

/// Every tile's own levels, or the medians for all.
fn shared(own: Vec<Levels>, stretch: Stretch) -> Vec<Levels> {
    if stretch == Stretch::PerTile || own.is_empty() {
        return own;
    }
    let median = |pick: fn(&Levels) -> f64| {
        let mut values: Vec<f64> = own.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    vec![
        Levels {
            white: median(|l| l.white),
            soft: median(|l| l.soft)
        };
        own.len()
    ]
}

fn draw_sheet(tiles: &[Tile], levels: &[Levels], options: &SheetOptions) -> Canvas {
    let width = tiles.iter().map(|t| t.width).max().unwrap_or(1);
    let height = tiles.iter().map(|t| t.height).max().unwrap_or(1);
    let enlarge = match options.enlarge {
        0 => TILE_SIDE.div_ceil(width.max(height)),
        factor => factor,
    };
    let columns = match options.columns {
        0 => (tiles.len() as f64).sqrt().ceil().max(1.0) as usize,
        n => n.min(tiles.len().max(1)),
    };
    let captions = tiles.iter().any(|t| !t.caption.is_empty());
    let cell_width = width * enlarge + GAP;
    let cell_height = height * enlarge + GAP + if captions { TEXT_HEIGHT } else { 0 };
    let rows = tiles.len().div_ceil(columns).max(1);
    let top = GAP
        + if options.title.is_empty() {
            0
        } else {
            TEXT_HEIGHT + 2 * GAP
        };
    let full_width = (GAP + columns * cell_width).max(text_width(&options.title) + 4 * GAP);
    let mut canvas = Canvas::new(full_width, top + rows * cell_height, GROUND);
    canvas.text(2 * GAP, GAP + 1, &options.title, LETTERS);
    for (i, (tile, &level)) in tiles.iter().zip(levels).enumerate() {
        let (x, y) = (
            GAP + i % columns * cell_width,
            top + i / columns * cell_height,
        );
        let factor = (width * enlarge / tile.width).min(height * enlarge / tile.height);
        let picture = tile.draw(factor, level, options.y_down);
        let inset = |cell: usize, own: usize| (cell * enlarge - own) / 2;
        let corner = (
            x + inset(width, picture.width()),
            y + inset(height, picture.height()),
        );
        canvas.paste(corner.0, corner.1, &picture);
        let fits = width * enlarge / text_width("x");
        let caption: String = tile.caption.chars().take(fits).collect();
        canvas.text(x, y + height * enlarge, &caption, LETTERS);
    }
    canvas
}

#[cfg(test)]
mod tests;
