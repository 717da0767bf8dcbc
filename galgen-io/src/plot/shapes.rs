//! Shapes of a figure, drawn as pixels or written as SVG.

use crate::canvas::{Canvas, Color, TEXT_HEIGHT, text_width};

/// Opacity of dots, so that crowds are darker, and of areas, so that lines are seen through them.
const DOT_OPACITY: f64 = 0.55;
const AREA_OPACITY: f64 = 0.18;

/// Which point of a text its position names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

#[derive(Debug, Clone)]
pub(super) enum Shape {
    Line {
        points: Vec<(f64, f64)>,
        thickness: f64,
        color: Color,
    },
    /// A disk at each point, half transparent.
    Dots {
        points: Vec<(f64, f64)>,
        radius: f64,
        color: Color,
    },
    /// A closed polygon, pale.
    Area {
        points: Vec<(f64, f64)>,
        color: Color,
    },
    /// `at` is the top of the line of text, at its anchor.
    Text {
        at: (f64, f64),
        text: String,
        anchor: Anchor,
        color: Color,
    },
}

impl Shape {
    pub fn draw(&self, canvas: &mut Canvas) {
        match self {
            Self::Line {
                points,
                thickness,
                color,
            } => {
                // A single point is a dot.
                if let [only] = points[..] {
                    canvas.line(only, only, 2.0 * thickness, *color);
                }
                for pair in points.windows(2) {
                    canvas.line(pair[0], pair[1], *thickness, *color);
                }
            }
            Self::Dots {
                points,
                radius,
                color,
            } => {
                for &(x, y) in points {
                    let corner = |v: f64| (v - radius - 1.0).max(0.0) as usize;
                    let reach = 2 * radius.ceil() as usize + 3;
                    for row in corner(y)..corner(y) + reach {
                        for column in corner(x)..corner(x) + reach {
                            let distance = (column as f64 - x).hypot(row as f64 - y);
                            let cover = (radius + 0.5 - distance).clamp(0.0, 1.0);
                            canvas.blend(column, row, *color, DOT_OPACITY * cover);
                        }
                    }
                }
            }
            Self::Area { points, color } => {
                let (low, high) = points
                    .iter()
                    .fold((f64::INFINITY, 0f64), |(l, h), p| (l.min(p.1), h.max(p.1)));
                let rows = low.max(0.0).ceil() as usize..=high.min(canvas.height() as f64) as usize;
                for row in rows {
                    for pair in crossings(points, row as f64).chunks_exact(2) {
                        for x in pair[0].max(0.0).ceil() as usize..=pair[1].max(0.0) as usize {
                            canvas.blend(x, row, *color, AREA_OPACITY);
                        }
                    }
                }
            }
            Self::Text {
                at,
                text,
                anchor,
                color,
            } => {
                let back = match anchor {
                    Anchor::Start => 0.0,
                    Anchor::Middle => text_width(text) as f64 / 2.0,
                    Anchor::End => text_width(text) as f64,
                };
                canvas.text(
                    (at.0 - back).max(0.0) as usize,
                    at.1.max(0.0) as usize,
                    text,
                    *color,
                );
            }
        }
    }

    pub fn to_svg(&self) -> String {
        match self {
            Self::Line {
                points,
                thickness,
                color,
            } => {
                format!(
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{thickness}\" \
                     stroke-linecap=\"round\"/>\n",
                    joined(points),
                    hex(*color)
                )
            }
            Self::Dots {
                points,
                radius,
                color,
            } => {
                let dots: String = points
                    .iter()
                    .map(|(x, y)| format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"/>"))
                    .collect();
                let fill = hex(*color);
                format!("<g fill=\"{fill}\" fill-opacity=\"{DOT_OPACITY}\">{dots}</g>\n")
            }
            Self::Area { points, color } => format!(
                "<polygon points=\"{}\" fill=\"{}\" fill-opacity=\"{AREA_OPACITY}\"/>\n",
                joined(points),
                hex(*color)
            ),
            Self::Text {
                at,
                text,
                anchor,
                color,
            } => {
                let anchor = match anchor {
                    Anchor::Start => "start",
                    Anchor::Middle => "middle",
                    Anchor::End => "end",
                };
                format!(
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"{}\">{}</text>\n",
                    at.0,
                    at.1 + 0.75 * TEXT_HEIGHT as f64,
                    hex(*color),
                    escaped(text)
                )
            }
        }
    }
}

/// Columns at which the outline of a polygon crosses the row, rising.
fn crossings(points: &[(f64, f64)], row: f64) -> Vec<f64> {
    let next = points.iter().cycle().skip(1);
    let mut columns: Vec<f64> = points
        .iter()
        .zip(next)
        .filter(|(a, b)| (a.1 <= row) != (b.1 <= row))
        .map(|(a, b)| a.0 + (row - a.1) / (b.1 - a.1) * (b.0 - a.0))
        .collect();
    columns.sort_by(f64::total_cmp);
    columns
}

fn joined(points: &[(f64, f64)]) -> String {
    let points: Vec<_> = points
        .iter()
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    points.join(" ")
}

fn hex([r, g, b]: Color) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
