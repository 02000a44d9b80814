//! The cells of the table.

use super::cell::{Cell, Line, Loss, OTHERS};
use apps::engine::SchedulerKind;

/// One frame in a thousand, and one in a hundred.
const LOSSES: [Loss; 2] = [Loss::Each(1_000), Loss::Each(10_000)];
/// Half a percent, in rows of four.
const ROWS: Loss = Loss::Rows(1_250);

/// A line of copper and a faster mobile network, whose round trip is twice as long.
const FASTER: [Line; 2] = [Line::new(10, 30), Line::new(20, 60)];
/// The same with the secondary nearer, too.
const NEARER: [Line; 2] = [Line::new(10, 30), Line::new(20, 15)];
/// Two of a kind.
const EQUAL: [Line; 2] = [Line::new(5, 20), Line::new(5, 20)];
/// A good line, and a slow one beside it.
const SLOWER: [Line; 2] = [Line::new(20, 20), Line::new(5, 60)];
/// Round trips of 1 to 20.
const FAR: [Line; 2] = [Line::new(10, 20), Line::new(10, 400)];
/// The same the other way round.
const PRIMARY_FAR: [Line; 2] = [Line::new(10, 400), Line::new(10, 20)];
/// Rates of 8 to 1.
const THIN: [Line; 2] = [Line::new(16, 40), Line::new(2, 40)];
/// Round trips of 1 to 100.
const HUNDRED: [Line; 2] = [Line::new(10, 10), Line::new(2, 1000)];
/// Lines that carry less away from the client than towards it.
const ASYMMETRIC: [Line; 2] = [Line::new(12, 30).upwards(3), Line::new(16, 50).upwards(5)];
/// Lines of which the secondary falls to an eighth of its rate, and comes back.
const FALLS: [Line; 2] = [Line::new(20, 30), Line::new(40, 60).falling_to(5)];
/// Lines of which the primary does.
const PRIMARY_FALLS: [Line; 2] = [Line::new(40, 20).falling_to(5), Line::new(10, 60)];

/// Every cell, in the order of the table.
#[must_use]
pub fn cells() -> Vec<Cell> {
    let overflow = |lines| Cell::new(lines, SchedulerKind::Overflow);
    let mut cells = Vec::new();
    for lines in [FASTER, NEARER, EQUAL, SLOWER, FAR, PRIMARY_FAR, THIN] {
        let cell = overflow(lines);
        cells.push(cell);
        cells.extend(LOSSES.map(|loss| cell.loss(loss)));
        cells.push(cell.loss(ROWS));
    }
    for lines in [FASTER, SLOWER, FAR] {
        cells.extend([5, 40].map(|tenths| overflow(lines).queue(tenths)));
    }
    cells.extend(
        [Loss::None, Loss::Up(1_000), Loss::Up(10_000)].map(|loss| overflow(ASYMMETRIC).loss(loss)),
    );
    cells.push(overflow(HUNDRED));
    for scheduler in OTHERS {
        let cell = |lines| Cell::new(lines, scheduler);
        cells.extend([FASTER, NEARER, FAR, HUNDRED].map(cell));
        cells.push(cell(FASTER).loss(LOSSES[0]));
        cells.push(cell(FASTER).queue(40));
    }
    cells.extend([overflow(FALLS), overflow(PRIMARY_FALLS)]);
    cells.extend([SchedulerKind::LowestRtt, SchedulerKind::Blest].map(|s| Cell::new(FALLS, s)));
    // What the primary line carries alone stays on it.
    cells.extend([5, 8].map(|rate| overflow(FASTER).host(rate)));
    cells
}
