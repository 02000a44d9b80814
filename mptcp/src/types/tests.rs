use super::{DataSeq, Token, WireSeq};
use proptest::prelude::*;

#[test]
fn bug4_expansion_takes_the_nearest_number() {
    let rows = [
        (0x1_0000_0000, 0xffff_ffff, 0x0_ffff_ffff),
        (0x0_ffff_ffff, 0x0000_0000, 0x1_0000_0000),
        (0x5_8000_0001, 0x0000_0000, 0x6_0000_0000_u64),
        (0x5_7fff_fffe, 0xffff_ffff, 0x4_ffff_ffff),
        (0xffff_ffff_ffff_fff0, 0x0000_0010, 0x0000_0000_0000_0010),
        (0x0000_0000_0000_0010, 0xffff_fff0, 0xffff_ffff_ffff_fff0),
    ];
    for (near, low, expanded) in rows {
        let near = DataSeq(near);
        let result = DataSeq::expand(WireSeq::Low(low), near);
        // At a distance of exactly 2^31 both neighbours are as near; none of the rows is.
        assert_eq!(result, DataSeq(expanded), "{low:#x} near {:#x}", near.0);
    }
}

#[test]
fn a_core_is_the_low_bits_of_a_token() {
    assert_eq!(Token(0xffff_fff5).core(4), 5);
    assert_eq!(Token(0xffff_ffff).core(0), 0);
    assert_eq!(Token(0x1234_ffff).core(16), 0xffff);
}

proptest! {
    #[test]
    fn bug4_any_number_within_2_31_survives_its_lower_half(near: u64, ahead in -0x7fff_ffff_i64..0x7fff_ffff) {
        let value = DataSeq(near.wrapping_add_signed(ahead));
        prop_assert_eq!(DataSeq::expand(value.low(), DataSeq(near)), value);
        prop_assert_eq!(DataSeq::expand(value.full(), DataSeq(near)), value);
    }

    #[test]
    fn order_is_circular(start: u64, ahead in 1_u64..1 << 63) {
        let (a, b) = (DataSeq(start), DataSeq(start) + ahead);
        prop_assert!(a < b && a.max(b) == b && a.min(b) == a);
        prop_assert_eq!(b - a, ahead);
        prop_assert_eq!(b - ahead, a);
        prop_assert!(b.within(a, ahead + 1) && !b.within(a, ahead));
    }
}
