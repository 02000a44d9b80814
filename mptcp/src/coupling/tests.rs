//! The shares against a model of the formulas as they are written, in floating point.

use super::*;
use proptest::prelude::*;

/// The increase per octet acknowledged and the decrease at a loss, by the formulas of RFC 6356 3 and of the drafts, as
/// parts of what Reno does.
fn model(coupling: Coupling, paths: &[Path], at: usize) -> (f64, f64) {
    let w = |i: usize| f64::from(paths[i].window);
    let rtt = |i: usize| f64::from(paths[i].rtt) / 1e6;
    let all = 0..paths.len();
    let most = |values: &dyn Fn(usize) -> f64| all.clone().map(values).fold(0.0, f64::max);
    let sum: f64 = all.clone().map(|i| w(i) / rtt(i)).sum();
    let reno = 1.0 / w(at);
    match coupling {
        Coupling::Uncoupled => (1.0, 0.5),
        Coupling::Lia => {
            let total: f64 = all.clone().map(w).sum();
            let alpha = total * most(&|i| w(i) / rtt(i).powi(2)) / sum.powi(2);
            ((alpha / total).min(reno) / reno, 0.5)
        },
        Coupling::Olia => {
            let n = paths.len() as f64;
            let quality = |i: usize| (paths[i].span as f64).powi(2) / rtt(i);
            let (best, largest) = (most(&quality), most(&w));
            let in_b = |i: &usize| quality(*i) >= best * (1.0 - 1e-12);
            let in_m = |i: &usize| w(*i) >= largest;
            let wanting = all.clone().filter(|i| in_b(i) && !in_m(i)).count() as f64;
            let alpha = if wanting == 0.0 {
                0.0
            } else if in_b(&at) && !in_m(&at) {
                1.0 / (n * wanting)
            } else if in_m(&at) {
                -1.0 / (n * all.clone().filter(in_m).count() as f64)
            } else {
                0.0
            };
            let increase = w(at) / rtt(at).powi(2) / sum.powi(2) + alpha / w(at);
            (increase / reno, 0.5)
        },
        Coupling::Balia => {
            let x = |i: usize| w(i) / rtt(i);
            let a = most(&x) / x(at);
            let increase = x(at) / rtt(at) / sum.powi(2) * ((1.0 + a) / 2.0) * ((4.0 + a) / 5.0);
            (increase / reno, a.min(1.5) / 2.0)
        },
    }
}

fn check(coupling: Coupling, paths: &[Path], at: usize) {
    let share = coupling.share_of(paths, at);
    let one = f64::from(Share::ONE);
    let (gain, cut) = model(coupling, paths, at);
    let (got_gain, got_cut) = (f64::from(share.gain) / one, f64::from(share.cut) / one);
    let note = format!("{coupling:?} {at} of {paths:?}");
    // The last of 24 bits, and what the rate of the slowest path loses of its own.
    let near = |got: f64, exact: f64| (got - exact).abs() <= 2e-7 + exact.abs() * 2e-4;
    assert!(near(got_gain, gain), "gain {got_gain} for {gain}: {note}");
    assert!(near(got_cut, cut), "cut {got_cut} for {cut}: {note}");
}

fn any_path() -> impl Strategy<Value = Path> {
    // Windows from a segment to a gigabit by a second, round trips from 100 us to 3 s.
    let window = prop_oneof![
        1_400u32..20_000,
        20_000u32..1_000_000,
        1_000_000u32..125_000_000
    ];
    let rtt = prop_oneof![100u32..20_000, 20_000u32..3_000_000];
    let span = prop_oneof![0u64..1_000_000, 0u64..1 << 40];
    (window, rtt, span).prop_map(|(window, rtt, span)| Path { window, rtt, span })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn m28_shares_are_those_of_the_formulas(paths in prop::collection::vec(any_path(), 1..=8)) {
        for at in 0..paths.len() {
            for coupling in [Coupling::Lia, Coupling::Olia, Coupling::Balia] {
                check(coupling, &paths, at);
            }
        }
    }

    #[test]
    fn m28_lia_and_balia_never_take_more_than_reno(paths in prop::collection::vec(any_path(), 1..=8)) {
        for at in 0..paths.len() {
            for coupling in [Coupling::Lia, Coupling::Balia] {
                let share = coupling.share_of(&paths, at);
                prop_assert!((0..=Share::RENO.gain).contains(&share.gain), "{share:?}");
            }
            let olia = Coupling::Olia.share_of(&paths, at).gain;
            prop_assert!((-Share::RENO.gain..=2 * Share::RENO.gain).contains(&olia), "{olia}");
        }
    }
}

const fn path(window: u32, rtt: u32, span: u64) -> Path {
    Path { window, rtt, span }
}

#[test]
fn m28_the_extremes_of_all_numbers_stay_in_bounds() {
    let values = [1, 1_460, u32::MAX];
    let rtts = [1, 50_000, 1 << 28];
    let each = values
        .iter()
        .flat_map(|w| rtts.map(|rtt| path(*w, rtt, u64::MAX)));
    let each: Vec<Path> = each.collect();
    for coupling in [Coupling::Lia, Coupling::Olia, Coupling::Balia] {
        for a in &each {
            for count in [1, 15] {
                for b in &each {
                    let mut paths = vec![*b; count];
                    paths.push(*a);
                    let share = coupling.share_of(&paths, count);
                    assert!(share.gain.unsigned_abs() <= 2 * Share::ONE, "{share:?}");
                    assert!((Share::ONE / 2..=Share::ONE / 4 * 3).contains(&share.cut));
                }
            }
        }
    }
}

#[test]
fn m28_one_path_alone_is_reno() {
    for coupling in [Coupling::Lia, Coupling::Olia, Coupling::Balia] {
        for window in [2_800, 64_000, 9_999_999] {
            let share = coupling.share_of(&[path(window, 31_337, 5)], 0);
            assert_eq!(share, Share::RENO, "{coupling:?}");
        }
    }
}

#[test]
fn m28_two_equal_paths_are_one_flow_together() {
    // Each loses half of its own window alone: with a quarter of a segment a round trip each, both together hold what
    // one window holds that grows by a segment.
    let paths = [path(100_000, 50_000, 70_000), path(100_000, 50_000, 70_000)];
    let parts = |coupling: Coupling| coupling.share_of(&paths, 0).gain * 4 / Share::RENO.gain;
    assert_eq!(parts(Coupling::Lia), 1);
    assert_eq!(parts(Coupling::Olia), 1);
    assert_eq!(parts(Coupling::Balia), 1);
}

#[test]
fn m28_olia_moves_increase_to_the_best_path_with_a_small_window() {
    // The first path has the largest window, the second gets more through between losses.
    let paths = [path(200_000, 50_000, 10_000), path(50_000, 50_000, 900_000)];
    let gains = [0, 1].map(|at| Coupling::Olia.share_of(&paths, at).gain);
    let one = Share::RENO.gain;
    // Parts of the rate: 0.8 and 0.2; alpha is half a segment a window, from one to the other.
    assert!(
        (gains[0] - (one / 25 * 16 - one / 2)).abs() < 64,
        "{gains:?}"
    );
    assert!((gains[1] - (one / 25 + one / 2)).abs() < 64, "{gains:?}");
    // The largest is the best: nothing moves.
    let paths = [path(200_000, 50_000, 900_000), path(50_000, 50_000, 10_000)];
    assert!((Coupling::Olia.share_of(&paths, 1).gain - one / 25).abs() < 64);
}

#[test]
fn m28_olia_is_exact_where_a_path_neither_gains_nor_loses() {
    // Slow paths have small rates, and what is taken from the second is nearly what it gains.
    let paths = [path(5_044, 1_690_660, 178_900), path(17_760, 2_635_383, 0)];
    check(Coupling::Olia, &paths, 0);
    check(Coupling::Olia, &paths, 1);
}

#[test]
fn m28_olia_counts_what_came_through_between_losses() {
    let mut spans = Spans::default();
    for (acked, recovering, longer) in [
        (0, false, 0),
        (10_000, false, 10_000),
        // The first loss: the span before it counts while the next is shorter.
        (30_000, true, 30_000),
        (35_000, true, 30_000),
        (50_000, false, 30_000),
        (90_000, false, 60_000),
        (95_000, true, 65_000),
        (95_000, false, 65_000),
        (96_000, true, 1_000),
    ] {
        spans.renew(acked, recovering);
        assert_eq!(spans.longer(acked), longer, "at {acked}");
    }
}

#[test]
fn m28_balia_cuts_the_slower_path_by_more() {
    for (rates, cut) in [
        ([100_000, 100_000], 0.5),
        ([120_000, 100_000], 0.6),
        ([150_000, 100_000], 0.75),
        ([900_000, 100_000], 0.75),
    ] {
        let paths = rates.map(|window| path(window, 50_000, 0));
        let got = f64::from(Coupling::Balia.share_of(&paths, 1).cut) / f64::from(Share::ONE);
        assert!((got - cut).abs() < 1e-6, "{got}");
        assert_eq!(Coupling::Balia.share_of(&paths, 0).cut, Share::ONE / 2);
    }
}
