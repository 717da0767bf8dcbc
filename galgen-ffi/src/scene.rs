//! What rendered stamps go through: grid, point-spread function, noise.

use crate::layout::{self, Growing};
use crate::pointer;
use crate::status::Failure;
use galgen_infer::Model;
use galgen_infer::render::{Grid, Noise, PhotonNoise, Psf, PsfCentre, Renderer};

/// The image that a galaxy is rendered on.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct galgen_grid {
    /// sizeof(galgen_grid).
    pub struct_size: usize,
    /// Pixels along x, 1 to 4096. Default 64.
    pub width: usize,
    /// Pixels along y, 1 to 4096. Default 64.
    pub height: usize,
    /// Side of a pixel in arcsec, above 0. Default 0.2.
    pub pixel_scale: f64,
}

impl Default for galgen_grid {
    fn default() -> Self {
        galgen_grid {
            struct_size: size_of::<Self>(),
            width: 64,
            height: 64,
            pixel_scale: 0.2,
        }
    }
}

// SAFETY: repr(C), integers and floats, `struct_size` first.
unsafe impl Growing for galgen_grid {
    const NAME: &'static str = "galgen_grid";
    const FIRST_SIZE: usize = size_of::<Self>();
}

/// A grid with the defaults above. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn galgen_grid_default() -> galgen_grid {
    galgen_grid::default()
}

/// Kind of a point-spread function.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum galgen_psf_kind {
    /// None.
    None = 0,
    /// Circular Gaussian of `fwhm`.
    Gaussian = 1,
    /// Circular Moffat profile of `fwhm` and `beta`.
    Moffat = 2,
    /// The image of a point source.
    Image = 3,
}

/// Point-spread function, of unit flux. Fields that the kind does not name are not read.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct galgen_psf {
    /// sizeof(galgen_psf).
    pub struct_size: usize,
    /// A galgen_psf_kind. Default GALGEN_PSF_KIND_NONE.
    pub kind: u32,
    /// Image: 0, a point source is seen at the middle of the image; 1, at the centroid of its light.
    pub centroid: u32,
    /// Full width at half maximum, arcsec, above 0. Default 0: must be set.
    pub fwhm: f64,
    /// Moffat: exponent of the wings, 1 < beta <= 100. Default 3.
    pub beta: f64,
    /// Image: row-major [image_height, image_width], 0 or more, any positive sum: it is normalised and copied.
    pub image: *const f32,
    /// Image: pixels along x.
    pub image_width: usize,
    /// Image: pixels along y.
    pub image_height: usize,
    /// Image: side of a pixel, arcsec, above 0. The pixel is part of the image and is deconvolved to
    /// second order: a FWHM of 4 or more of these pixels is kept, one of 3 gets .5 % more variance, of 2 5 %.
    pub image_pixel_scale: f64,
}

impl Default for galgen_psf {
    fn default() -> Self {
        galgen_psf {
            struct_size: size_of::<Self>(),
            kind: galgen_psf_kind::None as u32,
            centroid: 0,
            fwhm: 0.0,
            beta: 3.0,
            image: std::ptr::null(),
            image_width: 0,
            image_height: 0,
            image_pixel_scale: 0.0,
        }
    }
}

// SAFETY: repr(C), integers, floats and a raw pointer, `struct_size` first.
unsafe impl Growing for galgen_psf {
    const NAME: &'static str = "galgen_psf";
    const FIRST_SIZE: usize = size_of::<Self>();
}

/// No point-spread function, with the defaults above. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn galgen_psf_default() -> galgen_psf {
    galgen_psf::default()
}

/// Noise of rendered stamps; its random numbers depend on seed and object id only.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct galgen_noise {
    /// sizeof(galgen_noise).
    pub struct_size: usize,
    /// Standard deviation of Gaussian noise per pixel, in the unit of flux; 0, the default: none.
    pub gaussian_sigma: f64,
    /// Electrons per unit of flux; 0, the default: no photon noise.
    pub gain: f64,
    /// Sky per pixel, in the unit of flux, for photon noise; its mean is subtracted again. Default 0.
    pub sky_level: f64,
}

impl Default for galgen_noise {
    fn default() -> Self {
        galgen_noise {
            struct_size: size_of::<Self>(),
            gaussian_sigma: 0.0,
            gain: 0.0,
            sky_level: 0.0,
        }
    }
}

// SAFETY: repr(C), an integer and floats, `struct_size` first.
unsafe impl Growing for galgen_noise {
    const NAME: &'static str = "galgen_noise";
    const FIRST_SIZE: usize = size_of::<Self>();
}

/// No noise. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn galgen_noise_default() -> galgen_noise {
    galgen_noise::default()
}

/// Everything between a galaxy and a rendered stamp.
pub(crate) struct Scene {
    pub renderer: Renderer,
    pub noise: Option<Noise>,
}

impl Scene {
    /// # Safety
    /// Each pointer is NULL or points to a struct of `struct_size` bytes; an image is as long as stated.
    pub unsafe fn new(
        model: &Model,
        grid: *const galgen_grid,
        psf: *const galgen_psf,
        noise: *const galgen_noise,
    ) -> Result<Scene, Failure> {
        // SAFETY: the contract of this function.
        let (grid, psf, noise) =
            unsafe { (layout::read(grid)?, read_psf(psf)?, read_noise(noise)?) };
        let grid = Grid {
            width: grid.width,
            height: grid.height,
            pixel_scale: grid.pixel_scale,
        };
        let geometry = &model.card().geometry;
        let renderer = Renderer::new(geometry.side, geometry.bands.len(), grid, psf.as_ref())?;
        Ok(Scene { renderer, noise })
    }
}

/// # Safety
/// As for `Scene::new`.
unsafe fn read_psf(psf: *const galgen_psf) -> Result<Option<Psf>, Failure> {
    const NONE: u32 = galgen_psf_kind::None as u32;
    const GAUSSIAN: u32 = galgen_psf_kind::Gaussian as u32;
    const MOFFAT: u32 = galgen_psf_kind::Moffat as u32;
    const IMAGE: u32 = galgen_psf_kind::Image as u32;
    if psf.is_null() {
        return Ok(None);
    }
    // SAFETY: the contract of this function.
    let psf = unsafe { layout::read(psf) }?;
    Ok(match psf.kind {
        NONE => None,
        GAUSSIAN => Some(Psf::gaussian(psf.fwhm)?),
        MOFFAT => Some(Psf::moffat(psf.fwhm, psf.beta)?),
        // SAFETY: the contract of this function.
        IMAGE => Some(unsafe { read_image(&psf) }?),
        other => {
            let text = format!("galgen_psf: kind is {other}, expected a galgen_psf_kind");
            return Err(Failure::argument(text));
        }
    })
}

/// # Safety
/// `psf.image` is NULL or has `image_width * image_height` pixels.
unsafe fn read_image(psf: &galgen_psf) -> Result<Psf, Failure> {
    let (width, height) = (psf.image_width, psf.image_height);
    let centre = match psf.centroid {
        0 => PsfCentre::Geometric,
        1 => PsfCentre::Centroid,
        other => {
            let text = format!("galgen_psf: centroid is {other}, expected 0 or 1");
            return Err(Failure::argument(text));
        }
    };
    let len = width.saturating_mul(height);
    // SAFETY: the contract of this function.
    let pixels = unsafe { pointer::slice("galgen_psf: image", psf.image, len) }?;
    Ok(Psf::image(
        pixels,
        width,
        height,
        psf.image_pixel_scale,
        centre,
    )?)
}

/// # Safety
/// As for `Scene::new`.
unsafe fn read_noise(noise: *const galgen_noise) -> Result<Option<Noise>, Failure> {
    if noise.is_null() {
        return Ok(None);
    }
    // SAFETY: the contract of this function.
    let noise = unsafe { layout::read(noise) }?;
    let photons = (noise.gain != 0.0).then_some(PhotonNoise {
        gain: noise.gain,
        sky_level: noise.sky_level,
    });
    if photons.is_none() && noise.sky_level != 0.0 {
        let text = "galgen_noise: sky_level is set but gain is 0, expected a gain in electrons per unit of flux";
        return Err(Failure::argument(text));
    }
    Ok(Some(Noise::new(noise.gaussian_sigma, photons)?))
}
