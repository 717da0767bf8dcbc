//! The distribution of every pixel given those before it, of autoregressive models.

use crate::pointer;
use crate::score::{Batch, element, element_mut};
use crate::session::galgen_session;
use crate::status::{Failure, galgen_error, galgen_status, guard};

/// Number of parameters of a pixel's distribution, see galgen_session_pixel_parameters; 0 for models that are not
/// autoregressive, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_session_pixel_parameter_count(
    session: *const galgen_session,
) -> usize {
    // SAFETY: NULL or valid, as galgen.h asks.
    let session = unsafe { pointer::shared("session", session) };
    let head = session
        .ok()
        .and_then(|session| session.session.model().head());
    head.map_or(0, |head| head.parameters())
}

/// ln p(pixel | pixels before it) of every pixel of `n` images, in nats, in reading order: of the probability of a
/// level, or of the density in the pixel's unit. Their sum is what galgen_session_log_likelihood gives. Exact. For
/// autoregressive models (others: UNSUPPORTED for each).
///
/// `images` is [n, side, side] of `images_len` floats, `conditions` [n, conditions]. `maps` is [n, side, side] with room
/// for `maps_len` doubles, at least that many. `flags` and `statuses` have `n` elements each, or are NULL.
///
/// Exclusive use of `session`; `error` may be NULL. Returns PARTIAL if an image cannot be scored: its map is NaN, its
/// flags 0, its status says why. Fails with NULL, LENGTH before anything is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_session_pixel_log_likelihoods(
    session: *mut galgen_session,
    images: *const f32,
    images_len: usize,
    conditions: *const f32,
    conditions_len: usize,
    n: usize,
    maps: *mut f64,
    maps_len: usize,
    flags: *mut u32,
    statuses: *mut galgen_status,
    error: *mut galgen_error,
) -> galgen_status {
    let batch = Batch {
        session,
        conditions,
        conditions_len,
        n,
        statuses,
    };
    let body = || {
        // SAFETY: NULL or as galgen.h asks.
        let batch = unsafe { batch.check() }?;
        let each = batch.sizes.stamp;
        // SAFETY: NULL or as galgen.h asks.
        let (images, maps, mut flags) = unsafe {
            (
                pointer::input("images", images, images_len, n, each)?,
                pointer::output("maps", maps, maps_len, n, each)?,
                pointer::optional("flags", flags, n)?,
            )
        };
        if let Some(flags) = &mut flags {
            flags.fill(0);
        }
        batch.run(
            |session: &mut galgen_session, i: usize, conditions: &[f32]| {
                let out = element_mut(maps, i, each);
                let image = element(images, i, each);
                let scored = session
                    .session
                    .pixel_log_likelihoods(image, conditions, out);
                let found = scored.inspect_err(|_| out.fill(f64::NAN))?;
                if let Some(flags) = &mut flags {
                    flags[i] = found.0;
                }
                Ok(())
            },
        )
    };
    // SAFETY: `error` is NULL or valid, as galgen.h asks.
    unsafe { guard(error, body) }
}

/// The parameters of every pixel's distribution given the pixels of the image before it. For autoregressive models
/// (others: UNSUPPORTED for each). By the head of the model (see `galgen inspect --json`, model.pixel_cnn.head):
/// bernoulli: the probability of 1; categorical: that of each level; gaussian: mean and standard deviation;
/// gaussian_mixture and discretised_logistic: all weights, all means, all scales of the components.
///
/// `images` is [n, side, side] of `images_len` floats, `conditions` [n, conditions]. `parameters` is [n, count, side,
/// side], count that of galgen_session_pixel_parameter_count, with room for `parameters_len` floats, at least that
/// many. `flags` and `statuses` have `n` elements each, or are NULL.
///
/// Exclusive use of `session`; `error` may be NULL. Returns PARTIAL if an image cannot be looked at: its parameters are
/// NaN, its flags 0, its status says why. Fails with NULL, LENGTH before anything is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_session_pixel_parameters(
    session: *mut galgen_session,
    images: *const f32,
    images_len: usize,
    conditions: *const f32,
    conditions_len: usize,
    n: usize,
    parameters: *mut f32,
    parameters_len: usize,
    flags: *mut u32,
    statuses: *mut galgen_status,
    error: *mut galgen_error,
) -> galgen_status {
    let batch = Batch {
        session,
        conditions,
        conditions_len,
        n,
        statuses,
    };
    let body = || {
        // SAFETY: NULL or as galgen.h asks.
        let count = unsafe { galgen_session_pixel_parameter_count(session) };
        // SAFETY: NULL or as galgen.h asks.
        let batch = unsafe { batch.check() }?;
        let each = batch.sizes.stamp;
        // SAFETY: NULL or as galgen.h asks.
        let (images, parameters, mut flags) = unsafe {
            (
                pointer::input("images", images, images_len, n, each)?,
                pointer::output("parameters", parameters, parameters_len, n, count * each)?,
                pointer::optional("flags", flags, n)?,
            )
        };
        if let Some(flags) = &mut flags {
            flags.fill(0);
        }
        batch.run(
            |session: &mut galgen_session, i: usize, conditions: &[f32]| {
                let out = element_mut(parameters, i, count * each);
                let image = element(images, i, each);
                let made = session
                    .session
                    .pixel_parameters(image, conditions, false, out);
                let found = made.inspect_err(|_| out.fill(f32::NAN))?;
                if let Some(flags) = &mut flags {
                    flags[i] = found.0;
                }
                Ok(())
            },
        )
    };
    // SAFETY: `error` is NULL or valid, as galgen.h asks.
    unsafe { guard(error, body) }
}

/// Completes `n` images: where `given` is not 0 the pixel is kept, every other is drawn given all pixels before it in
/// reading order. A given pixel after a drawn one does not change it. For autoregressive models (others: UNSUPPORTED for
/// each).
///
/// `ids` has `n` elements, or is NULL: 0, 1, 2 ... `images` is [n, side, side] of `images_len` floats and `given` as many
/// bytes, `given_len`. `conditions` is [n, conditions]. `completed` has room for as many floats as `images`,
/// `completed_len`; it may not overlap them. `flags` and `statuses` have `n` elements each, or are NULL.
///
/// Exclusive use of `session`; `error` may be NULL. Returns PARTIAL if an image cannot be completed: it is zero, its
/// flags 0, its status says why. Fails with NULL, LENGTH before anything is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_session_complete(
    session: *mut galgen_session,
    seed: u64,
    ids: *const u64,
    images: *const f32,
    images_len: usize,
    given: *const u8,
    given_len: usize,
    conditions: *const f32,
    conditions_len: usize,
    n: usize,
    completed: *mut f32,
    completed_len: usize,
    flags: *mut u32,
    statuses: *mut galgen_status,
    error: *mut galgen_error,
) -> galgen_status {
    let batch = Batch {
        session,
        conditions,
        conditions_len,
        n,
        statuses,
    };
    let body = || -> Result<(), Failure> {
        // SAFETY: NULL or as galgen.h asks.
        let batch = unsafe { batch.check() }?;
        let each = batch.sizes.stamp;
        // SAFETY: NULL or as galgen.h asks.
        let (ids, images, given, completed, mut flags) = unsafe {
            (
                pointer::slice("ids", ids, if ids.is_null() { 0 } else { n })?,
                pointer::input("images", images, images_len, n, each)?,
                pointer::input("given", given, given_len, n, each)?,
                pointer::output("completed", completed, completed_len, n, each)?,
                pointer::optional("flags", flags, n)?,
            )
        };
        if let Some(flags) = &mut flags {
            flags.fill(0);
        }
        batch.run(
            |session: &mut galgen_session, i: usize, conditions: &[f32]| {
                let galgen_session {
                    session,
                    given: mask,
                    ..
                } = session;
                for (keep, &byte) in mask.iter_mut().zip(element(given, i, each)) {
                    *keep = byte != 0;
                }
                let out = element_mut(completed, i, each);
                let id = ids.get(i).copied().unwrap_or(i as u64);
                let image = element(images, i, each);
                let made = session.complete(seed, id, conditions, image, mask, out);
                let found = made.inspect_err(|_| out.fill(0.0))?;
                if let Some(flags) = &mut flags {
                    flags[i] = found.0;
                }
                Ok(())
            },
        )
    };
    // SAFETY: `error` is NULL or valid, as galgen.h asks.
    unsafe { guard(error, body) }
}
