//! Drawing a batch of rows, by one thread.

use super::rows::Item;
use galgen_core::condition::Flags;
use galgen_core::object::{Object, SizeDefinition};
use galgen_infer::render::{Noise, Renderer};
use galgen_infer::{DrawError, Drawn, Pixels, Session};
use galgen_io::catalog::{self, CatalogRow, RowProblem};

/// What kind of stamps are drawn.
#[derive(Clone)]
pub enum Output {
    /// On the model's grid, axes of the sky.
    Sky,
    /// On the model's grid, axes of the galaxy.
    Galaxy,
    /// On a grid of its own.
    Rendered {
        renderer: Box<Renderer>,
        noise: Option<Noise>,
    },
    /// A plain image.
    Image(Pixels),
}

/// Draws rows; one per thread.
pub struct Drawer {
    pub session: Session,
    pub output: Output,
    pub seed: u64,
    pub size_definition: SizeDefinition,
}

/// A galaxy that was drawn, without its pixels.
pub struct Galaxy {
    pub row: CatalogRow,
    pub drawn: Drawn,
    /// Row-major, from an offset in pixels of the stored stamp to arcsec on the sky.
    pub jacobian: [f64; 4],
}

/// A batch of results: `stamps` has one stamp for each of `galaxies`, blank where the row failed.
pub struct Batch {
    pub galaxies: Vec<Result<Galaxy, RowProblem>>,
    pub stamps: Vec<f32>,
}

impl Drawer {
    /// Pixels of one stamp of the output, all bands.
    pub fn stamp_len(&self) -> usize {
        match &self.output {
            Output::Sky | Output::Galaxy | Output::Image(_) => self.session.model().stamp_len(),
            Output::Rendered { renderer, .. } => renderer.image_len(),
        }
    }

    /// Draws all rows of a batch.
    pub fn draw(&mut self, items: Vec<Item>) -> Batch {
        let len = self.stamp_len();
        let mut stamps = vec![0.0; items.len() * len];
        let galaxies = items
            .into_iter()
            .zip(stamps.chunks_exact_mut(len))
            .map(|(item, stamp)| match item {
                Item::Good(row) => self.galaxy(row, stamp),
                Item::Bad(problem) => Err(problem),
            })
            .collect();
        Batch { galaxies, stamps }
    }

    fn galaxy(&mut self, row: CatalogRow, stamp: &mut [f32]) -> Result<Galaxy, RowProblem> {
        let object = self.object(&row);
        let (seed, session) = (self.seed, &mut self.session);
        let drawn = match &mut self.output {
            Output::Sky => session.sample_native(seed, &object, stamp),
            Output::Galaxy => session.sample_galaxy_frame(seed, &object, stamp),
            Output::Rendered { renderer, noise } => {
                session.sample_rendered(seed, &object, [0.0, 0.0], renderer, noise.as_ref(), stamp)
            }
            Output::Image(pixels) => {
                let conditions = &object.conditions[..row.conditions.len()];
                session
                    .sample_image(seed, row.id, conditions, *pixels, stamp)
                    .map(image)
            }
        };
        match drawn {
            Ok(drawn) => {
                let jacobian = match self.output {
                    Output::Galaxy => drawn.jacobian,
                    Output::Sky | Output::Rendered { .. } | Output::Image(_) => {
                        [drawn.pixel_scale, 0.0, 0.0, drawn.pixel_scale]
                    }
                };
                Ok(Galaxy {
                    row,
                    drawn,
                    jacobian,
                })
            }
            Err(error) => {
                stamp.fill(0.0);
                Err(problem(&row, &error))
            }
        }
    }

    fn object(&self, row: &CatalogRow) -> Object {
        let conditions: Vec<f32> = row.conditions.iter().map(|&c| c as f32).collect();
        Object {
            half_light_radius: row.half_light_radius,
            size_definition: self.size_definition,
            flux: row.flux,
            position_angle: row.position_angle,
            shear: [row.g1, row.g2],
            magnification: row.magnification,
            ..Object::new(row.id, &conditions)
        }
    }
}

/// What is known of an image: its flags.
fn image(flags: Flags) -> Drawn {
    Drawn {
        flags,
        pixel_scale: f64::NAN,
        jacobian: [f64::NAN; 4],
        half_light_radius: f64::NAN,
        flux: f64::NAN,
        fraction_inside: f64::NAN,
    }
}

/// The engine's definition of the same name.
pub fn size_definition(definition: catalog::SizeDefinition) -> SizeDefinition {
    match definition {
        catalog::SizeDefinition::Circular => SizeDefinition::Circular,
        catalog::SizeDefinition::SemiMajor => SizeDefinition::SemiMajor,
    }
}

/// A row that the engine refuses.
fn problem(row: &CatalogRow, error: &DrawError) -> RowProblem {
    let (column, value, reason) = match error {
        DrawError::Object { error, .. } => (
            error.field,
            error.found.to_string(),
            format!("expected {}", error.expected),
        ),
        DrawError::NoLight { .. }
        | DrawError::Undecodable
        | DrawError::Outside
        | DrawError::Unrenderable { .. }
        | DrawError::Stamp { .. }
        | DrawError::Argument { .. }
        | DrawError::Class(_)
        | DrawError::NotGalaxies
        | DrawError::NotImages
        | DrawError::HalfPrecision
        | DrawError::Unsolved(_)
        | DrawError::NoLatent
        | DrawError::NotAutoregressive
        | DrawError::NoLikelihood => ("galaxy", "not drawn".into(), error.to_string()),
    };
    RowProblem {
        row: row.row,
        id: Some(row.id),
        column: column.into(),
        value,
        reason,
        ..RowProblem::default()
    }
}
