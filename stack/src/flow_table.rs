//! The flow table: from the side and tuple of a received segment to what its flow is.

use crate::flow::{FlowKey, Side};
use core::net::IpAddr;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rapidhash::v3::{RapidSecrets, rapidhash_v3_nano_inline};

/// The table holds as many flows as it was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the flow table is full")]
pub struct Full;

/// At most a fixed number of flows, hashed under a secret so that nobody outside can choose collisions.
pub struct FlowTable<V> {
    table: HashTable<(FlowKey, V)>,
    secrets: RapidSecrets,
    capacity: usize,
}

impl<V: Copy> FlowTable<V> {
    /// An empty table for at most `capacity` flows; `seed` is the secret. All memory is taken now.
    #[must_use]
    pub fn new(capacity: usize, seed: u64) -> Self {
        Self {
            table: HashTable::with_capacity(capacity),
            secrets: RapidSecrets::seed(seed),
            capacity,
        }
    }

    /// Enters `value` under `key`, in place of what was there. `Err` if the key is new and the table full.
    pub fn insert(&mut self, key: FlowKey, value: V) -> Result<(), Full> {
        let full = self.table.len() >= self.capacity;
        let hash = hash(&key, &self.secrets);
        let secrets = &self.secrets;
        let slot = self.table.entry(
            hash,
            |(other, _)| *other == key,
            |(other, _)| self::hash(other, secrets),
        );
        match slot {
            Entry::Occupied(mut entry) => entry.get_mut().1 = value,
            Entry::Vacant(_) if full => return Err(Full),
            Entry::Vacant(entry) => {
                entry.insert((key, value));
            },
        }
        Ok(())
    }

    /// What is entered under `key`.
    #[must_use]
    pub fn get(&self, key: &FlowKey) -> Option<V> {
        let hash = hash(key, &self.secrets);
        self.table
            .find(hash, |(other, _)| other == key)
            .map(|&(_, value)| value)
    }

    /// Takes out what is entered under `key`.
    pub fn remove(&mut self, key: &FlowKey) -> Option<V> {
        let hash = hash(key, &self.secrets);
        let entry = self
            .table
            .find_entry(hash, |(other, _)| other == key)
            .ok()?;
        let ((_, value), _) = entry.remove();
        Some(value)
    }

    /// Takes out everything; the memory stays.
    pub fn clear(&mut self) {
        self.table.clear();
    }

    /// Flows in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no flow is in the table.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

impl<V> core::fmt::Debug for FlowTable<V> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "FlowTable({} of {})", self.table.len(), self.capacity)
    }
}

pub(crate) fn hash(key: &FlowKey, secrets: &RapidSecrets) -> u64 {
    let mut bytes = [0; 37];
    let tuple = &key.tuple;
    bytes[0..2].copy_from_slice(&tuple.src_port.to_be_bytes());
    bytes[2..4].copy_from_slice(&tuple.dst_port.to_be_bytes());
    bytes[4] = match key.side {
        Side::Access => 0,
        Side::Core => 1,
    };
    let len = match (tuple.src, tuple.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            bytes[5..9].copy_from_slice(&src.octets());
            bytes[9..13].copy_from_slice(&dst.octets());
            13
        },
        (src, dst) => {
            bytes[5..21].copy_from_slice(&octets16(src));
            bytes[21..37].copy_from_slice(&octets16(dst));
            37
        },
    };
    rapidhash_v3_nano_inline::<true, false>(&bytes[..len], secrets)
}

const fn octets16(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::{FlowTable, Full};
    use crate::flow::{FlowKey, Side, Tuple};
    use core::net::IpAddr;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Few enough keys that operations meet; they differ in each field alone.
    fn key(n: u8) -> FlowKey {
        let addr = |v6: bool, low: u8| -> IpAddr {
            if v6 {
                [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, low].into()
            } else {
                [10, 0, 0, low].into()
            }
        };
        let v6 = n & 1 != 0;
        FlowKey {
            side: if n & 2 == 0 { Side::Access } else { Side::Core },
            tuple: Tuple {
                src: addr(v6, n >> 2 & 1),
                dst: addr(v6, n >> 3 & 1),
                src_port: u16::from(n >> 4 & 1),
                dst_port: u16::from(n >> 5 & 1),
            },
        }
    }

    #[test]
    fn a_full_table_still_replaces() {
        let mut table = FlowTable::new(1, 7);
        assert_eq!(table.insert(key(0), 1), Ok(()));
        assert_eq!(table.insert(key(2), 2), Err(Full));
        assert_eq!(table.insert(key(0), 3), Ok(()));
        assert_eq!(table.get(&key(0)), Some(3));
        assert_eq!(table.get(&key(2)), None);
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(seed: u64, ops in prop::collection::vec((0..3u8, 0..64u8, any::<u16>()), 0..300)) {
            let mut table = FlowTable::new(40, seed);
            let mut model = BTreeMap::new();
            for (op, n, value) in ops {
                match op {
                    0 => {
                        let fits = model.len() < 40 || model.contains_key(&n);
                        prop_assert_eq!(table.insert(key(n), value).is_ok(), fits);
                        if fits {
                            model.insert(n, value);
                        }
                    },
                    1 => prop_assert_eq!(table.remove(&key(n)), model.remove(&n)),
                    _ => prop_assert_eq!(table.get(&key(n)), model.get(&n).copied()),
                }
                prop_assert_eq!(table.len(), model.len());
            }
        }
    }
}
