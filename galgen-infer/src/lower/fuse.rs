//! Steps that are not carried out, because the steps before them can do their work: no bit changes.

use super::{Op, Place, Step};
use crate::kernels::view::View;
use alloc::vec;
use alloc::vec::Vec;

/// Leaves out sums and copies of plans with so many `buffers`.
pub(super) fn fuse(steps: &mut Vec<Step>, buffers: usize) {
    leave_out(steps, buffers, |steps, uses, i| {
        matches!(steps[i].op, Op::Add) && add_in_store(steps, uses, i)
    });
    leave_out(steps, buffers, |steps, uses, i| {
        matches!(steps[i].op, Op::Copy) && compute_in_place(steps, uses, i)
    });
}

/// Drops the steps whose work others have taken over, as `taken_over` says of one after the other.
fn leave_out(
    steps: &mut Vec<Step>,
    buffers: usize,
    taken_over: impl Fn(&mut [Step], &mut Uses, usize) -> bool,
) {
    let mut uses = Uses::new(steps, buffers);
    let taken = (0..steps.len()).map(|i| taken_over(steps, &mut uses, i));
    let mut taken = taken.collect::<Vec<_>>().into_iter();
    steps.retain(|_| taken.next() == Some(false));
}

/// The steps that touch each buffer, in order.
struct Uses(Vec<Vec<usize>>);

impl Uses {
    fn new(steps: &[Step], buffers: usize) -> Self {
        let mut uses = vec![Vec::new(); buffers];
        for (i, step) in steps.iter().enumerate() {
            for place in step.places() {
                let users: &mut Vec<usize> = &mut uses[place.buffer];
                if users.last() != Some(&i) {
                    users.push(i);
                }
            }
        }
        Uses(uses)
    }

    fn of(&self, place: Place) -> &[usize] {
        &self.0[place.buffer]
    }

    /// Whether no step after `i` touches the buffer.
    fn ends(&self, place: Place, i: usize) -> bool {
        self.of(place).last().is_none_or(|&last| last <= i)
    }
}

/// Lets the convolution just before the sum `i` add what the sum adds to its result.
fn add_in_store(steps: &mut [Step], uses: &Uses, i: usize) -> bool {
    let (a, b, to) = (steps[i].a, steps[i].b, steps[i].to);
    // Frames may be cleared between the two.
    let before = steps[..i]
        .iter()
        .rposition(|s| !matches!(s.op, Op::ClearFrame));
    let Some(before) = before else { return false };
    let conv = &mut steps[before];
    let result = conv.to;
    let added = if a == result { b } else { a };
    let convolves = matches!(conv.op, Op::Conv(_) | Op::Winograd(_)) && conv.added.is_none();
    let sums = (a == result || b == result) && added.buffer != result.buffer;
    // What it reads is there before its result is: nothing in between writes but frames. Its result is read by the sum only,
    // and where it goes is nothing that it reads.
    let kept = to == result || uses.ends(result, i);
    let free = conv.a.buffer != to.buffer && conv.b.buffer != to.buffer;
    let place = to == result || to == added || to.buffer != added.buffer;
    let plain = [result, added, to].iter().all(|p| p.view.channel == 1);
    if !(convolves && sums && kept && free && place && plain) {
        return false;
    }
    conv.added = Some(added);
    conv.to = to;
    true
}

/// Lets the steps that make what step `i` copies write to where it goes.
fn compute_in_place(steps: &mut [Step], uses: &mut Uses, i: usize) -> bool {
    let (from, to) = (steps[i].a, steps[i].to);
    let channels_last = from.view.channel == 1 && to.view.channel == 1;
    if from.buffer == to.buffer || !channels_last || !uses.ends(from, i) {
        return false;
    }
    let makers = uses.of(from).to_vec();
    let first = makers[0];
    let movable = |&j: &usize| j == i || writes_anywhere(&steps[j], from);
    let movable = first < i && makers.iter().all(movable);
    // Until then the place is free: other steps touch other channels of it, or its frame.
    let elsewhere = |step: &Step| {
        let framed = matches!(step.op, Op::ClearFrame) && contains(step.a.view, to.view);
        let apart =
            |place: Place| place.buffer != to.buffer || disjoint_channels(place.view, to.view);
        framed || step.places().all(apart)
    };
    let mut between = uses.of(to).iter().filter(|&&j| (first..i).contains(&j));
    if !movable || !between.all(|&j| elsewhere(&steps[j])) {
        return false;
    }
    for &j in &makers {
        for place in steps[j].places_mut() {
            if place.buffer == from.buffer {
                *place = to;
            }
        }
    }
    uses.0[from.buffer].clear();
    for j in makers {
        let users = &mut uses.0[to.buffer];
        if let Err(place) = users.binary_search(&j) {
            users.insert(place, j);
        }
    }
    true
}

/// Whether a step touches the buffer of `place` just there, and by kernels that take any strides.
fn writes_anywhere(step: &Step, place: Place) -> bool {
    let elsewhere = |other: Place| other.buffer != place.buffer;
    let kernel = match step.op {
        // All of what they read and write.
        Op::Map(_) | Op::Add => true,
        Op::Conv(_)
        | Op::Winograd(_)
        | Op::PlaneConv(_)
        | Op::Depthwise(_)
        | Op::Gate
        | Op::Upsample(_) => elsewhere(step.a) && elsewhere(step.b),
        Op::Load | Op::Store | Op::Context | Op::Ones | Op::Copy | Op::ClearFrame | Op::Norm(_) => {
            false
        }
    };
    let just_there = |other: Place| other.buffer != place.buffer || other == place;
    kernel && step.places().all(just_there)
}

/// Whether two views of a buffer are of the same pixels, one within the other's channels.
fn contains(outer: View, inner: View) -> bool {
    let strides = (outer.row, outer.pixel) == (inner.row, inner.pixel);
    let extents = (outer.height, outer.width) == (inner.height, inner.width);
    let first = inner.offset.checked_sub(outer.offset);
    let within = first.is_some_and(|first| first + inner.channels <= outer.channels);
    strides && extents && within
}

/// Whether two views of a buffer are of the same pixels and have no channel in common.
fn disjoint_channels(a: View, b: View) -> bool {
    let strides = (a.row, a.pixel) == (b.row, b.pixel);
    let extents = (a.height, a.width) == (b.height, b.width);
    let (low, high) = if a.offset <= b.offset { (a, b) } else { (b, a) };
    let apart = high.offset - low.offset;
    let within = low.channels <= apart && apart + high.channels <= low.pixel;
    strides && extents && a.channel == 1 && b.channel == 1 && within
}
