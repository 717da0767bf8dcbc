//! Shapes of a figure, drawn as pixels or written as SVG.

use crate::canvas::{Canvas, Color, TEXT_HEIGHT, text_width};

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
                let points: Vec<_> = points
                    .iter()
                    .map(|(x, y)| format!("{x:.1},{y:.1}"))
                    .collect();
                format!(
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{thickness}\" \
                     stroke-linecap=\"round\"/>\n",
                    points.join(" "),
                    hex(*color)
                )
            }
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

fn hex([r, g, b]: Color) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
