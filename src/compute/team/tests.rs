//! Tests of the thread team.

use super::*;

#[test]
fn every_piece_is_visited_once() {
    for threads in [1, 2, 3, 7] {
        let team = Team::new("test", threads).unwrap();
        team.step(|| {
            for len in [0usize, 1, 2, 5, 64, 1000] {
                for piece in [1, 3, 64] {
                    let mut out = vec![0usize; len];
                    team.chunks(&mut out, piece, |index, chunk| {
                        for (i, v) in chunk.iter_mut().enumerate() {
                            *v += index * piece + i + 1;
                        }
                    });
                    assert!(
                        out.iter().enumerate().all(|(i, &v)| v == i + 1),
                        "{threads} {len} {piece}"
                    );
                }
            }
        });
    }
}

#[test]
fn scattered_pieces_are_visited_once_and_must_not_overlap() {
    let team = Team::new("test", 2).unwrap();
    let mut out = [0u8; 10];
    team.scattered(&mut out, &[1, 3, 8], 2, |index, piece| {
        piece.fill(index as u8 + 1)
    });
    assert_eq!(out, [0, 1, 1, 2, 2, 0, 0, 0, 3, 3]);
    team.scattered(&mut out, &[], 20, |_, _| unreachable!());
    for starts in [&[1, 2][..], &[3, 1], &[9], &[4, 4]] {
        let result = catch_unwind(AssertUnwindSafe(|| {
            team.scattered(&mut out, starts, 2, |_, _| {});
        }));
        assert!(result.is_err(), "{starts:?}");
    }
}

#[test]
fn time_in_chunks_is_counted_for_every_thread() {
    let nap = Duration::from_millis(20);
    for (threads, pieces) in [(1, 2), (2, 2), (2, 1)] {
        let team = Team::new("test", threads).unwrap();
        assert_eq!(team.busy(), Duration::ZERO);
        let start = Instant::now();
        team.chunks(&mut vec![0; pieces], 1, |_, _| std::thread::sleep(nap));
        // A helper may count its last chunk after the leader has seen it done.
        while team.busy() < nap * pieces as u32 {
            std::thread::yield_now();
        }
        assert!(team.busy() <= start.elapsed() * threads as u32, "{threads}");
    }
}

#[test]
fn many_short_phases_follow_each_other() {
    let team = Team::new("test", 3).unwrap();
    let mut out = vec![0u32; 13];
    team.step(|| {
        for _ in 0..20_000 {
            team.chunks(&mut out, 2, |_, chunk| {
                chunk.iter_mut().for_each(|v| *v += 1)
            });
        }
    });
    assert_eq!(out, vec![20_000; 13]);
}

#[test]
fn a_team_wakes_up_after_it_parked() {
    let team = Team::new("test", 2).unwrap();
    let mut out = vec![0u32; 64];
    for _ in 0..50 {
        team.step(|| team.chunks(&mut out, 1, |_, chunk| chunk[0] += 1));
        std::thread::yield_now();
    }
    assert_eq!(out, vec![50; 64]);
}

#[test]
fn a_phase_cannot_be_started_inside_a_phase() {
    thread_local! {
        static TEAM: Team = Team::new("test", 2).unwrap();
    }
    let entered = AtomicBool::new(false);
    let leader = std::thread::current().id();
    let result = catch_unwind(AssertUnwindSafe(|| {
        TEAM.with(|team| {
            team.chunks(&mut [0u8; 2], 1, |_, _| {
                if std::thread::current().id() == leader {
                    entered.store(true, Ordering::Release);
                    TEAM.with(|team| team.chunks(&mut [0u8; 2], 1, |_, _| {}));
                } else {
                    // Leaves the other chunk to the leader.
                    while !entered.load(Ordering::Acquire) {
                        std::hint::spin_loop();
                    }
                }
            });
        });
    }));
    let panic = result.unwrap_err();
    assert_eq!(
        panic.downcast_ref::<&str>(),
        Some(&"a phase inside a phase")
    );
    let mut out = [0u8; 100];
    TEAM.with(|team| team.chunks(&mut out, 1, |_, chunk| chunk[0] += 1));
    assert_eq!(out, [1; 100]);
}

#[test]
fn a_panic_reaches_the_leader_and_the_team_lives_on() {
    let team = Team::new("test", 2).unwrap();
    let mut out = vec![0u32; 100];
    let result = catch_unwind(AssertUnwindSafe(|| {
        team.chunks(&mut out, 1, |index, _| assert!(index != 57, "chunk 57"));
    }));
    assert!(result.is_err());
    team.chunks(&mut out, 1, |index, chunk| chunk[0] = index as u32);
    assert!(out.iter().enumerate().all(|(i, &v)| v == i as u32));
}

#[test]
fn who_is_held_up_in_a_chunk_loses_the_rest_of_the_share() {
    let team = Team::new("test", 2).unwrap();
    let finished = AtomicU32::new(0);
    for held in [0, 5, 9] {
        finished.store(0, Ordering::Release);
        let start = Instant::now();
        team.step(|| {
            team.chunks(&mut [0u8; 10], 1, |index, _| {
                // The other thread must not leave the rest of this share alone.
                while index == held && finished.load(Ordering::Acquire) < 9 {
                    assert!(
                        start.elapsed() < Duration::from_secs(60),
                        "chunk {held} waits"
                    );
                    std::thread::yield_now();
                }
                finished.fetch_add(1, Ordering::Release);
            });
        });
        assert_eq!(finished.load(Ordering::Acquire), 10);
    }
}
