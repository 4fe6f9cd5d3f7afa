//! Every block type against what the `gguf` Python package makes of the same bytes.
//! `tests/python/dequant_fixture.py` wrote the fixture and describes its format.

use woolly::compute::Isa;
use woolly::weights::dequant::TensorType;

const FIXTURE: &[u8] = include_bytes!("fixtures/dequant.bin");

struct Record {
    kind: TensorType,
    blocks: &'static [u8],
    expected: Vec<f32>,
}

fn records() -> Vec<Record> {
    let mut rest = FIXTURE;
    let mut take = |count: usize| {
        let (taken, left) = rest.split_at_checked(count)?;
        rest = left;
        Some(taken)
    };
    let mut records = vec![];
    while let Some(head) = take(12) {
        let word = |i: usize| u32::from_le_bytes(head[i * 4..][..4].try_into().unwrap());
        let kind = TensorType::from_id(word(0)).unwrap();
        let blocks = take(word(1) as usize).unwrap();
        let values = take(word(2) as usize * 4).unwrap().as_chunks::<4>().0;
        let expected = values
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect();
        records.push(Record {
            kind,
            blocks,
            expected,
        });
    }
    records
}

#[test]
fn every_type_is_bit_identical_to_the_gguf_package() {
    let records = records();
    let kinds: Vec<_> = records.iter().map(|record| record.kind).collect();
    assert_eq!(kinds, TensorType::all().collect::<Vec<_>>());
    for Record {
        kind,
        blocks,
        expected,
    } in &records
    {
        let name = kind.name();
        assert_eq!(blocks.len() % kind.block_bytes(), 0, "{name}");
        let count = blocks.len() / kind.block_bytes();
        assert_eq!(expected.len(), count * kind.block_values(), "{name}");
        for isa in Isa::all() {
            let mut found = vec![0.0; expected.len()];
            kind.dequantize_on(isa, blocks, &mut found);
            for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
                let same =
                    found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
                assert!(
                    same,
                    "{name} on {isa}, value {i}: found {found}, expected {expected}"
                );
            }
        }
    }
}

#[test]
fn the_fixture_reaches_the_values_that_go_wrong() {
    // Integers, and scales of eight bits that have no infinity.
    let finite = ["I8", "I16", "I32", "I64", "MXFP4", "NVFP4"];
    for Record { kind, expected, .. } in records() {
        let name = kind.name();
        let any = |is: fn(&f32) -> bool| expected.iter().any(is);
        assert!(any(|value| *value < 0.0), "{name} has no negative value");
        assert!(any(|value| *value == 0.0), "{name} has no zero");
        if !finite.contains(&name) {
            assert!(any(|value| value.is_nan()), "{name} has no NaN");
            assert!(any(|value| value.is_infinite()), "{name} has no infinity");
        }
    }
}
