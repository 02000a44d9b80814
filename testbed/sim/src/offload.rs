//! What devices do for a box with segments of a flow in a row: cut one apart that is to leave as many, and put many together that
//! arrive, into buffers that end where they do.

use crate::packet::{self, ACK, FIN, PSH, Tcp};
use crate::seed::Draw;
use dataplane::long::Model;
use dataplane::memory::linear;
use dataplane::train::Coupled;
use stack::{Frame, PacketBuf, Rng};
use std::collections::VecDeque;

/// Most octets of what is put together, as an IPv4 header can say.
const LONGEST: usize = 65_535 - 60;

/// Which of it a device does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// It computes checksums that are left to it.
    pub sums: bool,
    /// Slices of payload at most in a frame that it cuts apart; 0 if it cuts none.
    pub cuts: usize,
    /// Octets of each buffer, if it puts segments together.
    pub joins: Option<usize>,
}

impl Offloads {
    /// Those of a device: none in most cases.
    pub fn draw(rng: &mut Rng) -> Self {
        let sums = rng.percent(30);
        Self {
            sums,
            // Who cuts computes the checksums of what it cuts.
            cuts: if sums { rng.pick(&[0, 3, 17, 64]) } else { 0 },
            joins: rng.percent(20).then(|| rng.pick(&[900, 2_048, 5_000])),
        }
    }

    /// Those of a device whose frames go through a ring of so many: what it puts together comes out as a burst, of which
    /// the ring holds two at least. With less the last parts of each are lost for good, however often they are sent again.
    #[must_use]
    pub fn before(self, ring: usize) -> Self {
        let fits = |octets: &usize| 2 * LONGEST.div_ceil(*octets) <= ring;
        Self {
            joins: self.joins.filter(fits),
            ..self
        }
    }
}

/// The frames that a device makes of a train: each with the headers of the whole, and what is its own in them.
///
/// # Panics
/// They are not the `frames` that the train is made of.
#[must_use]
pub fn cut_up<B: PacketBuf>(whole: &Coupled, frames: &[Frame<B>]) -> Vec<Vec<u8>> {
    let mut octets = whole.header.bytes().to_vec();
    for slice in frames.iter().flat_map(|frame| &frame.payload) {
        octets.extend_from_slice(slice.bytes());
    }
    let segment = usize::from(whole.segment);
    let tcp = Tcp::parse(&packet::repaired(octets)).expect("a train is a segment");
    let last = tcp.payload.len().saturating_sub(1) / segment;
    let part = |(n, text): (usize, &[u8])| {
        let mut part = tcp.clone();
        let at = u32::try_from(n * segment).unwrap_or(0);
        part.seq = tcp.seq.wrapping_add(at);
        part.payload = text.to_vec();
        if n < last {
            part.flags &= !(FIN | PSH);
        }
        part
    };
    let parts: Vec<_> = tcp.payload.chunks(segment).enumerate().map(part).collect();
    assert_eq!(parts.len(), frames.len(), "a train of as many segments");
    for (part, frame) in parts.iter().zip(frames) {
        let alone = Tcp::parse(&linear(frame)).expect("a segment by itself");
        let is_same = part.has_header_of(&alone) && part.flags == alone.flags;
        let has_same = part.seq == alone.seq && part.payload == alone.payload;
        assert!(is_same && has_same, "{part:?} of a train for {alone:?}");
    }
    parts.iter().map(Tcp::frame).collect()
}

/// How many of the frames `behind` go on where `first` ends, in the same header and as long as it, but for the last; and
/// all of them as one.
#[must_use]
pub fn joined(first: &[u8], behind: &VecDeque<Vec<u8>>) -> (usize, Vec<u8>) {
    let plain = |frame: &[u8]| {
        Tcp::parse(frame).filter(|tcp| tcp.flags & !(PSH | FIN) == ACK && !tcp.payload.is_empty())
    };
    let Some(mut whole) = plain(first).filter(|tcp| tcp.flags == ACK) else {
        return (0, Vec::new());
    };
    let segment = whole.payload.len();
    let mut len = 0;
    for next in behind.iter().map_while(|frame| plain(frame)) {
        let goes_on = next.seq == whole.seq.wrapping_add(whole.seq_len())
            && next.has_header_of(&whole)
            && next.payload.len() <= segment
            && whole.payload.len() + next.payload.len() <= LONGEST;
        if !goes_on {
            break;
        }
        let ends = next.payload.len() < segment || next.flags != ACK;
        whole.flags = next.flags;
        whole.payload.extend(next.payload);
        len += 1;
        if ends {
            break;
        }
    }
    (len, whole.frame())
}

/// A long segment in buffers of `room` octets, each with headers of its own and a checksum that is left to whoever needs it.
#[must_use]
pub fn in_buffers(whole: &[u8], room: usize) -> Option<Vec<Vec<u8>>> {
    let first = whole.get(..room.min(whole.len()))?;
    let model = Model::of(first, whole.len())?;
    let (head, rest) = whole.split_at(first.len());
    let texts = [head.get(model.end()..)?]
        .into_iter()
        .chain(rest.chunks(room));
    let (mut parts, mut at) = (Vec::new(), 0);
    for text in texts {
        let ends = model.end() + at + text.len() == whole.len();
        parts.push([model.part(at, text.len(), ends).bytes(), text].concat());
        at += text.len();
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn row(v6: bool) -> Vec<Vec<u8>> {
        let ends = if v6 {
            ["[fd00::1]:1", "[fd00::2]:2"]
        } else {
            ["10.0.0.1:1", "10.0.0.2:2"]
        };
        let ends = ends.map(|end| ([2; 6], end.parse::<SocketAddr>().expect("an end")));
        let mut tcp = Tcp::between(ends[0], ends[1]);
        tcp.options = vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
        let lens = [700, 700, 300, 700];
        let mut frames = Vec::new();
        (tcp.flags, tcp.seq) = (ACK, u32::MAX - 900);
        for (n, len) in lens.into_iter().enumerate() {
            tcp.payload = vec![n as u8; len];
            frames.push(tcp.frame());
            tcp.seq = tcp.seq.wrapping_add(tcp.seq_len());
        }
        frames
    }

    /// What is put together is what a device would have been given to cut into the same.
    #[test]
    fn what_is_put_together_comes_in_buffers_with_all_its_octets() {
        for (v6, room) in [(false, 200), (false, 2_048), (true, 1_000)] {
            let frames = row(v6);
            let behind = frames[1..].iter().cloned().collect();
            let (len, whole) = joined(&frames[0], &behind);
            assert_eq!(len, 2, "the third is the last, as it is shorter");
            let parts = in_buffers(&whole, room).expect("parts");
            let mut text = Vec::new();
            let first = Tcp::parse(&whole).expect("a segment");
            for part in &parts {
                let part = Tcp::parse(&packet::repaired(part.clone())).expect("a segment");
                assert_eq!(part.seq, first.seq.wrapping_add(text.len() as u32));
                assert!(part.has_header_of(&first));
                text.extend(part.payload);
            }
            assert_eq!(text, first.payload);
            assert_eq!(text.len(), 1_700);
        }
    }
}
