//! One run from beginning to end, and the search for the fewest faults that show a failure.

use crate::app::Close;
use crate::oracle::Failure;
use crate::plan::Plan;
use crate::scene::START;
use crate::trace::Trace;
use crate::world::World;
use stack::time::Duration;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What came of a run.
pub struct Outcome {
    /// What went wrong, if anything did.
    pub failure: Option<Failure>,
    /// The hash of its trace.
    pub hash: u64,
    /// Frames in it, each where it was sent and where it arrived.
    pub frames: u64,
    /// How much time passed in it.
    pub lasted: Duration,
    /// What each box counted.
    pub counters: Vec<(&'static str, BTreeMap<String, u64>)>,
    /// All frames as a pcapng file, if they were kept.
    pub file: Option<Vec<u8>>,
}

/// Runs `plan`; with `keep` all its frames are kept.
#[must_use]
pub fn run(plan: &Plan, keep: bool) -> Outcome {
    let chain = plan.net.chain;
    let names: Vec<_> = (0..chain.cables()).map(|cable| chain.name(cable)).collect();
    let trace = if keep {
        Trace::kept(&names)
    } else {
        Trace::default()
    };
    let mut world = World::new(plan, trace);
    let result = catch_unwind(AssertUnwindSafe(|| world.run(plan)));
    let failure = match result {
        Ok(result) => result.err(),
        Err(panic) => Some(Failure::Panic {
            message: message(panic.as_ref()),
        }),
    };
    let counters = world.counters();
    Outcome {
        failure,
        hash: world.trace.hash(),
        frames: world.trace.frames,
        lasted: world.now().since(START),
        counters,
        file: world.trace.into_file(),
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}

/// Switches off faults, flows and halves of what is sent as long as `plan` still fails in the same way.
#[must_use]
pub fn shrink(plan: &Plan, failure: &Failure) -> Plan {
    let mut least = plan.clone();
    let fails = |plan: &Plan| {
        run(plan, false)
            .failure
            .is_some_and(|f| f.kind() == failure.kind())
    };
    loop {
        let smaller = less(&least).into_iter().find(|plan| fails(plan));
        match smaller {
            Some(plan) => least = plan,
            None => return least,
        }
    }
}

/// Every plan that is one step simpler.
fn less(plan: &Plan) -> Vec<Plan> {
    let mut all = Vec::new();
    for at in 0..plan.faults.len() {
        let mut next = plan.clone();
        next.faults.remove(at);
        all.push(next);
    }
    for at in 0..plan.flows.len() {
        // The numbers of the others stay as they are: a flow without octets is as good as none.
        let flow = &plan.flows[at];
        if plan.flows.len() > 1 && at + 1 == plan.flows.len() {
            let mut next = plan.clone();
            next.flows.pop();
            all.push(next);
        }
        for end in 0..2 {
            if flow.sizes[end] > 0 {
                let mut next = plan.clone();
                let flow = &mut next.flows[at];
                flow.sizes[end] /= 2;
                // Who aborts after so many octets still gets them.
                if let Close::Abort(after) = &mut flow.close[1 - end] {
                    *after = flow.sizes[end].min(*after);
                }
                all.push(next);
            }
            if flow.pause[end].is_some() {
                let mut next = plan.clone();
                next.flows[at].pause[end] = None;
                all.push(next);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::less;
    use crate::app::Close;
    use crate::plan::{Chain, Plan};

    #[test]
    fn a_simpler_plan_still_ends() {
        let mut plan = Plan::quiet(Chain::Bonded(2));
        plan.flows[0].close = [Close::Abort(200_000), Close::AfterPeer];
        let aborts: Vec<_> = less(&plan)
            .iter()
            .map(|plan| plan.flows[0].close[0])
            .collect();
        // Of 300,000 octets each way: what is sent is halved, then what is waited for.
        assert_eq!(aborts, [Close::Abort(200_000), Close::Abort(150_000)]);
    }
}
