use super::*;

/// A subflow of cost `id` with a window of 100,000 octets and a round trip of 50 ms: 2 octets a microsecond.
fn candidate(id: u8, has_space: bool) -> Candidate {
    Candidate {
        id: SubflowId(id),
        cost: u16::from(id),
        weight: 1,
        srtt: Duration::from_millis(50),
        rttvar: Duration::ZERO,
        cwnd: 100_000,
        ssthresh: 100_000,
        flight: 100_000,
        starting: false,
        backup: false,
        has_space,
    }
}

fn demand(ms: u64, waiting: usize) -> Demand {
    Demand {
        now: Instant::from_millis(1_000 + ms),
        purpose: Purpose::New,
        len: 1_400,
        waiting,
        window: 4 << 20,
    }
}

/// What is picked between a primary without space and a secondary with space, at (ms, octets waiting) in turn.
fn picks(rows: &[(u64, usize)]) -> Vec<Option<u8>> {
    let mut scheduler = Overflow::default();
    let subflows = [candidate(0, false), candidate(1, true)];
    rows.iter()
        .map(|&(ms, waiting)| {
            scheduler
                .pick(&demand(ms, waiting), &subflows)
                .map(|id| id.0)
        })
        .collect()
}

#[test]
fn m29_the_cheapest_with_space_comes_first_however_slow() {
    let slow = Candidate {
        srtt: Duration::from_secs(1),
        ..candidate(0, true)
    };
    let picked = Overflow::default().pick(&demand(0, 3 << 20), &[candidate(1, true), slow]);
    assert_eq!(picked, Some(SubflowId(0)));
    let twins = [
        candidate(0, true),
        Candidate {
            id: SubflowId(3),
            srtt: Duration::from_millis(10),
            ..candidate(0, true)
        },
    ];
    assert_eq!(
        Overflow::default().pick(&demand(0, 1_400), &twins),
        Some(SubflowId(3))
    );
}

#[test]
fn m29_what_waits_for_long_overflows_and_a_burst_does_not() {
    // More than half a window, for half a second.
    assert_eq!(
        picks(&[(0, 60_000), (499, 60_000), (500, 60_000)]),
        [None, None, Some(1)]
    );
    // It was less in between: the time begins anew.
    assert_eq!(
        picks(&[
            (0, 60_000),
            (300, 50_000),
            (500, 60_000),
            (999, 60_000),
            (1_000, 60_000)
        ]),
        [None, None, None, None, Some(1)]
    );
    // More than the primary carries in a quarter of a second.
    assert_eq!(picks(&[(0, 499_999), (1, 500_000)]), [None, Some(1)]);
}

#[test]
fn m29_once_all_is_given_the_time_begins_anew() {
    let mut scheduler = Overflow::default();
    let subflows = [candidate(0, false), candidate(1, true)];
    let mut pick = |ms, given: bool| {
        let picked = scheduler.pick(&demand(ms, 60_000), &subflows);
        if given {
            scheduler.on_all_given();
        }
        picked.map(|id| id.0)
    };
    assert_eq!(pick(0, false), None);
    assert_eq!(pick(400, true), None);
    assert_eq!(pick(500, false), None);
    assert_eq!(pick(999, false), None);
    assert_eq!(pick(1_000, false), Some(1));
}

#[test]
fn m29_the_cheaper_keep_half_a_window_while_more_overflows() {
    assert_eq!(
        picks(&[(0, 500_000), (1, 50_001), (2, 50_000), (3, 50_001)]),
        [Some(1), Some(1), None, Some(1)]
    );
}

#[test]
fn m29_what_was_not_needed_for_a_second_falls_out_of_use() {
    let rows = [
        (0, 500_000),
        (999, 60_000),
        (1_998, 60_000),
        (2_998, 60_000),
    ];
    assert_eq!(picks(&rows), [Some(1), Some(1), Some(1), None]);
}

#[test]
fn m29_nothing_overflows_before_the_cheapest_have_left_their_first_slow_start() {
    let mut scheduler = Overflow::default();
    let starting = Candidate {
        starting: true,
        ..candidate(0, false)
    };
    for ms in [0, 1_000, 5_000] {
        let picked = scheduler.pick(&demand(ms, 3 << 20), &[starting, candidate(1, true)]);
        assert_eq!(picked, None);
    }
    assert_eq!(scheduler.activations(), 0);
}

#[test]
fn m29_a_third_path_serves_what_the_second_cannot_carry() {
    let mut scheduler = Overflow::default();
    let full = [candidate(0, false), candidate(1, false), candidate(2, true)];
    assert_eq!(
        scheduler.pick(&demand(0, 2 << 20), &full),
        None,
        "the second is in use now"
    );
    assert_eq!(
        scheduler.pick(&demand(1, 2 << 20), &full),
        Some(SubflowId(2))
    );
    assert_eq!(scheduler.activations(), 2);
    // Unneeded, one after the other.
    assert_eq!(scheduler.pick(&demand(1_001, 101_000), &full), None);
    assert_eq!(scheduler.limit, 1);
    assert_eq!(scheduler.pick(&demand(2_001, 50_000), &full), None);
    assert_eq!(scheduler.limit, 0);
}

#[test]
fn m29_a_piece_that_would_hold_the_window_up_stays_for_the_cheaper() {
    let mut scheduler = Overflow::default();
    let slow = Candidate {
        srtt: Duration::from_millis(500),
        ..candidate(1, true)
    };
    let subflows = [candidate(0, false), slow];
    // 100,000 in flight on the slow one, and ten windows of the other while its piece travels, in seven eighths of all.
    let of = |window| Demand {
        window,
        ..demand(0, 600_000)
    };
    assert_eq!(scheduler.pick(&of(1_258_741), &subflows), None);
    assert_eq!(
        scheduler.pick(&of(1_258_742), &subflows),
        Some(SubflowId(1))
    );
}

#[test]
fn m29_lost_data_goes_where_it_can_and_only_paths_in_use_overtake() {
    let subflows = [candidate(0, false), candidate(1, true)];
    let of = |purpose| Demand {
        purpose,
        ..demand(0, 0)
    };
    let mut scheduler = Overflow::default();
    assert_eq!(
        scheduler.pick(&of(Purpose::Again), &subflows),
        Some(SubflowId(1))
    );
    assert_eq!(scheduler.pick(&of(Purpose::Overtake), &subflows), None);
    assert_eq!(
        scheduler.pick(&demand(1, 500_000), &subflows),
        Some(SubflowId(1))
    );
    assert_eq!(
        scheduler.pick(&of(Purpose::Overtake), &subflows),
        Some(SubflowId(1))
    );
}

#[test]
fn m29_the_secondary_alone_is_used_at_once_and_a_backup_only_alone() {
    assert_eq!(
        Overflow::default().pick(&demand(0, 1_400), &[candidate(1, true)]),
        Some(SubflowId(1))
    );
    let backup = Candidate {
        backup: true,
        ..candidate(1, true)
    };
    let mut scheduler = Overflow::default();
    for ms in [0, 2_000] {
        assert_eq!(
            scheduler.pick(&demand(ms, 3 << 20), &[candidate(0, false), backup]),
            None
        );
    }
    assert_eq!(
        scheduler.pick(&demand(0, 1_400), &[backup]),
        Some(SubflowId(1))
    );
}
