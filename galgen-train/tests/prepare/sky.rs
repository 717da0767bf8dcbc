//! Galaxies whose truth is known, as pixels and files, and measurements that share nothing with the
//! project's own.

use galgen_core::rng::{Philox, Stream};
use std::path::Path;

/// Surface brightness along the radius.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Light {
    Exponential,
    Gaussian,
}

impl Light {
    /// Relative to the centre, at `r` half-light radii.
    fn at(self, r: f64) -> f64 {
        match self {
            Light::Exponential => (-1.678_346_99 * r).exp(),
            Light::Gaussian => (-r * r * 2f64.ln()).exp(),
        }
    }
}

/// An elliptical source: semi-major half-light radius in pixels, angle in degrees from +x to +y,
/// offset from the picture's centre.
#[derive(Clone, Copy, Debug)]
pub struct Blob {
    pub light: Light,
    pub q: f64,
    pub pa: f64,
    pub hlr: f64,
    pub dx: f64,
    pub dy: f64,
    pub peak: f64,
}

/// A picture.
pub struct Scene {
    pub width: usize,
    pub height: usize,
    pub blobs: Vec<Blob>,
    pub sky: f64,
    pub noise: f64,
}

/// Parts per axis of a pixel over which light is averaged.
const PARTS: usize = 4;

impl Scene {
    /// Pixels, row 0 lowest.
    pub fn pixels(&self, seed: u64) -> Vec<f32> {
        let mut rng = Philox::new(seed, 7, Stream::Noise);
        let (cx, cy) = (
            (self.width as f64 - 1.0) / 2.0,
            (self.height as f64 - 1.0) / 2.0,
        );
        let mut pixels = Vec::with_capacity(self.width * self.height);
        for k in 0..self.width * self.height {
            let (x, y) = ((k % self.width) as f64 - cx, (k / self.width) as f64 - cy);
            let mut value = self.sky + self.noise * rng.normal();
            for blob in &self.blobs {
                let (sin, cos) = blob.pa.to_radians().sin_cos();
                let light = parts().map(|(ox, oy)| {
                    let (u, v) = (x + ox - blob.dx, y + oy - blob.dy);
                    let (a, b) = (u * cos + v * sin, v * cos - u * sin);
                    blob.light.at(a.hypot(b / blob.q) / blob.hlr)
                });
                value += blob.peak * light.sum::<f64>() / (PARTS * PARTS) as f64;
            }
            pixels.push(value as f32);
        }
        pixels
    }

    /// An 8-bit grey PNG, its first row on top.
    pub fn save_png(&self, path: &Path, seed: u64) {
        let pixels = self.pixels(seed);
        let image = image::GrayImage::from_fn(self.width as u32, self.height as u32, |x, y| {
            let row = self.height - 1 - y as usize;
            let value = pixels[row * self.width + x as usize];
            image::Luma([value.round().clamp(0.0, 255.0) as u8])
        });
        image.save(path).expect("a PNG file");
    }
}

/// Offsets of the parts of a pixel from its centre.
fn parts() -> impl Iterator<Item = (f64, f64)> {
    let at = |i: usize| (i as f64 + 0.5) / PARTS as f64 - 0.5;
    (0..PARTS * PARTS).map(move |k| (at(k % PARTS), at(k / PARTS)))
}

/// Radii that hold `fractions` of the light of elliptical parts `(radius, light)`.
fn radii(mut parts: Vec<(f64, f64)>, fractions: &[f64]) -> Vec<f64> {
    parts.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total: f64 = parts.iter().map(|p| p.1).sum();
    let one = |fraction: &f64| {
        let mut sum = 0.0;
        let mut reached = parts.iter().find(|p| {
            sum += p.1;
            sum >= fraction * total
        });
        reached.take().expect("all the light").0
    };
    fractions.iter().map(one).collect()
}

/// (elliptical radius, light) of the parts of every pixel of a stamp, major axis along x.
fn stamp_parts(stamp: &[f64], side: usize, q: f64) -> Vec<(f64, f64)> {
    let centre = (side as f64 - 1.0) / 2.0;
    let mut out = Vec::with_capacity(stamp.len() * PARTS * PARTS);
    for (k, value) in stamp.iter().enumerate() {
        let (x, y) = ((k % side) as f64 - centre, (k / side) as f64 - centre);
        out.extend(parts().map(|(ox, oy)| ((x + ox).hypot((y + oy) / q), *value)));
    }
    out
}

/// Semi-major half-light radius of a stamp in pixels, by sorting parts of pixels by radius.
pub fn half_light_radius(stamp: &[f64], side: usize, q: f64) -> f64 {
    radii(stamp_parts(stamp, side, q), &[0.5])[0]
}

/// Angle in degrees of the major axis, from second moments under a round Gaussian weight.
pub fn position_angle(stamp: &[f64], side: usize, weight: f64) -> f64 {
    let centre = (side as f64 - 1.0) / 2.0;
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (k, value) in stamp.iter().enumerate() {
        let (x, y) = ((k % side) as f64 - centre, (k / side) as f64 - centre);
        let w = value * (-0.5 * (x * x + y * y) / (weight * weight)).exp();
        (xx, xy, yy) = (xx + w * x * x, xy + w * x * y, yy + w * y * y);
    }
    0.5 * (2.0 * xy).atan2(xx - yy).to_degrees()
}

/// 5 log10(r80 / r20) of a perfect stamp: the profile under the border window, its size chosen so that
/// half of what is left lies within `hlr` pixels.
pub fn concentration(light: Light, q: f64, side: usize, hlr: f64) -> f64 {
    let centre = (side as f64 - 1.0) / 2.0;
    let window = galgen_core::stamp::window(side);
    let draw = |size: f64| -> Vec<(f64, f64)> {
        let stamp: Vec<f64> = (0..side * side)
            .map(|k| {
                let (x, y) = ((k % side) as f64 - centre, (k / side) as f64 - centre);
                let light: f64 = parts()
                    .map(|(ox, oy)| light.at((x + ox).hypot((y + oy) / q) / size))
                    .sum();
                light * f64::from(window[k])
            })
            .collect();
        stamp_parts(&stamp, side, q)
    };
    let mut size = hlr;
    for _ in 0..4 {
        size *= hlr / radii(draw(size), &[0.5])[0];
    }
    let r = radii(draw(size), &[0.2, 0.8]);
    5.0 * (r[1] / r[0]).log10()
}

/// A header of 80-character cards, padded to blocks of 2880 bytes.
fn header(cards: &[String]) -> Vec<u8> {
    let mut text: String = cards.iter().map(|c| format!("{c:<80}")).collect();
    text += &format!("{:<80}", "END");
    let length = text.len().next_multiple_of(2880);
    format!("{text:<length$}").into_bytes()
}

fn card(keyword: &str, value: impl std::fmt::Display) -> String {
    format!("{keyword:<8}= {:>20}", value.to_string())
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(2880), 0);
    bytes
}

/// A FITS file with one primary image of 32-bit reals, axes as FITS counts them: the fastest first.
pub fn write_fits(path: &Path, axes: &[usize], pixels: &[f32]) {
    let mut cards = vec![
        card("SIMPLE", "T"),
        card("BITPIX", -32),
        card("NAXIS", axes.len()),
    ];
    cards.extend(
        axes.iter()
            .enumerate()
            .map(|(i, n)| card(&format!("NAXIS{}", i + 1), n)),
    );
    let data = pixels.iter().flat_map(|v| v.to_be_bytes()).collect();
    std::fs::write(path, [header(&cards), padded(data)].concat()).expect("a FITS file");
}

/// A FITS file with nothing but a table of one column and two rows.
pub fn write_table(path: &Path) {
    let primary = [card("SIMPLE", "T"), card("BITPIX", 8), card("NAXIS", 0)];
    let table = [
        "XTENSION= 'BINTABLE'".to_string(),
        card("BITPIX", 8),
        card("NAXIS", 2),
        card("NAXIS1", 4),
        card("NAXIS2", 2),
        card("PCOUNT", 0),
        card("GCOUNT", 1),
        card("TFIELDS", 1),
        "TTYPE1  = 'MAG     '".to_string(),
        "TFORM1  = 'E       '".to_string(),
    ];
    let data = [20f32, 21.0].iter().flat_map(|v| v.to_be_bytes()).collect();
    let bytes = [header(&primary), header(&table), padded(data)].concat();
    std::fs::write(path, bytes).expect("a FITS file");
}
