//! MP_CAPABLE: who speaks which version, with which keys (RFC 8684 3.1, RFC 6824 3.1).

use crate::counters::Counter;
use crate::crypto::Key;
use crate::option::{Capable, CapableFlags, CapableForm, Malformed, MpOption, parse};
use crate::types::Version;

/// Which versions we are willing to speak, and which of them our own SYNs ask for first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versions {
    /// Version 1 alone.
    #[default]
    V1,
    /// Version 0 alone.
    V0,
    /// Both, asking for version 1 first.
    V1ThenV0,
    /// Both, asking for version 0 first.
    V0ThenV1,
}

impl Versions {
    /// The version that our first SYN asks for.
    #[must_use]
    pub const fn first(self) -> Version {
        match self {
            Self::V1 | Self::V1ThenV0 => Version::V1,
            Self::V0 | Self::V0ThenV1 => Version::V0,
        }
    }

    /// The version to ask for once the first one was not answered, if there is another.
    #[must_use]
    pub const fn second(self) -> Option<Version> {
        match self {
            Self::V1 | Self::V0 => None,
            Self::V1ThenV0 => Some(Version::V0),
            Self::V0ThenV1 => Some(Version::V1),
        }
    }

    /// Whether `version` is among them.
    #[must_use]
    pub fn has(self, version: Version) -> bool {
        self.first() == version || self.second() == Some(version)
    }
}

/// What we ask for in our own MP_CAPABLE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// A: have DSS checksums. They are used when either side asks.
    pub checksum: bool,
    /// C: the peer is not to join the address and port that this handshake runs on (version 1).
    pub deny_join_initial: bool,
}

/// A SYN's MP_CAPABLE that we can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapableRequest {
    /// The version to answer with: not above the one asked for.
    pub version: Version,
    /// What the initiator asked for.
    pub terms: Terms,
    /// The initiator's key: in version 0 the SYN has it.
    pub key: Option<Key>,
}

/// Why a segment counts as one without MP_CAPABLE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCapable {
    /// It has none.
    #[error("no MP_CAPABLE")]
    Absent,
    /// An option does not parse.
    #[error("malformed: {0}")]
    Malformed(Malformed),
    /// More than one MP_CAPABLE, or MP_JOIN beside it.
    #[error("contradicting options")]
    Contradiction,
    /// Flag B is set: the option must be ignored.
    #[error("flag B is set")]
    Extensibility,
    /// Flag H is not set: no algorithm that we know.
    #[error("flag H is not set")]
    Algorithm,
    /// A version that we do not speak, or above the one that was asked for.
    #[error("version {0}")]
    Version(u8),
    /// A form that this packet of this version does not have.
    #[error("a form that does not belong here")]
    Form,
    /// It does not repeat what was agreed on checksums.
    #[error("checksums contrary to what was agreed")]
    Terms,
    /// It does not repeat the key that was sent, or sends it back as the peer's own.
    #[error("not the key that was sent")]
    Key,
}

/// The MP_CAPABLE of a SYN, or why the flow is plain TCP.
///
/// # Errors
/// See [`NotCapable`].
pub fn request(options: &[u8], versions: Versions) -> Result<CapableRequest, NotCapable> {
    let capable = find(options)?;
    let version = match capable.version {
        0 => Version::V0,
        // A higher version may be answered with ours (RFC 8684 3.1), if its SYN is of the form that ours has. Version 0
        // is no answer to version 1, whose SYN brings no key.
        1.. => Version::V1,
    };
    if !versions.has(version) {
        return Err(NotCapable::Version(capable.version));
    }
    let key = match (version, capable.form) {
        (Version::V0, CapableForm::OneKey { sender }) => Some(sender),
        (Version::V1, CapableForm::Bare) => None,
        _ => return Err(NotCapable::Form),
    };
    Ok(CapableRequest {
        version,
        terms: terms(version, capable.flags),
        key,
    })
}

/// The MP_CAPABLE for the SYN+ACK: our key, and what we ask for. Checksums asked for by the initiator are confirmed.
#[must_use]
pub fn answer(request: &CapableRequest, key: Key, ours: Terms) -> Capable {
    Capable {
        version: request.version.wire(),
        flags: flags(
            request.version,
            Terms {
                checksum: ours.checksum || request.terms.checksum,
                ..ours
            },
        ),
        form: CapableForm::OneKey { sender: key },
    }
}

/// What the responder knows of a handshake that waits for its third ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The version answered with.
    pub version: Version,
    /// Whether either side asked for checksums.
    pub checksum: bool,
    /// Our key.
    pub local: Key,
    /// The initiator's key if the SYN had it (version 0).
    pub remote: Option<Key>,
}

/// What a segment that completes the TCP handshake means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThirdAck {
    /// The connection is MPTCP.
    Established {
        /// The initiator's key.
        remote: Key,
        /// The mapping of the first data, if this segment carries it.
        first_data: Option<FirstData>,
    },
    /// A later segment overtook the one with the initiator's key: drop it unacknowledged, the key comes again with the
    /// first data or with the answer to our next SYN+ACK.
    TooEarly,
    /// The connection is plain TCP from here on.
    Fallback(NotCapable),
}

impl ThirdAck {
    /// Under which name to count it; a segment that came too early decides nothing.
    #[must_use]
    pub const fn counter(&self) -> Option<Counter> {
        match self {
            Self::Established {
                first_data: None, ..
            } => Some(Counter::MpCapableAckRx),
            Self::Established {
                first_data: Some(_),
                ..
            } => Some(Counter::MpCapableDataRx),
            Self::TooEarly => None,
            Self::Fallback(NotCapable::Absent) => Some(Counter::FallbackAck),
            Self::Fallback(_) => Some(Counter::FallbackKey),
        }
    }
}

/// The mapping in MP_CAPABLE: data from the initial data sequence number plus 1, subflow sequence number 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstData {
    /// Octets.
    pub len: u16,
    /// The DSS checksum, if negotiated.
    pub checksum: Option<u16>,
}

/// What the third ACK, or a later segment when that one was lost, says (RFC 8684 3.1). The segment has passed TCP's
/// checks.
#[must_use]
pub fn third_ack(options: &[u8], answered: &Answered) -> ThirdAck {
    let capable = match find(options) {
        Ok(capable) => capable,
        Err(NotCapable::Absent) if !options.is_empty() => {
            // The path lets option 30 through, so this is no stripped third ACK but a segment that overtook it. In
            // version 0 the key is known since the SYN; in version 1 it comes again with the first data.
            return answered
                .remote
                .map_or(ThirdAck::TooEarly, |remote| ThirdAck::Established {
                    remote,
                    first_data: None,
                });
        },
        Err(reason) => return ThirdAck::Fallback(reason),
    };
    match confirmed(&capable, answered) {
        Ok((remote, first_data)) => ThirdAck::Established { remote, first_data },
        Err(reason) => ThirdAck::Fallback(reason),
    }
}

/// The initiator's key, and the first data if it is there, from an MP_CAPABLE that repeats all that was agreed.
fn confirmed(
    capable: &Capable,
    answered: &Answered,
) -> Result<(Key, Option<FirstData>), NotCapable> {
    if capable.version != answered.version.wire() {
        return Err(NotCapable::Version(capable.version));
    }
    // Flag A confirms the decision on checksums (RFC 8684 3.1).
    if capable.flags.has(CapableFlags::CHECKSUM) != answered.checksum {
        return Err(NotCapable::Terms);
    }
    let (sender, receiver, first_data) = match (answered.version, capable.form) {
        (_, CapableForm::TwoKeys { sender, receiver }) => (sender, receiver, None),
        (
            Version::V1,
            CapableForm::Data {
                sender,
                receiver,
                len: len @ 1..,
                checksum,
            },
        ) => {
            if checksum.is_some() != answered.checksum {
                return Err(NotCapable::Terms);
            }
            (sender, receiver, Some(FirstData { len, checksum }))
        },
        _ => return Err(NotCapable::Form),
    };
    if receiver != answered.local || answered.remote.is_some_and(|known| known != sender) {
        return Err(NotCapable::Key);
    }
    Ok((sender, first_data))
}

/// The MP_CAPABLE of our SYN.
#[must_use]
pub fn syn(version: Version, key: Key, ours: Terms) -> Capable {
    Capable {
        version: version.wire(),
        flags: flags(version, ours),
        form: match version {
            Version::V0 => CapableForm::OneKey { sender: key },
            Version::V1 => CapableForm::Bare,
        },
    }
}

/// What the initiator learned from the SYN+ACK: the connection is MPTCP unless its own MP_CAPABLE gets lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The version of the connection.
    pub version: Version,
    /// Whether either side asked for checksums.
    pub checksum: bool,
    /// C: the peer's initial address and port take no joins.
    pub deny_join_initial: bool,
    /// Our key.
    pub local: Key,
    /// The responder's key.
    pub remote: Key,
}

/// What the SYN+ACK says to an initiator whose SYN asked for `asked` in `version`.
///
/// # Errors
/// The connection is plain TCP; see [`NotCapable`].
pub fn syn_ack(
    options: &[u8],
    version: Version,
    local: Key,
    asked: Terms,
) -> Result<Agreed, NotCapable> {
    let capable = find(options)?;
    // A lower version than the SYN's would need a SYN of another form: there is none to agree on but the one asked
    // for.
    if capable.version != version.wire() {
        return Err(NotCapable::Version(capable.version));
    }
    let CapableForm::OneKey { sender: remote } = capable.form else {
        return Err(NotCapable::Form);
    };
    // Some hosts send back whatever option a SYN had: in version 0 that looks like an answer with our own key.
    if remote == local {
        return Err(NotCapable::Key);
    }
    let theirs = terms(version, capable.flags);
    Ok(Agreed {
        version,
        checksum: asked.checksum || theirs.checksum,
        deny_join_initial: theirs.deny_join_initial,
        local,
        remote,
    })
}

impl Agreed {
    /// The MP_CAPABLE of the third ACK, and in version 0 of every segment until a DATA_ACK came.
    #[must_use]
    pub fn third_ack(&self) -> Capable {
        self.capable(CapableForm::TwoKeys {
            sender: self.local,
            receiver: self.remote,
        })
    }

    /// The MP_CAPABLE that stands for a DSS on the first data of version 1 (RFC 8684 3.1).
    #[must_use]
    pub fn first_data(&self, data: FirstData) -> Capable {
        self.capable(CapableForm::Data {
            sender: self.local,
            receiver: self.remote,
            len: data.len,
            checksum: data.checksum,
        })
    }

    fn capable(&self, form: CapableForm) -> Capable {
        Capable {
            version: self.version.wire(),
            flags: flags(
                self.version,
                Terms {
                    checksum: self.checksum,
                    deny_join_initial: false,
                },
            ),
            form,
        }
    }
}

fn flags(version: Version, terms: Terms) -> CapableFlags {
    let mut flags = CapableFlags::HMAC;
    if terms.checksum {
        flags = flags.with(CapableFlags::CHECKSUM);
    }
    if terms.deny_join_initial && version == Version::V1 {
        flags = flags.with(CapableFlags::DENY_JOIN_INITIAL);
    }
    flags
}

fn terms(version: Version, flags: CapableFlags) -> Terms {
    Terms {
        checksum: flags.has(CapableFlags::CHECKSUM),
        deny_join_initial: version == Version::V1 && flags.has(CapableFlags::DENY_JOIN_INITIAL),
    }
}

/// The one MP_CAPABLE of a segment, its flags checked.
fn find(options: &[u8]) -> Result<Capable, NotCapable> {
    let mut found = None;
    for option in parse(options) {
        match option.map_err(NotCapable::Malformed)? {
            MpOption::Capable(capable) if found.is_none() => found = Some(capable),
            MpOption::Capable(_) | MpOption::Join(_) => return Err(NotCapable::Contradiction),
            _ => {},
        }
    }
    let capable: Capable = found.ok_or(NotCapable::Absent)?;
    if capable.flags.has(CapableFlags::EXTENSIBILITY) {
        return Err(NotCapable::Extensibility);
    }
    if !capable.flags.has(CapableFlags::HMAC) {
        return Err(NotCapable::Algorithm);
    }
    Ok(capable)
}

#[cfg(test)]
mod tests;
