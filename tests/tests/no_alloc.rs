//! Drawing and scoring allocate nothing: every allocation of this thread is counted.

mod programs;

use galgen_core::models::{Body, Head, Likelihood, PixelCnnPreset, Posterior};
use galgen_core::object::Object;
use galgen_hashes::cases;
use galgen_infer::render::{Grid, Noise, PhotonNoise, Psf, Renderer};
use galgen_infer::{Model, Pixels, Session, Simd};
use galgen_tests::model::{classes, random_pixel_cnn, random_vae};
use programs::random_model;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    /// Bytes in use, and most of them so far.
    static BYTES: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

struct Counting;

/// An allocation (or none) that changes the bytes in use.
fn count(allocations: usize, bytes: isize) {
    // Not there any more while a thread ends.
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + allocations));
    let _ = BYTES.try_with(|b| {
        let (used, peak) = b.get();
        b.set((used + bytes, peak.max(used + bytes)));
    });
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as isize);
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, -(layout.size() as isize));
        // SAFETY: the caller's contract; the pointer is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size as isize - layout.size() as isize);
        // SAFETY: the caller's contract; the pointer is the system's.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations<T>(name: &str, body: impl FnOnce() -> T) -> T {
    let before = ALLOCATIONS.get();
    let result = body();
    assert_eq!(ALLOCATIONS.get() - before, 0, "allocations of {name}");
    result
}

#[test]
fn the_counter_counts() {
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(Vec::<u8>::with_capacity(10)));
    assert_eq!(ALLOCATIONS.get() - before, 1);
}

/// For every family, on every level: what was planned is what is taken, at the end and at most on the way.
#[test]
fn a_session_takes_the_memory_that_its_model_says() {
    for case in cases() {
        for (simd, items) in Simd::available().flat_map(|simd| [(simd, 1), (simd, 7)]) {
            let model = Model::from_bytes_on(&case.bytes(), simd).unwrap();
            let before = BYTES.get().0;
            BYTES.set((before, before));
            let session = Session::with_batch(model.clone(), items);
            let (used, peak) = BYTES.get();
            let planned = model.session_bytes_of(items) as isize;
            assert_eq!(used - before, planned, "{}, {}", case.name, simd.name());
            assert_eq!(peak - before, planned, "{}, {}", case.name, simd.name());
            drop(session);
            assert_eq!(BYTES.get().0, before, "{}", case.name);
        }
    }
}

#[test]
fn drawing_and_scoring_allocate_nothing() {
    let bytes = random_model(16, 5);
    for simd in Simd::available() {
        let model = Model::from_bytes_on(&bytes, simd).unwrap();
        let conditions = [0.5, 3.0];
        // Lensed and turned, so that the resampler refines; a catalogue has any of these.
        let object = Object {
            shear: [0.3, -0.2],
            magnification: 20.0,
            position_angle: 33.0,
            ..Object::new(3, &conditions)
        };
        let mut stamp = vec![0.0; model.stamp_len()];
        let mut mean = vec![0.0; model.latent()];
        let mut log_variance = mean.clone();
        let grid = Grid {
            width: 30,
            height: 20,
            pixel_scale: 0.2,
        };
        let psf = Psf::moffat(0.7, 2.5).unwrap();
        let mut renderer = Renderer::new(16, 1, grid, Some(&psf)).unwrap();
        let mut image = vec![0.0; renderer.image_len()];
        let photons = PhotonNoise {
            gain: 10.0,
            sky_level: 5.0,
        };
        let noise = Noise::new(0.1, Some(photons)).unwrap();
        let mut session = Session::new(model.clone());
        // The very first call as well as later ones.
        for _ in 0..2 {
            let s = &mut session;
            allocations("sample_native", || s.sample_native(1, &object, &mut stamp)).unwrap();
            let offset = [0.3, 0.1];
            allocations("sample_rendered", || {
                s.sample_rendered(1, &object, offset, &mut renderer, Some(&noise), &mut image)
            })
            .unwrap();
            allocations("sample_galaxy_frame", || {
                s.sample_galaxy_frame(1, &object, &mut stamp)
            })
            .unwrap();
            allocations("log_likelihood", || {
                s.log_likelihood(&stamp, &conditions, Some(0.1), 4, 1, 2)
            })
            .unwrap();
            allocations("encode", || {
                s.encode(&stamp, &conditions, &mut mean, &mut log_variance)
            })
            .unwrap();
            allocations("decode", || s.decode(&mean, &conditions, &mut stamp)).unwrap();
            let latent = [0.1; 6];
            allocations("log_prob_latent", || {
                s.log_prob_latent(&latent, &conditions)
            })
            .unwrap();
            // Errors carry no text of their own.
            let bad = Object {
                flux: -1.0,
                ..object
            };
            allocations("an error", || s.sample_native(1, &bad, &mut stamp)).unwrap_err();
        }
    }
}

#[test]
fn images_allocate_nothing() {
    let deviation = Likelihood::Gaussian { deviation: 0.1 };
    for (posterior, likelihood) in [
        (Posterior::Gaussian, Likelihood::Bernoulli),
        (Posterior::Gaussian, deviation),
        (Posterior::Point, deviation),
    ] {
        let bytes = random_vae(posterior, likelihood, false, 5);
        let model = Model::from_bytes(&bytes).unwrap();
        let mut image = vec![0.0; model.stamp_len()];
        let mut out = image.clone();
        let (mut mean, mut log_variance) = ([0.0; 6], [0.0; 6]);
        let mut s = Session::new(model);
        for _ in 0..2 {
            allocations("sample_image", || {
                s.sample_image(1, 2, &[1.0], Pixels::Drawn, &mut image)
            })
            .unwrap();
            allocations("reconstruct", || s.reconstruct(&image, &[1.0], &mut out)).unwrap();
            allocations("encode", || {
                s.encode(&image, &[1.0], &mut mean, &mut log_variance)
            })
            .unwrap();
            allocations("decode", || s.decode(&mean, &[1.0], &mut out)).unwrap();
            allocations("log_prob_latent", || s.log_prob_latent(&[0.1; 6], &[1.0])).unwrap();
            let score = allocations("log_likelihood", || {
                s.log_likelihood(&image, &[1.0], None, 4, 1, 2)
            });
            assert_eq!(score.is_ok(), posterior == Posterior::Gaussian);
            // Errors carry no text of their own.
            allocations("an error", || {
                s.sample_image(1, 2, &[3.0], Pixels::Mean, &mut image)
            })
            .unwrap_err();
        }
    }
}

#[test]
fn autoregressive_models_allocate_nothing() {
    for (body, head) in [
        (Body::Masked, Head::Categorical { levels: 4 }),
        (Body::Gated, Head::GaussianMixture { components: 2 }),
        (
            Body::PlusPlus,
            Head::DiscretisedLogistic {
                components: 2,
                levels: 256,
            },
        ),
    ] {
        let preset = PixelCnnPreset {
            body,
            channels: 4,
            blocks: 1,
            head,
        };
        let bytes = random_pixel_cnn(preset, 9, classes(), 5);
        let mut s = Session::new(Model::from_bytes(&bytes).unwrap());
        let mut image = vec![0.0; 81];
        let (mut out, mut map) = (image.clone(), vec![0.0; 81]);
        let mut parameters = vec![0.0; 81 * head.parameters()];
        let given: Vec<bool> = (0..81).map(|i| i < 30).collect();
        for _ in 0..2 {
            allocations("sample_image", || {
                s.sample_image(1, 2, &[1.0], Pixels::Drawn, &mut image)
            })
            .unwrap();
            allocations("complete", || {
                s.complete(1, 3, &[1.0], &image, &given, &mut out)
            })
            .unwrap();
            allocations("reconstruct", || s.reconstruct(&image, &[1.0], &mut out)).unwrap();
            allocations("pixel_log_likelihoods", || {
                s.pixel_log_likelihoods(&image, &[1.0], &mut map)
            })
            .unwrap();
            allocations("pixel_parameters", || {
                s.pixel_parameters(&image, &[1.0], false, &mut parameters)
            })
            .unwrap();
            allocations("log_likelihood", || {
                s.log_likelihood(&image, &[1.0], None, 1, 0, 0)
            })
            .unwrap();
        }
    }
}
