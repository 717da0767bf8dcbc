//! Work on several threads with results in order and bounded memory.
//!
//! Batch k goes to worker k mod n through a queue of its own and comes back through another, so the
//! order needs no bookkeeping. At most [`DEPTH`] batches per worker are on their way.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// One batch in work and one waiting for each worker: reading and writing overlap with drawing.
const DEPTH: usize = 2;

/// Passes every batch of `next` through one of the `workers` and gives the results to `take` in the
/// order of the batches. Stops at the first error of `next` or `take`, both of which run on this thread.
pub fn map_ordered<I, O, E, W>(
    workers: Vec<W>,
    mut next: impl FnMut() -> Result<Option<I>, E>,
    mut take: impl FnMut(O) -> Result<(), E>,
) -> Result<(), E>
where
    I: Send,
    O: Send,
    W: FnMut(I) -> O + Send,
{
    let lives = "a worker ends only when its queues do";
    thread::scope(|scope| {
        let lanes: Vec<(SyncSender<I>, Receiver<O>)> = workers
            .into_iter()
            .map(|mut work| {
                let (batches, inbox) = sync_channel(DEPTH);
                let (outbox, results) = sync_channel(DEPTH);
                scope.spawn(move || {
                    for batch in inbox {
                        if outbox.send(work(batch)).is_err() {
                            break;
                        }
                    }
                });
                (batches, results)
            })
            .collect();
        let (mut sent, mut taken, mut ended) = (0, 0, false);
        loop {
            while !ended && sent - taken < DEPTH * lanes.len() {
                match next()? {
                    Some(batch) => {
                        lanes[sent % lanes.len()].0.send(batch).expect(lives);
                        sent += 1;
                    }
                    None => ended = true,
                }
            }
            if taken == sent {
                return Ok(());
            }
            take(lanes[taken % lanes.len()].1.recv().expect(lives))?;
            taken += 1;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn order_is_kept_whatever_the_speed_of_the_workers() {
        for threads in [1, 3, 8] {
            let workers: Vec<_> = (0..threads)
                .map(|i| {
                    move |batch: u64| {
                        thread::sleep(Duration::from_micros(50 * (i as u64 % 3)));
                        batch * batch
                    }
                })
                .collect();
            let (mut batch, mut results) = (0, Vec::new());
            let next = || {
                batch += 1;
                Ok::<_, ()>((batch <= 100).then_some(batch))
            };
            map_ordered(workers, next, |r| {
                results.push(r);
                Ok(())
            })
            .unwrap();
            assert_eq!(results, (1..=100).map(|b| b * b).collect::<Vec<u64>>());
        }
    }

    #[test]
    fn an_error_on_either_side_ends_the_work() {
        let workers = || vec![|b: u32| b; 2];
        let result = map_ordered(workers(), || Err::<Option<u32>, _>("read"), |_| Ok(()));
        assert_eq!(result, Err("read"));
        let result = map_ordered(workers(), || Ok(Some(1)), |_| Err("write"));
        assert_eq!(result, Err("write"));
    }
}
