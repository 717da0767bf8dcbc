//! The images of a training in memory: as they are in the file, with their classes, split by image.

use super::set::{COLUMNS, TrainingSet};
use super::{conditions, labels};
use crate::digest::fnv1a;
use crate::models::vae::Batch;
use crate::recipe::{Binarise, ImageData, Number};
use crate::samples::{FLIPS, is_held_out};
use candle_core::{Device, Result, Tensor};
use galgen_core::condition::{Condition, Conditions};
use galgen_core::rng::{Philox, Stream};
use galgen_core::stamp::{Geometry, binarise};
use galgen_io::columns::Columns;
use galgen_io::stamps::StampFile;
use galgen_io::table::Table;
use std::path::Path;

/// Seed of images that are binarised once and for all: with an image's number it fixes its bits.
pub const STATIC_SEED: u64 = 0;
const DYNAMIC_KEY: u64 = 0x6269_6e61_7279_0000;
const ORDER_KEY: u64 = 0x6f72_6465_7200_0000;
const FLIP_KEY: u64 = 0x666c_6970_0000_0000;

/// An image of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Position of the image.
    pub position: usize,
    /// Mirror image (galaxies only): bit 0 flips x, bit 1 flips y.
    pub flip: u8,
    /// Seed of its bits, if it is binarised.
    pub seed: u64,
}

/// Images, split into a training and a validation part.
pub struct ImageSamples {
    /// Grid and frame.
    pub geometry: Geometry,
    /// Id of each image: that of its file, or its number.
    pub ids: Vec<u64>,
    /// Class of each image as [`Conditions`] count it, and its numbers, `[n, conditions]`.
    pub values: Vec<f32>,
    /// The class and the numbers, if there are any.
    pub conditions: Conditions,
    /// Positions of the training part.
    pub training: Vec<usize>,
    /// Positions of the validation part.
    pub validation: Vec<usize>,
    binarise: Option<Binarise>,
    /// Right ascension of each image in degrees; empty if it has no place in the sky.
    ra: Vec<f32>,
    pixels: Vec<f32>,
    /// 1 where a pixel was observed; empty where all are.
    observed: Vec<u8>,
}

impl ImageSamples {
    /// Reads the images of a recipe below `directory`. Images without a class, or without one of the numbers, are left
    /// out where these are asked for.
    pub fn load(data: &ImageData, directory: &Path) -> std::result::Result<Self, String> {
        let path = directory.join(&data.images);
        let mut samples = match path.extension().and_then(|e| e.to_str()) {
            _ if !data.columns.is_empty() => Self::columns(&path, &data.columns)?,
            Some("safetensors") => Self::galaxies(&path)?,
            _ => Self::images(&path)?,
        };
        samples.binarise = data.binarise;
        if data.binarise.is_some() {
            let outside = |p: &f32| !(0.0..=1.0).contains(p);
            if let Some(found) = samples.pixels.iter().find(|p| outside(p)) {
                return Err(format!(
                    "{}: a pixel is {found}, expected 0 to 1 to be binarised",
                    path.display()
                ));
            }
        }
        let mut asked: Vec<(Condition, Vec<Option<f32>>)> = Vec::new();
        if let Some(labels) = &data.labels {
            let (condition, classes) = labels::read(labels, directory, &samples.ids)?;
            let values = classes.iter().map(|c| c.map(|c| c as f32)).collect();
            asked.push((condition, values));
        }
        for number in &data.numbers {
            let values = match &number.file {
                Some(file) => conditions::from_table(number, file, directory, &samples.ids)?,
                None => column_of(&path, number, !data.columns.is_empty())?,
            };
            // What galgen measures is in training sets; a column of the same name elsewhere may mean anything.
            let measured = number.file.is_none() && data.columns.is_empty();
            let (unit, text) = match measured {
                true => conditions::meaning(number.column()),
                false => ("", ""),
            };
            let or = |own: &String, known: &str| match own.is_empty() {
                true => known.to_string(),
                false => own.clone(),
            };
            let (unit, text) = (or(&number.unit, unit), or(&number.description, text));
            asked.push((conditions::number(&number.condition, &unit, &text), values));
        }
        let complete = |i: &usize| asked.iter().all(|(_, values)| values[*i].is_some());
        let kept = (0..samples.ids.len()).filter(complete);
        samples.values = (0..samples.ids.len())
            .flat_map(|i| {
                asked
                    .iter()
                    .map(move |(_, values)| values[i].unwrap_or(0.0))
            })
            .collect();
        for position in kept {
            let ra = samples.ra.get(position).copied();
            match is_held_out(samples.ids[position], ra, data.validation) {
                false => samples.training.push(position),
                true => samples.validation.push(position),
            }
        }
        if data.validation == 0.0 {
            samples.validation = samples.training.clone();
        }
        if samples.training.is_empty() || samples.validation.is_empty() {
            return Err(format!(
                "{}: {} training and {} validation images: both parts need some",
                path.display(),
                samples.training.len(),
                samples.validation.len()
            ));
        }
        let list = asked.into_iter().map(|(condition, _)| condition).collect();
        samples.conditions = conditions::describe(list, &samples.values, &samples.training, None)
            .map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(samples)
    }

    /// Held-out images for a sheet, about `count`: of every class as many, in their order; without classes sorted by the
    /// first number.
    pub fn for_sheet(&self, count: usize) -> Vec<usize> {
        let all = self.validation.iter().copied();
        let Some(condition) = self.conditions.list.first() else {
            return all.take(count).collect();
        };
        let first = |p: usize| self.conditions_of(p)[0];
        if condition.classes.is_empty() {
            let mut chosen: Vec<usize> = all.take(count).collect();
            chosen.sort_by(|&a, &b| first(a).total_cmp(&first(b)));
            return chosen;
        }
        let classes = condition.classes.len();
        let of_class = |class| {
            let members = all.clone().filter(move |&p| first(p) == class as f32);
            members.take(count.div_ceil(classes))
        };
        (0..classes).flat_map(of_class).collect()
    }

    /// What the image at `position` is called on a sheet: its class, or its first number.
    pub fn caption(&self, position: usize) -> String {
        let value = self.conditions_of(position).first();
        match (self.conditions.list.first(), value) {
            (Some(c), Some(v)) if c.classes.is_empty() => format!("{v:.2}"),
            (Some(c), Some(v)) => c.classes[*v as usize].clone(),
            _ => String::new(),
        }
    }

    /// Rounds the pixels to the levels k / (levels - 1) of a discrete head; those that will be binarised stay as
    /// they are.
    ///
    /// # Errors
    /// If a pixel lies outside 0 to 1, or `levels` is 2 and the pixels are neither 0 and 1 nor binarised.
    pub fn round_to(&mut self, levels: usize) -> std::result::Result<(), String> {
        if self.binarise.is_some() {
            return Ok(());
        }
        let last = (levels - 1) as f64;
        for pixel in &mut self.pixels {
            let found = *pixel;
            *pixel = ((f64::from(found) * last).round() / last) as f32;
            if !(0.0..=1.0).contains(&found) {
                return Err(format!(
                    "a pixel is {found}, expected 0 to 1: the head has {levels} levels from 0 to 1"
                ));
            }
            if levels == 2 && *pixel != found {
                return Err(format!(
                    "a pixel is {found}, expected 0 or 1: say `binarise` under [data]"
                ));
            }
        }
        Ok(())
    }

    fn images(path: &Path) -> std::result::Result<Self, String> {
        let mut file = StampFile::open(path).map_err(|e| e.to_string())?;
        let (bands, height, width) = file.shape();
        if height != width {
            return Err(format!(
                "{}: images of {width} x {height} pixels, expected square ones",
                path.display()
            ));
        }
        let mut pixels = vec![0.0; file.count() * file.stamp_len()];
        file.read(0, &mut pixels).map_err(|e| e.to_string())?;
        if let Some(i) = pixels.iter().position(|p| !p.is_finite()) {
            return Err(format!(
                "{}: image {} holds {}, expected finite numbers",
                path.display(),
                i / file.stamp_len(),
                pixels[i]
            ));
        }
        let name = |band| match bands {
            1 => "image".to_string(),
            _ => format!("band {band}"),
        };
        let geometry = Geometry {
            side: width,
            bands: (0..bands).map(name).collect(),
            half_light_radius: None,
        };
        let table = file.index().map_err(|e| e.to_string())?;
        let ids = ids_of(table, file.count())?;
        Ok(Self::new(geometry, ids, pixels, Vec::new()))
    }

    fn columns(path: &Path, names: &[String]) -> std::result::Result<Self, String> {
        let columns = Columns::read(path, names).map_err(|e| e.to_string())?;
        if let Some(i) = columns.values.iter().position(|v| !v.is_finite()) {
            return Err(format!(
                "{}: row {}: column `{}` is no finite number",
                path.display(),
                i / names.len(),
                names[i % names.len()]
            ));
        }
        let table = match Columns::is_array(path) {
            true => None,
            false => Some(Table::open(path).map_err(|e| e.to_string())?),
        };
        let ids = ids_of(table, columns.rows())?;
        let geometry = Geometry::columns(columns.names);
        Ok(Self::new(geometry, ids, columns.values, Vec::new()))
    }

    fn galaxies(path: &Path) -> std::result::Result<Self, String> {
        let set = TrainingSet::load(path).map_err(|e| e.to_string())?;
        let geometry = Geometry {
            side: set.description.side,
            bands: vec![set.description.band.clone()],
            half_light_radius: Some(set.description.hlr_px),
        };
        let ids = set.id.iter().map(|&id| id as u64).collect();
        let ra = set.column("ra_deg").map(<[f32]>::to_vec);
        Ok(ImageSamples {
            ra: ra.unwrap_or_default(),
            ..Self::new(geometry, ids, set.stamps, set.observed)
        })
    }

    fn new(geometry: Geometry, ids: Vec<u64>, pixels: Vec<f32>, observed: Vec<u8>) -> Self {
        ImageSamples {
            geometry,
            ids,
            values: Vec::new(),
            conditions: Conditions::default(),
            training: Vec::new(),
            validation: Vec::new(),
            binarise: None,
            ra: Vec::new(),
            pixels,
            observed,
        }
    }

    /// The image at `position` as the file has it, row-major.
    pub fn image(&self, position: usize) -> &[f32] {
        let n = self.geometry.pixels();
        &self.pixels[position * n..(position + 1) * n]
    }

    /// The class and the numbers of the image at `position`.
    pub fn conditions_of(&self, position: usize) -> &[f32] {
        let k = self.conditions.len();
        &self.values[position * k..(position + 1) * k]
    }

    /// A number that differs for other data: 64-bit FNV-1a of pixels, ids and classes.
    pub fn digest(&self) -> u64 {
        let numbers = self.pixels.iter().chain(&self.values);
        let words = numbers.map(|v| u64::from(v.to_bits()));
        fnv1a(words.chain(self.ids.iter().copied()))
    }

    /// The pixels that are shown for `chosen`.
    pub fn shown(&self, chosen: Chosen) -> Vec<f32> {
        let mut pixels = flipped(self.image(chosen.position), &self.geometry, chosen.flip);
        if self.binarise.is_some() {
            binarise(&mut pixels, chosen.seed, self.ids[chosen.position]);
        }
        pixels
    }

    /// A batch of images.
    pub fn batch(&self, chosen: &[Chosen], device: &Device) -> Result<Batch> {
        let (b, n) = (chosen.len(), self.geometry.side);
        let bands = self.geometry.bands.len();
        let pixels: Vec<f32> = chosen.iter().flat_map(|&c| self.shown(c)).collect();
        let observed = match self.observed.is_empty() {
            true => None,
            false => {
                let mask = |c: &Chosen| {
                    let from = &self.observed[c.position * n * n..(c.position + 1) * n * n];
                    let mask: Vec<f32> = from.iter().map(|&v| f32::from(v)).collect();
                    flipped(&mask, &self.geometry, c.flip)
                };
                let values: Vec<f32> = chosen.iter().flat_map(mask).collect();
                Some(Tensor::from_vec(values, (b, 1, n, n), device)?)
            }
        };
        Ok(Batch {
            images: Tensor::from_vec(pixels, (b, bands, n, n), device)?,
            observed,
            context: self.context(chosen, device)?,
        })
    }

    /// The standardised conditions of `chosen`, if there are any.
    pub fn context(&self, chosen: &[Chosen], device: &Device) -> Result<Option<Tensor>> {
        let width = self.conditions.width();
        if width == 0 {
            return Ok(None);
        }
        let mut values = vec![0.0; chosen.len() * width];
        for (c, context) in chosen.iter().zip(values.chunks_exact_mut(width)) {
            let known = self
                .conditions
                .standardise(self.conditions_of(c.position), context);
            known.expect("classes of this file");
        }
        Tensor::from_vec(values, (chosen.len(), width), device).map(Some)
    }

    /// The training images of `step`: every epoch is a new order of the whole training part. Depends on seed and
    /// step only.
    pub fn choose(&self, seed: u64, step: u64, batch: usize) -> Vec<Chosen> {
        let n = self.training.len() as u64;
        let first = step * batch as u64;
        let mut order = (u64::MAX, Vec::new());
        (first..first + batch as u64)
            .map(|draw| {
                let epoch = draw / n;
                if order.0 != epoch {
                    order = (epoch, self.epoch_order(seed, epoch));
                }
                let mut flips = Philox::new(seed ^ FLIP_KEY, draw, Stream::Training);
                Chosen {
                    position: order.1[(draw % n) as usize],
                    flip: match self.geometry.half_light_radius {
                        Some(_) => flips.below(u32::from(FLIPS)) as u8,
                        None => 0,
                    },
                    seed: match self.binarise {
                        Some(Binarise::Dynamic) => (seed ^ DYNAMIC_KEY).wrapping_add(epoch),
                        Some(Binarise::Static) | None => STATIC_SEED,
                    },
                }
            })
            .collect()
    }

    /// The images at `positions` as validation sees them.
    pub fn fixed(&self, positions: &[usize]) -> Vec<Chosen> {
        let fixed = |&position: &usize| Chosen {
            position,
            flip: 0,
            seed: STATIC_SEED,
        };
        positions.iter().map(fixed).collect()
    }

    fn epoch_order(&self, seed: u64, epoch: u64) -> Vec<usize> {
        let mut rng = Philox::new(seed ^ ORDER_KEY, epoch, Stream::Training);
        let mut order = self.training.clone();
        for i in (1..order.len()).rev() {
            order.swap(i, rng.below(i as u32 + 1) as usize);
        }
        order
    }
}

/// The column of `number` in the file of the images themselves, a table (`rows`) or a training set.
fn column_of(
    path: &Path,
    number: &Number,
    rows: bool,
) -> std::result::Result<Vec<Option<f32>>, String> {
    let name = number.column();
    let values = if rows {
        let columns = Columns::read(path, &[name.into()]).map_err(|e| e.to_string())?;
        columns.values
    } else if path.extension().is_some_and(|e| e == "safetensors") {
        let set = TrainingSet::load(path).map_err(|e| e.to_string())?;
        let column = set.column(name).ok_or_else(|| {
            format!(
                "{}: no column `{name}` in the training set; it has {}. Or say `file` under [[data.numbers]]",
                path.display(),
                COLUMNS.join(", ")
            )
        })?;
        column.to_vec()
    } else {
        return Err(format!(
            "{}: images have no column `{name}`: say `file` under [[data.numbers]], a table with a row for each",
            path.display()
        ));
    };
    let finite = |v: f32| Some(v).filter(|v| v.is_finite());
    Ok(values.into_iter().map(finite).collect())
}

/// Ids in the column `id` of the table beside `count` images; their numbers if there is none.
fn ids_of(table: Option<Table>, count: usize) -> std::result::Result<Vec<u64>, String> {
    const ROWS: usize = 4096;
    let Some(mut table) = table else {
        return Ok((0..count as u64).collect());
    };
    let Some(column) = table.find_optional("id").map_err(|e| e.to_string())? else {
        return Ok((0..count as u64).collect());
    };
    let name = table.path().display().to_string();
    let mut ids = Vec::with_capacity(count);
    while let Some(chunk) = table
        .next_whole(&[column], ROWS)
        .map_err(|e| e.to_string())?
    {
        for value in &chunk.values {
            let found = value.u64().ok_or_else(|| {
                format!(
                    "{name}: row {}: column `id` is {value}, expected a whole number, 0 or more",
                    ids.len()
                )
            });
            ids.push(found?);
        }
    }
    Ok(ids)
}

/// The mirror image of every plane: bit 0 of `flip` mirrors x, bit 1 y.
fn flipped(image: &[f32], geometry: &Geometry, flip: u8) -> Vec<f32> {
    let n = geometry.side;
    let mut out = image.to_vec();
    if flip & 1 != 0 {
        out.chunks_exact_mut(n).for_each(<[f32]>::reverse);
    }
    if flip & 2 != 0 {
        for plane in out.chunks_exact_mut(n * n) {
            for y in 0..n / 2 {
                let (top, bottom) = plane.split_at_mut((n - 1 - y) * n);
                top[y * n..(y + 1) * n].swap_with_slice(&mut bottom[..n]);
            }
        }
    }
    out
}
