//! What a damaged or lying model file, an absurd request or an absurd stamp does: one error, or numbers that
//! mean something. Never a panic, a pixel that is no number, an allocation that the file does not
//! explain, or a long wait.

mod cards;
mod damage;
mod requests;

use galgen_core::card::{Card, METADATA_KEY};
use galgen_core::models::Family;
use galgen_core::object::Object;
use galgen_infer::{LoadError, Model, Session};
use galgen_tests::model::card;
use galgen_tests::tensors::{Tensors, random_weights, write_safetensors};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Counts what this thread holds.
struct Counting;

fn held(change: isize) {
    // Not there any more while a thread ends.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        held(layout.size() as isize);
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        held(-(layout.size() as isize));
        // SAFETY: the caller's contract; the pointer is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may be held for a moment.
        held(size as isize);
        held(-(layout.size() as isize));
        // SAFETY: the caller's contract; the pointer is the system's.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Memory of loading a file: so many bytes for each of its bytes ...
const BYTES_PER_BYTE: isize = 64;
/// ... and so many besides.
const BYTES: isize = 1 << 20;
/// Memory of a session of a model that has hardly any parameters: two stamps of 16 bands and 512 x 512 pixels, the
/// scratch of rendering them and that of the networks.
const SESSION_BYTES: isize = 128 << 20;
/// Time to load a file of less than 1 MB.
const PATIENCE: Duration = Duration::from_secs(1);

/// Largest memory held while `body` runs, above what was held before.
fn peak<T>(body: impl FnOnce() -> T) -> (T, isize) {
    let before = HELD.get();
    PEAK.set(before);
    let result = body();
    (result, PEAK.get() - before)
}

/// Time that this thread has computed; where the system does not tell, the time on the wall since `start`.
fn computed(start: Instant) -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|n| n.parse().ok());
    nanoseconds.map_or(start.elapsed(), Duration::from_nanos)
}

/// Time that `body` computes.
fn timed<T>(body: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let before = computed(start);
    let result = body();
    (result, computed(start) - before)
}

/// Loads under the limits of memory and time.
fn load(what: &str, bytes: &[u8]) -> Result<Arc<Model>, LoadError> {
    let ((result, memory), time) = timed(|| peak(|| Model::from_bytes(bytes)));
    let length = bytes.len() as isize;
    assert!(
        memory <= BYTES_PER_BYTE * length + BYTES,
        "{what}: {memory} bytes of memory for a file of {length}"
    );
    assert!(time < PATIENCE || length > 1 << 20, "{what}: {time:?}");
    if let Err(error) = &result {
        let text = error.to_string();
        assert!(
            (20..2000).contains(&text.len()),
            "{what}: {} bytes of error: {text:.300}",
            text.len()
        );
    }
    result
}

fn refused(what: &str, bytes: &[u8]) -> LoadError {
    match load(what, bytes) {
        Ok(_) => panic!("{what}: accepted"),
        Err(error) => error,
    }
}

/// A file with this card, its fingerprint made right, and random weights (or none, if the card is refused).
fn file(mut card: Card, seed: u64) -> Vec<u8> {
    card.fingerprint = card.compute_fingerprint();
    let tensors = card
        .check()
        .map_or(Tensors::new(), |specs| random_weights(&specs, seed));
    write_safetensors(&tensors, &[(METADATA_KEY, &card.to_json())])
}

/// The small card, changed.
fn changed(change: impl FnOnce(&mut Card)) -> Vec<u8> {
    let mut card = card(16);
    change(&mut card);
    file(card, 1)
}

fn flow_vae(card: &mut Card) -> &mut galgen_core::models::FlowVae {
    match &mut card.model {
        Family::FlowVae(model) => model,
        Family::Vae(_) | Family::Flow(_) | Family::Made(_) => {
            unreachable!("the card of a flow-VAE")
        }
    }
}

/// Draws and scores as a user would; whatever comes is an error or finite.
fn exercise(what: &str, model: Arc<Model>) {
    let (mut session, memory) = peak(|| Session::new(model.clone()));
    assert!(
        memory < SESSION_BYTES,
        "{what}: a session takes {memory} bytes"
    );
    let conditions = model.card().conditions.len();
    let mut stamp = vec![f32::NAN; model.stamp_len()];
    let mut draw = |id| {
        let object = Object::new(id, &[0.5, 3.0][..conditions.min(2)]);
        if let Ok(drawn) = session.sample_native(7, &object, &mut stamp) {
            judge(what, &stamp, drawn.flux * drawn.fraction_inside);
            let conditions = &object.conditions[..conditions];
            let score = session.log_likelihood(&stamp, conditions, None, 1, 1, id);
            assert!(
                !score.is_ok_and(f64::is_nan),
                "{what}: the score is not a number"
            );
        }
    };
    let ((), time) = timed(|| [0, u64::MAX].into_iter().for_each(&mut draw));
    assert!(time < 10 * PATIENCE, "{what}: {time:?} to draw");
}

/// Pixels are finite and not negative, and their sum is `flux`.
fn judge(what: &str, stamp: &[f32], flux: f64) {
    assert!(
        stamp.iter().all(|p| p.is_finite() && *p >= 0.0),
        "{what}: pixels"
    );
    let sum: f64 = stamp.iter().map(|&p| f64::from(p)).sum();
    assert!(
        (sum - flux).abs() <= 1e-6 * flux,
        "{what}: sum {sum}, expected {flux}"
    );
}
