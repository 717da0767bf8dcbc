//! Models: loading, sharing, and what the card says.

use crate::layout::{self, Growing};
use crate::pointer;
use crate::simd;
use crate::status::{Failure, galgen_error, galgen_status, guard};
use galgen_infer::Model;
use std::ffi::{CStr, CString, c_char};
use std::path::PathBuf;
use std::ptr;
use std::sync::Arc;

/// A loaded model, immutable. Any number of threads may use it at once.
pub struct galgen_model {
    pub(crate) model: Arc<Model>,
    text: Text,
}

/// The texts of the card, as C strings that live as long as the model.
struct Text {
    card: CString,
    name: CString,
    fingerprint: CString,
    psf: CString,
    simd: CString,
    bands: Vec<CString>,
    /// Name, unit, description.
    conditions: Vec<[CString; 3]>,
    /// Of each condition.
    classes: Vec<Vec<CString>>,
}

impl Text {
    fn new(model: &Model) -> Text {
        let card = model.card();
        let condition = |c: &galgen_core::condition::Condition| {
            [&c.name, &c.unit, &c.description].map(|text| c_string(text))
        };
        let classes = |c: &galgen_core::condition::Condition| {
            c.classes.iter().map(|text| c_string(text)).collect()
        };
        Text {
            card: c_string(&card.to_json()),
            name: c_string(&card.name),
            fingerprint: c_string(&card.fingerprint),
            psf: c_string(&card.psf),
            simd: c_string(model.simd().name()),
            bands: card
                .geometry
                .bands
                .iter()
                .map(|band| c_string(band))
                .collect(),
            conditions: card.conditions.list.iter().map(condition).collect(),
            classes: card.conditions.list.iter().map(classes).collect(),
        }
    }
}

/// A zero inside a text, which C would take for its end, becomes U+FFFD.
fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

/// What a model draws. The texts belong to the model and live until its last handle is freed.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct galgen_model_info {
    /// sizeof(galgen_model_info).
    pub struct_size: usize,
    /// Pixels along either side of a native stamp.
    pub side: usize,
    /// Bands of a stamp.
    pub bands: usize,
    /// Floats of a native stamp: bands x side x side.
    pub stamp_len: usize,
    /// Latent dimensions.
    pub latent: usize,
    /// Conditions that every object must give.
    pub conditions: usize,
    /// Semi-major half-light radius that stamps have in the galaxy frame, pixels (approximately: the
    /// measured one is in galgen_drawn); 0 if the model draws plain images.
    pub half_light_radius: f64,
    /// Short name.
    pub name: *const c_char,
    /// Hash of geometry, conditions and networks, 16 hexadecimal digits.
    pub fingerprint: *const c_char,
    /// "intrinsic", or the point-spread function that is still in the stamps.
    pub psf: *const c_char,
    /// Instructions that the kernels use: "scalar", "avx2+fma", "avx512", "neon".
    pub simd: *const c_char,
}

impl Default for galgen_model_info {
    fn default() -> Self {
        galgen_model_info {
            struct_size: size_of::<Self>(),
            side: 0,
            bands: 0,
            stamp_len: 0,
            latent: 0,
            conditions: 0,
            half_light_radius: 0.0,
            name: ptr::null(),
            fingerprint: ptr::null(),
            psf: ptr::null(),
            simd: ptr::null(),
        }
    }
}

// SAFETY: repr(C), integers, floats and raw pointers, `struct_size` first.
unsafe impl Growing for galgen_model_info {
    const NAME: &'static str = "galgen_model_info";
    const FIRST_SIZE: usize = size_of::<Self>();
}

/// An empty info, ready to be filled. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn galgen_model_info_default() -> galgen_model_info {
    galgen_model_info::default()
}

/// One physical parameter that a model is asked for. The texts belong to the model.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct galgen_condition {
    /// sizeof(galgen_condition).
    pub struct_size: usize,
    /// As "axis_ratio".
    pub name: *const c_char,
    /// Empty for a pure number.
    pub unit: *const c_char,
    /// One sentence.
    pub description: *const c_char,
    /// Over the training set.
    pub mean: f64,
    /// Standard deviation over the training set.
    pub deviation: f64,
    /// Smallest value of the training set.
    pub minimum: f64,
    /// Largest value of the training set.
    pub maximum: f64,
    /// Number of classes, whose names galgen_model_class gives and whose positions are the condition's
    /// values; 0 for a condition that is a number.
    pub classes: usize,
}

impl Default for galgen_condition {
    fn default() -> Self {
        galgen_condition {
            struct_size: size_of::<Self>(),
            name: ptr::null(),
            unit: ptr::null(),
            description: ptr::null(),
            mean: 0.0,
            deviation: 0.0,
            minimum: 0.0,
            maximum: 0.0,
            classes: 0,
        }
    }
}

// SAFETY: repr(C), an integer, floats and raw pointers, `struct_size` first.
unsafe impl Growing for galgen_condition {
    const NAME: &'static str = "galgen_condition";
    const FIRST_SIZE: usize = size_of::<Self>();
}

/// An empty condition, ready to be filled. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn galgen_condition_default() -> galgen_condition {
    galgen_condition::default()
}

/// Loads a model file. `path` is in the encoding of the file system (UTF-8 on Windows). The environment
/// variable GALGEN_SIMD (scalar, avx2, avx512, neon) narrows the instructions that are used; results stay
/// the same. Any thread; `path` and `model` must not be NULL, `error` may be.
///
/// `*model` is a handle that the caller gives to galgen_model_free; NULL on failure.
/// Fails with NULL, IO, MODEL_FILE, MODEL_NEWER, ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_model_open(
    path: *const c_char,
    model: *mut *mut galgen_model,
    error: *mut galgen_error,
) -> galgen_status {
    let body = || {
        // SAFETY: NULL or as galgen.h asks.
        let (path, model) = unsafe { (pointer::text("path", path), out("model", model)?) };
        let path = to_path(path?)?;
        *model = handle(Model::open_on(path, simd::choose()?)?);
        Ok(())
    };
    // SAFETY: `error` is NULL or valid, as galgen.h asks.
    unsafe { guard(error, body) }
}

/// Loads a model from the `length` bytes of its file, which are copied and may be freed afterwards; any
/// alignment. Otherwise as galgen_model_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_model_from_memory(
    bytes: *const u8,
    length: usize,
    model: *mut *mut galgen_model,
    error: *mut galgen_error,
) -> galgen_status {
    let body = || {
        // SAFETY: NULL or as galgen.h asks.
        let (bytes, model) =
            unsafe { (pointer::slice("bytes", bytes, length), out("model", model)?) };
        *model = handle(Model::from_bytes_on(bytes?, simd::choose()?)?);
        Ok(())
    };
    // SAFETY: `error` is NULL or valid, as galgen.h asks.
    unsafe { guard(error, body) }
}

fn handle(model: Arc<Model>) -> *mut galgen_model {
    let text = Text::new(&model);
    Arc::into_raw(Arc::new(galgen_model { model, text })).cast_mut()
}

/// Where a new handle goes; NULL until the function succeeds.
///
/// # Safety
/// `place` is NULL or valid for writing.
pub(crate) unsafe fn out<'a, T>(name: &str, place: *mut *mut T) -> Result<&'a mut *mut T, Failure> {
    // SAFETY: the contract of this function. Written through the pointer before a reference is made,
    // since a C variable need not be initialised.
    unsafe {
        if !place.is_null() && place.is_aligned() {
            place.write(ptr::null_mut());
        }
        pointer::exclusive(name, place)
    }
}

#[cfg(unix)]
fn to_path(path: &CStr) -> Result<PathBuf, Failure> {
    use std::os::unix::ffi::OsStrExt;
    Ok(std::ffi::OsStr::from_bytes(path.to_bytes()).into())
}

#[cfg(not(unix))]
fn to_path(path: &CStr) -> Result<PathBuf, Failure> {
    let text = path
        .to_str()
        .map_err(|_| Failure::argument("path is not UTF-8"))?;
    Ok(text.into())
}

/// Another handle of the same model, at no cost: each is freed once, in any order, on any thread.
/// NULL gives NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_model_clone(model: *const galgen_model) -> *mut galgen_model {
    if !model.is_null() {
        // SAFETY: a handle came from Arc::into_raw and has not been freed.
        unsafe { Arc::increment_strong_count(model) };
    }
    model.cast_mut()
}

/// Frees a handle; NULL is allowed. Sessions of the model stay valid. Pointers to its texts are valid
/// until the last handle is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_model_free(model: *mut galgen_model) {
    if !model.is_null() {
        // SAFETY: a handle came from Arc::into_raw and is freed once.
        unsafe { Arc::decrement_strong_count(model.cast_const()) };
    }
}

/// Fills `*info`. Any thread; `model` and `info` must not be NULL, `error` may be.
/// On failure `*info` is unchanged. Fails with NULL, STRUCT_SIZE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_model_get_info(
    model: *const galgen_model,
    info: *mut galgen_model_info,
    error: *mut galgen_error,
) -> galgen_status {
    let body = || {
        // SAFETY: NULL or as galgen.h asks.
        let handle = unsafe { pointer::shared("model", model) }?;
        let (model, text) = (&handle.model, &handle.text);
        let geometry = &model.card().geometry;
        let filled = galgen_model_info {
            struct_size: size_of::<galgen_model_info>(),
            side: geometry.side,
            bands: geometry.bands.len(),
            stamp_len: model.stamp_len(),
            latent: model.latent(),
            conditions: model.card().conditions.len(),
            half_light_radius: geometry.half_light_radius.unwrap_or(0.0),
            name: text.name.as_ptr(),
            fingerprint: text.fingerprint.as_ptr(),
            psf: text.psf.as_ptr(),
            simd: text.simd.as_ptr(),
        };
        // SAFETY: NULL or as galgen.h asks.
        unsafe { layout::write(info, &filled) }
    };
    // SAFETY: `error` is NULL or valid, as galgen.h asks.
    unsafe { guard(error, body) }
}

/// The model's card as JSON text with a final zero byte, owned by the model. `length`, without the zero
/// byte, may be NULL. NULL model gives NULL and length 0. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_model_card(
    model: *const galgen_model,
    length: *mut usize,
) -> *const c_char {
    // SAFETY: NULL or as galgen.h asks.
    let card = unsafe { pointer::shared("model", model) }
        .ok()
        .map(|m| &m.text.card);
    if !length.is_null() {
        // SAFETY: as galgen.h asks.
        unsafe { length.write(card.map_or(0, |card| card.as_bytes().len())) };
    }
    card.map_or(ptr::null(), |card| card.as_ptr())
}

/// Name of band `index`, owned by the model; NULL if there is none or `model` is NULL. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_model_band(
    model: *const galgen_model,
    index: usize,
) -> *const c_char {
    // SAFETY: NULL or as galgen.h asks.
    let model = unsafe { pointer::shared("model", model) };
    let band = model.ok().and_then(|m| m.text.bands.get(index));
    band.map_or(ptr::null(), |band| band.as_ptr())
}

/// Fills `*condition` with condition `index` of the model. Any thread; `model` and `condition` must not be
/// NULL, `error` may be. On failure `*condition` is unchanged. Fails with NULL, STRUCT_SIZE, NOT_FOUND.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_model_condition(
    model: *const galgen_model,
    index: usize,
    condition: *mut galgen_condition,
    error: *mut galgen_error,
) -> galgen_status {
    let body = || {
        // SAFETY: NULL or as galgen.h asks.
        let handle = unsafe { pointer::shared("model", model) }?;
        let list = &handle.model.card().conditions.list;
        let Some((values, [name, unit, description])) =
            list.get(index).zip(handle.text.conditions.get(index))
        else {
            return Err(Failure::new(
                galgen_status::NotFound,
                format!("condition {index} asked for, the model has {}", list.len()),
            ));
        };
        let filled = galgen_condition {
            struct_size: size_of::<galgen_condition>(),
            name: name.as_ptr(),
            unit: unit.as_ptr(),
            description: description.as_ptr(),
            mean: values.mean,
            deviation: values.deviation,
            minimum: values.range[0],
            maximum: values.range[1],
            classes: values.classes.len(),
        };
        // SAFETY: NULL or as galgen.h asks.
        unsafe { layout::write(condition, &filled) }
    };
    // SAFETY: `error` is NULL or valid, as galgen.h asks.
    unsafe { guard(error, body) }
}

/// Name of class `index` of condition `condition`: the condition's value `index` asks for it. Belongs to the
/// model; NULL if there is none, or `model` is NULL. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_model_class(
    model: *const galgen_model,
    condition: usize,
    index: usize,
) -> *const c_char {
    // SAFETY: NULL or as galgen.h asks.
    let model = unsafe { pointer::shared("model", model) };
    let classes = model.ok().and_then(|m| m.text.classes.get(condition));
    let name = classes.and_then(|names| names.get(index));
    name.map_or(ptr::null(), |name| name.as_ptr())
}

/// Position of the condition called `name` in galgen_object.conditions. Any thread; only `error` may be
/// NULL. On failure `*index` is unchanged. Fails with NULL, NOT_FOUND.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_model_find_condition(
    model: *const galgen_model,
    name: *const c_char,
    index: *mut usize,
    error: *mut galgen_error,
) -> galgen_status {
    let body = || {
        // SAFETY: NULL or as galgen.h asks.
        let (handle, name) = unsafe {
            (
                pointer::shared("model", model)?,
                pointer::text("name", name)?,
            )
        };
        let name = name.to_string_lossy();
        let conditions = &handle.model.card().conditions;
        let Some(found) = conditions.position(&name) else {
            let names: Vec<_> = conditions.list.iter().map(|c| c.name.as_str()).collect();
            return Err(Failure::new(
                galgen_status::NotFound,
                format!("no condition `{name}`, the model has: {}", names.join(", ")),
            ));
        };
        // SAFETY: NULL or as galgen.h asks.
        unsafe { pointer::output("index", index, 1, 1, 1) }?[0] = found;
        Ok(())
    };
    // SAFETY: `error` is NULL or valid, as galgen.h asks.
    unsafe { guard(error, body) }
}
