//! Running a plan or a flow allocates nothing.

mod common;

use common::{random_weights, rng};
use galgen_core::math::act::Act;
use galgen_core::math::spline::SplineSpec;
use galgen_core::spec::{
    Continuous, Direction, ElementMap, Factors, Flow, Layer, Made, Net, Shape, Solver, Trace,
    Transform, Velocity,
};
use galgen_infer::flow::FlowPlan;
use galgen_infer::kernels::Simd;
use galgen_infer::lower::Plan;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread during `f`.
fn allocations(f: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    f();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(
        allocations(|| drop(std::hint::black_box(vec![1u8; 100]))),
        1
    );
}

#[test]
fn a_plan_with_every_layer_allocates_nothing() {
    let layers = vec![
        Layer::AppendContext,
        Layer::linear(8 * 16),
        Layer::Reshape(Shape::square(8, 4)),
        Layer::UpsampleNearest { factor: 2 },
        Layer::conv(6, 3, 1),
        Layer::Activation(Act::Asinh),
        Layer::UpsampleNearest { factor: 3 },
        Layer::GroupNorm {
            groups: 2,
            epsilon: 1e-5,
        },
        Layer::residual(vec![
            Layer::AppendContext,
            Layer::conv(12, 3, 1),
            Layer::Gate,
        ]),
        Layer::Concat(vec![
            vec![],
            vec![Layer::Slice { start: 1, len: 2 }, Layer::Scale(2.0)],
        ]),
        Layer::conv(1, 3, 1),
        Layer::Activation(Act::Softplus),
    ];
    let net = Net {
        input: Shape::Vector(4),
        context: 1,
        layers,
    };
    let weights = random_weights(&net.tensors("net").unwrap(), &mut rng(1), 1.0);
    for simd in Simd::available() {
        let plan = Plan::new(&net, "net", &weights, simd).unwrap();
        let mut output = vec![0.0; plan.output().len()];
        let mut scratch = vec![0.0; plan.scratch_len()];
        let count = allocations(|| plan.run(&[0.1; 4], &[0.2], &mut output, &mut scratch));
        assert_eq!(count, 0, "{}", simd.name());
    }
}

#[test]
fn a_flow_allocates_nothing() {
    let spline = ElementMap::Spline(SplineSpec::new(8, 4.0));
    let net = Net {
        input: Shape::Vector(2),
        context: 1,
        layers: vec![Layer::AppendContext, Layer::linear(3 * spline.parameters())],
    };
    let made = Made {
        elements: 5,
        context: 1,
        hidden: &[12, 12],
        activation: Act::Tanh,
        parameters: 2,
        order: &[],
    };
    let field = Net {
        input: Shape::Vector(5),
        context: 2,
        layers: vec![
            Layer::AppendContext,
            Layer::linear(7),
            Layer::Activation(Act::Tanh),
            Layer::linear(5),
        ],
    };
    let transforms = vec![
        Transform::Diagonal,
        Transform::Permutation(vec![4, 2, 0, 1, 3]),
        Transform::Coupling {
            keep: 2,
            net,
            map: spline,
        },
        Transform::Linear(Factors::Dense),
        Transform::Planar,
        Transform::Autoregressive {
            net: made.net(),
            map: ElementMap::Affine { bound: 3.0 },
            one_pass: Direction::Normalise,
            order: vec![],
        },
        Transform::Continuous(Continuous {
            velocity: Velocity::Net(field),
            frequencies: 0,
            trace: Trace::Exact,
            solver: Solver::default(),
        }),
    ];
    let flow = Flow::vector(5, 1, transforms);
    let weights = random_weights(&flow.tensors("flow").unwrap(), &mut rng(1), 1.0);
    let plan = FlowPlan::new(&flow, "flow", &weights, Simd::detect()).unwrap();
    let mut scratch = plan.scratch();
    let mut x = [0.1, -0.2, 0.3, 1.5, -0.7];
    let count = allocations(|| {
        plan.normalise(&mut x, &[0.5], &mut scratch).unwrap();
        plan.generate(&mut x, &[0.5], &mut scratch).unwrap();
    });
    assert_eq!(count, 0);
}
