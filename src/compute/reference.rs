//! The plain loops that define every bit: the oracle of the kernels' tests. Nothing here is fast.

/// `y[row] = sum over k of w[row][k] * x[k]`, one chain of fused multiply-adds in increasing k.
/// `weights` is `[rows, cols]` row-major.
pub fn matrix_vector(weights: &[f32], x: &[f32]) -> Vec<f32> {
    weights
        .chunks_exact(x.len())
        .map(|row| {
            row.iter()
                .zip(x)
                .fold(0.0f32, |acc, (&w, &x)| w.mul_add(x, acc))
        })
        .collect()
}

/// Sum of squares: 16 partial sums (lane = index mod 16), then the tree 8, 4, 2, 1.
pub fn sum_of_squares(x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    for (i, &v) in x.iter().enumerate() {
        lanes[i % 16] = v.mul_add(v, lanes[i % 16]);
    }
    tree(lanes)
}

/// Sum: 16 partial sums (lane = index mod 16), then the tree 8, 4, 2, 1.
pub fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    for (i, &v) in x.iter().enumerate() {
        lanes[i % 16] += v;
    }
    tree(lanes)
}

/// The fixed tree over 16 partial sums, written out once more: an oracle shares nothing with what it checks.
fn tree(mut lanes: [f32; 16]) -> f32 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}

/// Attention of one query over positions `0..keys.len()`, in spans of `span` positions.
/// `keys` and `values` are one row of `[head_dim]` per position.
pub fn attention(
    query: &[f32],
    keys: &[Vec<f32>],
    values: &[Vec<f32>],
    (scale, cap): (f32, Option<f32>),
    window: Option<usize>,
    span: usize,
) -> Vec<f32> {
    let exp = super::math::exp;
    let first = window.map_or(0, |window| keys.len().saturating_sub(window));
    let mut total: Option<(f32, f32, Vec<f32>)> = None;
    for start in (0..keys.len()).step_by(span) {
        let end = (start + span).min(keys.len());
        let start = start.max(first);
        if start >= end {
            continue;
        }
        let scores: Vec<f32> = keys[start..end]
            .iter()
            .map(|key| {
                let product = key
                    .iter()
                    .zip(query)
                    .fold(0.0f32, |acc, (&k, &q)| k.mul_add(q, acc));
                match cap {
                    None => product * scale,
                    Some(cap) => cap * super::math::tanh(product * scale / cap),
                }
            })
            .collect();
        let m = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut lanes = [0.0f32; 16];
        let mut o = vec![0.0f32; query.len()];
        for (i, &score) in scores.iter().enumerate() {
            let p = exp(score - m);
            lanes[(start + i) % 16] += p;
            for (o, &v) in o.iter_mut().zip(&values[start + i]) {
                *o = p.mul_add(v, *o);
            }
        }
        let l = tree(lanes);
        total = Some(match total {
            None => (m, l, o),
            Some((m1, l1, o1)) => {
                let max = m1.max(m);
                let (a, b) = (exp(m1 - max), exp(m - max));
                let merged = o1
                    .iter()
                    .zip(&o)
                    .map(|(&o1, &o2)| o2.mul_add(b, o1 * a))
                    .collect();
                (max, l.mul_add(b, l1 * a), merged)
            }
        });
    }
    let (_, l, o) = total.unwrap_or_default();
    o.into_iter().map(|v| v / l).collect()
}
