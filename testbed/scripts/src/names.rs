//! What stands for keys and random numbers: given at the top of a script, or learned where the box shows them first.

use crate::hash;
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    keys: BTreeMap<String, u64>,
    nonces: BTreeMap<String, u32>,
}

impl Names {
    pub(crate) fn new(keys: &[(String, u64)], nonces: &[(String, u32)]) -> Self {
        Self {
            keys: keys.iter().cloned().collect(),
            nonces: nonces.iter().cloned().collect(),
        }
    }

    /// The key `name` is `key`, unless it is known already.
    pub(crate) fn learn_key(&mut self, name: &str, key: u64) {
        self.keys.entry(name.to_owned()).or_insert(key);
    }

    /// The random number `name` is `nonce`, unless it is known already.
    pub(crate) fn learn_nonce(&mut self, name: &str, nonce: u32) {
        self.nonces.entry(name.to_owned()).or_insert(nonce);
    }

    pub(crate) fn key(&self, name: &str) -> Result<u64, String> {
        self.keys
            .get(name)
            .copied()
            .ok_or_else(|| unknown("key", name))
    }

    pub(crate) fn nonce(&self, name: &str) -> Result<u32, String> {
        let known = self.nonces.get(name).copied();
        known.ok_or_else(|| unknown("random number", name))
    }

    /// Where the data of who drew the key `name` begins.
    pub(crate) fn idsn(&self, version: u8, name: &str) -> Result<u64, String> {
        self.key(name).map(|key| hash::idsn(version, key))
    }

    /// The HMAC of MP_JOIN, from two keys and two random numbers by name.
    pub(crate) fn join_hmac(&self, version: u8, names: &[String; 4]) -> Result<Vec<u8>, String> {
        let [own, other, first, second] = names;
        let keys = [self.key(own)?, self.key(other)?];
        let nonces = [self.nonce(first)?, self.nonce(second)?];
        Ok(hash::join(version, keys, nonces))
    }
}

fn unknown(what: &str, name: &str) -> String {
    format!("the {what} {name} is not known: no line above gives it, and the box has not shown it")
}
