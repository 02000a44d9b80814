//! What two access networks bring together, beside what one TCP connection brings on each of them alone.
//!
//! A [`Cell`] is two lines, a scheduler and what goes wrong. It runs over the whole chain in virtual time, boxes as they run
//! on a network card, once towards the client and once away from it. Its *ideal* is what one TCP of the same congestion
//! control reaches alone on each line, between the same hosts and two boxes that relay TCP to TCP, with the same frames
//! lost: the sum of both, unless the cell says otherwise. The *raw* sum is what full segments of TCP carry at the lines'
//! rates. Hosts are smoltcp's without congestion control and with buffers that are never full, a gigabit away, so that the
//! boxes alone decide how fast a line is filled.

pub mod cell;
pub mod matrix;
pub mod measure;
pub mod table;

pub use cell::{Cell, Goal, Line, Loss, Step, Way};
pub use measure::{Measured, Progress, measure};
pub use table::{Entry, compare, judge};
