//! Matrix products whose right-hand side is read from shifted positions of padded maps (no im2col).
//!
//! A convolution output vector of `L` neighbours (`L` pixels of a row, or one pixel of `L` images) needs, for tap
//! `k = (c, ky, kx)`, the `L` elements at `start + offset[k]` of the padded source. So
//!
//! ```text
//! product:  dst[m, v] = sum_k w[m, k] * src[start[v] + offset[k] ..][..L]
//! outer:    gw[m, k] += sum_v < g[gstart[v] + m * gstride ..][..L], src[start[v] + offset[k] ..][..L] >
//! ```
//!
//! Both keep a tile of accumulators in registers and walk the rest; the blocks of `k` and `v` keep the tile's
//! data in the first-level cache.

use std::array::from_fn;

use pulp::{Simd, WithSimd};

use super::real::{Real, dispatch, machine};

/// Taps that one pass over the vectors accumulates.
const K_BLOCK: usize = 288;
/// Vectors that one tile of the outer product accumulates before the lanes are summed.
const V_BLOCK: usize = 128;

/// Weights `[m, k]` in the order that [`product`] reads: `[k block][m block][k][rows]`.
pub struct Packed<T> {
    data: Vec<T>,
    m: usize,
    k: usize,
    rows: usize,
}

impl<T: Real> Packed<T> {
    /// Packs the matrix whose element is `w(m, k)`.
    pub fn new(m: usize, k: usize, w: impl Fn(usize, usize) -> T) -> Self {
        let most = if machine::<T>().1 >= 32 { 8 } else { 4 };
        let rows = m.next_power_of_two().min(most);
        let blocks = m.div_ceil(rows);
        let mut data = Vec::with_capacity(blocks * rows * k);
        for k0 in (0..k).step_by(K_BLOCK) {
            for mb in 0..blocks {
                for kk in k0..(k0 + K_BLOCK).min(k) {
                    for r in mb * rows..(mb + 1) * rows {
                        data.push(if r < m { w(r, kk) } else { T::default() });
                    }
                }
            }
        }
        Self { data, m, k, rows }
    }
}

/// Source and positions that both products share.
#[derive(Clone, Copy)]
pub struct Taps<'a, T> {
    /// Padded maps.
    pub src: &'a [T],
    /// Offset of every tap.
    pub offset: &'a [usize],
    /// Position of every vector.
    pub start: &'a [usize],
}

/// `dst[dst_start[v] + m * stride ..][..L] = sum_k w[m, k] * src[...]`
pub fn product<T: Real>(
    w: &Packed<T>,
    t: Taps<T>,
    dst: &mut [T],
    dst_start: &[usize],
    stride: usize,
) {
    struct Run<'a, T> {
        w: &'a Packed<T>,
        t: Taps<'a, T>,
        dst: &'a mut [T],
        dst_start: &'a [usize],
        stride: usize,
    }
    impl<T: Real> WithSimd for Run<'_, T> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, s: S) {
            let Self {
                w,
                t,
                dst,
                dst_start,
                stride,
            } = self;
            match w.rows {
                8 => walk::<T, S, 8>(s, w, t, dst, dst_start, stride),
                4 => walk::<T, S, 4>(s, w, t, dst, dst_start, stride),
                2 => walk::<T, S, 2>(s, w, t, dst, dst_start, stride),
                _ => walk::<T, S, 1>(s, w, t, dst, dst_start, stride),
            }
        }
    }
    assert_eq!(w.k, t.offset.len());
    dispatch(Run {
        w,
        t,
        dst,
        dst_start,
        stride,
    });
}

#[inline(always)]
fn walk<T: Real, S: Simd, const M: usize>(
    s: S,
    w: &Packed<T>,
    t: Taps<T>,
    dst: &mut [T],
    dst_start: &[usize],
    stride: usize,
) {
    let mut rest = &w.data[..];
    for (kb, offset) in t.offset.chunks(K_BLOCK).enumerate() {
        let (panel, r) = rest.split_at(w.m.div_ceil(M) * M * offset.len());
        rest = r;
        for (st, ds) in t.start.chunks(3).zip(dst_start.chunks(3)) {
            for (mb, wp) in panel.chunks_exact(M * offset.len()).enumerate() {
                let rows = (w.m - mb * M).min(M);
                let at = mb * M * stride;
                match st.len() {
                    3 => tile::<T, S, M, 3>(
                        s,
                        wp,
                        t.src,
                        offset,
                        st,
                        dst,
                        ds,
                        at,
                        stride,
                        rows,
                        kb > 0,
                    ),
                    2 => tile::<T, S, M, 2>(
                        s,
                        wp,
                        t.src,
                        offset,
                        st,
                        dst,
                        ds,
                        at,
                        stride,
                        rows,
                        kb > 0,
                    ),
                    _ => tile::<T, S, M, 1>(
                        s,
                        wp,
                        t.src,
                        offset,
                        st,
                        dst,
                        ds,
                        at,
                        stride,
                        rows,
                        kb > 0,
                    ),
                }
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn tile<T: Real, S: Simd, const M: usize, const N: usize>(
    s: S,
    wp: &[T],
    src: &[T],
    offset: &[usize],
    start: &[usize],
    dst: &mut [T],
    dst_start: &[usize],
    at: usize,
    stride: usize,
    rows: usize,
    add: bool,
) {
    let lanes = T::lanes::<S>();
    let mut acc = [[T::splat(s, T::default()); N]; M];
    let views: [&[T]; N] = from_fn(|j| &src[start[j]..]);
    for (wk, &off) in wp.chunks_exact(M).zip(offset) {
        let x: [T::V<S>; N] = from_fn(|j| T::load(s, &views[j][off..off + lanes]));
        for i in 0..M {
            let wi = T::splat(s, wk[i]);
            for j in 0..N {
                acc[i][j] = T::fma(s, wi, x[j], acc[i][j]);
            }
        }
    }
    let one = T::splat(s, T::of(1.0));
    let acc = settle::<_, M, N>(&acc);
    for (i, row) in acc.iter().enumerate() {
        if i < rows {
            for j in 0..N {
                let p = dst_start[j] + at + i * stride;
                let d = &mut dst[p..p + lanes];
                let v = if add {
                    T::fma(s, one, row[j], T::load(s, d))
                } else {
                    row[j]
                };
                T::store(s, d, v);
            }
        }
    }
}

/// Copies a tile out of the registers. Without the copy the loop that uses it, which indexes at run time, keeps the
/// accumulators in memory and every step stores them (three times slower).
#[inline(always)]
fn settle<V: Copy, const M: usize, const N: usize>(acc: &[[V; N]; M]) -> [[V; N]; M] {
    let mut out = [[acc[0][0]; N]; M];
    for i in 0..M {
        for j in 0..N {
            out[i][j] = acc[i][j];
        }
    }
    out
}

/// `gw[m * k_count + k] += sum_v <g[g_start[v] + m * stride ..][..L], src[...]>`, for `m` in `0..rows`.
pub fn outer<T: Real>(
    t: Taps<T>,
    g: &[T],
    g_start: &[usize],
    stride: usize,
    rows: usize,
    gw: &mut [T],
) {
    struct Run<'a, T> {
        t: Taps<'a, T>,
        g: &'a [T],
        g_start: &'a [usize],
        stride: usize,
        rows: usize,
        gw: &'a mut [T],
    }
    impl<T: Real> WithSimd for Run<'_, T> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, s: S) {
            let wide = S::REGISTER_COUNT >= 32;
            let (k_tile, m_tile) = if wide { (6, 4) } else { (3, 2) };
            let k_count = self.t.offset.len();
            for (start, g_start) in self
                .t
                .start
                .chunks(V_BLOCK)
                .zip(self.g_start.chunks(V_BLOCK))
            {
                let mut k = 0;
                while k < k_count {
                    let nk = if k_count - k >= k_tile {
                        k_tile
                    } else if k_count - k >= 3 {
                        3
                    } else {
                        1
                    };
                    let mut m = 0;
                    while m < self.rows {
                        let nm = if self.rows - m >= m_tile {
                            m_tile
                        } else if self.rows - m >= 2 {
                            2
                        } else {
                            1
                        };
                        let c = Corner {
                            m,
                            k,
                            k_count,
                            stride: self.stride,
                        };
                        let (src, off) = (self.t.src, &self.t.offset[k..k + nk]);
                        match (nm, nk) {
                            (4, 6) => {
                                dots::<T, S, 4, 6>(s, src, off, start, self.g, g_start, c, self.gw)
                            }
                            (4, 3) => {
                                dots::<T, S, 4, 3>(s, src, off, start, self.g, g_start, c, self.gw)
                            }
                            (4, _) => {
                                dots::<T, S, 4, 1>(s, src, off, start, self.g, g_start, c, self.gw)
                            }
                            (2, 6) => {
                                dots::<T, S, 2, 6>(s, src, off, start, self.g, g_start, c, self.gw)
                            }
                            (2, 3) => {
                                dots::<T, S, 2, 3>(s, src, off, start, self.g, g_start, c, self.gw)
                            }
                            (2, _) => {
                                dots::<T, S, 2, 1>(s, src, off, start, self.g, g_start, c, self.gw)
                            }
                            (_, 6) => {
                                dots::<T, S, 1, 6>(s, src, off, start, self.g, g_start, c, self.gw)
                            }
                            (_, 3) => {
                                dots::<T, S, 1, 3>(s, src, off, start, self.g, g_start, c, self.gw)
                            }
                            _ => {
                                dots::<T, S, 1, 1>(s, src, off, start, self.g, g_start, c, self.gw)
                            }
                        }
                        m += nm;
                    }
                    k += nk;
                }
            }
        }
    }
    dispatch(Run {
        t,
        g,
        g_start,
        stride,
        rows,
        gw,
    });
}

/// Where a tile of the outer product lies.
#[derive(Clone, Copy)]
struct Corner {
    m: usize,
    k: usize,
    k_count: usize,
    stride: usize,
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn dots<T: Real, S: Simd, const M: usize, const N: usize>(
    s: S,
    src: &[T],
    offset: &[usize],
    start: &[usize],
    g: &[T],
    g_start: &[usize],
    c: Corner,
    gw: &mut [T],
) {
    let lanes = T::lanes::<S>();
    let mut acc = [[T::splat(s, T::default()); N]; M];
    let views: [&[T]; N] = from_fn(|j| &src[offset[j]..]);
    let rows: [&[T]; M] = from_fn(|i| &g[(c.m + i) * c.stride..]);
    for (&p, &q) in start.iter().zip(g_start) {
        let x: [T::V<S>; N] = from_fn(|j| T::load(s, &views[j][p..p + lanes]));
        for i in 0..M {
            let gi = T::load(s, &rows[i][q..q + lanes]);
            for j in 0..N {
                acc[i][j] = T::fma(s, gi, x[j], acc[i][j]);
            }
        }
    }
    let acc = settle::<_, M, N>(&acc);
    for (i, row) in acc.iter().enumerate() {
        for (j, &v) in row.iter().enumerate() {
            gw[(c.m + i) * c.k_count + c.k + j] += T::add_lanes(s, v);
        }
    }
}
