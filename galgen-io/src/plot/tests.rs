use super::*;

fn frame(log: bool) -> Frame {
    Frame {
        log_x: log,
        log_y: log,
        ..Frame::new("title", "x", "y")
    }
}

/// All text of an SVG, joined.
fn texts(svg: &str) -> Vec<&str> {
    svg.split("</text>")
        .filter_map(|s| s.rsplit_once('>').map(|(_, t)| t))
        .collect()
}

#[test]
fn ticks_rise_lie_inside_and_are_few() {
    let ranges = [
        (0.0, 1.0),
        (-3e-7, 2e-6),
        (1e5, 1.00001e5),
        (-4.0, 1e9),
        (5.0, 5.0),
        (0.0, 0.0),
    ];
    for (low, high) in ranges {
        let axis = Axis::new(false, [low, high].into_iter());
        let values: Vec<f64> = axis.ticks.iter().map(|t| t.0).collect();
        assert!((2..=12).contains(&values.len()), "{low} {high}: {values:?}");
        assert!(values.windows(2).all(|w| w[0] < w[1]));
        assert!(
            values
                .iter()
                .all(|v| (-1e-9..=1.0 + 1e-9).contains(&axis.share(*v)))
        );
        for (value, text) in &axis.ticks {
            let shown: f64 = text.parse().unwrap();
            let step = values[1] - values[0];
            assert!(
                (shown - value).abs() <= 0.51 * step.max(0.01 * value.abs()),
                "{text} for {value}"
            );
        }
    }
    for (low, high) in [(1.0, 1.5), (0.02, 3.0), (1e-12, 1e12), (7.0, 7.0)] {
        let axis = Axis::new(true, [low, high].into_iter());
        assert!(
            (1..=12).contains(&axis.ticks.len()),
            "{low} {high}: {:?}",
            axis.ticks
        );
        assert!(axis.share(low) > 0.0 && axis.share(high) < 1.0);
    }
}

#[test]
fn nothing_to_show_is_a_figure_too() {
    for log in [false, true] {
        let odd = vec![
            (1.0, f64::NAN),
            (f64::INFINITY, 2.0),
            (-1.0, f64::NEG_INFINITY),
        ];
        for series in [
            vec![],
            vec![Series::new("a", vec![])],
            vec![Series::new("a", odd)],
        ] {
            let figure = Figure::lines(&frame(log), &series);
            assert_eq!(figure.to_canvas().width(), 800);
        }
        Figure::histogram(&frame(log), &[("none".into(), vec![f64::NAN])], 5, None).to_canvas();
        Figure::histogram(&frame(log), &[("one".into(), vec![2.0])], 5, None).to_canvas();
    }
}

#[test]
fn a_point_that_is_not_finite_interrupts_the_line() {
    let points = vec![
        (0.0, 1.0),
        (1.0, 2.0),
        (2.0, f64::NAN),
        (3.0, 1.0),
        (4.0, 2.0),
    ];
    let lines = |p: Vec<(f64, f64)>| {
        Figure::lines(&frame(false), &[Series::new("", p)])
            .to_svg()
            .matches("stroke-width=\"1.8\"")
            .count()
    };
    assert_eq!(lines(points.clone()), 2);
    assert_eq!(lines(points[..2].to_vec()), 1);
}

#[test]
fn names_labels_and_counts_are_written_and_escaped() {
    let frame = Frame::new("a < b & c", "size [arcsec]", "share");
    let figure = Figure::histogram(
        &frame,
        &[("real".into(), vec![1.0, 2.0, f64::NAN])],
        4,
        Some((0.0, 3.0)),
    );
    let svg = figure.to_svg();
    let texts = texts(&svg);
    for text in [
        "a &lt; b &amp; c",
        "size [arcsec]",
        "share",
        "real (2)",
        "0.5",
        "3",
    ] {
        assert!(texts.contains(&text), "{text} not in {texts:?}");
    }
}

/// The picture of a rising line has ink of its colour from corner to corner.
#[test]
fn lines_run_where_their_values_are() {
    let figure = Figure::lines(
        &frame(false),
        &[Series::new("", vec![(0.0, 0.0), (1.0, 1.0)])],
    );
    let canvas = figure.to_canvas();
    let is_ink = |x: usize, y: usize| canvas.get(x, y) == Some(PALETTE[0]);
    let ink: Vec<(usize, usize)> = (0..canvas.width())
        .flat_map(|x| (0..canvas.height()).map(move |y| (x, y)))
        .filter(|&(x, y)| is_ink(x, y))
        .collect();
    let (first, last) = (ink[0], ink[ink.len() - 1]);
    assert!(
        last.0 - first.0 > 600 && first.1 - last.1 > 300,
        "{first:?} {last:?}"
    );
}

#[test]
fn bands_and_dots_are_drawn_where_they_belong() {
    let between = [(0.0, 1.0, 2.0), (5.0, f64::NAN, 2.0), (10.0, 1.0, 2.0)];
    let series = [
        Series::band(&between).colored(1),
        Series::dots("cloud", vec![(2.0, 0.0), (8.0, 3.0), (f64::NAN, 1.0)]).colored(1),
    ];
    let figure = Figure::lines(&frame(false), &series);
    let svg = figure.to_svg();
    assert_eq!(svg.matches("<circle").count(), 2);
    assert_eq!(svg.matches("<polygon").count(), 1);
    assert!(texts(&svg).contains(&"cloud") && !svg.contains("NaN"));

    // In the picture: coloured inside the band, white above it.
    let canvas = figure.to_canvas();
    let [mut inside, mut above] = [0, 0];
    let shape = figure.shapes.iter().find_map(|s| match s {
        Shape::Area { points, .. } => Some(points.clone()),
        _ => None,
    });
    let points = shape.expect("a band");
    let rows: Vec<f64> = points.iter().map(|p| p.1).collect();
    let top = rows.iter().copied().fold(f64::INFINITY, f64::min) as usize;
    let bottom = rows.iter().copied().fold(0.0, f64::max) as usize;
    let column = (points[0].0 + 40.0) as usize;
    for row in top - 20..bottom {
        let pale = canvas
            .get(column, row)
            .is_some_and(|c| c[0] > 225 && c[2] < 225);
        if row > top {
            inside += usize::from(pale);
        } else {
            above += usize::from(pale);
        }
    }
    assert!(
        inside > (bottom - top) * 8 / 10 && above == 0,
        "{inside} {above}"
    );
}
