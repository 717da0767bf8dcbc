//! Steps without a sum: copies between layouts, element by element functions, gates, upsampling.

use super::Simd;
use super::elementary::{Pointwise, apply_run, sigmoid};
use super::lanes::{Kernel, Lanes, load_part, store_part};
use super::view::View;

/// Copies `from` in `source` to `to` in `target`, whatever the strides.
pub(crate) fn copy(source: &[f32], from: View, target: &mut [f32], to: View) {
    assert!(from.same_extents(&to) && from.end() <= source.len() && to.end() <= target.len());
    // SAFETY: both views end within their slices.
    unsafe { copy_raw(source.as_ptr(), from, target.as_mut_ptr(), to) }
}

/// Copies within the arena; the views do not overlap.
pub(crate) fn copy_within(arena: &mut [f32], from: View, to: View) {
    assert!(from.same_extents(&to) && from.end() <= arena.len() && to.end() <= arena.len());
    let base = arena.as_mut_ptr();
    // SAFETY: both views end within the arena.
    unsafe { copy_raw(base, from, base, to) }
}

/// # Safety
/// All elements of `from` can be read from `source`, all of `to` written to `target`.
unsafe fn copy_raw(source: *const f32, from: View, target: *mut f32, to: View) {
    for y in 0..from.height {
        // SAFETY: offsets of elements of the views.
        let (s, t) = unsafe {
            (
                source.add(from.offset + y * from.row),
                target.add(to.offset + y * to.row),
            )
        };
        if from.dense_rows() && to.dense_rows() {
            // SAFETY: a row of each view; `copy` allows overlap.
            unsafe { core::ptr::copy(s, t, from.width * from.channels) };
            continue;
        }
        if from.channel == 1 && to.channel == 1 {
            for x in 0..from.width {
                // SAFETY: a pixel of each view; `copy` allows overlap.
                unsafe {
                    core::ptr::copy(s.add(x * from.pixel), t.add(x * to.pixel), from.channels);
                }
            }
            continue;
        }
        let [width, channels] = [from.width, from.channels];
        // SAFETY: elements of the row in each view, by the strides of the views.
        unsafe {
            match (from.channel, to.channel) {
                (1, _) => transpose(
                    [width, channels],
                    s,
                    [from.pixel, 1],
                    t,
                    [to.pixel, to.channel],
                ),
                _ => transpose(
                    [channels, width],
                    s,
                    [from.channel, from.pixel],
                    t,
                    [to.channel, to.pixel],
                ),
            }
        }
    }
}

/// Side of the squares in which elements are transposed: a cache line of what is scattered serves all of them.
const SQUARE: usize = 16;

/// Copies a matrix between any strides of its rows and columns, a square at a time.
///
/// # Safety
/// All elements can be read and written.
unsafe fn transpose(
    extents: [usize; 2],
    s: *const f32,
    from: [usize; 2],
    t: *mut f32,
    to: [usize; 2],
) {
    let [rows, columns] = extents;
    for row in (0..rows).step_by(SQUARE) {
        for column in (0..columns).step_by(SQUARE) {
            for j in column..(column + SQUARE).min(columns) {
                for i in row..(row + SQUARE).min(rows) {
                    // SAFETY: by the caller.
                    unsafe { *t.add(i * to[0] + j * to[1]) = *s.add(i * from[0] + j * from[1]) };
                }
            }
        }
    }
}

/// Fills channel c of `to` with `values[c]`.
pub(crate) fn broadcast(values: &[f32], arena: &mut [f32], to: View) {
    for y in 0..to.height {
        for x in 0..to.width {
            for (c, &v) in values.iter().enumerate().take(to.channels) {
                arena[to.offset + c * to.channel + y * to.row + x * to.pixel] = v;
            }
        }
    }
}

/// Every pixel of `from` repeated `factor` times in both directions.
pub(crate) fn upsample(arena: &mut [f32], from: View, factor: usize, to: View) {
    assert!(from.channel == 1 && to.channel == 1);
    for y in 0..to.height {
        for x in 0..to.width {
            let source = from.offset + (y / factor) * from.row + (x / factor) * from.pixel;
            arena.copy_within(
                source..source + from.channels,
                to.offset + y * to.row + x * to.pixel,
            );
        }
    }
}

/// Sets the frame of `outer` around `inner` to zero, where both are views of the same map, channels-last
/// or in planes.
pub(crate) fn clear_frame(arena: &mut [f32], inner: View, outer: View) {
    let planes = if outer.channel == 1 {
        1
    } else {
        outer.channels
    };
    let shift = inner.offset - outer.offset;
    let (top, left) = (shift / outer.row, shift % outer.row);
    for plane in 0..planes {
        for y in 0..outer.height {
            let start = outer.offset + plane * outer.channel + y * outer.row;
            let line = &mut arena[start..start + outer.width * outer.pixel];
            if y < top || y >= top + inner.height {
                line.fill(0.0);
            } else {
                line[..left].fill(0.0);
                line[left + inner.width * inner.pixel..].fill(0.0);
            }
        }
    }
}

/// to = functions(from), in order.
pub(crate) fn map(simd: Simd, arena: &mut [f32], from: View, functions: &[Pointwise], to: View) {
    simd.dispatch(Rows::new(
        arena,
        [from, from],
        to,
        Operation::Map(functions),
    ));
}

/// to = a + b
pub(crate) fn add(simd: Simd, arena: &mut [f32], a: View, b: View, to: View) {
    simd.dispatch(Rows::new(arena, [a, b], to, Operation::Add));
}

/// to = a * sigmoid(b), where a and b are the halves of the channels.
pub(crate) fn gate(simd: Simd, arena: &mut [f32], from: View, to: View) {
    let half = from.channels / 2;
    let (a, b) = (from.slice(0..half), from.slice(half..from.channels));
    gated(simd, arena, a, b, to);
}

/// to = a * sigmoid(b)
pub(crate) fn gated(simd: Simd, arena: &mut [f32], a: View, b: View, to: View) {
    simd.dispatch(Rows::new(arena, [a, b], to, Operation::Gate));
}

#[derive(Clone, Copy)]
enum Operation<'a> {
    Map(&'a [Pointwise]),
    Add,
    Gate,
}

/// An operation on channels-last views of equal extents, whose elements lie within the arena.
struct Rows<'a> {
    arena: &'a mut [f32],
    from: [View; 2],
    to: View,
    operation: Operation<'a>,
}

impl<'a> Rows<'a> {
    fn new(arena: &'a mut [f32], from: [View; 2], to: View, operation: Operation<'a>) -> Self {
        for v in from.iter().chain([&to]) {
            assert!(v.same_extents(&to) && v.channel == 1 && v.end() <= arena.len());
        }
        Rows {
            arena,
            from,
            to,
            operation,
        }
    }
}

impl Kernel for Rows<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let Rows {
            arena,
            from: [a, b],
            to,
            operation,
        } = self;
        let base = arena.as_mut_ptr();
        // Whole rows at a time where none of the views has gaps, else single pixels.
        let dense = [a, b, to].iter().all(View::dense_rows);
        let (count, len) = if dense {
            (1, to.width * to.channels)
        } else {
            (to.width, to.channels)
        };
        for y in 0..to.height {
            for x in 0..count {
                let at = |v: View| v.offset + y * v.row + x * v.pixel;
                // SAFETY: a run of each view, which `new` has checked.
                unsafe {
                    let (pa, pb, pt) = (base.add(at(a)), base.add(at(b)), base.add(at(to)));
                    if let Operation::Map(functions) = operation {
                        apply_run(l, functions, pa, pt, len);
                        continue;
                    }
                    for i in (0..len).step_by(L::N) {
                        let (va, vb) = (
                            load_part(l, pa.add(i), len - i),
                            load_part(l, pb.add(i), len - i),
                        );
                        let value = match operation {
                            Operation::Gate => l.mul(va, sigmoid(l, vb)),
                            Operation::Add | Operation::Map(_) => l.add(va, vb),
                        };
                        store_part(l, pt.add(i), value, len - i);
                    }
                }
            }
        }
    }
}
