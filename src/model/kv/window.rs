//! Which blocks a sequence needs in layers with a sliding window. Pure functions of positions.

use super::KV_BLOCK_TOKENS;

/// Number of the first block that is still needed when `computed` positions are: the token behind the last full
/// block sees it, so that another sequence can go on from there too.
pub fn first_kept(window: usize, computed: usize) -> usize {
    let next = computed / KV_BLOCK_TOKENS * KV_BLOCK_TOKENS;
    (next + 1).saturating_sub(window) / KV_BLOCK_TOKENS
}

/// Blocks that a sequence holds at most while it computes `tokens` more positions.
pub fn ring_blocks(window: usize, tokens: usize) -> usize {
    window.saturating_sub(1).div_ceil(KV_BLOCK_TOKENS) + tokens.div_ceil(KV_BLOCK_TOKENS) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_as_long_as_the_window_and_a_step() {
        assert_eq!(
            [31, 32, 47, 48].map(|computed| first_kept(32, computed)),
            [0, 0, 0, 1]
        );
        for window in 1..70 {
            for tokens in 1..50 {
                let held = |computed: usize| {
                    let end = (computed + tokens).div_ceil(KV_BLOCK_TOKENS);
                    let first = first_kept(window, computed);
                    // What the next token sees is there, and what the token behind the last full block sees.
                    let seen = (computed + 1).saturating_sub(window);
                    assert!(
                        first * KV_BLOCK_TOKENS <= seen && seen < (first + 2) * KV_BLOCK_TOKENS
                    );
                    end - first
                };
                let most = (1000..1032).map(held).max().unwrap();
                let ring = ring_blocks(window, tokens);
                assert!(
                    most <= ring && ring <= most + 1,
                    "{window} {tokens}: {most} {ring}"
                );
            }
        }
    }
}
