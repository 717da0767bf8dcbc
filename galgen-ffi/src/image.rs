//! Plain images, and stamps through the latent and back.

use crate::pointer;
use crate::score::{Batch, element, element_mut};
use crate::session::galgen_session;
use crate::status::{Failure, galgen_error, galgen_status, guard};
use galgen_core::condition::Flags;
use galgen_infer::{DrawError, Pixels};

/// `pixels` of galgen_session_sample_images: the mean of each pixel, the probability of 1 where pixels are 0 or 1; of an
/// autoregressive model given the pixels drawn before it.
pub const GALGEN_PIXELS_MEAN: u32 = 0;
/// `pixels` of galgen_session_sample_images: a draw of each pixel.
pub const GALGEN_PIXELS_DRAWN: u32 = 1;

/// Draws `n` plain images, for models without a half_light_radius (others: UNSUPPORTED for each).
///
/// `ids` has `n` elements, or is NULL: 0, 1, 2 ... `conditions` is [n, conditions]; a class is given by its position.
/// `pixels` is GALGEN_PIXELS_MEAN or GALGEN_PIXELS_DRAWN. `images` is [n, bands, side, side] with room for
/// `images_len` floats, at least that many, in the units of the training data. `flags` and `statuses` have `n`
/// elements each, or are NULL.
///
/// Exclusive use of `session`; `error` may be NULL. Returns PARTIAL if an image cannot be drawn: it is zero, its
/// flags 0, its status says why. Fails with NULL, LENGTH, ARGUMENT before anything is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_session_sample_images(
    session: *mut galgen_session,
    seed: u64,
    ids: *const u64,
    conditions: *const f32,
    conditions_len: usize,
    n: usize,
    pixels: u32,
    images: *mut f32,
    images_len: usize,
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
        let pixels = match pixels {
            GALGEN_PIXELS_MEAN => Pixels::Mean,
            GALGEN_PIXELS_DRAWN => Pixels::Drawn,
            other => {
                return Err(Failure::argument(format!(
                    "pixels is {other}, expected GALGEN_PIXELS_MEAN or GALGEN_PIXELS_DRAWN"
                )));
            }
        };
        // SAFETY: NULL or as galgen.h asks.
        let batch = unsafe { batch.check() }?;
        let each = batch.sizes.stamp;
        // SAFETY: NULL or as galgen.h asks.
        let (ids, images, mut flags) = unsafe {
            (
                pointer::slice("ids", ids, if ids.is_null() { 0 } else { n })?,
                pointer::output("images", images, images_len, n, each)?,
                pointer::optional("flags", flags, n)?,
            )
        };
        if let Some(flags) = &mut flags {
            flags.fill(0);
        }
        batch.run_together(|session, conditions, done| {
            let report = |i: usize, drawn: Result<Flags, DrawError>| {
                let note = |found: Flags| {
                    if let Some(flags) = &mut flags {
                        flags[i] = found.0;
                    }
                };
                done(i, drawn.map(note));
            };
            let id = |i: usize| ids.get(i).copied().unwrap_or(i as u64);
            let (session, out) = (&mut session.session, &mut images[..n * each]);
            session.sample_images(n, seed, id, conditions, pixels, out, report);
        })
    };
    // SAFETY: `error` is NULL or valid, as galgen.h asks.
    unsafe { guard(error, body) }
}

/// What the model makes of stamps: the stamp of the posterior's mean, with the sum of the given one if they are
/// galaxies. Of a model that takes a point-spread function it is the galaxy in front of it. Of an autoregressive model
/// it is the mean of each pixel given those of the stamp before it.
///
/// `stamps` is [n, bands, side, side] of `stamps_len` floats, `conditions` [n, conditions]. `made` has room for as many
/// floats as `stamps`, `made_len`. `flags` and `statuses` have `n` elements each, or are NULL.
///
/// Exclusive use of `session`; `error` may be NULL. Returns PARTIAL if a stamp cannot be encoded or decoded: what is
/// made of it is zero, its flags 0, its status says why. Fails with NULL, LENGTH before anything is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_session_reconstruct(
    session: *mut galgen_session,
    stamps: *const f32,
    stamps_len: usize,
    conditions: *const f32,
    conditions_len: usize,
    n: usize,
    made: *mut f32,
    made_len: usize,
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
        let (stamps, made, mut flags) = unsafe {
            (
                pointer::input("stamps", stamps, stamps_len, n, each)?,
                pointer::output("made", made, made_len, n, each)?,
                pointer::optional("flags", flags, n)?,
            )
        };
        if let Some(flags) = &mut flags {
            flags.fill(0);
        }
        batch.run(
            |session: &mut galgen_session, i: usize, conditions: &[f32]| {
                let out = element_mut(made, i, each);
                let result = session
                    .session
                    .reconstruct(element(stamps, i, each), conditions, out);
                let found = result.inspect_err(|_| out.fill(0.0))?;
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
