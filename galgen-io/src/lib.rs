//! Catalogues, stamp files and pictures.
#![forbid(unsafe_code)]
