//! Weights from the order of a file to that of a kernel.

/// Outputs that are written side by side: a line of the cache.
pub(super) const SIDE: usize = 16;

/// Where the weights of an output go.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Column {
    pub first: usize,
    /// From each to the next.
    pub step: usize,
}

/// Writes `rows`, of `len` numbers each, to as many of `columns`; number i of a column is `sources[i]` of its row. What
/// neighbouring columns have on a line of the cache is written together.
pub(super) fn scatter(
    to: &mut [f32],
    mut columns: impl Iterator<Item = Column>,
    rows: &[f32],
    len: usize,
    sources: &[usize],
) {
    for rows in rows.chunks(SIDE * len) {
        let mut own = [Column::default(); SIDE];
        let own = &mut own[..rows.len() / len];
        for (own, column) in own.iter_mut().zip(&mut columns) {
            *own = column;
        }
        for (i, &source) in sources.iter().enumerate() {
            for (column, row) in own.iter().zip(rows.chunks_exact(len)) {
                to[column.first + i * column.step] = row[source];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    #[test]
    fn every_weight_goes_where_its_output_and_source_say() {
        let (outputs, len, sources) = (2 * SIDE + 3, 5, [4, 0, 2]);
        let rows: Vec<f32> = (0..outputs * len).map(|v| 1.0 + v as f32).collect();
        let columns = (0..outputs).rev().map(|first| Column {
            first,
            step: outputs,
        });
        let mut found = vec![0.0; outputs * sources.len()];
        scatter(&mut found, columns, &rows, len, &sources);
        for (i, &value) in found.iter().enumerate() {
            let (source, column) = (sources[i / outputs], i % outputs);
            assert_eq!(value, rows[(outputs - 1 - column) * len + source]);
        }
    }
}
