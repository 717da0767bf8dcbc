//! Where a value lies in the arena.

use core::ops::Range;
use galgen_core::spec::Shape;

/// A strided map: element (c, y, x) is at `offset + c * channel + y * row + x * pixel`. A vector is a
/// map of one pixel. Values between layers are channels-last (`channel` 1); zeros that a convolution
/// needs around a map lie outside of the view of the map itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub offset: usize,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub channel: usize,
    pub row: usize,
    pub pixel: usize,
}

impl View {
    /// (channels, height, width) of a shape; a vector is one pixel.
    pub fn extents(shape: Shape) -> (usize, usize, usize) {
        match shape {
            Shape::Vector(n) => (n, 1, 1),
            Shape::Map {
                channels,
                height,
                width,
            } => (channels, height, width),
        }
    }

    /// A channels-last map without gaps.
    pub fn pixels(channels: usize, height: usize, width: usize) -> Self {
        View {
            offset: 0,
            channels,
            height,
            width,
            channel: 1,
            row: width * channels,
            pixel: channels,
        }
    }

    /// One plane per channel, row-major: the order of a caller's buffer.
    pub fn planes(channels: usize, height: usize, width: usize) -> Self {
        View {
            offset: 0,
            channels,
            height,
            width,
            channel: height * width,
            row: width,
            pixel: 1,
        }
    }

    /// One past the last element; the views of this crate have at least one element.
    pub fn end(&self) -> usize {
        self.offset
            + (self.channels - 1) * self.channel
            + (self.height - 1) * self.row
            + (self.width - 1) * self.pixel
            + 1
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Whether both have the same channels, height and width.
    pub fn same_extents(&self, other: &View) -> bool {
        (self.channels, self.height, self.width) == (other.channels, other.height, other.width)
    }

    /// Part of the channels.
    pub fn slice(self, channels: Range<usize>) -> Self {
        View {
            offset: self.offset + channels.start * self.channel,
            channels: channels.len(),
            ..self
        }
    }

    /// Every `step`-th pixel in both directions, from (y, x): the pixels of one phase.
    pub fn phase(self, step: usize, y: usize, x: usize) -> Self {
        View {
            offset: self.offset + y * self.row + x * self.pixel,
            height: (self.height - y).div_ceil(step),
            width: (self.width - x).div_ceil(step),
            row: step * self.row,
            pixel: step * self.pixel,
            ..self
        }
    }

    /// Whether channels-last rows have no gaps.
    pub fn dense_rows(&self) -> bool {
        self.channel == 1 && (self.pixel == self.channels || self.width == 1)
    }
}
