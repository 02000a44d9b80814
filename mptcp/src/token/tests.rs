use super::{KeyPool, KeyPools, TokenError, TokenTable};
use crate::counters::Counter;
use crate::handshake::capable::Versions;
use crate::types::{Token, Version};
use stack::{Rng, Tally};
use std::cell::Cell;

#[test]
fn a_token_is_entered_once() {
    let mut table = TokenTable::with_capacity(8);
    assert_eq!(table.insert(Token(7), 'a'), Ok(()));
    assert_eq!(table.insert(Token(7), 'b'), Err(TokenError::Taken));
    assert_eq!(table.get(Token(7)), Some('a'));
    assert_eq!(table.remove(Token(7)), Some('a'));
    assert!(table.is_empty() && !table.contains(Token(7)));
}

#[test]
fn what_a_token_names_can_change_while_it_is_in_use() {
    let mut table = TokenTable::with_capacity(1);
    table.set(Token(7), 'a');
    assert_eq!(table.get(Token(7)), None, "it was never entered");
    table.insert(Token(7), 'b').unwrap();
    table.set(Token(7), 'c');
    assert_eq!((table.get(Token(7)), table.len()), (Some('c'), 1));
}

#[test]
fn the_table_is_bounded() {
    let mut table = TokenTable::with_capacity(3);
    for n in 0..3 {
        assert_eq!(table.insert(Token(n << 8), n), Ok(()));
    }
    assert_eq!(table.insert(Token(1), 9), Err(TokenError::Full));
    assert_eq!(table.len(), 3);
}

#[test]
fn tokens_name_their_core() {
    for version in [Version::V0, Version::V1] {
        for core in [0, 5, 15] {
            let mut rng = Rng::from_u64(u64::from(core));
            let mut pool = KeyPool::new(version, core, 4, 4);
            for _ in 0..8 {
                let key = pool
                    .take(&mut rng, &mut Tally::default(), |_| false)
                    .expect("a key");
                assert_eq!(key.token.core(4), core);
                assert_eq!(key, key.key.derive(version));
            }
        }
    }
}

#[test]
fn the_pool_fills_off_the_path_and_no_further_than_its_capacity() {
    let mut rng = Rng::from_u64(1);
    let mut pool = KeyPool::new(Version::V1, 0, 0, 5);
    assert_eq!(pool.refill(&mut rng, 3), 3);
    assert_eq!(pool.refill(&mut rng, 100), 5);
    let state = rng.clone().u64();
    let mut counters = Tally::default();
    assert!(pool.take(&mut rng, &mut counters, |_| false).is_some());
    assert_eq!(counters.get(Counter::KeyDrawnOnPath), 0);
    assert_eq!(rng.u64(), state, "a ready key costs no draw");
    assert_eq!(pool.len(), 4);
}

#[test]
fn m7_a_colliding_token_is_drawn_again() {
    let first = KeyPool::new(Version::V1, 0, 0, 4)
        .take(&mut Rng::from_u64(3), &mut Tally::default(), |_| false)
        .expect("a key");
    // The same generator draws the same key first, whose token is now in use: ready or drawn on the path.
    for ready in [0, 1] {
        let mut rng = Rng::from_u64(3);
        let mut pool = KeyPool::new(Version::V1, 0, 0, 4);
        pool.refill(&mut rng, ready);
        let mut counters = Tally::default();
        let second = pool
            .take(&mut rng, &mut counters, |token| token == first.token)
            .expect("another key");
        assert_ne!(second.token, first.token);
        assert_eq!(counters.get(Counter::TokenCollision), 1);
        assert_eq!(counters.get(Counter::KeyDrawnOnPath), 1);
    }
}

#[test]
fn m7_draws_end_when_every_token_is_taken() {
    let asked = Cell::new(0);
    let taken = |_| {
        asked.set(asked.get() + 1);
        true
    };
    let key = KeyPool::new(Version::V1, 1, 2, 0).take(
        &mut Rng::from_u64(3),
        &mut Tally::default(),
        taken,
    );
    assert_eq!(key, None);
    assert!((4..=64).contains(&asked.get()), "{} tries", asked.get());
}

#[test]
fn a_pool_for_each_version_gives_keys_whose_tokens_are_of_that_version() {
    let mut rng = Rng::from_u64(4);
    let mut pools = KeyPools::new(Versions::V1ThenV0, 3, 4, 4);
    pools.refill(&mut rng, 1_000);
    let mut counters = Tally::default();
    for version in [Version::V0, Version::V1] {
        let key = pools
            .take(version, &mut rng, &mut counters, |_| false)
            .expect("a key");
        assert_eq!(key, key.key.derive(version));
        assert_eq!(key.token.core(4), 3);
    }
    assert_eq!(counters.get(Counter::KeyDrawnOnPath), 0);
    // A version that is not spoken has nothing ready.
    let mut pools = KeyPools::new(Versions::V1, 0, 0, 4);
    pools.refill(&mut rng, 1_000);
    pools.take(Version::V0, &mut rng, &mut counters, |_| false);
    assert_eq!(counters.get(Counter::KeyDrawnOnPath), 1);
}
