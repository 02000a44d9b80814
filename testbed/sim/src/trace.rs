//! What happened: a hash of every frame and when it moved, and all of them in a file where somebody wants to look.

use crate::seed::mix;
use stack::Instant;

/// Where a frame was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// As a node sent it.
    Sent,
    /// As it arrived at a node.
    Arrived,
}

/// A trace of one run.
#[derive(Default)]
pub struct Trace {
    hash: u64,
    /// Frames seen, each where it was sent and where it arrived.
    pub frames: u64,
    file: Option<Vec<u8>>,
}

impl Trace {
    /// A trace that keeps all frames: `names` are those of the links.
    #[must_use]
    pub fn kept(names: &[String]) -> Self {
        let mut file = Vec::new();
        // A section header: byte order, version 1.0, length unknown.
        let section = [
            &0x1a2b_3c4d_u32.to_le_bytes()[..],
            &[1, 0, 0, 0],
            &[0xff; 8],
        ]
        .concat();
        block(&mut file, 0x0a0d_0d0a, &section);
        for name in names {
            for point in ["sent", "arrived"] {
                let name = format!("{name} {point}");
                // Ethernet, no limit; if_name, and nanoseconds as the unit of time.
                let mut interface = vec![1, 0, 0, 0, 0, 0, 0, 0];
                option(&mut interface, 2, name.as_bytes());
                option(&mut interface, 9, &[9]);
                option(&mut interface, 0, &[]);
                block(&mut file, 1, &interface);
            }
        }
        Self {
            file: Some(file),
            ..Self::default()
        }
    }

    /// Takes note of a frame on link `cable`, which went `way`.
    pub fn note(&mut self, now: Instant, cable: usize, point: Point, frame: &[u8]) {
        self.frames += 1;
        let nanos = now.as_nanos();
        let place = cable as u64 * 2 + point as u64;
        let mut hash = mix(self.hash ^ nanos ^ place << 56);
        let words = frame.chunks_exact(8);
        let rest = words.remainder();
        for word in words {
            let mut octets = [0; 8];
            octets.copy_from_slice(word);
            hash = (hash ^ u64::from_le_bytes(octets))
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29);
        }
        for octet in rest {
            hash = (hash ^ u64::from(*octet))
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(29);
        }
        self.hash = hash;
        if let Some(file) = &mut self.file {
            let len = u32::try_from(frame.len()).unwrap_or(u32::MAX).to_le_bytes();
            let interface = u32::try_from(place).unwrap_or(0).to_le_bytes();
            let (high, low) = (nanos >> 32, nanos & 0xffff_ffff);
            let time = [high, low].map(|half| u32::try_from(half).unwrap_or(0).to_le_bytes());
            let mut packet = [&interface[..], &time[0], &time[1], &len, &len, frame].concat();
            packet.resize(packet.len().next_multiple_of(4), 0);
            block(file, 6, &packet);
        }
    }

    /// The hash of all that happened so far.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// All frames as a pcapng file, if they were kept.
    #[must_use]
    pub fn into_file(self) -> Option<Vec<u8>> {
        self.file
    }
}

/// A block of a pcapng file; `body` is a multiple of four octets.
fn block(file: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let len = u32::try_from(body.len() + 12)
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    file.extend(kind.to_le_bytes());
    file.extend(len);
    file.extend(body);
    file.extend(len);
}

fn option(into: &mut Vec<u8>, code: u16, value: &[u8]) {
    into.extend(code.to_le_bytes());
    into.extend(u16::try_from(value.len()).unwrap_or(0).to_le_bytes());
    into.extend(value);
    into.resize(into.len().next_multiple_of(4), 0);
}
