//! Blocks that are taken, shared, left behind and given back.

use super::*;

/// Positions that the blocks can hold.
fn capacity(table: &BlockTable) -> usize {
    table.blocks.all.len() * KV_BLOCK_TOKENS
}

const SHAPE: KvShape = KvShape {
    layers: PerReach { all: 2, window: 0 },
    kv_heads: 1,
    head_dim: 8,
    element: Element::F32,
};

/// A pool for two layers that see all positions.
fn pool(shape: KvShape, all: usize) -> KvPool {
    let blocks = PerReach { all, window: 0 };
    KvPool::new(shape, [Reach::All; 2].into_iter(), blocks).unwrap()
}

#[test]
fn narrow_blocks_take_half_the_bytes() {
    let narrow = KvShape {
        element: Element::Bf16,
        ..SHAPE
    };
    assert_eq!(
        (SHAPE.block_bytes().all, narrow.block_bytes().all),
        (3072, 1536)
    );
    let mut pool = pool(narrow, 2);
    let mut table = BlockTable::default();
    assert!(pool.grow_both(&mut table, 17));
    assert_eq!(pool.head(&table, 1, 1, 0).len(), 16 * (8 + 16));
    assert!(matches!(pool.data_mut(), ValuesMut::Bf16(data) if data.len() == 2 * 768));
}

#[test]
fn blocks_are_taken_and_given_back() {
    let mut pool = pool(SHAPE, 3);
    let (mut a, mut b) = (BlockTable::default(), BlockTable::default());
    assert!(pool.grow_both(&mut a, 17));
    assert_eq!((capacity(&a), pool.free_blocks(Reach::All)), (32, 1));
    assert!(pool.grow_both(&mut a, 32));
    assert_eq!(pool.free_blocks(Reach::All), 1);
    assert!(!pool.grow_both(&mut b, 17));
    assert_eq!((capacity(&b), pool.free_blocks(Reach::All)), (0, 1));
    pool.release(&mut a);
    assert_eq!((capacity(&a), pool.free_blocks(Reach::All)), (0, 3));
    assert!(pool.grow_both(&mut b, 48));
}

#[test]
fn a_reused_block_is_zero() {
    let mut pool = pool(SHAPE, 1);
    let mut table = BlockTable::default();
    assert!(pool.grow_both(&mut table, 1));
    let (start, len) = (pool.start(&table, 0, 1, 0), SHAPE.head().values_per_block());
    let ValuesMut::F32(data) = pool.data_mut() else {
        panic!("a pool of FP32 values");
    };
    let part = &mut data[start..start + len];
    SHAPE.head().write(part, 3, &[7.0; 8], &[9.0; 8]);
    let values = |pool: &KvPool, layer| {
        let part = pool.head(&table, 0, layer, 0);
        part.f32().unwrap().to_vec()
    };
    assert!(values(&pool, 1).contains(&9.0));
    let mut given_back = BlockTable {
        blocks: PerReach {
            all: table.blocks.all.clone(),
            window: vec![],
        },
    };
    pool.release(&mut given_back);
    assert!(pool.grow_both(&mut given_back, 1));
    assert_eq!(given_back.blocks, table.blocks);
    assert!((0..2).all(|layer| values(&pool, layer).iter().all(|&v| v == 0.0)));
}

#[test]
fn a_shared_block_is_free_when_the_last_holder_goes() {
    let mut pool = pool(SHAPE, 3);
    let (mut a, mut b) = (BlockTable::default(), BlockTable::default());
    assert!(pool.grow_both(&mut a, 32));
    pool.share(&mut b, Reach::All, Some(a.block(Reach::All, 0)));
    assert!(pool.grow_both(&mut b, 32));
    assert_eq!(
        (b.block(Reach::All, 0), pool.free_blocks(Reach::All)),
        (a.block(Reach::All, 0), 0)
    );
    pool.replace(&mut b, Reach::All, 1, a.block(Reach::All, 1));
    assert_eq!(
        (b.block(Reach::All, 1), pool.free_blocks(Reach::All)),
        (a.block(Reach::All, 1), 1)
    );
    pool.add_holder(Reach::All, a.block(Reach::All, 0));
    let first = a.block(Reach::All, 0);
    pool.release(&mut a);
    assert_eq!(pool.free_blocks(Reach::All), 1);
    pool.release(&mut b);
    assert_eq!(pool.free_blocks(Reach::All), 2);
    pool.drop_holder(Reach::All, first);
    assert_eq!(pool.free_blocks(Reach::All), 3);
}

#[test]
fn an_impossible_pool_is_refused() {
    assert!(matches!(
        KvPool::new(
            SHAPE,
            [Reach::All; 2].into_iter(),
            PerReach {
                all: usize::MAX / 4,
                window: 0
            }
        ),
        Err(Error::KvMemory { .. })
    ));
}

#[test]
fn a_window_leaves_blocks_behind() {
    let shape = KvShape {
        layers: PerReach { all: 1, window: 2 },
        ..SHAPE
    };
    let layers = [Reach::Window, Reach::All, Reach::Window];
    let blocks = PerReach { all: 4, window: 3 };
    let mut pool = KvPool::new(shape, layers.into_iter(), blocks).unwrap();
    let bytes = shape.block_bytes();
    assert_eq!((bytes.all, bytes.window), (1536, 3072));
    let (mut a, mut b) = (BlockTable::default(), BlockTable::default());
    let free = |pool: &KvPool| [Reach::All, Reach::Window].map(|reach| pool.free_blocks(reach));
    assert!(!pool.grow_both(&mut a, 64), "four blocks for windows");
    pool.release(&mut a);
    assert!(pool.grow(&mut a, Reach::All, 64) && pool.grow(&mut a, Reach::Window, 40));
    assert_eq!(free(&pool), [0, 0]);
    // No two parts of the memory are one.
    let parts = [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 1),
        (1, 2),
        (1, 3),
        (2, 0),
        (2, 1),
        (2, 2),
    ];
    let mut starts = parts.map(|(layer, index)| pool.start(&a, index, layer, 0));
    starts.sort_unstable();
    assert_eq!(starts, std::array::from_fn(|part| part * 384));
    pool.slide(&mut a, 2);
    assert_eq!(free(&pool), [0, 2]);
    pool.slide(&mut a, 2);
    // What was left behind serves positions further on.
    let again = a.block(Reach::Window, 2);
    assert!(pool.grow(&mut a, Reach::Window, 64));
    assert_eq!((free(&pool), a.block(Reach::Window, 2)), ([0, 1], again));
    pool.share(&mut b, Reach::Window, None);
    pool.share(&mut b, Reach::Window, Some(a.block(Reach::Window, 3)));
    pool.release(&mut a);
    assert_eq!(free(&pool), [4, 2]);
    pool.slide(&mut b, 1);
    assert_eq!(free(&pool), [4, 2]);
    pool.slide(&mut b, 2);
    assert_eq!(free(&pool), [4, 3]);
    pool.release(&mut b);
    assert_eq!(free(&pool), [4, 3]);
}
