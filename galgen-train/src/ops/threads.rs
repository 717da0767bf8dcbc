//! Threads of the CPU ops. The split of the work never depends on their number, so results do not either.

use std::sync::OnceLock;

use rayon::prelude::*;

/// Threads that the ops use: `GALGEN_THREADS`, else `RAYON_NUM_THREADS`, else all cores.
pub fn threads() -> usize {
    static N: OnceLock<usize> = OnceLock::new();
    *N.get_or_init(|| {
        ["GALGEN_THREADS", "RAYON_NUM_THREADS"]
            .iter()
            .find_map(|k| std::env::var(k).ok()?.parse().ok().filter(|&n| n > 0))
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()))
    })
}

fn pool() -> Option<&'static rayon::ThreadPool> {
    static POOL: OnceLock<Option<rayon::ThreadPool>> = OnceLock::new();
    POOL.get_or_init(|| {
        (threads() > 1)
            .then(|| {
                rayon::ThreadPoolBuilder::new()
                    .num_threads(threads())
                    .build()
                    .ok()
            })
            .flatten()
    })
    .as_ref()
}

/// Calls `f(i, chunk)` on consecutive chunks of `out`, on all threads.
pub fn for_chunks<T: Send>(out: &mut [T], len: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    match pool() {
        Some(p) if out.len() > len => p.install(|| {
            out.par_chunks_mut(len)
                .enumerate()
                .for_each(|(i, c)| f(i, c))
        }),
        _ => out.chunks_mut(len).enumerate().for_each(|(i, c)| f(i, c)),
    }
}
