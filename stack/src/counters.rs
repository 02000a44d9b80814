//! The counters of this crate: every drop, reset and event of IP and TCP under a name.

crate::counters! {
    /// What the IP and TCP layers count. `drop_*` rows are packets that went nowhere.
    pub enum Counter {
        DropMalformed "drop_malformed" "Frames whose Ethernet, IP or TCP header or options do not parse.",
        DropChecksum "drop_checksum" "Packets with a wrong IP, TCP or ICMP checksum.",
        DropTtl "drop_ttl" "Transit packets whose TTL or hop limit ran out (an ICMP error may have been sent).",
        DropNoRoute "drop_no_route" "Packets without a route to their destination.",
        DropNeighbor "drop_neighbor" "Packets whose next hop did not answer ARP or NDP, or did not fit while it was asked.",
        DropTooBig "drop_too_big" "Transit packets larger than the outgoing port's MTU that may not be fragmented.",
        DropNotOurs "drop_not_ours" "Frames addressed to another station, or to a protocol that we do not speak.",
        DropGroup "drop_group" "Packets to a multicast or broadcast address, which are neither served nor routed.",
        DropLocal "drop_local" "Packets to one of our own addresses in a protocol that we do not serve, or as a fragment.",
        DropMartian "drop_martian" "Packets with a source address that no host may use.",
        DropScope "drop_scope" "Packets from or to a link-local address that would have left their link.",
        Fragmented "fragmented" "Transit IPv4 packets that were sent on in fragments.",
        NeighborConflict "neighbor_conflict" "ARP or NDP messages in which somebody else claims one of our addresses.",
        IcmpSent "icmp_sent" "ICMP and ICMPv6 errors and answers sent.",
        IcmpLimited "icmp_limited" "ICMP errors withheld by the rate limit.",
        Forwarded "forwarded" "Packets routed through untouched except TTL and MAC addresses.",
        TcpDropPaws "tcp_drop_paws" "Segments with a timestamp older than the last one seen (RFC 7323 5.3).",
        TcpDropWindow "tcp_drop_window" "Segments outside the receive window (RFC 9293 3.10.7.4).",
        TcpDropAck "tcp_drop_ack" "Segments whose acknowledgment is not acceptable (RFC 5961 5.2).",
        TcpDropNoFlow "tcp_drop_no_flow" "Segments to one of our own addresses that belong to no connection.",
        TcpChallengeAck "tcp_challenge_ack" "Challenge ACKs sent (RFC 5961).",
        TcpChallengeAckLimited "tcp_challenge_ack_limited" "Challenge ACKs withheld by the rate limit (RFC 5961 7).",
        TcpResetReceived "tcp_reset_received" "Valid resets received.",
        TcpResetSent "tcp_reset_sent" "Resets sent.",
        TcpRetransmitted "tcp_retransmitted" "Segments sent again, whatever the cause.",
        TcpFastRecovery "tcp_fast_recovery" "Times that loss recovery began by SACK or duplicate ACKs (RFC 6675).",
        TcpRto "tcp_rto" "Retransmission timeouts (RFC 6298).",
        TcpZeroWindowProbe "tcp_zero_window_probe" "Zero-window probes sent (RFC 9293 3.8.6.1).",
        TcpOutOfOrder "tcp_out_of_order" "Data segments that arrived beyond a gap.",
        TcpDuplicate "tcp_duplicate" "Data segments of which nothing was new.",
        TcpReassemblyFull "tcp_reassembly_full" "Out-of-order segments dropped because the connection holds its limit.",
        TcpTimedOut "tcp_timed_out" "Connections given up after too many retransmissions or probes.",
    }
}
