//! What stands before an IP packet on Ethernet: stations, and tags of virtual networks (IEEE 802.1Q, 802.1ad).

use super::config::NetError;
use crate::wire::ip::ETHERNET;

/// Tags before a packet at most: a service's and a customer's.
pub(super) const TAGS_MAX: usize = 2;

/// Octets of a tag: what it is, priority, and the number of the network.
const TAG: usize = 4;

/// Octets before an IP packet at most.
pub(super) const LINK_MAX: usize = ETHERNET + TAG * TAGS_MAX;

/// What announces a customer's tag, a service's, and a service's as it was before there was a standard.
const CUSTOMER: [u8; 2] = [0x81, 0x00];
const SERVICE: [u8; 2] = [0x88, 0xa8];
const SERVICE_OLD: [u8; 2] = [0x91, 0x00];

/// The tags of a frame, as they stand in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tags {
    octets: [u8; TAG * TAGS_MAX],
    len: u8,
}

impl Tags {
    pub(super) const NONE: Self = Self {
        octets: [0; TAG * TAGS_MAX],
        len: 0,
    };

    /// Tags of these networks, the outer first, for a port of ours.
    pub(super) fn of_ids(ids: &[u16]) -> Result<Self, NetError> {
        if ids.len() > TAGS_MAX {
            return Err(NetError::TooManyTags);
        }
        let mut tags = Self::default();
        let before_last = ids.len().saturating_sub(1);
        for (n, (&id, tag)) in ids
            .iter()
            .zip(tags.octets.as_chunks_mut::<TAG>().0)
            .enumerate()
        {
            // IEEE 802.1Q 9.6: 0 is no network, 4095 is reserved.
            if !(1..=4094).contains(&id) {
                return Err(NetError::BadVlan(id));
            }
            let [high, low] = id.to_be_bytes();
            let [a, b] = if n < before_last { SERVICE } else { CUSTOMER };
            *tag = [a, b, high, low];
            tags.len += 4;
        }
        Ok(tags)
    }

    /// The tags of `frame`, up to as many as we know what to do with.
    pub(super) fn of_frame(frame: &[u8]) -> Self {
        let mut tags = Self::default();
        let rest = frame.get(ETHERNET - 2..).unwrap_or(&[]);
        for (tag, to) in rest
            .as_chunks::<TAG>()
            .0
            .iter()
            .zip(tags.octets.as_chunks_mut::<TAG>().0)
        {
            let [a, b, ..] = *tag;
            if ![CUSTOMER, SERVICE, SERVICE_OLD].contains(&[a, b]) {
                break;
            }
            *to = *tag;
            tags.len += 4;
        }
        tags
    }

    pub(super) fn octets(&self) -> &[u8] {
        self.octets.get(..self.len()).unwrap_or(&[])
    }

    pub(super) fn len(self) -> usize {
        usize::from(self.len)
    }

    /// Whether both name the same networks; priority and which kind of tag it is are another matter.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let (ours, theirs) = (
            self.octets.as_chunks::<TAG>().0,
            other.octets.as_chunks::<TAG>().0,
        );
        let mut pairs = ours.iter().zip(theirs);
        let same = |(a, b): (&[u8; TAG], &[u8; TAG])| (a[2] & 0x0f, a[3]) == (b[2] & 0x0f, b[3]);
        self.len == other.len && pairs.all(same)
    }
}

/// Octets before the IP packet of a frame with `tags`.
pub(super) fn link_len(tags: Tags) -> usize {
    ETHERNET + tags.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tags: &[[u8; 4]]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend(tags.concat());
        frame.extend([0x08, 0x00, 0x45, 0, 0, 0]);
        frame
    }

    #[test]
    fn tags_are_read_up_to_two_and_written_as_the_standard_has_them() {
        let one = Tags::of_ids(&[100]).unwrap();
        assert_eq!(one.octets(), [0x81, 0, 0, 100]);
        let two = Tags::of_ids(&[0x234, 7]).unwrap();
        assert_eq!(two.octets(), [0x88, 0xa8, 2, 0x34, 0x81, 0, 0, 7]);
        assert_eq!(Tags::of_frame(&frame(&[])), Tags::default());
        assert_eq!(Tags::of_frame(&frame(&[[0x81, 0, 0, 100]])), one);
        let three = [[0x81, 0, 0, 1]; 3];
        assert_eq!(Tags::of_frame(&frame(&three)).len(), 8);
        assert_eq!(Tags::of_frame(&[0; 11]), Tags::default(), "too short");
    }

    #[test]
    fn a_network_is_its_number_whatever_the_priority_and_the_kind_of_tag() {
        let ours = Tags::of_ids(&[100, 200]).unwrap();
        for outer in [CUSTOMER, SERVICE, SERVICE_OLD] {
            let [a, b] = outer;
            let tagged = frame(&[[a, b, 0xe0, 100], [0x81, 0, 0x20, 200]]);
            assert!(ours.is_same(&Tags::of_frame(&tagged)));
        }
        let others = [
            vec![],
            vec![[0x81, 0, 0, 100]],
            vec![[0x88, 0xa8, 0, 200], [0x81, 0, 0, 100]],
            vec![[0x88, 0xa8, 1, 100], [0x81, 0, 0, 200]],
        ];
        for tags in others {
            assert!(!ours.is_same(&Tags::of_frame(&frame(&tags))), "{tags:?}");
        }
    }

    #[test]
    fn numbers_that_no_network_may_have_are_refused() {
        for id in [0, 4095, u16::MAX] {
            assert_eq!(Tags::of_ids(&[id]), Err(NetError::BadVlan(id)));
        }
        assert_eq!(Tags::of_ids(&[1, 2, 3]), Err(NetError::TooManyTags));
    }
}
