//! MADE: who sees whom, by perturbation.

use crate::{act, moved, referee};
use galgen_core::math::act::Act;
use galgen_core::spec::{Degrees, Layer, Net, Shape};
use galgen_tests::tensors::random_values;

/// MADE in the order 3, 1, 4, 2: shift and log-scale of element `i` see exactly the elements before it
/// in the order.
#[test]
fn made_sees_exactly_the_past_of_its_order() {
    let order = [3u32, 1, 4, 2];
    let hidden: Vec<u32> = (0..32).map(|i| i % 4).collect();
    let last: Vec<u32> = order.iter().map(|d| d - 1).collect();
    let masked = |input: &[u32], output: &[u32]| Layer::Linear {
        outputs: output.len(),
        degrees: Some(Degrees {
            input: input.to_vec(),
            output: output.to_vec(),
        }),
    };
    // A condition has degree 0: all may see it.
    let layers = vec![
        Layer::AppendContext,
        masked(&[&order[..], &[0]].concat(), &hidden),
        act(Act::Tanh),
        masked(&hidden, &hidden),
        act(Act::Tanh),
        masked(&hidden, &[&last[..], &last[..]].concat()),
    ];
    let net = Net {
        input: Shape::Vector(4),
        context: 1,
        layers,
    };
    let referee = referee(&net, Shape::Vector(8), 1);
    let run = |x: &[f64]| referee.run(&net, "net", x, &[0.7]);
    let x = random_values(4, 1);
    for i in 0..4 {
        for (o, moved) in moved(&run, &x, i).into_iter().enumerate() {
            assert_eq!(moved, order[i] < order[o % 4], "input {i}, output {o}");
        }
    }
    let elsewhere = referee.run(&net, "net", &x, &[0.8]);
    assert!(
        run(&x).iter().zip(&elsewhere).all(|(a, b)| a != b),
        "all see the condition"
    );
}
