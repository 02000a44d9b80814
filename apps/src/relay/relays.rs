//! All relays of a core. One through which nothing moves is kept at rest, and wakes when it is asked for.

use super::rest::Resting;
use super::{Leg, Relay, Which};
use core::ops::Deref;
use mptcp::connection::Limits;
use stack::slab::{Handle, Slab};
use stack::wire::tcp::Segment;
use stack::{FlowKey, PacketBuf, prefetch};

/// A relay in its place.
enum Place<B> {
    Awake(Box<Relay<B>>),
    Resting(Box<Resting>),
}

impl<B: PacketBuf> Place<B> {
    /// Apart, so that finding one that is awake, as each segment does several times, stays a few instructions.
    #[cold]
    #[inline(never)]
    fn wake(&mut self, limits: Limits) {
        let Self::Resting(resting) = self else {
            return;
        };
        let woken = Self::Awake(Box::new(resting.wake(limits)));
        if let Self::Resting(resting) = core::mem::replace(self, woken)
            && let Self::Awake(relay) = self
        {
            (relay.paths, relay.alarm) = resting.leave();
        }
    }
}

/// A relay to look at: where it lies, or as it would be if it woke.
pub(crate) enum Seen<'a, B> {
    Awake(&'a Relay<B>),
    Resting(Box<Relay<B>>),
}

impl<B> Deref for Seen<'_, B> {
    type Target = Relay<B>;
    fn deref(&self) -> &Relay<B> {
        match self {
            Self::Awake(relay) => relay,
            Self::Resting(relay) => relay,
        }
    }
}

/// At most a fixed number of relays, behind handles.
pub(crate) struct Relays<B> {
    places: Slab<Place<B>>,
    /// Bounds of the connections that wake.
    limits: Limits,
    resting: usize,
}

impl<B: PacketBuf> Relays<B> {
    /// None yet, of at most `capacity`; those that wake go on within `limits`.
    pub(crate) fn with_capacity(capacity: usize, limits: Limits) -> Self {
        Self {
            places: Slab::with_capacity(capacity),
            limits,
            resting: 0,
        }
    }

    /// Takes a relay in; gives it back if there is no room.
    pub(crate) fn insert(&mut self, relay: Box<Relay<B>>) -> Result<Handle, Box<Relay<B>>> {
        let placed = self.places.insert(Place::Awake(relay));
        placed.map_err(|place| match place {
            Place::Awake(relay) => relay,
            Place::Resting(resting) => Box::new(resting.wake(self.limits)),
        })
    }

    /// The handle of whatever is at `index` now.
    pub(crate) fn at(&self, index: u32) -> Option<Handle> {
        self.places.at(index).map(|(handle, _)| handle)
    }

    /// Has the processor fetch the place at `index`.
    pub(crate) fn prefetch_place(&self, index: u32) {
        self.places.prefetch(index);
    }

    /// Has it fetch the relay there, once the place is.
    pub(crate) fn prefetch(&self, index: u32) {
        match self.places.at(index) {
            Some((_, Place::Awake(relay))) => prefetch(&**relay),
            Some((_, Place::Resting(resting))) => prefetch(&**resting),
            None => {},
        }
    }

    /// The legs of the relay there, if that is awake.
    pub(crate) fn legs_at(&self, index: u32) -> Option<[&Leg<B>; 2]> {
        match self.places.at(index)?.1 {
            Place::Awake(relay) => Some([&relay.client, &relay.server]),
            Place::Resting(_) => None,
        }
    }

    /// The handle of the relay at `index`, if segments of `key` are those of this leg and subflow of it.
    pub(crate) fn at_with(&self, index: u32, which: Which, key: &FlowKey) -> Option<Handle> {
        let (handle, place) = self.places.at(index)?;
        let has = match place {
            Place::Awake(relay) => relay.has(which, key),
            Place::Resting(resting) => resting.has(which, key),
        };
        has.then_some(handle)
    }

    /// The relay, if it is still there.
    pub(crate) fn get(&self, handle: Handle) -> Option<Seen<'_, B>> {
        self.places.get(handle).map(|place| self.seen(place))
    }

    fn seen<'a>(&self, place: &'a Place<B>) -> Seen<'a, B> {
        match place {
            Place::Awake(relay) => Seen::Awake(relay),
            Place::Resting(resting) => {
                let mut relay = resting.wake(self.limits);
                relay.paths = resting.paths().cloned().map(Box::new);
                Seen::Resting(Box::new(relay))
            },
        }
    }

    /// The relay to be changed, if it is still there: it wakes.
    pub(crate) fn get_mut(&mut self, handle: Handle) -> Option<&mut Relay<B>> {
        let place = self.places.get_mut(handle)?;
        if matches!(place, Place::Resting(_)) {
            place.wake(self.limits);
            self.resting -= 1;
        }
        match place {
            Place::Awake(relay) => Some(relay),
            Place::Resting(_) => None,
        }
    }

    fn leg_mut(&mut self, (handle, which): (Handle, Which)) -> Option<&mut Leg<B>> {
        match self.places.get_mut(handle)? {
            Place::Awake(relay) => Some(relay.leg(which)),
            Place::Resting(_) => None,
        }
    }

    /// Whether `segment` is of a TCP leg and [leads](Tcb::leads).
    pub(crate) fn leads(&mut self, leg: (Handle, Which), segment: &Segment<B>) -> bool {
        match self.leg_mut(leg) {
            Some(Leg::Plain(leg)) => leg.tcb.leads(segment),
            _ => false,
        }
    }

    /// Whether `segment` is of a Multipath TCP leg and [has led](Connection::has_led).
    pub(crate) fn has_led(&mut self, leg: (Handle, Which), segment: &Segment<B>) -> bool {
        match self.leg_mut(leg) {
            Some(Leg::Multipath(leg)) => leg.has_led(segment),
            _ => false,
        }
    }

    /// The relay at `place`, if there is one and it is awake; and the place after it, the first after the last.
    pub(crate) fn awake_at(&mut self, place: u32) -> (Option<&mut Relay<B>>, u32) {
        let is_last = place as usize + 1 >= self.places.places();
        let next = if is_last { 0 } else { place + 1 };
        let handle = self.at(place);
        let relay = match handle.and_then(|handle| self.places.get_mut(handle)) {
            Some(Place::Awake(relay)) => Some(&mut **relay),
            _ => None,
        };
        (relay, next)
    }

    /// Places of relays, taken or not.
    pub(crate) const fn places(&self) -> usize {
        self.places.places()
    }

    /// Puts a relay to rest; whether that could be, and it is at rest now.
    pub(crate) fn rest(&mut self, handle: Handle) -> bool {
        let Some(place) = self.places.get_mut(handle) else {
            return false;
        };
        let resting = match place {
            Place::Awake(relay) => relay.rest(),
            Place::Resting(_) => return true,
        };
        let Some(resting) = resting else {
            return false;
        };
        *place = Place::Resting(Box::new(resting));
        self.resting += 1;
        true
    }

    /// Takes the relay out.
    pub(crate) fn remove(&mut self, handle: Handle) -> Option<Box<Relay<B>>> {
        self.get_mut(handle)?;
        match self.places.remove(handle)? {
            Place::Awake(relay) => Some(relay),
            Place::Resting(_) => None,
        }
    }

    /// Whose it is, if that is known.
    pub(crate) fn subscriber(&self, handle: Handle) -> Option<Handle> {
        match self.places.get(handle)? {
            Place::Awake(relay) => relay.subscriber,
            Place::Resting(resting) => resting.subscriber(),
        }
    }

    /// Whether `key` is of one of its ends.
    pub(crate) fn has_end(&self, handle: Handle, key: &FlowKey) -> bool {
        let ends = self.places.get(handle).map(|place| match place {
            Place::Awake(relay) => relay.ends,
            Place::Resting(resting) => resting.ends(),
        });
        ends.is_some_and(|ends| ends.keys().contains(key))
    }

    /// Relays.
    pub(crate) const fn len(&self) -> usize {
        self.places.len()
    }

    /// Those of them that are at rest.
    pub(crate) const fn resting(&self) -> usize {
        self.resting
    }

    /// Every relay with its handle, in the order of their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle, Seen<'_, B>)> {
        let places = self.places.iter();
        places.map(|(handle, place)| (handle, self.seen(place)))
    }

    /// Every handle.
    pub(crate) fn handles(&self) -> impl Iterator<Item = Handle> {
        self.places.iter().map(|(handle, _)| handle)
    }
}
