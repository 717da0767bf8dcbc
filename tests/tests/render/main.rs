//! The renderer against GalSim's images (`goldens/render.py`), and the laws it obeys.

mod galsim;
mod laws;

use galgen_core::rng::{Philox, Stream};
use galgen_infer::render::{
    Affine, Grid, Lens, NativeFrame, Psf, PsfCentre, RenderError, Renderer,
};

/// An image and its shape. // (height, width)
struct Image {
    values: Vec<f32>,
    width: usize,
    height: usize,
}

/// One tensor of the golden file.
fn golden(name: &str) -> Image {
    let file = include_bytes!("../../goldens/render.safetensors");
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let entry = &header[name];
    let number = |v: &serde_json::Value| v.as_u64().unwrap() as usize;
    let [from, to] = [0, 1].map(|i| 8 + length + number(&entry["data_offsets"][i]));
    let values = file[from..to]
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect();
    Image {
        values,
        width: number(&entry["shape"][1]),
        height: number(&entry["shape"][0]),
    }
}

fn sum(image: &[f32]) -> f64 {
    image.iter().map(|&v| f64::from(v)).sum()
}

/// Flux, centroid `[x, y]` from the geometric centre, and second moments `[xx, xy, yy]`, in pixels.
fn moments(image: &[f32], width: usize) -> (f64, [f64; 2], [f64; 3]) {
    let height = image.len() / width;
    let (mx, my) = ((width as f64 - 1.0) / 2.0, (height as f64 - 1.0) / 2.0);
    let mut s = [0.0; 6];
    for (i, &v) in image.iter().enumerate() {
        let (x, y, v) = (
            (i % width) as f64 - mx,
            (i / width) as f64 - my,
            f64::from(v),
        );
        for (sum, term) in s.iter_mut().zip([1.0, x, y, x * x, x * y, y * y]) {
            *sum += v * term;
        }
    }
    let [cx, cy] = [s[1] / s[0], s[2] / s[0]];
    (
        s[0],
        [cx, cy],
        [
            s[3] / s[0] - cx * cx,
            s[4] / s[0] - cx * cy,
            s[5] / s[0] - cy * cy,
        ],
    )
}

/// `A M A^T` of symmetric second moments.
fn transformed([a, b, c, d]: [f64; 4], [xx, xy, yy]: [f64; 3]) -> [f64; 3] {
    [
        a * a * xx + 2.0 * a * b * xy + b * b * yy,
        a * c * xx + (a * d + b * c) * xy + b * d * yy,
        c * c * xx + 2.0 * c * d * xy + d * d * yy,
    ]
}

/// Stamp with a sum near 1: a function of place (pixels from the centre) averaged over pixels.
fn stamp(side: usize, density: impl Fn(f64, f64) -> f64) -> Vec<f32> {
    const SAMPLES: usize = 10;
    let centre = (side as f64 - 1.0) / 2.0;
    let place =
        |pixel: usize, s: usize| pixel as f64 - centre + (s as f64 + 0.5) / SAMPLES as f64 - 0.5;
    (0..side * side)
        .map(|i| {
            let samples = (0..SAMPLES * SAMPLES)
                .map(|s| density(place(i % side, s % SAMPLES), place(i / side, s / SAMPLES)));
            (samples.sum::<f64>() / (SAMPLES * SAMPLES) as f64) as f32
        })
        .collect()
}

fn gaussian(side: usize, sx: f64, sy: f64) -> Vec<f32> {
    let norm = 1.0 / (2.0 * std::f64::consts::PI * sx * sy);
    stamp(side, |x, y| {
        norm * (-0.5 * (x * x / (sx * sx) + y * y / (sy * sy))).exp()
    })
}

/// Light of random pixels: nothing smooth about it.
fn noisy(side: usize, seed: u64) -> Vec<f32> {
    let mut rng = Philox::new(seed, 0, Stream::Training);
    (0..side * side)
        .map(|_| (rng.uniform() - 0.3).max(0.0) as f32)
        .collect()
}

fn random_affine(rng: &mut Philox) -> Affine {
    let [scale, angle, shear, direction] = std::array::from_fn(|_| rng.uniform());
    let turn = 2.0 * std::f64::consts::PI * direction;
    let lens = Lens::new(0.6 * shear * turn.cos(), 0.6 * shear * turn.sin(), 1.0).unwrap();
    Affine::scale(0.2 * 10f64.powf(scale))
        .unwrap()
        .then(&Affine::rotation(720.0 * angle - 360.0).unwrap())
        .then(&lens.affine())
}

fn renderer(
    side: usize,
    width: usize,
    height: usize,
    pixel_scale: f64,
    psf: Option<&Psf>,
) -> Renderer {
    Renderer::new(
        side,
        1,
        Grid {
            width,
            height,
            pixel_scale,
        },
        psf,
    )
    .unwrap()
}

fn draw(r: &mut Renderer, native: &[f32], affine: &Affine, offset: [f64; 2]) -> (Vec<f32>, f64) {
    let mut out = vec![f32::NAN; r.image_len()];
    let rendered = r.render(native, affine, offset, 1.0, &mut out);
    (out, rendered.fraction_inside)
}
