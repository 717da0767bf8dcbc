//! Running a plan.

use crate::kernels::aligned::from_line;
use crate::kernels::{conv, depthwise, norm, planes, pointwise, view::View, winograd};
use crate::lower::{Op, Plan};

impl Plan {
    /// Computes the net on one item. `input` and `output` are row-major, maps in planes
    /// (`[channels, height, width]`). Nothing is allocated, and the bits of the output depend on nothing
    /// but `input` and `context`: not on the level, the thread or what was in `scratch`.
    ///
    /// # Panics
    /// If `input`, `context` or `output` do not have the lengths of the net, or `scratch` is shorter
    /// than [`scratch_len`](Plan::scratch_len).
    pub fn run(&self, input: &[f32], context: &[f32], output: &mut [f32], scratch: &mut [f32]) {
        assert_eq!(input.len(), self.input, "length of the input");
        assert_eq!(context.len(), self.context, "length of the context");
        assert_eq!(output.len(), self.output().len(), "length of the output");
        assert!(scratch.len() >= self.scratch_len(), "scratch is too short");
        let arena = from_line(&mut scratch[..self.scratch_len()]);
        let simd = self.simd;
        for step in &self.steps {
            let (a, b, to) = (step.a.view, step.b.view, step.to.view);
            let added = step.added.map(|place| place.view);
            match &step.op {
                Op::Load => {
                    pointwise::copy(
                        input,
                        View::planes(to.channels, to.height, to.width),
                        arena,
                        to,
                    );
                }
                Op::Store => {
                    pointwise::copy(
                        arena,
                        a,
                        output,
                        View::planes(a.channels, a.height, a.width),
                    );
                }
                Op::Context => pointwise::broadcast(context, arena, to),
                Op::Ones => pointwise::broadcast(&[1.0], arena, to),
                Op::Copy => pointwise::copy_within(arena, a, to),
                Op::ClearFrame => pointwise::clear_frame(arena, a, to),
                Op::Map(functions) => pointwise::map(simd, arena, a, functions, to),
                Op::Add => pointwise::add(simd, arena, a, b, to),
                Op::Gate => pointwise::gate(simd, arena, a, to),
                Op::Upsample(factor) => pointwise::upsample(arena, a, *factor, to),
                Op::Norm(norm) => norm::norm(simd, arena, a, norm, to),
                Op::Conv(c) => conv::conv(simd, arena, a, c, added, to),
                Op::Depthwise(c) => depthwise::depthwise(simd, arena, a, c, to),
                Op::PlaneConv(c) => planes::plane_conv(simd, arena, a, c, to),
                Op::Winograd(c) => winograd::winograd(simd, arena, a, c, b.offset, added, to),
            }
        }
    }
}
