//! Likelihoods, encoder and decoder.

use crate::pointer;
use crate::session::galgen_session;
use crate::status::{Failure, Failures, galgen_error, galgen_status, guard};
use galgen_core::condition::Flags;
use galgen_infer::{DrawError, Scoring};
use std::mem::MaybeUninit;

/// The arguments that all functions of this file and of `image` have.
pub(crate) struct Batch {
    pub session: *mut galgen_session,
    pub conditions: *const f32,
    pub conditions_len: usize,
    pub n: usize,
    pub statuses: *mut galgen_status,
}

/// The model's lengths.
pub(crate) struct Sizes {
    pub stamp: usize,
    latent: usize,
    conditions: usize,
}

/// A batch whose pointers are checked.
pub(crate) struct Checked<'a> {
    session: &'a mut galgen_session,
    pub sizes: Sizes,
    conditions: &'a [f32],
    /// What the caller has there may be no status yet.
    statuses: Option<&'a mut [MaybeUninit<galgen_status>]>,
    n: usize,
}

impl Batch {
    /// # Safety
    /// The pointers are NULL or as galgen.h asks.
    pub unsafe fn check<'a>(self) -> Result<Checked<'a>, Failure> {
        let n = self.n;
        // SAFETY: the contract of this function.
        let session = unsafe { pointer::exclusive("session", self.session) }?;
        let model = session.session.model();
        let sizes = Sizes {
            stamp: model.stamp_len(),
            latent: model.latent(),
            conditions: model.card().conditions.len(),
        };
        // SAFETY: the contract of this function.
        let (conditions, statuses) = unsafe {
            let each = sizes.conditions;
            (
                pointer::input("conditions", self.conditions, self.conditions_len, n, each)?,
                pointer::optional("statuses", self.statuses.cast(), n)?,
            )
        };
        Ok(Checked {
            session,
            sizes,
            conditions,
            statuses,
            n,
        })
    }
}

impl Checked<'_> {
    /// Calls `all` once, which reports on every element, in order, with its index.
    pub fn run_together(
        self,
        all: impl FnOnce(&mut galgen_session, &[f32], &mut dyn FnMut(usize, Result<(), DrawError>)),
    ) -> Result<(), Failure> {
        let Checked {
            session,
            conditions,
            mut statuses,
            n,
            ..
        } = self;
        let mut failures = Failures::default();
        all(session, conditions, &mut |i, result| {
            let status = failures.note(i, result).err().unwrap_or(galgen_status::Ok);
            if let Some(statuses) = &mut statuses {
                statuses[i].write(status);
            }
        });
        failures.result(n)
    }

    /// Calls `one` for every element with its index and conditions.
    pub fn run(
        mut self,
        mut one: impl FnMut(&mut galgen_session, usize, &[f32]) -> Result<(), DrawError>,
    ) -> Result<(), Failure> {
        let mut failures = Failures::default();
        for i in 0..self.n {
            let conditions = element(self.conditions, i, self.sizes.conditions);
            let result = one(self.session, i, conditions);
            let status = failures.note(i, result).err().unwrap_or(galgen_status::Ok);
            if let Some(statuses) = &mut self.statuses {
                statuses[i].write(status);
            }
        }
        failures.result(self.n)
    }
}

pub(crate) fn element<T>(values: &[T], i: usize, each: usize) -> &[T] {
    &values[i * each..(i + 1) * each]
}

pub(crate) fn element_mut<T>(values: &mut [T], i: usize, each: usize) -> &mut [T] {
    &mut values[i * each..(i + 1) * each]
}

/// Sets the point-spread function of the stamps that galgen_session_encode and galgen_session_log_likelihood
/// get from now on, in the stamps' pixels. It matters to models trained with the point-spread function
/// inside, which draw galaxies as they are in front of the telescope; drawing is not affected.
///
/// `psf` is [side, side], row-major, `side` odd and at most the stamp's, centred on ((side - 1) / 2,
/// (side - 1) / 2), with any positive sum. NULL with side 0 is none, as in a new session. All is copied.
/// Exclusive use of `session`; `error` may be NULL. Fails with NULL; ARGUMENT for a function that is not
/// as described, or a model whose stamps have their blur inside. A failure changes nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_session_set_stamp_psf(
    session: *mut galgen_session,
    psf: *const f32,
    side: usize,
    error: *mut galgen_error,
) -> galgen_status {
    let body = || {
        // SAFETY: the caller's promise, as galgen.h asks.
        let session = unsafe { pointer::exclusive("session", session) }?;
        let most = session.session.model().card().geometry.side;
        if side > most {
            let problem = format!("side is {side}, expected an odd number of at most {most}");
            return Err(Failure::argument(problem));
        }
        // SAFETY: NULL or as galgen.h asks.
        let psf = unsafe { pointer::slice("psf", psf, side * side) }?;
        let (psf, side) = if side == 0 {
            (&[1.0][..], 1)
        } else {
            (psf, side)
        };
        let set = session.session.set_psf(psf, side);
        set.map_err(|e| Failure::argument(e.to_string()))
    };
    // SAFETY: `error` is NULL or valid, as galgen.h asks.
    unsafe { guard(error, body) }
}

/// Whether galgen_session_log_likelihood may use weights that were stored in 16 bits: 1 accepts them, 0, as in a new
/// session, refuses them (UNSUPPORTED) for flows, masked networks and PixelCNNs, whose ln p they change by about 0.01 (f16)
/// or 0.1 nats (bf16) at 64 dimensions, more for more. Other families do not care. It holds for
/// galgen_session_pixel_log_likelihoods, too.
///
/// Exclusive use of `session`; `error` may be NULL. Fails with NULL; ARGUMENT for another number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_session_accept_half_precision(
    session: *mut galgen_session,
    accept: u32,
    error: *mut galgen_error,
) -> galgen_status {
    let body = || {
        // SAFETY: the caller's promise, as galgen.h asks.
        let session = unsafe { pointer::exclusive("session", session) }?;
        if accept > 1 {
            return Err(Failure::argument(format!(
                "accept is {accept}, expected 0 or 1"
            )));
        }
        session.session.accept_half_precision(accept == 1);
        Ok(())
    };
    // SAFETY: `error` is NULL or valid, as galgen.h asks.
    unsafe { guard(error, body) }
}

/// Lower bounds of ln p(stamp | conditions) in nats: the importance-weighted bound (Burda et al. 2016) with
/// `samples` >= 1 posterior draws of (seed, id), whose mean grows towards the truth with `samples`.
///
/// `stamps` is [n, bands, side, side] in the galaxy frame, any positive sum; `stamps_len` its floats.
/// `conditions` is [n, conditions]. `sky` is the noise of a pixel for each stamp in the stamp's unit, 0 or
/// more, or NULL: that of a typical training stamp; models of other families than flow-VAE have learned it and take
/// NULL only. `ids` has `n` elements, or is NULL: 0, 1, 2 ...
/// `log_likelihoods` has `n` elements. `statuses` has `n` elements, or is NULL. The density is over the
/// pixels of the unit-sum stamp in the model's intensity unit, inside the stamp's circle. Of plain images, and of rows of
/// numbers (bands are columns, side 1), it is over the pixels as they are. A flow and a masked network give ln p
/// itself; `samples` then matters only for a card with grey levels: its pixels are k / (levels - 1), the density is that of
/// (k + u) / levels, of which ln of the mean over draws of u is taken, and ln P(k) is that less ln levels a pixel. The card of a
/// continuous flow may ask for an estimated trace ("hutchinson"): its ln p is an estimate with signs of (seed, id).
///
/// Exclusive use of `session`; `error` may be NULL. Returns PARTIAL if a stamp cannot be scored: its result
/// is NaN, its status says why. Fails with NULL, LENGTH before anything is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_session_log_likelihood(
    session: *mut galgen_session,
    seed: u64,
    samples: u32,
    stamps: *const f32,
    stamps_len: usize,
    conditions: *const f32,
    conditions_len: usize,
    sky: *const f64,
    ids: *const u64,
    n: usize,
    log_likelihoods: *mut f64,
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
        let (batch, sky, ids) = unsafe {
            (
                batch.check()?,
                pointer::slice("sky", sky, if sky.is_null() { 0 } else { n })?,
                pointer::slice("ids", ids, if ids.is_null() { 0 } else { n })?,
            )
        };
        let each = batch.sizes.stamp;
        // SAFETY: NULL or as galgen.h asks.
        let (stamps, results) = unsafe {
            (
                pointer::input("stamps", stamps, stamps_len, n, each)?,
                pointer::output("log_likelihoods", log_likelihoods, n, n, 1)?,
            )
        };
        results.fill(f64::NAN);
        let scoring = Scoring {
            sky: (!sky.is_empty()).then_some(sky),
            samples,
            seed,
            ids: (!ids.is_empty()).then_some(ids),
        };
        batch.run_together(|session, conditions, done| {
            let report = |i: usize, scored: Result<f64, DrawError>| {
                done(i, scored.map(|log_p| results[i] = log_p));
            };
            let session = &mut session.session;
            session.log_likelihoods(n, &stamps[..n * each], conditions, scoring, report);
        })
    };
    // SAFETY: `error` is NULL or valid, as galgen.h asks.
    unsafe { guard(error, body) }
}

/// ln p(z | conditions) of latents under the model's prior, in nats: exact, or an estimate where the card asks for an
/// estimated trace of a continuous flow ("hutchinson").
///
/// `latents` is [n, latent] of `latents_len` doubles, `conditions` [n, conditions], `log_probs` has `n`
/// elements, `statuses` `n` or is NULL. Otherwise as galgen_session_log_likelihood.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_session_log_prob_latent(
    session: *mut galgen_session,
    latents: *const f64,
    latents_len: usize,
    conditions: *const f32,
    conditions_len: usize,
    n: usize,
    log_probs: *mut f64,
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
        let each = batch.sizes.latent;
        // SAFETY: NULL or as galgen.h asks.
        let (latents, results) = unsafe {
            (
                pointer::input("latents", latents, latents_len, n, each)?,
                pointer::output("log_probs", log_probs, n, n, 1)?,
            )
        };
        results.fill(f64::NAN);
        let one = |session: &mut galgen_session, i: usize, conditions: &[f32]| {
            let latent = element(latents, i, each);
            results[i] = session.session.log_prob_latent(latent, conditions)?;
            Ok(())
        };
        batch.run(one)
    };
    // SAFETY: `error` is NULL or valid, as galgen.h asks.
    unsafe { guard(error, body) }
}

/// Posterior of the latent of each stamp: means and ln variances of independent Gaussians; minus infinity of a
/// plain autoencoder, a flow and a MADE, whose code is the mean. That of a flow is its noise: where it splits, the part that
/// goes on comes first, then what was split off last, and so on. That of a MADE are uniform numbers in (0, 1).
///
/// `stamps` and `conditions` as for galgen_session_log_likelihood. `means` and `log_variances` are [n, latent],
/// with room for `latents_len` floats each, at least that many. `flags`, sums of GALGEN_FLAG_* of the
/// conditions, has `n` elements, or is NULL. `statuses` too.
///
/// Exclusive use of `session`; `error` may be NULL. Returns PARTIAL if a stamp cannot be encoded: its results
/// are NaN, its flags 0, its status says why. Fails with NULL, LENGTH before anything is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_session_encode(
    session: *mut galgen_session,
    stamps: *const f32,
    stamps_len: usize,
    conditions: *const f32,
    conditions_len: usize,
    n: usize,
    means: *mut f32,
    log_variances: *mut f32,
    latents_len: usize,
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
        let (stamp, latent) = (batch.sizes.stamp, batch.sizes.latent);
        // SAFETY: NULL or as galgen.h asks.
        let (stamps, means, log_variances, mut flags) = unsafe {
            (
                pointer::input("stamps", stamps, stamps_len, n, stamp)?,
                pointer::output("means", means, latents_len, n, latent)?,
                pointer::output("log_variances", log_variances, latents_len, n, latent)?,
                pointer::optional("flags", flags, n)?,
            )
        };
        means.fill(f32::NAN);
        log_variances.fill(f32::NAN);
        if let Some(flags) = &mut flags {
            flags.fill(0);
        }
        let one = |session: &mut galgen_session, i: usize, conditions: &[f32]| {
            let (mean, log_variance) = (
                element_mut(means, i, latent),
                element_mut(log_variances, i, latent),
            );
            let stamp = element(stamps, i, stamp);
            let found = session
                .session
                .encode(stamp, conditions, mean, log_variance);
            // Absurd conditions are found after the encoder has written.
            let found = found.inspect_err(|_| {
                mean.fill(f32::NAN);
                log_variance.fill(f32::NAN);
            })?;
            if let Some(flags) = &mut flags {
                flags[i] = found.0;
            }
            Ok(())
        };
        batch.run(one)
    };
    // SAFETY: `error` is NULL or valid, as galgen.h asks.
    unsafe { guard(error, body) }
}

/// Stamps of given latents, in the galaxy frame, each of unit sum; of plain images the mean of their pixels.
///
/// `latents` is [n, latent] of `latents_len` floats, `conditions` [n, conditions]. `stamps` is
/// [n, bands, side, side] with room for `stamps_len` floats, at least that many. `flags` and `statuses` have `n`
/// elements each, or are NULL.
///
/// Exclusive use of `session`; `error` may be NULL. Returns PARTIAL if a latent cannot be decoded: its stamp
/// is zero, its flags 0, its status says why. Fails with NULL, LENGTH before anything is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_session_decode(
    session: *mut galgen_session,
    latents: *const f32,
    latents_len: usize,
    conditions: *const f32,
    conditions_len: usize,
    n: usize,
    stamps: *mut f32,
    stamps_len: usize,
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
        let (stamp, latent) = (batch.sizes.stamp, batch.sizes.latent);
        // SAFETY: NULL or as galgen.h asks.
        let (latents, stamps, mut flags) = unsafe {
            (
                pointer::input("latents", latents, latents_len, n, latent)?,
                pointer::output("stamps", stamps, stamps_len, n, stamp)?,
                pointer::optional("flags", flags, n)?,
            )
        };
        if let Some(flags) = &mut flags {
            flags.fill(0);
        }
        batch.run_together(|session, conditions, done| {
            let report = |i: usize, decoded: Result<Flags, DrawError>| {
                let note = |found: Flags| {
                    if let Some(flags) = &mut flags {
                        flags[i] = found.0;
                    }
                };
                done(i, decoded.map(note));
            };
            let (latents, out) = (&latents[..n * latent], &mut stamps[..n * stamp]);
            session
                .session
                .decode_batch(n, latents, conditions, out, report);
        })
    };
    // SAFETY: `error` is NULL or valid, as galgen.h asks.
    unsafe { guard(error, body) }
}
