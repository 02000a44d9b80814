//! MP_JOIN: a further subflow proves that it knows both keys (RFC 8684 3.2).

use crate::crypto::{JoinHmac, Key, Keyed, same};
use crate::option::{Join, Malformed, MpOption, parse};
use crate::types::{AddrId, Token, Version};

/// The two keys of a connection as its owner has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Selects the hash.
    pub version: Version,
    /// Ours.
    pub local: Key,
    /// The peer's.
    pub remote: Key,
}

/// An MP_JOIN SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// Names our connection.
    pub token: Token,
    /// The peer's random number.
    pub nonce: u32,
    /// The peer's id of the address that it joins from.
    pub id: AddrId,
    /// B: the peer wants data here only when no other subflow is available.
    pub backup: bool,
}

/// Why a segment is not the MP_JOIN that was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotJoin {
    /// It has none.
    #[error("no MP_JOIN")]
    Absent,
    /// It has one that does not parse.
    #[error("malformed: {0}")]
    Malformed(Malformed),
    /// An MP_JOIN of another packet of the handshake, more than one, or MP_CAPABLE beside it.
    #[error("contradicting options")]
    Contradiction,
    /// The HMAC is not the one that knows both keys.
    #[error("wrong HMAC")]
    Hmac,
}

/// The MP_JOIN of a SYN.
///
/// # Errors
/// See [`NotJoin`].
pub fn request(options: &[u8]) -> Result<JoinRequest, NotJoin> {
    match find(options)? {
        Join::Syn {
            backup,
            id,
            token,
            nonce,
        } => Ok(JoinRequest {
            token,
            nonce,
            id,
            backup,
        }),
        Join::SynAck { .. } | Join::Ack { .. } => Err(NotJoin::Contradiction),
    }
}

/// A join that waits for its third ACK: small, since an attacker who saw a token can make many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joining {
    /// The peer's random number.
    pub remote_nonce: u32,
    /// Ours.
    pub local_nonce: u32,
    /// The peer's id of the address that it joins from.
    pub remote_id: AddrId,
    /// B as the peer set it.
    pub backup: bool,
}

const _: () = assert!(size_of::<Joining>() <= 16, "half-open joins stay small");

impl Joining {
    /// Accepts `request` with our random number `nonce`.
    #[must_use]
    pub const fn new(request: &JoinRequest, nonce: u32) -> Self {
        Self {
            remote_nonce: request.nonce,
            local_nonce: nonce,
            remote_id: request.id,
            backup: request.backup,
        }
    }

    /// The MP_JOIN for the SYN+ACK, from our address `id`. `backup` is what we ask for, not an echo of the peer's.
    #[must_use]
    pub fn syn_ack(&self, keys: &Keys, id: AddrId, backup: bool) -> Join {
        let (ours, theirs) = (self.local_nonce, self.remote_nonce);
        let hmac = JoinHmac::compute(keys.version, &keys.local, &keys.remote, ours, theirs);
        self.proven(&hmac, id, backup)
    }

    /// The same in version 1, under `keyed` of ours.
    #[must_use]
    pub fn syn_ack_under(&self, keyed: &Keyed, id: AddrId, backup: bool) -> Join {
        let hmac = JoinHmac::under(keyed, self.local_nonce, self.remote_nonce);
        self.proven(&hmac, id, backup)
    }

    const fn proven(&self, hmac: &JoinHmac, id: AddrId, backup: bool) -> Join {
        Join::SynAck {
            backup,
            id,
            hmac: hmac.truncated(),
            nonce: self.local_nonce,
        }
    }

    /// Whether the third ACK proves that the peer knows both keys.
    ///
    /// # Errors
    /// See [`NotJoin`]; on [`NotJoin::Hmac`] and [`NotJoin::Contradiction`] the subflow is to be reset.
    pub fn third_ack(&self, keys: &Keys, options: &[u8]) -> Result<(), NotJoin> {
        let Join::Ack { hmac } = find(options)? else {
            return Err(NotJoin::Contradiction);
        };
        let expected = JoinHmac::compute(
            keys.version,
            &keys.remote,
            &keys.local,
            self.remote_nonce,
            self.local_nonce,
        );
        if hmac == expected {
            Ok(())
        } else {
            Err(NotJoin::Hmac)
        }
    }
}

/// The MP_JOIN of our own SYN, from our address `id`.
#[must_use]
pub fn syn(keys: &Keys, nonce: u32, id: AddrId, backup: bool) -> Join {
    Join::Syn {
        backup,
        id,
        token: keys.remote.token(keys.version),
        nonce,
    }
}

/// A SYN+ACK whose HMAC is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The MP_JOIN for our third ACK.
    pub ack: Join,
    /// The peer's id of the address that we joined.
    pub remote_id: AddrId,
    /// B as the peer set it.
    pub backup: bool,
}

/// What the SYN+ACK says to the host that sent the MP_JOIN SYN with `nonce`.
///
/// # Errors
/// See [`NotJoin`]; the subflow is to be reset.
pub fn syn_ack(options: &[u8], keys: &Keys, nonce: u32) -> Result<Joined, NotJoin> {
    let Join::SynAck {
        backup,
        id,
        hmac,
        nonce: remote_nonce,
    } = find(options)?
    else {
        return Err(NotJoin::Contradiction);
    };
    let expected = JoinHmac::compute(keys.version, &keys.remote, &keys.local, remote_nonce, nonce);
    if !same(&expected.truncated(), &hmac) {
        return Err(NotJoin::Hmac);
    }
    Ok(Joined {
        ack: Join::Ack {
            hmac: JoinHmac::compute(keys.version, &keys.local, &keys.remote, nonce, remote_nonce),
        },
        remote_id: id,
        backup,
    })
}

/// The one MP_JOIN of a segment.
fn find(options: &[u8]) -> Result<Join, NotJoin> {
    let mut found = None;
    for option in parse(options) {
        match option.map_err(NotJoin::Malformed)? {
            MpOption::Join(join) if found.is_none() => found = Some(join),
            MpOption::Join(_) | MpOption::Capable(_) => return Err(NotJoin::Contradiction),
            _ => {},
        }
    }
    found.ok_or(NotJoin::Absent)
}

#[cfg(test)]
mod tests;
