//! Requests and results of drawing.

use crate::layout::Growing;
use crate::status::galgen_status;
use galgen_core::condition::{Flags, MAX_CONDITIONS, concentration_from_sersic};
use galgen_core::object::{Object, ObjectError, SizeDefinition, flux_from_magnitude};
use galgen_infer::{DrawError, Drawn};

/// Most conditions that a model has.
pub const GALGEN_MAX_CONDITIONS: usize = 16;
const _: () = assert!(GALGEN_MAX_CONDITIONS == MAX_CONDITIONS);

/// Condition 0 is outside its trained range; condition i is GALGEN_FLAG_OUT_OF_RANGE << i.
pub const GALGEN_FLAG_OUT_OF_RANGE: u32 = 1;
/// Each condition may be in range, but their combination is not (Mahalanobis distance).
pub const GALGEN_FLAG_JOINT_EXTRAPOLATION: u32 = 1 << 16;
/// The stamp is too round for its orientation to be corrected to the request.
pub const GALGEN_FLAG_ROUND: u32 = 1 << 17;
const _: () = assert!(
    GALGEN_FLAG_OUT_OF_RANGE == Flags::OUT_OF_RANGE
        && GALGEN_FLAG_JOINT_EXTRAPOLATION == Flags::JOINT_EXTRAPOLATION
        && GALGEN_FLAG_ROUND == Flags::ROUND
);

/// Which half-light radius a request means.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum galgen_size_definition {
    /// Radius of the circle that holds half of the flux (SExtractor FLUX_RADIUS, GalSim calculateHLR).
    Circular = 0,
    /// Semi-major axis of the ellipse that holds half of the flux (Sersic fits).
    SemiMajor = 1,
}

/// One galaxy to draw. Start from galgen_object_default().
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct galgen_object {
    /// sizeof(galgen_object), the same in all elements of an array.
    pub struct_size: usize,
    /// With the seed it fixes every random number: the same galaxy in any batch, thread or order.
    pub id: u64,
    /// Arcsec before lensing, above 0. Default 1.
    pub half_light_radius: f64,
    /// Total flux before lensing, any linear unit: 0, or such that the lensed flux is within 1e-33 to 1e37. Default 1.
    pub flux: f64,
    /// Of the major axis before lensing, degrees counter-clockwise from +x towards +y. Default 0.
    pub position_angle: f64,
    /// Reduced shear g1, g2, |g| < 1 (GalSim's convention). Default 0.
    pub shear: [f64; 2],
    /// Magnification, above 0: area and flux grow by it. Default 1.
    pub magnification: f64,
    /// Galaxy's centre from the centre of the grid along x and y, arcsec; rendered stamps only. Default 0.
    pub offset: [f64; 2],
    /// A galgen_size_definition. Default GALGEN_SIZE_DEFINITION_CIRCULAR.
    pub size_definition: u32,
    /// How many of `conditions` are set: must be as many as the model has. Default 0.
    pub condition_count: u32,
    /// Physical values in the order of the model's conditions. Outside the trained range: drawn and flagged.
    pub conditions: [f32; GALGEN_MAX_CONDITIONS],
}

impl Default for galgen_object {
    fn default() -> Self {
        let object = Object::new(0, &[]);
        galgen_object {
            struct_size: size_of::<Self>(),
            id: object.id,
            half_light_radius: object.half_light_radius,
            flux: object.flux,
            position_angle: object.position_angle,
            shear: object.shear,
            magnification: object.magnification,
            offset: [0.0, 0.0],
            size_definition: galgen_size_definition::Circular as u32,
            condition_count: 0,
            conditions: object.conditions,
        }
    }
}

// SAFETY: repr(C), integers and floats, `struct_size` first.
unsafe impl Growing for galgen_object {
    const NAME: &'static str = "galgen_object";
    const FIRST_SIZE: usize = 88 + 4 * GALGEN_MAX_CONDITIONS;
}
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<galgen_object>() == galgen_object::FIRST_SIZE);

impl galgen_object {
    /// The engine's object, for a model with `conditions` of them.
    pub(crate) fn to_engine(self, conditions: usize) -> Result<Object, DrawError> {
        let fail = |field, found, expected| {
            let error = ObjectError {
                field,
                found,
                expected,
            };
            Err(DrawError::Object { id: self.id, error })
        };
        let size_definition = match self.size_definition {
            0 => SizeDefinition::Circular,
            1 => SizeDefinition::SemiMajor,
            other => {
                return fail(
                    "size_definition",
                    f64::from(other),
                    "a galgen_size_definition",
                );
            }
        };
        if self.condition_count as usize != conditions {
            let found = f64::from(self.condition_count);
            return fail(
                "condition_count",
                found,
                "the model's number of conditions (galgen_model_get_info)",
            );
        }
        if let Some(&found) = self.offset.iter().find(|v| !v.is_finite()) {
            return fail("offset", found, "finite numbers of arcsec");
        }
        Ok(Object {
            id: self.id,
            half_light_radius: self.half_light_radius,
            size_definition,
            flux: self.flux,
            position_angle: self.position_angle,
            shear: self.shear,
            magnification: self.magnification,
            conditions: self.conditions,
        })
    }
}

/// An object of id 0 with the defaults above, and no conditions. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn galgen_object_default() -> galgen_object {
    galgen_object::default()
}

/// What was drawn, beside the pixels. If `status` is not GALGEN_STATUS_OK, all numbers but the id are 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct galgen_drawn {
    /// sizeof(galgen_drawn). Set that of the first element of an array; the library sets the others.
    pub struct_size: usize,
    /// Of the object.
    pub id: u64,
    /// GALGEN_STATUS_OK, or why this object's stamp is empty.
    pub status: galgen_status,
    /// Sum of GALGEN_FLAG_*: what is unusual about the request or the stamp.
    pub flags: u32,
    /// Side of a pixel of the stamp, arcsec. In the galaxy frame: before lensing.
    pub pixel_scale: f64,
    /// 2 x 2, row-major: from an offset in pixels of the galaxy frame to the sky in arcsec, with
    /// rotation, shear and magnification.
    pub jacobian: [f64; 4],
    /// Of the drawn stamp, in pixels of the galaxy frame, by the requested definition.
    pub half_light_radius: f64,
    /// Of the lensed galaxy: requested flux times magnification.
    pub flux: f64,
    /// Share of `flux` inside the stamp, before noise; 1 for native stamps and in the galaxy frame.
    pub fraction_inside: f64,
}

impl Default for galgen_drawn {
    fn default() -> Self {
        Self::failed(0, galgen_status::Ok)
    }
}

// SAFETY: repr(C), `struct_size` first; its enum is written and never read.
unsafe impl Growing for galgen_drawn {
    const NAME: &'static str = "galgen_drawn";
    const FIRST_SIZE: usize = size_of::<usize>() + 8 + 8 + 64;
}
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<galgen_drawn>() == galgen_drawn::FIRST_SIZE);

impl galgen_drawn {
    pub(crate) fn failed(id: u64, status: galgen_status) -> Self {
        galgen_drawn {
            struct_size: size_of::<Self>(),
            id,
            status,
            flags: 0,
            pixel_scale: 0.0,
            jacobian: [0.0; 4],
            half_light_radius: 0.0,
            flux: 0.0,
            fraction_inside: 0.0,
        }
    }

    pub(crate) fn done(id: u64, drawn: &Drawn) -> Self {
        galgen_drawn {
            struct_size: size_of::<Self>(),
            id,
            status: galgen_status::Ok,
            flags: drawn.flags.0,
            pixel_scale: drawn.pixel_scale,
            jacobian: drawn.jacobian,
            half_light_radius: drawn.half_light_radius,
            flux: drawn.flux,
            fraction_inside: drawn.fraction_inside,
        }
    }
}

/// An empty result, ready to be the first of an array. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn galgen_drawn_default() -> galgen_drawn {
    galgen_drawn::default()
}

/// Flux of an AB magnitude: 10^(-0.4 (magnitude - zero_point)). Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn galgen_flux_from_magnitude(magnitude: f64, zero_point: f64) -> f64 {
    flux_from_magnitude(magnitude, zero_point)
}

/// Concentration C = 5 log10(r80 / r20) of a Sersic profile of index n, for 0.3 <= n <= 8 within 0.02;
/// outside, that of the nearest end. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn galgen_concentration_from_sersic(n: f64) -> f64 {
    concentration_from_sersic(n)
}
