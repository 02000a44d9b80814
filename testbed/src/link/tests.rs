//! The model's promises: exact rate, bounded queue, kept order, replay by seed, shares within their interval.

use super::{Fate, Link, MILLION, Pipe, Refusal, Shape};
use proptest::prelude::*;
use stack::time::Duration;
use stack::{Instant, Rng};

const MS: Duration = Duration::from_millis(1);

/// Puts `lens` on a link, `gap` apart; when each came out and which it was, in the order of coming out.
fn trace(shape: Shape, seed: u64, lens: &[usize], gap: Duration) -> Vec<(Instant, usize)> {
    let mut link = Link::new(shape, seed);
    let mut now = Instant::from_millis(7);
    let mut out = Vec::new();
    for (number, &len) in lens.iter().enumerate() {
        link.put(now, len, number);
        out.extend(std::iter::from_fn(|| link.take(now)));
        now = now + gap;
    }
    while let Some(due) = link.next_due() {
        out.extend(std::iter::from_fn(|| link.take(due)));
    }
    assert_eq!(link.under_way(), 0);
    assert_eq!(out.len() as u64, link.counts().passed);
    out
}

fn numbers(trace: &[(Instant, usize)]) -> Vec<usize> {
    trace.iter().map(|&(_, number)| number).collect()
}

/// Whether `count` of `of` is what a chance of `share` in a million gives in 95 runs of a hundred.
fn within_95(count: u64, of: u64, share: u32) -> bool {
    let chance = f64::from(share) / f64::from(MILLION);
    let mean = of as f64 * chance;
    let deviation = (mean * (1.0 - chance)).sqrt();
    (count as f64 - mean).abs() <= 1.96 * deviation
}

#[test]
fn a_perfect_wire_changes_nothing() {
    let out = trace(Shape::default(), 1, &[60, 1514, 9000], MS);
    let at = [7, 8, 9].map(Instant::from_millis);
    assert_eq!(out, [(at[0], 0), (at[1], 1), (at[2], 2)]);
}

#[test]
fn rate_and_delay_say_when_a_frame_comes_out() {
    // Bits per second, length, delay in ms; microseconds from entering to coming out.
    let rows = [
        (0, 1514, 20, 20_000),
        (8_000_000, 1000, 0, 1_000),
        (8_000_000, 1000, 20, 21_000),
        (200_000_000, 1500, 20, 20_060),
        (1_000_000, 125, 5, 6_000),
    ];
    for (rate, len, delay, micros) in rows {
        let shape = Shape {
            rate,
            delay: MS * delay,
            ..Shape::default()
        };
        let out = trace(shape, 1, &[len], MS);
        let took = out[0].0.since(Instant::from_millis(7));
        assert_eq!(took, Duration::from_micros(micros), "{shape:?}");
    }
}

#[test]
fn the_rate_is_exact_over_a_long_run() {
    // Rates at which no frame takes a whole number of nanoseconds.
    for rate in [199_999_999, 7_777_777, 3_000_000_017, 13] {
        let mut pipe = Pipe::new(Shape {
            rate,
            ..Shape::default()
        });
        let mut rng = Rng::from_u64(1);
        let start = Instant::from_millis(1);
        let mut octets = 0_u128;
        let mut end = start;
        for number in 0..100_000 {
            let len = 60 + number % 1455;
            octets += len as u128;
            let Fate::Passes { at, .. } = pipe.enter(start, len, &mut rng) else {
                panic!("nothing limits the queue");
            };
            end = at;
        }
        let exact = octets * 8 * 1_000_000_000 / u128::from(rate);
        assert_eq!(end.since(start).as_nanos(), exact, "{rate} bit/s");
    }
}

#[test]
fn an_idle_time_is_not_made_up_for() {
    let shape = Shape {
        rate: 8_000_000,
        ..Shape::default()
    };
    let out = trace(shape, 1, &[1000; 3], MS * 10);
    let at: Vec<u64> = out.iter().map(|(at, _)| at.as_millis()).collect();
    assert_eq!(at, [8, 18, 28]);
}

#[test]
fn the_queue_drops_at_its_tail_what_it_has_no_room_for() {
    let mut pipe = Pipe::new(Shape {
        rate: 8_000_000,
        queue: Some(2_500),
        ..Shape::default()
    });
    let mut rng = Rng::from_u64(1);
    let mut enter = |micros: u64, len| {
        let now = Instant::from_nanos(micros * 1_000);
        match pipe.enter(now, len, &mut rng) {
            Fate::Passes { at, .. } => Ok(at.as_nanos() / 1_000),
            Fate::Dropped(why) => Err(why),
        }
    };
    assert_eq!(enter(0, 1_000), Ok(1_000), "is sent at once");
    assert_eq!(enter(0, 1_000), Ok(2_000));
    assert_eq!(enter(0, 1_000), Ok(3_000));
    assert_eq!(enter(0, 501), Err(Refusal::Full));
    assert_eq!(enter(0, 500), Ok(3_500), "what fits still enters");
    assert_eq!(enter(999, 500), Err(Refusal::Full));
    assert_eq!(
        enter(1_000, 1_000),
        Ok(4_500),
        "one has begun: room for one"
    );
    assert_eq!(enter(1_000, 60), Err(Refusal::Full));
}

#[test]
fn without_a_queue_only_an_idle_link_takes_a_frame() {
    let shape = Shape {
        rate: 8_000_000,
        queue: Some(0),
        ..Shape::default()
    };
    let out = trace(shape, 1, &[1_000; 5], Duration::from_micros(500));
    assert_eq!(numbers(&out), [0, 2, 4]);
}

#[test]
fn a_link_that_is_down_passes_nothing_and_then_goes_on() {
    let mut link = Link::new(Shape::default(), 1);
    let mut fates = Vec::new();
    for down in [false, true, false] {
        link.reshape(Shape {
            down,
            ..Shape::default()
        });
        fates.push(matches!(
            link.put(Instant::ZERO, 60, ()),
            Fate::Passes { .. }
        ));
    }
    assert_eq!(fates, [true, false, true]);
    assert_eq!(link.counts().down, 1);
}

#[test]
fn shares_lie_within_their_95_percent_interval() {
    const FRAMES: u64 = 10_000;
    for share in [1_000, 10_000, 50_000, 300_000] {
        let shape = Shape {
            loss: share,
            duplicate: share,
            reorder: share,
            reorder_by: MS,
            ..Shape::default()
        };
        let mut inside = [0; 3];
        for seed in 0..100 {
            let mut link = Link::new(shape, seed);
            for _ in 0..FRAMES {
                link.put(Instant::ZERO, 60, ());
            }
            let counts = link.counts();
            let passed = FRAMES - counts.lost;
            let shares = [
                within_95(counts.lost, FRAMES, share),
                within_95(counts.duplicated, passed, share),
                within_95(counts.reordered, passed, share),
            ];
            for (inside, within) in inside.iter_mut().zip(shares) {
                *inside += usize::from(within);
            }
        }
        // Of a hundred seeds 95 are expected; that fewer than 88 are has a chance of one in a thousand.
        assert!(inside.iter().all(|&n| n >= 88), "{share}: {inside:?}");
    }
    assert!(!within_95(130, FRAMES, 10_000), "the interval can miss");
}

#[test]
fn losses_do_not_come_in_step() {
    let shape = Shape {
        loss: MILLION / 2,
        ..Shape::default()
    };
    let out = numbers(&trace(shape, 3, &[60; 10_000], MS));
    let runs = out.windows(2).filter(|w| w[1] == w[0] + 1).count() as u64;
    assert!(within_95(runs, out.len() as u64, MILLION / 2), "{runs}");
}

#[test]
fn the_same_frames_are_lost_however_fast_the_link_is() {
    let slow = Shape {
        loss: 100_000,
        rate: 1_000_000,
        delay: MS * 30,
        jitter: MS * 5,
        ..Shape::default()
    };
    let fast = Shape {
        loss: slow.loss,
        ..Shape::default()
    };
    let lens = [500; 1_000];
    assert_eq!(
        numbers(&trace(slow, 9, &lens, MS)),
        numbers(&trace(fast, 9, &lens, MS))
    );
}

#[test]
fn jitter_spreads_the_delay_evenly_over_its_range() {
    let shape = Shape {
        delay: MS * 20,
        jitter: MS * 10,
        ..Shape::default()
    };
    let out = trace(shape, 1, &[60; 10_000], MS * 20);
    let extra: Vec<u128> = out
        .iter()
        .map(|&(at, number)| {
            let entered = Instant::from_millis(7 + 20 * number as u64);
            at.since(entered + shape.delay).as_micros()
        })
        .collect();
    let mean = extra.iter().sum::<u128>() / extra.len() as u128;
    assert!((4_900..=5_100).contains(&mean), "{mean} us");
    assert!(extra.iter().all(|&extra| extra <= 10_000));
    assert!(extra.iter().any(|&extra| extra < 100) && extra.iter().any(|&extra| extra > 9_900));
}

#[test]
fn a_frame_held_back_is_overtaken_and_no_other_is() {
    let shape = Shape {
        delay: MS * 10,
        reorder: 100_000,
        reorder_by: MS * 20,
        ..Shape::default()
    };
    let out = trace(shape, 1, &[60; 2_000], MS);
    let due = |number: usize| Instant::from_millis(7 + 10 + number as u64);
    let held: Vec<_> = out.iter().filter(|&&(at, n)| at != due(n)).collect();
    assert!(
        within_95(held.len() as u64, 2_000, 100_000),
        "{}",
        held.len()
    );
    assert!(
        held.iter()
            .all(|&&(at, n)| at.since(due(n)) <= shape.reorder_by)
    );
    let late = out.windows(2).filter(|w| w[1].1 < w[0].1).count();
    assert!(late > 100, "only {late} were overtaken");
}

fn any_shape() -> impl Strategy<Value = Shape> {
    let millis = |most: u64| (0..most).prop_map(|n| Duration::from_micros(n * 100));
    let share = || prop_oneof![Just(0), 0..MILLION];
    (
        prop_oneof![Just(0), 1_000_u64..1_000_000_000],
        proptest::option::of(0_u64..100_000),
        (millis(500), millis(200), millis(200)),
        (share(), share(), share()),
    )
        .prop_map(|(rate, queue, times, shares)| Shape {
            rate,
            queue,
            delay: times.0,
            jitter: times.1,
            reorder_by: times.2,
            loss: shares.0,
            reorder: shares.1,
            duplicate: shares.2,
            down: false,
        })
}

fn any_lens() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(60..1515_usize, 1..200)
}

fn any_gap() -> impl Strategy<Value = Duration> {
    (0_u64..2_000).prop_map(Duration::from_micros)
}

proptest! {
    #[test]
    fn one_seed_gives_one_trace(shape in any_shape(), lens in any_lens(), gap in any_gap(), seed: u64) {
        prop_assert_eq!(trace(shape, seed, &lens, gap), trace(shape, seed, &lens, gap));
    }

    #[test]
    fn order_is_kept_unless_frames_are_held_back(shape in any_shape(), lens in any_lens(), gap in any_gap(), seed: u64) {
        let shape = Shape { reorder: 0, ..shape };
        let out = numbers(&trace(shape, seed, &lens, gap));
        prop_assert!(out.is_sorted(), "{out:?}");
    }

    #[test]
    fn no_more_waits_than_the_queue_holds(shape in any_shape(), lens in any_lens(), gap in any_gap(), seed: u64) {
        let rate = shape.rate.max(1);
        let queue = shape.queue.unwrap_or(3_000);
        let mut pipe = Pipe::new(Shape { rate, queue: Some(queue), delay: Duration::ZERO, jitter: Duration::ZERO, reorder: 0, ..shape });
        let mut rng = Rng::from_u64(seed);
        let mut now = Instant::ZERO;
        for &len in &lens {
            if let Fate::Passes { at, .. } = pipe.enter(now, len, &mut rng) {
                // Behind a full queue and a frame whose sending has just begun, itself included.
                let most = (queue + 1_514 + len as u64) * 8 * 1_000_000_000 / rate + 1;
                prop_assert!(at.since(now).as_nanos() <= u128::from(most));
            }
            now = now + gap;
        }
        prop_assert!(pipe.counts.queue_max <= queue);
    }

    #[test]
    fn every_frame_is_accounted_for(shape in any_shape(), lens in any_lens(), gap in any_gap(), seed: u64) {
        let mut pipe = Pipe::new(shape);
        let mut rng = Rng::from_u64(seed);
        let mut now = Instant::ZERO;
        let mut earliest = true;
        for &len in &lens {
            if let Fate::Passes { at, .. } = pipe.enter(now, len, &mut rng) {
                earliest &= at >= now + shape.delay;
            }
            now = now + gap;
        }
        let counts = pipe.counts;
        prop_assert!(earliest, "a frame came out before its delay was over");
        prop_assert_eq!(counts.entered, lens.len() as u64);
        prop_assert_eq!(counts.entered, counts.passed - counts.duplicated + counts.full + counts.lost + counts.down);
    }
}
