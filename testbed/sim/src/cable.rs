//! A link between two nodes: a lane each way, and the middleboxes on it, which sit where its first end is; but for one that
//! may sit at its second end.

use crate::lane::Lane;
use crate::middlebox::chance::Chance;
use crate::middlebox::{Middlebox, Way};
use stack::Instant;
use stack::time::earlier;

/// One end of a cable: a node and one of its cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plug {
    /// Which node.
    pub node: usize,
    /// Which of its cards.
    pub card: usize,
}

/// A frame that has arrived at an end of the cable.
#[derive(Debug)]
pub struct Arrival {
    /// Where.
    pub plug: Plug,
    /// What.
    pub frame: Vec<u8>,
}

/// A link between two nodes.
pub struct Cable {
    /// Where its ends are.
    pub ends: [Plug; 2],
    /// From the first end to the second, and back.
    pub lanes: [Lane; 2],
    /// From the first end on: a frame that goes forth passes them in this order, and then the lane.
    pub boxes: Vec<Box<dyn Middlebox>>,
    /// At the second end. It does nothing by itself: its deadlines are not looked at.
    pub far: Option<Box<dyn Middlebox>>,
}

impl Cable {
    /// A node sends: the frame passes the middleboxes that are on its side, and gets onto the lane.
    pub fn put(&mut self, now: Instant, from: usize, frame: Vec<u8>, out: &mut Vec<Arrival>) {
        if self.ends[0].node == from {
            self.through(now, 0, Way::Forth, frame, out);
        } else {
            self.at_far(now, Way::Back, frame, out);
        }
    }

    /// A frame comes to the second end, or leaves it.
    fn at_far(&mut self, now: Instant, way: Way, frame: Vec<u8>, out: &mut Vec<Arrival>) {
        let mut made = Vec::new();
        match &mut self.far {
            Some(far) => far.pass(now, way, frame, &mut made),
            None => made.push((way, frame)),
        }
        for (way, frame) in made {
            match way {
                Way::Forth => out.push(Arrival {
                    plug: self.ends[1],
                    frame,
                }),
                Way::Back => self.onto_lane(now, way, frame, out),
            }
        }
    }

    /// Takes all that arrives by `now`.
    pub fn arrivals(&mut self, now: Instant, out: &mut Vec<Arrival>) {
        while let Some(frame) = self.lanes[0].take(now) {
            self.at_far(now, Way::Forth, frame, out);
        }
        while let Some(frame) = self.lanes[1].take(now) {
            self.through(now, self.boxes.len(), Way::Back, frame, out);
        }
        for at in 0..self.boxes.len() {
            if self.boxes[at].next_deadline().is_some_and(|due| due <= now) {
                let mut made = Vec::new();
                self.boxes[at].advance(now, &mut made);
                self.onward(now, at, made, out);
            }
        }
    }

    /// What middleboxes on it have made of data since they were asked last that a checksum is right for all the same.
    pub fn chances(&mut self) -> Vec<Chance> {
        let boxes = self.boxes.iter_mut().chain(&mut self.far);
        boxes.flat_map(|middlebox| middlebox.chances()).collect()
    }

    /// When there is something to do.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        let lanes = earlier(self.lanes[0].next_due(), self.lanes[1].next_due());
        let boxes = self.boxes.iter().filter_map(|b| b.next_deadline()).min();
        earlier(lanes, boxes)
    }

    /// A frame comes to the gap before box `at` that goes `way`: forth into box `at`, back into the one before it.
    fn through(
        &mut self,
        now: Instant,
        at: usize,
        way: Way,
        frame: Vec<u8>,
        out: &mut Vec<Arrival>,
    ) {
        let at = match way {
            Way::Forth if at == self.boxes.len() => return self.onto_lane(now, way, frame, out),
            Way::Forth => at,
            Way::Back if at == 0 => {
                let plug = self.ends[0];
                return out.push(Arrival { plug, frame });
            },
            Way::Back => at - 1,
        };
        let mut made = Vec::new();
        self.boxes[at].pass(now, way, frame, &mut made);
        self.onward(now, at, made, out);
    }

    /// What box `at` has let out goes on.
    fn onward(
        &mut self,
        now: Instant,
        at: usize,
        made: Vec<(Way, Vec<u8>)>,
        out: &mut Vec<Arrival>,
    ) {
        for (way, frame) in made {
            let gap = if way == Way::Forth { at + 1 } else { at };
            self.through(now, gap, way, frame, out);
        }
    }

    fn onto_lane(&mut self, now: Instant, way: Way, frame: Vec<u8>, out: &mut Vec<Arrival>) {
        let Some(answer) = self.lanes[way.index()].put(now, frame) else {
            return;
        };
        match way {
            Way::Forth => self.through(now, self.boxes.len(), Way::Back, answer, out),
            Way::Back => {
                let plug = self.ends[1];
                out.push(Arrival {
                    plug,
                    frame: answer,
                });
            },
        }
    }
}
