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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Simd;
    use crate::kernels::conv::{Conv, Tap};
    use alloc::boxed::Box;

    /// A map of 4 channels and 3 x 3 pixels that fills a buffer.
    fn whole(buffer: usize) -> Place {
        let view = View::pixels(4, 3, 3);
        Place { buffer, view }
    }

    /// Channels `first` .. `first` + 4 of a buffer of 8.
    fn part(buffer: usize, first: usize) -> Place {
        let view = View::pixels(8, 3, 3).slice(first..first + 4);
        Place { buffer, view }
    }

    fn step(op: Op, a: Place, b: Place, to: Place) -> Step {
        let added = None;
        Step {
            op,
            a,
            b,
            added,
            to,
        }
    }

    fn conv(a: Place, to: Place) -> Step {
        let tap = Tap { y: 0, x: 0 };
        let conv = Conv::new(Simd::Scalar, a.view, 1, &[tap], &[0.0; 4], Vec::new(), 9);
        step(Op::Conv(Box::new(conv)), a, a, to)
    }

    fn store(a: Place) -> Step {
        step(Op::Store, a, a, a)
    }

    #[test]
    fn a_convolution_adds_what_is_added_to_its_result() {
        // In the result's place, in that of the other term, and in a new one.
        for to in [1, 2, 3] {
            let sum = step(Op::Add, whole(2), whole(1), whole(to));
            let mut steps = vec![conv(whole(0), whole(1)), sum, store(whole(to))];
            fuse(&mut steps, 4);
            assert_eq!(steps.len(), 2, "to {to}");
            assert_eq!((steps[0].added, steps[0].to), (Some(whole(2)), whole(to)));
        }
    }

    #[test]
    fn a_sum_stays_where_its_terms_are_needed_or_overlap() {
        let sum = |a, b, to| step(Op::Add, whole(a), whole(b), whole(to));
        let cases = [
            // The result is read later; the sum goes where the convolution reads; both terms are the result.
            vec![conv(whole(0), whole(1)), sum(2, 1, 3), store(whole(1))],
            vec![conv(whole(0), whole(1)), sum(2, 1, 0), store(whole(0))],
            vec![conv(whole(0), whole(1)), sum(1, 1, 3), store(whole(3))],
            // Another step is in between.
            vec![
                conv(whole(0), whole(1)),
                conv(whole(0), whole(2)),
                sum(1, 3, 1),
            ],
        ];
        for mut steps in cases {
            let before = steps.len();
            fuse(&mut steps, 4);
            assert_eq!(steps.len(), before);
        }
    }

    #[test]
    fn the_parts_of_a_concatenation_are_made_in_their_places() {
        let copy = |a, to| step(Op::Copy, a, a, to);
        let mut steps = vec![
            conv(whole(0), whole(1)),
            step(Op::Map(Vec::new()), whole(1), whole(1), whole(1)),
            conv(whole(0), whole(2)),
            copy(whole(1), part(3, 0)),
            copy(whole(2), part(3, 4)),
            store(part(3, 0)),
        ];
        fuse(&mut steps, 4);
        let to: Vec<Place> = steps.iter().map(|step| step.to).collect();
        assert_eq!(to, [part(3, 0), part(3, 0), part(3, 4), part(3, 0)]);
        assert_eq!(steps[1].a, part(3, 0));
    }

    #[test]
    fn a_part_that_is_read_later_or_whose_place_is_taken_is_copied() {
        let copy = |a, to| step(Op::Copy, a, a, to);
        let cases = [
            vec![
                conv(whole(0), whole(1)),
                copy(whole(1), part(3, 0)),
                store(whole(1)),
            ],
            // Read by a convolution, whose strides are packed.
            vec![
                conv(whole(0), whole(1)),
                conv(whole(1), whole(2)),
                copy(whole(1), part(3, 0)),
            ],
            // Something else is there until the copy.
            vec![
                conv(whole(0), whole(1)),
                conv(whole(0), part(3, 0)),
                store(part(3, 0)),
                copy(whole(1), part(3, 0)),
            ],
        ];
        for mut steps in cases {
            let before = steps.len();
            fuse(&mut steps, 4);
            assert_eq!(steps.len(), before);
        }
    }
}
