//! Attention against the plain loop: every instruction set and number type, by spans and as a whole.

use super::*;
use crate::compute::reference;
use crate::tensor::{narrow, widen};

fn value(i: usize) -> f32 {
    ((i * 7919 + 13) % 1009) as f32 / 250.0 - 2.0
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Keys and values of a sequence, as rows and as blocks.
struct Kv {
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    blocks: Vec<Block>,
}

enum Block {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
}

impl Block {
    fn zeros(head: HeadBlock) -> Block {
        let len = head.values_per_block();
        match head.element {
            Element::F32 => Block::F32(vec![0.0; len]),
            Element::Bf16 => Block::Bf16(vec![0; len]),
        }
    }

    fn write(&mut self, head: HeadBlock, lane: usize, key: &[f32], value: &[f32]) {
        match self {
            Block::F32(block) => head.write(block, lane, key, value),
            Block::Bf16(block) => head.write_narrow(block, lane, key, value),
        }
    }

    fn values(&self) -> Values<'_> {
        match self {
            Block::F32(block) => Values::F32(block),
            Block::Bf16(block) => Values::Bf16(block),
        }
    }
}

fn kv(head: HeadBlock, positions: usize) -> Kv {
    let stored = |v: f32| match head.element {
        Element::F32 => v,
        Element::Bf16 => widen(narrow(v)),
    };
    // Not representable in 16 bits.
    let rows = |salt: usize| -> Vec<Vec<f32>> {
        let row =
            |p: usize| (0..head.head_dim).map(move |d| value(p * 131 + d * 17 + salt) * 1.000_7);
        (0..positions).map(|p| row(p).collect()).collect()
    };
    let (mut keys, mut values) = (rows(0), rows(400));
    let mut blocks: Vec<Block> = Vec::new();
    blocks.resize_with(positions.div_ceil(BLOCK), || Block::zeros(head));
    for p in 0..positions {
        blocks[p / BLOCK].write(head, p % BLOCK, &keys[p], &values[p]);
    }
    for row in keys.iter_mut().chain(&mut values) {
        row.iter_mut().for_each(|v| *v = stored(*v));
    }
    Kv {
        keys,
        values,
        blocks,
    }
}

#[test]
fn every_isa_equals_the_plain_loop_bit_for_bit() {
    for (head_dim, heads) in [
        (8, 1),
        (16, 3),
        (36, 2),
        (64, 3),
        (64, 1),
        (80, 9),
        (128, 14),
    ] {
        for positions in [1, 15, 16, 17, 70, 511, 512, 513, 1100] {
            for element in Element::ALL {
                let head = HeadBlock { head_dim, element };
                equals_the_plain_loop(head, heads, positions, (None, None));
                // Windows whose edges lie in a block, between blocks, and in the span before.
                for window in [1, 16, 37, 512, 530] {
                    if window < positions + 20 && (head_dim == 64 || positions > 500) {
                        let cap = (window == 37).then_some(1.5);
                        equals_the_plain_loop(head, heads, positions, (Some(window), cap));
                    }
                }
            }
        }
    }
    for element in Element::ALL {
        let head_dim = 7;
        equals_the_plain_loop(HeadBlock { head_dim, element }, 2, 35, (None, Some(2.0)));
    }
}

fn equals_the_plain_loop(
    head: HeadBlock,
    heads: usize,
    positions: usize,
    (window, cap): (Option<usize>, Option<f32>),
) {
    let HeadBlock { head_dim, element } = head;
    let scale = 1.0 / (head_dim as f32).sqrt();
    let kv = kv(head, positions);
    // As many of the last tokens together as fit a tile and lie in the last block.
    let most = (MAX_ROWS / heads).min((positions - 1) % BLOCK + 1);
    for tokens in [1, most] {
        let position = positions - tokens;
        let rows = tokens * heads;
        let queries: Vec<f32> = (0..rows * head_dim).map(|i| value(i + 5)).collect();
        let seen = |row: usize| ..position + row / heads + 1;
        let plain = |(row, query)| {
            let (keys, values) = (&kv.keys[seen(row)], &kv.values[seen(row)]);
            reference::attention(query, keys, values, (scale, cap), window, SPAN)
        };
        let rows_of_queries = queries.chunks_exact(head_dim).enumerate();
        let want: Vec<f32> = rows_of_queries.flat_map(plain).collect();
        for isa in Isa::all() {
            let query = Query {
                queries: &queries,
                heads,
                head_dim,
                element,
                scale,
                cap,
                position,
                window,
                block: |index: usize| kv.blocks[index].values(),
            };
            let mut out = vec![0.0; rows * head_dim];
            attend(isa, &query, &mut out);
            let case = format!(
                "{isa} {element:?} {tokens} x {heads} x {head_dim}, {positions}, {window:?} {cap:?}"
            );
            assert_eq!(bits(&out), bits(&want), "{case}");
            // Span by span, as threads share them.
            let len = state_len(rows, head_dim);
            let mut states = vec![f32::NAN; len * span_count(position)];
            let first = first_span(position, window);
            for (span, state) in states.chunks_exact_mut(len).enumerate().rev() {
                if span >= first {
                    attend_span(isa, &query, span, state);
                }
            }
            combine(isa, rows, head_dim, (first, len), &mut states);
            assert_eq!(bits(&states[..out.len()]), bits(&want), "{case}, by spans");
        }
    }
}

#[test]
fn later_positions_in_the_last_block_do_not_count() {
    for element in Element::ALL {
        let head_dim = 16;
        let head = HeadBlock { head_dim, element };
        let mut block = Block::zeros(head);
        block.write(head, 0, &[1.0; 16], &[3.0; 16]);
        block.write(head, 1, &[9.0; 16], &[100.0; 16]);
        for isa in Isa::all() {
            let mut out = [0.0; 16];
            let query = Query {
                queries: &[1.0; 16],
                heads: 1,
                head_dim,
                element,
                scale: 0.25,
                cap: None,
                position: 0,
                window: None,
                block: |_| block.values(),
            };
            attend(isa, &query, &mut out);
            assert_eq!(out, [3.0; 16], "{isa}");
        }
    }
}
