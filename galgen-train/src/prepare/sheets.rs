//! Contact sheets of what `prepare` took and what it did not.

use crate::data::galaxy::{Galaxy, Picture};
use crate::data::reason::Reason;
use crate::data::source::{Entry, Reader};
use galgen_io::sheet::{SheetOptions, Tile, sheet};
use std::collections::BTreeMap;
use std::path::Path;

/// Pictures on a contact sheet, and how many to a row.
const ON_SHEET: usize = 100;
const IN_ROW: usize = 10;

/// Draws sheets of accepted stamps, of their point-spread functions and of each kind of rejected picture.
pub fn sheets(
    folder: &Path,
    reader: &mut Reader,
    accepted: &[(Entry, Galaxy)],
    rejected: &BTreeMap<Reason, Vec<Entry>>,
) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    // In order of the id's hash: as good as random, and the same every time.
    let mut order: Vec<&(Entry, Galaxy)> = accepted.iter().collect();
    order.sort_by_key(|(e, _)| shuffled(e));
    let caption = |g: &Galaxy| format!("q {:.2} C {:.1}", g.axis_ratio, g.concentration);
    let shown = || order.iter().take(ON_SHEET).map(|(_, galaxy)| galaxy);
    let stamps = shown().map(|g| (g.stamp.clone(), caption(g))).collect();
    draw_sheet(&folder.join("accepted.png"), "accepted", stamps)?;
    let caption = |g: &Galaxy| format!("FWHM {:.1} px", g.psf_fwhm_px);
    let psfs = shown().map(|g| (g.psf.clone(), caption(g))).collect();
    draw_sheet(&folder.join("psf.png"), "point-spread functions", psfs)?;
    for (reason, entries) in rejected {
        let mut order: Vec<&Entry> = entries.iter().collect();
        order.sort_by_key(|e| shuffled(e));
        let pictures = order
            .iter()
            .filter_map(|e| Some((light(reader.read(e).ok()?), e.name.clone())));
        let tiles = pictures.take(ON_SHEET).collect();
        draw_sheet(
            &folder.join(format!("rejected_{}.png", reason.name())),
            reason.name(),
            tiles,
        )?;
    }
    Ok(())
}

/// A number that looks random, from the id (the finaliser of SplitMix64).
fn shuffled(entry: &Entry) -> u64 {
    let z = (entry.id() as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// A picture's pixels above its sky.
fn light(picture: Picture) -> Vec<f32> {
    let level = crate::data::plane::sky(&picture.plane).map_or(0.0, |s| s.level as f32);
    picture
        .plane
        .pixels
        .iter()
        .map(|v| if v.is_finite() { v - level } else { 0.0 })
        .collect()
}

/// Draws square tiles with their captions; no file if there are none.
fn draw_sheet(path: &Path, title: &str, tiles: Vec<(Vec<f32>, String)>) -> Result<(), String> {
    if tiles.is_empty() {
        return Ok(());
    }
    let tiles: Vec<Tile<'_>> = tiles
        .iter()
        .map(|(pixels, caption)| {
            let side = pixels.len().isqrt();
            Tile {
                pixels,
                width: side,
                height: side,
                caption: caption.clone(),
            }
        })
        .collect();
    let options = SheetOptions {
        columns: IN_ROW,
        title: title.into(),
        ..SheetOptions::default()
    };
    sheet(&tiles, &options)
        .save(path)
        .map_err(|e| e.to_string())
}
