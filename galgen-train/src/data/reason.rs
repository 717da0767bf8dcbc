//! Why a picture does not become a training stamp.

/// One reason per rejected picture, in the order in which they are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The file cannot be decoded, or is smaller than 16 pixels a side.
    Unreadable,
    /// Nothing at the centre rises above the sky, or the half-light ellipse has too little signal to noise.
    TooFaint,
    /// Moments or size have no stable value.
    NotMeasurable,
    /// Point-like: as small as the point-spread function and round.
    Star,
    /// Half-light radius too close to the seeing for the shape to be the galaxy's.
    TooSmall,
    /// A neighbour of comparable light overlaps the galaxy.
    Double,
    /// A flat core: the display's full scale was exceeded.
    Saturated,
    /// Too much light or area of the stamp lies outside the picture.
    Truncated,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Unreadable,
        Self::TooFaint,
        Self::NotMeasurable,
        Self::Star,
        Self::TooSmall,
        Self::Double,
        Self::Saturated,
        Self::Truncated,
    ];

    /// Its name in tables, metadata and file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::TooFaint => "too_faint",
            Self::NotMeasurable => "not_measurable",
            Self::Star => "star",
            Self::TooSmall => "too_small",
            Self::Double => "double",
            Self::Saturated => "saturated",
            Self::Truncated => "truncated",
        }
    }
}
