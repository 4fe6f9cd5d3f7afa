//! A step takes no memory from the system: buffers are made once.

use woolly::compute::Isa;
use woolly::model::{BatchToken, BlockTable, PerReach, Runner};

use super::support::meter::peak_of;
use super::support::models::tiny;

#[test]
fn a_step_allocates_nothing() {
    let loaded = tiny();
    // One thread, so that its meter sees all of the step.
    let blocks = PerReach {
        all: 200,
        window: 0,
    };
    let mut runner = Runner::new(loaded.model.clone(), Isa::best(), 0, 1, blocks, 40).unwrap();
    let mut tables = [BlockTable::default(), BlockTable::default()];
    for table in &mut tables {
        assert!(runner.kv().grow_both(table, 1200));
    }
    let tables: Vec<&BlockTable> = tables.iter().collect();
    let mut step = |batch: &[BatchToken]| {
        std::hint::black_box(runner.forward(&tables, batch));
    };
    let token = |table, position| BatchToken {
        id: (position % 200) as u32,
        position,
        table,
        logits: true,
    };
    let prompt: Vec<BatchToken> = (0..40).map(|position| token(0, position)).collect();
    // Beyond one span, so that its merging is met too.
    let batches: Vec<Vec<BatchToken>> = vec![
        prompt,
        vec![token(0, 40), token(1, 0)],
        vec![token(0, 1100), token(1, 600)],
        vec![token(1, 601)],
    ];
    batches.iter().for_each(|batch| step(batch));
    let ((), bytes) = peak_of(|| batches.iter().for_each(|batch| step(batch)));
    assert_eq!(bytes, 0);
}
