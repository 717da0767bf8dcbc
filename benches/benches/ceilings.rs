//! Where the time of a galaxy goes, against what the core could do at best:
//! `cargo bench -p galgen-benches --bench ceilings`.
//!
//! All rows are fastest calls of one object, taken in turn in one run; see
//! [`core_limits`](galgen_benches::core_limits). The criterion benchmarks beside this one take many objects
//! and check what they time.

use galgen_benches::core_limits::{self, Stage};
use galgen_benches::{Inputs, SEED};
use galgen_core::measure;
use galgen_infer::Simd;
use galgen_infer::flow::FlowPlan;
use std::hint::black_box;

const SECONDS: f64 = 20.0;
const OBJECT: u64 = 1;

fn main() {
    let inputs = Inputs::read();
    let simd = Simd::detect();
    let stamp = inputs.stamps().swap_remove(OBJECT as usize);
    let nets = inputs.coupling_nets();
    // A product with a vector uses each weight once: f32 for two operations.
    let net_flops = nets.iter().map(|n| n.flops()).sum::<u64>();
    let net_bytes = 2 * net_flops as usize;
    let mut stages = [
        Stage::peak(simd),
        Stage::reading(net_bytes),
        decoder(&inputs),
        coupling_nets(&inputs),
        flow(&inputs),
        measurements(&inputs, &stamp),
        galaxy_frame(&inputs),
        native(&inputs),
        rendered(&inputs),
        log_likelihood(&inputs, &stamp),
    ];
    core_limits::run(&mut stages, SECONDS);
    let [
        peak,
        reading,
        decoder,
        nets,
        flow,
        measured,
        frame,
        native,
        ..,
    ] = &stages;
    println!(
        "at best, {}: {:.1} GFLOP/s; {:.2} MB are read at {:.1} GB/s",
        simd.name(),
        peak.rate() * 1e-9,
        net_bytes as f64 * 1e-6,
        net_bytes as f64 / reading.seconds * 1e-9,
    );
    for stage in &stages[2..] {
        print!("{:40} {:9.1} us", stage.name, stage.seconds * 1e6);
        if stage.flops > 0 {
            let (rate, share) = (stage.rate() * 1e-9, stage.rate() / peak.rate());
            print!(
                "  {:7.3} MFLOP  {rate:6.1} GFLOP/s, {:4.1} % of peak",
                stage.flops as f64 * 1e-6,
                100.0 * share
            );
        }
        println!();
    }
    println!(
        "reading the weights of the coupling nets alone: {:.1} us, {:.0} % of their time",
        reading.seconds * 1e6,
        100.0 * reading.seconds / nets.seconds,
    );
    let share = |seconds: f64| 100.0 * seconds / native.seconds;
    println!(
        "a native stamp: decoder {:.0} %, flow {:.0} % (nets {:.0} %, splines {:.0} %), measurement {:.0} %, rendering {:.0} %, rest {:.0} %",
        share(decoder.seconds),
        share(flow.seconds),
        share(nets.seconds),
        share(flow.seconds - nets.seconds),
        share(measured.seconds),
        share(native.seconds - frame.seconds),
        share(frame.seconds - decoder.seconds - flow.seconds - measured.seconds),
    );
}

fn decoder(inputs: &Inputs) -> Stage<'static> {
    let plan = inputs.decoder(Simd::detect());
    let z: Vec<f32> = inputs.latent().iter().map(|&z| z as f32).collect();
    let context = vec![0.0; plan.context_len()];
    let mut out = vec![0.0; plan.output().len()];
    let mut scratch = vec![0.0; plan.scratch_len()];
    Stage::new("decoder", plan.flops(), move || {
        plan.run(black_box(&z), &context, &mut out, &mut scratch);
    })
}

fn coupling_nets(inputs: &Inputs) -> Stage<'static> {
    let plans = inputs.coupling_nets();
    let largest = |length: fn(&galgen_infer::lower::Plan) -> usize| {
        plans.iter().map(length).max().unwrap_or(0)
    };
    let input = vec![0.1; largest(|p| p.input_len())];
    let context = vec![0.0; largest(|p| p.context_len())];
    let mut out = vec![0.0; largest(|p| p.output().len())];
    let mut scratch = vec![0.0; largest(|p| p.scratch_len())];
    let flops = plans.iter().map(|p| p.flops()).sum();
    Stage::new("flow, its nets alone", flops, move || {
        for plan in &plans {
            let out = &mut out[..plan.output().len()];
            plan.run(
                black_box(&input[..plan.input_len()]),
                &context,
                out,
                &mut scratch,
            );
        }
    })
}

fn flow(inputs: &Inputs) -> Stage<'static> {
    let flow = FlowPlan::new(
        &inputs.config().flow,
        "flow",
        &inputs.weights,
        Simd::detect(),
    )
    .expect("the tensors of a checked card");
    let context = vec![0.0; flow.context_len()];
    let mut scratch = flow.scratch();
    let (u, mut z) = (inputs.latent(), inputs.latent());
    Stage::new("flow, generate", 0, move || {
        z.copy_from_slice(&u);
        black_box(flow.generate(&mut z, &context, &mut scratch)).expect("no solver");
    })
}

fn measurements(inputs: &Inputs, stamp: &[f32]) -> Stage<'static> {
    let side = inputs.card.geometry.side;
    let stamp = stamp.to_vec();
    Stage::new("measure::shape + half_light_radius", 0, move || {
        let stamp = &stamp[..side * side];
        black_box(measure::shape(stamp, side));
        black_box(measure::half_light_radius(stamp, side, 1.0));
    })
}

fn galaxy_frame(inputs: &Inputs) -> Stage<'_> {
    let mut session = inputs.session();
    let mut out = vec![0.0; session.model().stamp_len()];
    let object = inputs.object(OBJECT);
    Stage::new("Session::sample_galaxy_frame", 0, move || {
        let drawn = session.sample_galaxy_frame(SEED, &object, &mut out);
        black_box(drawn).expect("a valid object");
    })
}

fn native(inputs: &Inputs) -> Stage<'_> {
    let mut session = inputs.session();
    let mut out = vec![0.0; session.model().stamp_len()];
    let object = inputs.object(OBJECT);
    Stage::new("Session::sample_native", 0, move || {
        let drawn = session.sample_native(SEED, &object, &mut out);
        black_box(drawn).expect("a valid object");
    })
}

fn rendered(inputs: &Inputs) -> Stage<'_> {
    let mut session = inputs.session();
    let mut renderer = inputs.renderer();
    let mut out = vec![0.0; renderer.image_len()];
    let object = inputs.object(OBJECT);
    Stage::new("Session::sample_rendered, 64 x 64, Moffat", 0, move || {
        let drawn =
            session.sample_rendered(SEED, &object, [0.1, -0.2], &mut renderer, None, &mut out);
        black_box(drawn).expect("a valid object");
    })
}

fn log_likelihood(inputs: &Inputs, stamp: &[f32]) -> Stage<'static> {
    let mut session = inputs.session();
    let conditions = inputs.conditions();
    let stamp = stamp.to_vec();
    Stage::new("Session::log_likelihood, 16 draws", 0, move || {
        let bound = session.log_likelihood(&stamp, &conditions, Some(1e-4), 16, SEED, 0);
        black_box(bound).expect("a valid stamp");
    })
}
