//! Where each buffer of a plan lies.

use super::Step;
use crate::kernels::aligned::LINE;
use alloc::vec::Vec;

/// Gives each buffer the lowest place, a multiple of a cache line, that is free during its life, moves the views there and returns
/// the length of the arena.
pub(super) fn lay_out(steps: &mut [Step], buffers: &[usize]) -> usize {
    let mut life: Vec<Option<(usize, usize)>> = alloc::vec![None; buffers.len()];
    for (i, step) in steps.iter().enumerate() {
        for place in step.places() {
            let (first, _) = life[place.buffer].unwrap_or((i, i));
            life[place.buffer] = Some((first, i));
        }
    }
    let mut placed: Vec<(usize, usize, (usize, usize))> = Vec::new();
    let mut starts = Vec::with_capacity(buffers.len());
    for (&len, life) in buffers.iter().zip(&life) {
        // What no step touches any more needs no place.
        let Some((first, last)) = *life else {
            starts.push(0);
            continue;
        };
        let mut busy: Vec<(usize, usize)> = placed
            .iter()
            .filter(|(_, _, other)| other.0 <= last && first <= other.1)
            .map(|&(start, end, _)| (start, end))
            .collect();
        busy.sort_unstable();
        let mut start = 0;
        for (from, to) in busy {
            if start + len <= from {
                break;
            }
            start = start.max(to.next_multiple_of(LINE));
        }
        starts.push(start);
        placed.push((start, start + len, (first, last)));
    }
    for step in steps {
        for place in step.places_mut() {
            place.view.offset += starts[place.buffer];
        }
    }
    placed.iter().map(|&(_, end, _)| end).max().unwrap_or(0)
}
