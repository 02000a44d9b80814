//! What flows are found by: the index keeps a number for each key, and the key stands in what the number names.

use super::Engine;
use crate::relay::Which;
use mptcp::connection::SubflowId;
use stack::flow_table::Full;
use stack::slab::Handle;
use stack::{FlowHash, FlowKey, PacketBuf};

/// Whose a received segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlowRef {
    /// Of a flow whose SYN was forwarded, or whose third ACK is awaited.
    Pending(Handle),
    /// Of a leg of a relay.
    Leg(Handle, Which),
    /// Of a subflow whose third ACK is awaited.
    Joining(Handle),
    /// Of a subflow of ours whose SYN+ACK is awaited.
    OpenJoin(Handle),
    /// Of a relay's first subflow, which has ended before the relay: never the server's, although it has its tuple.
    Gone(Handle),
    /// Of a connection that has ended: old duplicates die out here.
    TimeWait(Handle),
}

/// Bits of a number that name a place: enough for 16 million of each kind.
const PLACE_BITS: u32 = 24;

/// Most places of a kind that a number can name.
pub(super) const PLACES_MAX: usize = 1 << PLACE_BITS;

/// The kinds of [`FlowRef`], as the topmost bits of a number have them.
const PENDING: u32 = 0;
const CLIENT: u32 = 1;
const SERVER: u32 = 2;
const JOINING: u32 = 3;
const OPEN_JOIN: u32 = 4;
const GONE: u32 = 5;
const TIME_WAIT: u32 = 6;

impl FlowRef {
    /// As the index keeps it. What it names is there as long as its entry is, so the generation can be left out.
    fn number(self) -> u32 {
        let (kind, subflow, handle) = match self {
            Self::Pending(handle) => (PENDING, 0, handle),
            Self::Leg(handle, Which::Client(id)) => (CLIENT, id.0, handle),
            Self::Leg(handle, Which::Server(id)) => (SERVER, id.0, handle),
            Self::Joining(handle) => (JOINING, 0, handle),
            Self::OpenJoin(handle) => (OPEN_JOIN, 0, handle),
            Self::Gone(handle) => (GONE, 0, handle),
            Self::TimeWait(handle) => (TIME_WAIT, 0, handle),
        };
        kind << 28 | u32::from(subflow & 0xf) << PLACE_BITS | handle.index
    }
}

/// Whether `number` is of a leg of the relay at `place`, or of what is left of one.
const fn is_of_relay(number: u32, place: u32) -> bool {
    matches!(number >> 28, CLIENT | SERVER | GONE) && number & (PLACES_MAX as u32 - 1) == place
}

/// The place of the relay that `number` names, if it is of a leg.
pub(super) const fn relay_of(number: u32) -> Option<u32> {
    match number >> 28 {
        CLIENT | SERVER => Some(number & (PLACES_MAX as u32 - 1)),
        _ => None,
    }
}

impl<B: PacketBuf> Engine<B> {
    /// What is known of the flow of `key`.
    pub(super) fn flow(&self, key: &FlowKey) -> Option<FlowRef> {
        self.flow_by(self.flows.hash(key), key)
    }

    /// The same, where the hash is known already.
    pub(super) fn flow_by(&self, hash: FlowHash, key: &FlowKey) -> Option<FlowRef> {
        self.flows
            .get(hash)
            .find_map(|number| self.flow_at(number, key))
    }

    /// Enters a flow, in place of what was known under its key. `Err` if there is no room.
    pub(super) fn enter_flow(&mut self, key: &FlowKey, flow: FlowRef) -> Result<(), Full> {
        self.flows_changed = true;
        let hash = self.flows.hash(key);
        let before = self.flow_by(hash, key).map(FlowRef::number);
        self.flows
            .insert(hash, flow.number(), |number| before == Some(number))?;
        self.tell_of(key, true);
        Ok(())
    }

    /// The flow of `key`, entered as `was`, is from now on what `flow` says. It keeps its entry, so that there is room for it
    /// and other cores hear of nothing; one that another has taken the key of takes it back.
    pub(super) fn turn_flow(&mut self, key: &FlowKey, was: FlowRef, flow: FlowRef) {
        self.turn_flow_of(key, |number| number == was.number(), flow)
            .ok();
    }

    /// The same for a flow of which `is` holds.
    fn turn_flow_of(
        &mut self,
        key: &FlowKey,
        is: impl FnMut(u32) -> bool,
        flow: FlowRef,
    ) -> Result<(), Full> {
        self.flows_changed = true;
        let hash = self.flows.hash(key);
        if self.flows.replace(hash, flow.number(), is) {
            return Ok(());
        }
        self.enter_flow(key, flow)
    }

    /// The flow of `key`, if it is one of this relay's, is from now on what `flow` says; it is entered if it is none.
    pub(super) fn turn_relay_flow(
        &mut self,
        key: &FlowKey,
        relay: Handle,
        flow: FlowRef,
    ) -> Result<(), Full> {
        self.turn_flow_of(key, |number| is_of_relay(number, relay.index), flow)
    }

    /// Forgets a flow; no other that has taken its key over.
    pub(super) fn leave_flow(&mut self, key: &FlowKey, flow: FlowRef) {
        self.flows_changed = true;
        let hash = self.flows.hash(key);
        let gone = self.flows.remove(hash, |number| number == flow.number());
        if gone.is_some() {
            self.tell_of(key, false);
        }
    }

    /// Forgets the flow of `key` if it is one of this relay's.
    pub(super) fn leave_relay_flow(&mut self, key: &FlowKey, relay: Handle) {
        self.flows_changed = true;
        let hash = self.flows.hash(key);
        let gone = self
            .flows
            .remove(hash, |number| is_of_relay(number, relay.index));
        if gone.is_some() {
            self.tell_of(key, false);
        }
    }

    /// What `number` names, if `key` is one of its keys. Apart from the search, so that this stays short.
    #[inline(never)]
    fn flow_at(&self, number: u32, key: &FlowKey) -> Option<FlowRef> {
        let place = number & (PLACES_MAX as u32 - 1);
        let id = SubflowId(u8::try_from(number >> PLACE_BITS & 0xf).ok()?);
        let leg = |which| {
            let handle = self.relays.at_with(place, which, key)?;
            Some(FlowRef::Leg(handle, which))
        };
        let (flow, own) = match number >> 28 {
            CLIENT => return leg(Which::Client(id)),
            SERVER => return leg(Which::Server(id)),
            PENDING => {
                let (handle, pending) = self.pendings.at(place)?;
                let has = pending.ends().keys().contains(key);
                return has.then_some(FlowRef::Pending(handle));
            },
            GONE => {
                let handle = self.relays.at(place)?;
                let has = self.relays.has_end(handle, key);
                return has.then_some(FlowRef::Gone(handle));
            },
            JOINING => {
                let (handle, joining) = self.joinings.at(place)?;
                (FlowRef::Joining(handle), joining.tuple)
            },
            OPEN_JOIN => {
                let (handle, join) = self.open_joins.at(place)?;
                (FlowRef::OpenJoin(handle), join.tuple.reversed())
            },
            TIME_WAIT => {
                let (handle, remains) = self.remains.at(place)?;
                (FlowRef::TimeWait(handle), remains.tuple.reversed())
            },
            _ => return None,
        };
        (own == key.tuple).then_some(flow)
    }
}
