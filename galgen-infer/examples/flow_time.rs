//! Fastest times of a flow, one item and several at a time, on each level: `flow_time MODEL [ITEMS]`.

use galgen_core::card::{Card, METADATA_KEY};
use galgen_core::models::Family;
use galgen_core::spec::Direction;
use galgen_infer::flow::{FlowPlan, default_noise};
use galgen_infer::kernels::Simd;
use galgen_infer::weights::Weights;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("expected the file of a flow")?;
    let items: usize = arguments.next().map_or(Ok(64), |n| n.parse())?;
    let weights = Weights::open(path.as_ref())?;
    let (card, _) = Card::parse(weights.metadata(METADATA_KEY).ok_or("no card")?)?;
    let Family::Flow(model) = &card.model else {
        return Err("expected a model of the family flow".into());
    };
    for simd in Simd::available() {
        let flow = FlowPlan::new(&model.flow, "flow", &weights, simd)?;
        for items in [1, items] {
            let mut scratch = flow.scratch_of(items);
            let n = items * flow.dim();
            let noise: Vec<f64> = (0..n).map(|i| (1.7 * i as f64).sin()).collect();
            let mut outcomes = vec![Ok(0.0); items];
            for direction in [Direction::Generate, Direction::Normalise] {
                let mut fastest = f64::INFINITY;
                let end = Instant::now();
                while end.elapsed().as_secs_f64() < 0.5 {
                    let mut values = noise.clone();
                    let start = Instant::now();
                    flow.run_batch(
                        direction,
                        &mut values,
                        &[],
                        &default_noise,
                        &mut outcomes,
                        &mut scratch,
                    );
                    fastest = fastest.min(start.elapsed().as_secs_f64());
                }
                let each = 1e6 * fastest / items as f64;
                println!(
                    "{:9} {items:3} items, {direction:?}: {each:8.2} us an item",
                    simd.name()
                );
            }
        }
    }
    Ok(())
}
