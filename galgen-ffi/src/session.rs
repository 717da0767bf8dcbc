//! Sessions, and drawing.

use crate::layout::Array;
use crate::model::{galgen_model, out};
use crate::object::{galgen_drawn, galgen_object};
use crate::pointer;
use crate::scene::{Scene, galgen_grid, galgen_noise, galgen_psf};
use crate::status::{Failure, Failures, galgen_error, galgen_status, guard};
use galgen_infer::{DrawError, Drawn, Session};

/// Most items of a call that are computed together.
const ITEMS: usize = 64;

/// Draws and scores with one model. Holds all scratch memory: drawing and scoring allocate nothing.
/// One thread at a time.
pub struct galgen_session {
    pub(crate) session: Session,
    scene: Option<Scene>,
    /// Which pixels of an image are given.
    pub(crate) given: Vec<bool>,
}

/// Bytes of memory that galgen_session_new takes for a session of `model`, in blocks of their final sizes (what the
/// system's allocator adds to blocks is not counted). Drawing and scoring take no more; galgen_session_set_grid
/// takes its own. 0 if `model` is NULL. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_model_session_size(model: *const galgen_model) -> usize {
    // SAFETY: NULL or as galgen.h asks.
    match unsafe { pointer::shared("model", model) } {
        Ok(handle) => {
            let model = &handle.model;
            size_of::<galgen_session>() + model.stamp_len() + model.session_bytes_of(ITEMS)
        }
        Err(_) => 0,
    }
}

/// Makes a session of `model`, which it keeps alive. Any thread; `model` and `session` must not be NULL,
/// `error` may be.
///
/// `*session` is owned by the caller, who gives it to galgen_session_free; NULL on failure. It may move
/// between threads. Fails with NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_session_new(
    model: *const galgen_model,
    session: *mut *mut galgen_session,
    error: *mut galgen_error,
) -> galgen_status {
    let body = || {
        // SAFETY: NULL or as galgen.h asks.
        let (model, place) = unsafe { (pointer::shared("model", model), out("session", session)?) };
        let model = &model?.model;
        *place = Box::into_raw(Box::new(galgen_session {
            session: Session::with_batch(model.clone(), ITEMS),
            scene: None,
            given: vec![false; model.stamp_len()],
        }));
        Ok(())
    };
    // SAFETY: `error` is NULL or valid, as galgen.h asks.
    unsafe { guard(error, body) }
}

/// Frees a session; NULL is allowed. No other call may be using it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_session_free(session: *mut galgen_session) {
    if !session.is_null() {
        // SAFETY: came from Box::into_raw and is freed once.
        drop(unsafe { Box::from_raw(session) });
    }
}

/// Sets what galgen_session_sample_rendered draws on and through, and takes the memory for it: not for
/// every object. `psf` and `noise` may be NULL: none. All is copied. Exclusive use of `session`; `session`
/// and `grid` must not be NULL, `error` may be.
///
/// On failure the session keeps the grid that it had. Fails with NULL, STRUCT_SIZE, ARGUMENT, TOO_LARGE; LENGTH for an
/// image of a point-spread function that no memory holds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_session_set_grid(
    session: *mut galgen_session,
    grid: *const galgen_grid,
    psf: *const galgen_psf,
    noise: *const galgen_noise,
    error: *mut galgen_error,
) -> galgen_status {
    let body = || {
        // SAFETY: NULL or as galgen.h asks.
        let session = unsafe { pointer::exclusive("session", session) }?;
        // SAFETY: NULL or as galgen.h asks.
        let scene = unsafe { Scene::new(session.session.model(), grid, psf, noise) }?;
        session.scene = Some(scene);
        Ok(())
    };
    // SAFETY: `error` is NULL or valid, as galgen.h asks.
    unsafe { guard(error, body) }
}

/// Draws `n` objects as native stamps: axes along the sky's, rotated, sheared and magnified, each with
/// a pixel scale of its own that keeps all of the light inside. For GalSim's InterpolatedImage and
/// photon shooting. Sum of a stamp = lensed flux, all pixels 0 or more.
///
/// `stamps` is [n, bands, side, side] and has room for `stamps_len` floats, at least that many; the rest
/// is untouched. It must not overlap `objects`. `drawn` has `n` elements, or is NULL. Exclusive use of
/// `session`; `error` may be NULL, and `objects` and `stamps` if `n` is 0.
///
/// Returns PARTIAL if objects cannot be drawn: their stamps are zero, their `status` says why, the
/// text names the first. Fails with NULL, STRUCT_SIZE, LENGTH before anything is written; after PANIC
/// stamps and drawn are unspecified.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_session_sample_native(
    session: *mut galgen_session,
    seed: u64,
    objects: *const galgen_object,
    n: usize,
    stamps: *mut f32,
    stamps_len: usize,
    drawn: *mut galgen_drawn,
    error: *mut galgen_error,
) -> galgen_status {
    let request = Request {
        session,
        seed,
        objects,
        n,
        stamps,
        stamps_len,
        drawn,
    };
    // SAFETY: as galgen.h asks.
    unsafe { guard(error, || request.draw(Output::Native)) }
}

/// Draws `n` objects in the galaxy frame: the network's own pixels, major axis near x, nothing resampled;
/// the jacobian of galgen_drawn carries size, orientation, shear and magnification exactly. Otherwise as
/// galgen_session_sample_native.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_session_sample_galaxy_frame(
    session: *mut galgen_session,
    seed: u64,
    objects: *const galgen_object,
    n: usize,
    stamps: *mut f32,
    stamps_len: usize,
    drawn: *mut galgen_drawn,
    error: *mut galgen_error,
) -> galgen_status {
    let request = Request {
        session,
        seed,
        objects,
        n,
        stamps,
        stamps_len,
        drawn,
    };
    // SAFETY: as galgen.h asks.
    unsafe { guard(error, || request.draw(Output::GalaxyFrame)) }
}

/// Draws `n` objects on the grid of galgen_session_set_grid, each at its `offset` from the centre,
/// through the point-spread function, and adds the noise. `stamps` is [n, bands, height, width]. Light
/// beyond the border is lost: see fraction_inside. Also fails with NO_GRID; otherwise as
/// galgen_session_sample_native.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn galgen_session_sample_rendered(
    session: *mut galgen_session,
    seed: u64,
    objects: *const galgen_object,
    n: usize,
    stamps: *mut f32,
    stamps_len: usize,
    drawn: *mut galgen_drawn,
    error: *mut galgen_error,
) -> galgen_status {
    let request = Request {
        session,
        seed,
        objects,
        n,
        stamps,
        stamps_len,
        drawn,
    };
    // SAFETY: as galgen.h asks.
    unsafe { guard(error, || request.draw(Output::Rendered)) }
}

#[derive(Clone, Copy)]
enum Output {
    Native,
    GalaxyFrame,
    Rendered,
}

/// The arguments of a call that draws.
struct Request {
    session: *mut galgen_session,
    seed: u64,
    objects: *const galgen_object,
    n: usize,
    stamps: *mut f32,
    stamps_len: usize,
    drawn: *mut galgen_drawn,
}

impl Request {
    /// # Safety
    /// The pointers are NULL or as galgen.h asks.
    unsafe fn draw(self, output: Output) -> Result<(), Failure> {
        let n = self.n;
        // SAFETY: the contract of this function.
        let session = unsafe { pointer::exclusive("session", self.session) }?;
        let each = session.stamp_len(output)?;
        // SAFETY: the contract of this function.
        let (objects, stamps, drawn) = unsafe {
            (
                Array::input(self.objects, n)?,
                pointer::output("stamps", self.stamps, self.stamps_len, n, each)?,
                Array::output(self.drawn, n)?,
            )
        };
        let mut failures = Failures::default();
        for (i, stamp) in stamps.chunks_exact_mut(each).enumerate() {
            // SAFETY: i < n.
            let object: galgen_object = unsafe { objects.get(i) };
            let result = session.draw(output, self.seed, object, stamp);
            let result = match failures.note(i, result) {
                Ok(drawn) => galgen_drawn::done(object.id, &drawn),
                Err(status) => {
                    stamp.fill(0.0);
                    galgen_drawn::failed(object.id, status)
                }
            };
            if let Some(drawn) = &drawn {
                // SAFETY: i < n.
                unsafe { drawn.set(i, &result) };
            }
        }
        failures.result(n)
    }
}

impl galgen_session {
    /// Floats of one stamp.
    fn stamp_len(&self, output: Output) -> Result<usize, Failure> {
        match output {
            Output::Native | Output::GalaxyFrame => Ok(self.session.model().stamp_len()),
            Output::Rendered => match &self.scene {
                Some(scene) => Ok(scene.renderer.image_len()),
                None => Err(Failure::new(
                    galgen_status::NoGrid,
                    "no grid to render on, call galgen_session_set_grid first",
                )),
            },
        }
    }

    fn draw(
        &mut self,
        output: Output,
        seed: u64,
        object: galgen_object,
        stamp: &mut [f32],
    ) -> Result<Drawn, DrawError> {
        let conditions = self.session.model().card().conditions.len();
        let request = object.to_engine(conditions)?;
        match (output, &mut self.scene) {
            (Output::GalaxyFrame, _) => self.session.sample_galaxy_frame(seed, &request, stamp),
            (Output::Rendered, Some(Scene { renderer, noise })) => self.session.sample_rendered(
                seed,
                &request,
                object.offset,
                renderer,
                noise.as_ref(),
                stamp,
            ),
            // Rendered without a grid has been refused by `stamp_len`.
            (Output::Native | Output::Rendered, _) => {
                self.session.sample_native(seed, &request, stamp)
            }
        }
    }
}

/// What galgen.h promises about threads.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn moved<T: Send>() {}
    shared::<galgen_model>();
    moved::<galgen_session>();
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{galgen_model_free, galgen_model_open};
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;
    use std::ptr;

    thread_local! {
        static BYTES: Cell<isize> = const { Cell::new(0) };
    }

    struct Counting;

    fn count(bytes: isize) {
        // Not there any more while a thread ends.
        let _ = BYTES.try_with(|b| b.set(b.get() + bytes));
    }

    // SAFETY: the system's allocator does the work.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            count(layout.size() as isize);
            // SAFETY: the caller's contract.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            count(-(layout.size() as isize));
            // SAFETY: the caller's contract; the pointer is the system's.
            unsafe { System.dealloc(pointer, layout) }
        }
    }

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    #[test]
    fn a_session_takes_the_memory_that_is_announced() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../models/default.safetensors\0"
        );
        let (mut model, mut session) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: valid pointers, each handle freed once.
        unsafe {
            let status = galgen_model_open(path.as_ptr().cast(), &mut model, ptr::null_mut());
            assert!(matches!(status, galgen_status::Ok));
            let announced = galgen_model_session_size(model);
            let before = BYTES.get();
            let status = galgen_session_new(model, &mut session, ptr::null_mut());
            assert!(matches!(status, galgen_status::Ok));
            assert_eq!(BYTES.get() - before, announced as isize);
            galgen_session_free(session);
            assert_eq!(BYTES.get(), before);
            galgen_model_free(model);
            assert_eq!(galgen_model_session_size(ptr::null()), 0);
        }
    }
}
