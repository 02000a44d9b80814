//! TIME-WAIT of a TCP connection or of a subflow: what is left once both ends of data are acknowledged, in few octets.

use crate::option::{Dss, MpOption, parse};
use crate::types::DataSeq;
use stack::tcp::time_wait::TimeWait as Tcp;
use stack::wire::tcp::{OutSegment, Segment};
use stack::{Cx, Instant, PacketBuf, SeqNum};

/// What is left of a TCP connection in TIME-WAIT, or of a subflow of a connection that has ended in both directions: it
/// answers what comes again, with the DATA_ACK of the peer's end of data.
#[derive(Clone, Debug)]
pub struct TimeWait {
    tcp: Tcp,
    /// The number after the peer's DATA_FIN, on a subflow.
    data_ack: Option<DataSeq>,
}

impl TimeWait {
    /// That of a TCP connection.
    pub(crate) const fn plain(tcp: Tcp) -> Self {
        Self {
            tcp,
            data_ack: None,
        }
    }

    /// That of a subflow; `data_ack` is `None` after a fallback.
    pub(crate) const fn subflow(tcp: Tcp, data_ack: Option<DataSeq>) -> Self {
        Self { tcp, data_ack }
    }

    /// When the tuple is free again.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.tcp.deadline()
    }

    /// The sequence number after all that we sent, as [`Tcp::used`].
    #[must_use]
    pub const fn used(&self) -> SeqNum {
        self.tcp.used()
    }

    /// Whether `seg` is a SYN that may take the tuple over, as [`Tcp::gives_way_to`].
    #[must_use]
    pub fn gives_way_to<B: PacketBuf>(&self, seg: &Segment<B>) -> bool {
        self.tcp.gives_way_to(seg)
    }

    /// Takes a segment of the old connection as [`Tcp::input`] does: what to answer. A DATA_FIN that comes again takes no
    /// sequence number of the subflow, and asks for its DATA_ACK nevertheless (RFC 8684 3.3.3).
    pub fn input<B: PacketBuf>(
        &mut self,
        cx: &mut Cx<'_>,
        seg: &Segment<B>,
    ) -> Option<OutSegment<B>> {
        let Some(data_ack) = self.data_ack else {
            return self.tcp.input(cx, seg);
        };
        let mut answer = self.tcp.input_asking(cx, seg, bears_data_fin(seg))?;
        answer.options.mptcp = MpOption::from(Dss {
            data_ack: Some(data_ack.full()),
            mapping: None,
        })
        .into();
        Some(answer)
    }
}

fn bears_data_fin<B: PacketBuf>(seg: &Segment<B>) -> bool {
    parse(&seg.options.mptcp).flatten().any(|option| {
        matches!(option, MpOption::Dss(Dss { mapping: Some(mapping), .. }) if mapping.data_fin)
    })
}
