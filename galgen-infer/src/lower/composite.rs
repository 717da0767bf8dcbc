//! Layers without arithmetic of their own: other shapes, sums and concatenations of branches.

use super::frame::NO_FRAME;
use super::{Lowering, Op, Place, Value};
use crate::error::LoadError;
use crate::kernels::view::View;
use alloc::format;
use alloc::vec::Vec;
use galgen_core::spec::{Layer, Padding, Shape};

impl Lowering<'_> {
    /// The same elements, in the order of planes, under another shape.
    pub(super) fn reshape(&mut self, value: Value, shape: Shape, frame: Padding) -> Value {
        if View::extents(value.shape) == View::extents(shape) {
            return Value { shape, ..value };
        }
        let flat = match value.shape {
            Shape::Vector(_) => value,
            Shape::Map {
                channels,
                height,
                width,
            } => {
                let flat = self.allocate(Shape::Vector(shape.len()), NO_FRAME);
                let planes = Place {
                    view: View::planes(channels, height, width),
                    ..flat.place
                };
                self.push(Op::Copy, value.place, value.place, planes);
                flat
            }
        };
        match shape {
            Shape::Vector(_) => flat,
            Shape::Map {
                channels,
                height,
                width,
            } => {
                let offset = flat.view().offset;
                let planes = View {
                    offset,
                    ..View::planes(channels, height, width)
                };
                let from = Place {
                    view: planes,
                    ..flat.place
                };
                let to = self.allocate(shape, frame);
                self.push(Op::Copy, from, from, to.place);
                to
            }
        }
    }

    /// The map moved down and right: the part that stays inside, in a frame of at least as many zeros.
    pub(super) fn shift(
        &mut self,
        value: Value,
        down: usize,
        right: usize,
        frame: Padding,
    ) -> Value {
        let (c, h, w) = View::extents(value.shape);
        let kept = Shape::Map {
            channels: c,
            height: h - down,
            width: w - right,
        };
        let around = Padding {
            top: frame.top + down,
            left: frame.left + right,
            ..frame
        };
        let moved = self.allocate(kept, around);
        let from = Place {
            view: View {
                height: h - down,
                width: w - right,
                ..value.view()
            },
            ..value.place
        };
        self.push(Op::Copy, from, from, moved.place);
        let v = moved.view();
        let view = View {
            offset: v.offset - down * v.row - right * v.pixel,
            height: h,
            width: w,
            ..v
        };
        Value {
            shape: value.shape,
            place: Place {
                view,
                ..moved.place
            },
            frame,
            owned: true,
        }
    }

    pub(super) fn sum(
        &mut self,
        branches: &[Vec<Layer>],
        value: Value,
        path: &str,
        wanted: impl Fn(Shape) -> Padding,
    ) -> Result<Value, LoadError> {
        let shared = Value {
            owned: false,
            ..value
        };
        let mut total: Option<Value> = None;
        for (b, layers) in branches.iter().enumerate() {
            let frame = wanted(total.map_or(value.shape, |t| t.shape));
            let term = self.sequence(layers, shared, &format!("{path}.{b}."), frame)?;
            total = Some(match total {
                None => term,
                Some(total) => {
                    let to = if total.owned {
                        total
                    } else {
                        self.overwritten(term, frame)
                    };
                    self.push(Op::Add, total.place, term.place, to.place);
                    to
                }
            });
        }
        Ok(total.unwrap_or(value))
    }

    pub(super) fn concat(
        &mut self,
        branches: &[Vec<Layer>],
        value: Value,
        path: &str,
        wanted: impl Fn(Shape) -> Padding,
    ) -> Result<Value, LoadError> {
        let shared = Value {
            owned: false,
            ..value
        };
        let mut parts = Vec::new();
        for (b, layers) in branches.iter().enumerate() {
            parts.push(self.sequence(layers, shared, &format!("{path}.{b}."), NO_FRAME)?);
        }
        let features = parts.iter().map(|p| p.shape.features()).sum();
        let shape = parts
            .first()
            .map_or(value.shape, |p| p.shape)
            .with_features(features);
        let to = self.allocate(shape, wanted(shape));
        let mut start = 0;
        for part in parts {
            let end = start + part.shape.features();
            let place = Place {
                view: to.view().slice(start..end),
                ..to.place
            };
            self.push(Op::Copy, part.place, part.place, place);
            start = end;
        }
        Ok(to)
    }
}
