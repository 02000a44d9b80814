//! What a script says, line by line.

use stack::time::Duration;
use std::net::{IpAddr, SocketAddr};

/// A whole script.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    /// Which box stands between the hosts, and how it is set.
    pub(crate) settings: Settings,
    /// The ends of connections that the script plays.
    pub(crate) flows: Vec<Flow>,
    /// Keys that are given names, and what they are.
    pub(crate) keys: Vec<(String, u64)>,
    /// The same of random numbers.
    pub(crate) nonces: Vec<(String, u32)>,
    /// What happens, in order.
    pub(crate) lines: Vec<Line>,
}

/// The box.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// Whether it is the one at the customer's edge.
    pub(crate) edge: bool,
    /// Version of Multipath TCP whose hash makes tokens, HMACs and initial data sequence numbers.
    pub(crate) version: u8,
    /// Whether the box asks for DSS checksums.
    pub(crate) checksum: bool,
    /// Whether the box at the edge joins the address that it is configured with.
    pub(crate) join: bool,
    /// Whether the box bonds plain connections from the Internet.
    pub(crate) inbound: bool,
    /// How far from its time a segment may come.
    pub(crate) tolerance: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            edge: false,
            version: 1,
            checksum: false,
            join: true,
            inbound: false,
            tolerance: Duration::from_millis(1),
        }
    }
}

/// One end of a connection, played by the script.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Flow {
    /// What lines call it.
    pub(crate) name: String,
    /// Its address and port.
    pub(crate) own: SocketAddr,
    /// Those of the other end; port 0 stands for the one that the first segment from the box comes from.
    pub(crate) other: SocketAddr,
    /// The box's port that it hangs on.
    pub(crate) at: String,
    /// Its initial sequence number.
    pub(crate) isn: u32,
    /// The initial sequence number that it must see the other end use, if that is known beforehand.
    pub(crate) sees: Option<u32>,
    /// Names of the keys of its own and of the box's, where it is a subflow.
    pub(crate) keys: Option<[String; 2]>,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    /// Where it stands, from 1.
    pub(crate) number: usize,
    /// As it is written.
    pub(crate) text: String,
    /// When.
    pub(crate) at: When,
    /// What.
    pub(crate) event: Event,
}

/// A moment, or for what is expected the first and the last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct When {
    /// Whether it counts from the line before; else from the start.
    pub(crate) relative: bool,
    /// The earliest.
    pub(crate) first: Duration,
    /// The latest.
    pub(crate) last: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// The flow of this index sends.
    Sends(usize, Packet),
    /// The flow of this index gets, as its next.
    Gets(usize, Packet),
    /// A counter of the box has this value.
    Counts(String, u64),
    /// The box holds nothing of any flow.
    Empty,
    /// The script goes on to this moment, and nothing comes that is not written.
    End,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Packet {
    Segment(Segment),
    Icmp(Icmp),
}

/// A TCP segment. Numbers count from the initial ones of their direction.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Segment {
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    /// Octets of payload.
    pub(crate) len: u32,
    pub(crate) ack: Option<u32>,
    /// The window field, not scaled.
    pub(crate) wnd: Option<u16>,
    pub(crate) urgent: Option<u16>,
    /// What the options are; of a segment that is expected and says nothing of them, they are not looked at.
    pub(crate) options: Option<Options>,
    /// The first octet of payload is not the one that belongs there.
    pub(crate) damaged: bool,
}

/// The options of a segment, in any order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Options {
    pub(crate) list: Vec<Opt>,
    /// Whether there may be others.
    pub(crate) others: bool,
}

/// A value, or whichever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Num {
    Is(u32),
    Any,
}

/// Whether there is a DSS checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sum {
    #[default]
    Absent,
    Right,
    Wrong,
}

/// A data sequence number, from the initial one of its direction, and whether only its lower half is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) at: i64,
    pub(crate) short: bool,
}

/// A mapping in a DSS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Map {
    pub(crate) dsn: Place,
    pub(crate) ssn: u32,
    pub(crate) len: u16,
    pub(crate) sum: Sum,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Opt {
    Mss(u16),
    SackOk,
    WScale(u8),
    /// Value and echo; `*` for the echo of a segment that is sent is the value that came last.
    Ts(Num, Num),
    /// Blocks of what the receiver of the option sent.
    Sack(Vec<(u32, u32)>),
    Capable {
        version: u8,
        flags: u8,
        keys: Vec<String>,
        data: Option<(u16, Sum)>,
    },
    JoinSyn {
        backup: bool,
        id: Num,
        token: String,
        nonce: String,
    },
    JoinSynAck {
        backup: bool,
        id: Num,
        hmac: [String; 4],
        nonce: String,
    },
    JoinAck([String; 4]),
    Dss {
        ack: Option<Place>,
        map: Option<Map>,
        fin: bool,
    },
    AddAddr {
        id: Num,
        addr: IpAddr,
        port: Option<u16>,
        echo: bool,
        forged: bool,
    },
    RemoveAddr(Vec<u8>),
    Prio {
        backup: bool,
        id: Option<u8>,
    },
    /// The number is one of the other direction.
    Fail(i64),
    Fastclose(String),
    TcpRst {
        transient: bool,
        reason: Num,
    },
    Raw(Vec<u8>),
}

/// An ICMP error about the last segment that the box sent to the flow, or that the flow sent to the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Icmp {
    pub(crate) kind: u8,
    pub(crate) code: u8,
    /// What a router says that the next link takes.
    pub(crate) mtu: u16,
}
