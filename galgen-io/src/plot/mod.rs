//! Line plots, bands, point clouds and histograms, as PNG or SVG.
//!
//! A figure is laid out once as a list of shapes; the two outputs draw the same list.

mod axis;
mod shapes;

use axis::Axis;
use shapes::{Anchor, Shape};

use crate::canvas::{Canvas, Color, TEXT_HEIGHT, text_width};

/// Colours that stay apart for colour-blind readers (Okabe & Ito 2008).
const PALETTE: [Color; 7] = [
    [0, 114, 178],
    [213, 94, 0],
    [0, 158, 115],
    [204, 121, 167],
    [230, 159, 0],
    [86, 180, 233],
    [60, 60, 60],
];
const INK: Color = [40, 40, 40];
const GRID: Color = [225, 225, 225];

/// What is drawn at the points of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mark {
    /// A line through the points, in their order.
    #[default]
    Line,
    /// A dot at each point.
    Dots,
    /// The area inside the points, pale.
    Band,
}

/// Points that belong together. Points that are not finite, or not positive on a logarithmic axis, interrupt a line
/// and are left out otherwise.
#[derive(Debug, Clone)]
pub struct Series {
    /// Name in the legend; empty for none.
    pub name: String,
    /// `(x, y)`.
    pub points: Vec<(f64, f64)>,
    /// Line, dots or band.
    pub mark: Mark,
    /// Number of the colour, so that a line and its band can share one; by default the place in the list.
    pub color: Option<usize>,
}

impl Series {
    /// Points joined by a line.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self {
            name: name.into(),
            points,
            mark: Mark::Line,
            color: None,
        }
    }

    /// A cloud of points.
    pub fn dots(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self {
            mark: Mark::Dots,
            ..Self::new(name, points)
        }
    }

    /// The area between `low` and `high` at each `(x, low, high)`, without a name in the legend. What is not finite
    /// is left out.
    pub fn band(between: &[(f64, f64, f64)]) -> Self {
        let low = between.iter().map(|&(x, low, _)| (x, low));
        let high = between.iter().rev().map(|&(x, _, high)| (x, high));
        Self {
            mark: Mark::Band,
            ..Self::new("", low.chain(high).collect())
        }
    }

    /// In the colour with this number.
    #[must_use]
    pub fn colored(mut self, color: usize) -> Self {
        self.color = Some(color);
        self
    }
}

/// Title, axes and size of a figure.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Text above.
    pub title: String,
    /// Name and unit of the x axis.
    pub x_label: String,
    /// Name and unit of the y axis.
    pub y_label: String,
    /// Logarithmic x axis.
    pub log_x: bool,
    /// Logarithmic y axis.
    pub log_y: bool,
    /// Width in pixels, at least 200.
    pub width: usize,
    /// Height in pixels, at least 150.
    pub height: usize,
}

impl Frame {
    /// Linear axes, 800 x 480 pixels.
    pub fn new(title: &str, x_label: &str, y_label: &str) -> Self {
        Self {
            title: title.into(),
            x_label: x_label.into(),
            y_label: y_label.into(),
            log_x: false,
            log_y: false,
            width: 800,
            height: 480,
        }
    }
}

/// A finished figure.
#[derive(Debug, Clone)]
pub struct Figure {
    width: usize,
    height: usize,
    shapes: Vec<Shape>,
}

impl Figure {
    /// Series as lines, dots and bands, in their order: later ones cover earlier ones.
    pub fn lines(frame: &Frame, series: &[Series]) -> Self {
        let usable = |&(x, y): &(f64, f64)| {
            let good = |v: f64, log: bool| v.is_finite() && (!log || v > 0.0);
            good(x, frame.log_x) && good(y, frame.log_y)
        };
        let all = || {
            series
                .iter()
                .flat_map(|s| s.points.iter().copied())
                .filter(usable)
        };
        let x_axis = Axis::new(frame.log_x, all().map(|p| p.0));
        let y_axis = Axis::new(frame.log_y, all().map(|p| p.1));
        let mut layout = Layout::new(
            frame,
            x_axis,
            y_axis,
            series
                .iter()
                .enumerate()
                .map(|(i, s)| (s.name.as_str(), color_of(i, s))),
        );
        for (i, s) in series.iter().enumerate() {
            let color = color_of(i, s);
            let placed = |run: &[(f64, f64)]| run.iter().map(|&p| layout.place(p)).collect();
            let shapes: Vec<Shape> = match s.mark {
                Mark::Line => s
                    .points
                    .split(|p| !usable(p))
                    .filter(|run| !run.is_empty())
                    .map(|run| Shape::Line {
                        points: placed(run),
                        thickness: 1.8,
                        color,
                    })
                    .collect(),
                Mark::Dots => {
                    let points: Vec<_> = s.points.iter().copied().filter(usable).collect();
                    vec![Shape::Dots {
                        points: placed(&points),
                        radius: 2.0,
                        color,
                    }]
                }
                Mark::Band => {
                    let points: Vec<_> = s.points.iter().copied().filter(usable).collect();
                    vec![Shape::Area {
                        points: placed(&points),
                        color,
                    }]
                }
            };
            layout.shapes.extend(shapes);
        }
        layout.finish()
    }

    /// Histograms of several samples over the same bins, each as the share of its finite values per
    /// bin, outlined. Values outside `range` (default: the extent of all) are left out of the
    /// picture but count in the shares. A logarithmic x axis has bins of equal ratio.
    ///
    /// # Panics
    /// If `bins` is 0.
    pub fn histogram(
        frame: &Frame,
        samples: &[(String, Vec<f64>)],
        bins: usize,
        range: Option<(f64, f64)>,
    ) -> Self {
        assert!(bins > 0, "at least one bin");
        let usable = |v: &&f64| v.is_finite() && (!frame.log_x || **v > 0.0);
        let extent = samples
            .iter()
            .flat_map(|(_, v)| v)
            .filter(usable)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &v| {
                (low.min(v), high.max(v))
            });
        let (low, high) = match range.unwrap_or(extent) {
            (low, high) if low < high => (low, high),
            (low, _) if low.is_finite() => (low - 0.5, low + 0.5),
            _ => (0.0, 1.0),
        };
        let scale = |v: f64| if frame.log_x { v.ln() } else { v };
        let (start, step) = (scale(low), (scale(high) - scale(low)) / bins as f64);
        let edge = |i: usize| {
            let v = start + step * i as f64;
            if frame.log_x { v.exp() } else { v }
        };
        let series: Vec<Series> = samples
            .iter()
            .map(|(name, values)| {
                let mut counts = vec![0usize; bins];
                let finite: Vec<f64> = values.iter().filter(usable).copied().collect();
                for &v in finite.iter().filter(|v| (low..=high).contains(*v)) {
                    counts[(((scale(v) - start) / step) as usize).min(bins - 1)] += 1;
                }
                let share = |c: usize| c as f64 / finite.len().max(1) as f64;
                // Outline of the bars; on a logarithmic y axis there is no floor to start from.
                let floor = if frame.log_y { f64::NAN } else { 0.0 };
                let mut points = vec![(edge(0), floor)];
                for (i, &count) in counts.iter().enumerate() {
                    points.extend([(edge(i), share(count)), (edge(i + 1), share(count))]);
                }
                points.push((edge(bins), floor));
                Series::new(format!("{name} ({})", finite.len()), points)
            })
            .collect();
        Self::lines(frame, &series)
    }

    /// The figure as a picture.
    pub fn to_canvas(&self) -> Canvas {
        let mut canvas = Canvas::new(self.width, self.height, [255, 255, 255]);
        for shape in &self.shapes {
            shape.draw(&mut canvas);
        }
        canvas
    }

    /// The figure as an SVG element, for HTML reports.
    pub fn to_svg(&self) -> String {
        let (w, h) = (self.width, self.height);
        let body: String = self.shapes.iter().map(Shape::to_svg).collect();
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" \
             viewBox=\"0 0 {w} {h}\" font-family=\"monospace\" font-size=\"12\">\
             <rect width=\"{w}\" height=\"{h}\" fill=\"#fff\"/>\n{body}</svg>\n"
        )
    }
}

fn color_of(place: usize, series: &Series) -> Color {
    PALETTE[series.color.unwrap_or(place) % PALETTE.len()]
}

/// The frame drawn, and where values fall in it.
struct Layout {
    width: usize,
    height: usize,
    /// Left, top, right, bottom of the plotting area.
    area: [f64; 4],
    x_axis: Axis,
    y_axis: Axis,
    shapes: Vec<Shape>,
}

impl Layout {
    fn new<'a>(
        frame: &Frame,
        x_axis: Axis,
        y_axis: Axis,
        names: impl Iterator<Item = (&'a str, Color)>,
    ) -> Self {
        let (width, height) = (frame.width.max(200), frame.height.max(150));
        let line = TEXT_HEIGHT as f64;
        let tick_text = y_axis
            .ticks
            .iter()
            .map(|(_, t)| text_width(t))
            .max()
            .unwrap_or(0);
        let mut layout = Self {
            width,
            height,
            area: [
                tick_text as f64 + 16.0,
                0.0,
                width as f64 - 24.0,
                height as f64 - 2.5 * line - 8.0,
            ],
            x_axis,
            y_axis,
            shapes: Vec::new(),
        };
        layout.text((width as f64 / 2.0, 6.0), &frame.title, Anchor::Middle);
        let below_legend = layout.legend(names, 6.0 + 1.25 * line);
        layout.text((8.0, below_legend), &frame.y_label, Anchor::Start);
        layout.area[1] = below_legend + 1.4 * line;
        layout.axes();
        let middle = (layout.area[0] + layout.area[2]) / 2.0;
        layout.text(
            (middle, height as f64 - line - 4.0),
            &frame.x_label,
            Anchor::Middle,
        );
        layout
    }

    fn text(&mut self, at: (f64, f64), text: &str, anchor: Anchor) {
        self.shapes.push(Shape::Text {
            at,
            text: text.into(),
            anchor,
            color: INK,
        });
    }

    /// One row of names per line that they fill; returns the y below.
    fn legend<'a>(&mut self, names: impl Iterator<Item = (&'a str, Color)>, top: f64) -> f64 {
        let line = TEXT_HEIGHT as f64;
        let (mut x, mut y) = (self.area[0], top);
        let mut any = false;
        for (name, color) in names.filter(|(name, _)| !name.is_empty()) {
            let length = text_width(name) as f64 + 46.0;
            if x + length > self.area[2] && x > self.area[0] {
                (x, y) = (self.area[0], y + line);
            }
            let middle = y + line / 2.0;
            let points = vec![(x, middle), (x + 20.0, middle)];
            self.shapes.push(Shape::Line {
                points,
                thickness: 3.0,
                color,
            });
            self.text((x + 26.0, y), name, Anchor::Start);
            (x, any) = (x + length, true);
        }
        if any { y + 1.25 * line } else { y }
    }

    fn axes(&mut self) {
        let [left, top, right, bottom] = self.area;
        let half = TEXT_HEIGHT as f64 / 2.0;
        let rule = |points, color| Shape::Line {
            points,
            thickness: 1.0,
            color,
        };
        let mut free_from = f64::NEG_INFINITY;
        for (value, text) in self.x_axis.ticks.clone() {
            let x = self.place((value, self.y_axis.low)).0;
            self.shapes.push(rule(vec![(x, top), (x, bottom)], GRID));
            // Numbers that would run into each other are left out.
            let reach = text_width(&text) as f64 / 2.0;
            if x - reach > free_from {
                self.text((x, bottom + 4.0), &text, Anchor::Middle);
                free_from = x + reach + 6.0;
            }
        }
        for (value, text) in self.y_axis.ticks.clone() {
            let y = self.place((self.x_axis.low, value)).1;
            self.shapes.push(rule(vec![(left, y), (right, y)], GRID));
            self.text((left - 6.0, y - half), &text, Anchor::End);
        }
        let frame = vec![(left, top), (left, bottom), (right, bottom)];
        self.shapes.push(rule(frame, INK));
    }

    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let [left, top, right, bottom] = self.area;
        (
            left + (right - left) * self.x_axis.share(x),
            bottom - (bottom - top) * self.y_axis.share(y),
        )
    }

    fn finish(self) -> Figure {
        Figure {
            width: self.width,
            height: self.height,
            shapes: self.shapes,
        }
    }
}

#[cfg(test)]
mod tests;
