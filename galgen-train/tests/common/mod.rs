//! What several of these tests need: tensors of the referee as trainable parameters, a tiny training
//! set, and a folder for files.
#![allow(dead_code)]

pub mod tiny;

use candle_core::{DType, Device, Result, Tensor};
use galgen_core::models::{FlowVae, FlowVaePreset};
use galgen_core::rng::{Philox, Stream};
use galgen_core::stamp::{Geometry, centre, window};
use galgen_tests::tensors::{Tensors, random_weights};
use galgen_train::data::set::{COLUMNS, Description, FORMAT_VERSION, TrainingSet};
use galgen_train::models::flow_vae::Batch;
use galgen_train::params::Parameters;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The referee's tensors as parameters of a type.
pub fn parameters(tensors: &Tensors, dtype: DType) -> Parameters {
    let one = |(name, (shape, values)): (&String, &(Vec<usize>, Vec<f64>))| {
        (name.clone(), tensor(values, shape, dtype))
    };
    Parameters::from_tensors(tensors.iter().map(one)).expect("parameters")
}

/// A tensor of `values`.
pub fn tensor(values: &[f64], shape: &[usize], dtype: DType) -> Tensor {
    let tensor = Tensor::from_slice(values, shape, &Device::Cpu).expect("a tensor");
    tensor.to_dtype(dtype).expect("a float type")
}

/// All elements as f64.
pub fn elements(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.to_dtype(DType::F64).and_then(|t| t.flatten_all());
    flat.and_then(|t| t.to_vec1()).expect("elements")
}

/// A folder for the files of one test, empty at its start and removed at its end.
pub struct Folder(PathBuf);

impl Folder {
    /// The folder of the test called `name`.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("galgen-train-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a folder for files");
        Folder(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A path inside it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Side of the tiny stamps and their half-light radius in pixels.
pub const SIDE: usize = 16;
/// Semi-major half-light radius of the tiny stamps.
pub const HALF_LIGHT: f64 = 2.0;

/// The grid of the tiny stamps.
pub fn geometry() -> Geometry {
    Geometry {
        side: SIDE,
        bands: vec!["r".into()],
        half_light_radius: Some(HALF_LIGHT),
    }
}

/// A flow-VAE small enough for numeric derivatives.
pub fn tiny_preset() -> FlowVaePreset {
    FlowVaePreset {
        latent: 4,
        channels: vec![8, 6, 4],
        flow_blocks: 2,
        flow_hidden: 8,
        flow_bins: 4,
        ..FlowVaePreset::default()
    }
}

/// [`tiny_preset`] for a number of conditions.
pub fn tiny_model(conditions: usize) -> FlowVae {
    tiny_preset()
        .build(&geometry(), conditions)
        .expect("a consistent preset")
}

/// Random weights for every tensor of `model`.
pub fn random_parameters(model: &FlowVae, seed: u64, dtype: DType) -> Parameters {
    let mut specs = model.encoder.tensors("encoder").expect("a valid net");
    specs.extend(model.decoder.tensors("decoder").expect("a valid net"));
    specs.extend(model.flow.tensors("flow").expect("a valid flow"));
    if let Some(texture) = &model.texture {
        let net = &texture.strength;
        specs.extend(net.tensors("texture").expect("a valid net"));
    }
    parameters(&random_weights(&specs, seed), dtype)
}

/// A random batch of `b` stamps of unit sum with unobserved pixels, sky noise and `conditions`.
pub fn random_batch(b: usize, conditions: usize, seed: u64, dtype: DType) -> Batch {
    let set = tiny_set(b, seed);
    let mut rng = Philox::new(seed, 1, Stream::Noise);
    let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let observed: Vec<f64> = (0..b * SIDE * SIDE)
        .map(|_| f64::from(u8::from(rng.uniform() < 0.9)))
        .collect();
    let sky: Vec<f64> = (0..b).map(|_| 2e-4 + 1e-3 * rng.uniform()).collect();
    let context: Vec<f64> = (0..b * conditions).map(|_| rng.normal()).collect();
    Batch {
        stamps: tensor(&wide(&set.stamps), &[b, 1, SIDE, SIDE], dtype),
        observed: tensor(&observed, &[b, 1, SIDE, SIDE], dtype),
        sky: tensor(&sky, &[b, 1, 1, 1], dtype),
        psf: None,
        noise: None,
        context: (conditions > 0).then(|| tensor(&context, &[b, conditions], dtype)),
    }
}

/// Elliptical galaxies, half of them exponential and half Gaussian, in the galaxy frame with a
/// little noise. Ids count from 1000; positions on the sky are not known.
pub fn tiny_set(n: usize, seed: u64) -> TrainingSet {
    let mut rng = Philox::new(seed, 0, Stream::Noise);
    let window = window(SIDE);
    let mut set = TrainingSet {
        description: description(n),
        stamps: Vec::new(),
        observed: vec![1; n * SIDE * SIDE],
        psf_side: 1,
        psf: vec![1.0; n],
        acf_side: 1,
        noise_acf: vec![1.0; n],
        variance: None,
        id: (0..n as i64).map(|i| 1000 + i).collect(),
        columns: vec![Vec::new(); COLUMNS.len()],
    };
    for i in 0..n {
        let q = 0.3 + 0.7 * rng.uniform();
        let gaussian = i % 2 == 0;
        let sky = 3e-4;
        let mut stamp: Vec<f64> = (0..SIDE * SIDE)
            .map(|k| {
                let (x, y) = (
                    (k % SIDE) as f64 - centre(SIDE),
                    (k / SIDE) as f64 - centre(SIDE),
                );
                let r = x.hypot(y / q) / HALF_LIGHT;
                // Half of the light inside r = 1.
                let light = if gaussian {
                    (-r * r * 2f64.ln()).exp()
                } else {
                    (-1.678 * r).exp()
                };
                light / 20.0 + sky * rng.normal()
            })
            .collect();
        stamp
            .iter_mut()
            .zip(&window)
            .for_each(|(v, w)| *v *= f64::from(*w));
        let sum: f64 = stamp.iter().sum();
        set.stamps.extend(stamp.iter().map(|v| (v / sum) as f32));
        for (name, column) in COLUMNS.iter().zip(&mut set.columns) {
            column.push(match *name {
                "axis_ratio" => q as f32,
                "concentration" => (if gaussian { 2.1 } else { 2.7 } + 0.05 * rng.normal()) as f32,
                "sky_sigma" => (sky / sum) as f32,
                "ra_deg" | "dec_deg" | "source_half_light_radius_arcsec" => f32::NAN,
                "half_light_radius_px" => HALF_LIGHT as f32,
                _ => 1.0,
            });
        }
    }
    set
}

fn description(n: usize) -> Description {
    Description {
        format_version: FORMAT_VERSION,
        side: SIDE,
        hlr_px: HALF_LIGHT,
        band: "r".into(),
        source: "drawn by the test".into(),
        credit: String::new(),
        stretch: "none (linear)".into(),
        psf: "none".into(),
        noise: "white".into(),
        pixel_scale_arcsec: None,
        accepted: n,
        rejected: BTreeMap::new(),
        options: String::new(),
    }
}

/// Overwrites one element of the parameter called `name`.
pub fn set_element(parameters: &Parameters, name: &str, index: usize, value: f64) -> Result<()> {
    let old = parameters.get(name)?;
    let mut values = elements(old);
    values[index] = value;
    parameters.set(name, &tensor(&values, old.dims(), old.dtype()))
}

/// Positions of at most `count` elements of `n`, spread by a generator that `seed` fixes.
pub fn some_of(n: usize, count: usize, seed: u64) -> Vec<usize> {
    if n <= count {
        return (0..n).collect();
    }
    let mut rng = Philox::new(seed, n as u64, Stream::Noise);
    (0..count).map(|_| rng.below(n as u32) as usize).collect()
}
