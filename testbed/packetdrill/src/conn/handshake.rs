//! SYN and SYN+ACK at either end, until the stream is there.

use super::{Conn, Stage};
use crate::errno::Errno;
use crate::settings::Settings;
use crate::stream::{input, request_ack};
use crate::tools::Tools;
use dataplane::MemBuf;
use mptcp::Stream;
use mptcp::connection::{Connection, Limits, Params, SubflowId};
use mptcp::handshake::capable::{self, Answered, ThirdAck};
use mptcp::{Key, MpOption, Role, Versions};
use stack::Instant;
use stack::tcp::handshake::{AcceptVerdict, OpenVerdict};
use stack::tcp::{Agreed, Tcb};
use stack::wire::tcp::{OptBytes, Segment};

impl Conn {
    pub(super) fn input_opening(
        &mut self,
        tools: &mut Tools,
        now: Instant,
        segment: &Segment<MemBuf>,
    ) {
        let Stage::Opening(opening, key) = &mut self.stage else {
            return;
        };
        let limit = tools.segment_max(&self.tuple, &self.options);
        match opening.input(&mut tools.cx(now).stack(), segment) {
            OpenVerdict::Answered(answer) => {
                let smss = answer.smss(limit, segment.tuple.src.is_ipv6());
                let agreed = opening.agreed(smss);
                let key = *key;
                if let Some(agreed) = agreed {
                    self.open_initiator(tools, now, &agreed, key, segment);
                }
            },
            OpenVerdict::Refused => self.fail(Errno::ECONNREFUSED),
            OpenVerdict::Reset(reset) => self.send(tools, &reset, None),
            OpenVerdict::Crossed(offer) => {
                let smss = offer.smss(limit, segment.tuple.src.is_ipv6());
                let mut accepting = opening.crossed(segment, smss, now);
                let answer = accepting.syn_ack(now, OptBytes::new());
                self.stage = Stage::Accepting(accepting, None);
                self.send(tools, &answer, None);
            },
            OpenVerdict::Dropped => {},
        }
    }

    pub(super) fn open_initiator(
        &mut self,
        tools: &mut Tools,
        now: Instant,
        agreed: &Agreed,
        key: Option<Key>,
        segment: &Segment<MemBuf>,
    ) {
        let mut tcb = self.tcb(agreed, now);
        let terms = tools.terms(&self.settings);
        let version = self.versions.first();
        let multi =
            key.and_then(|key| capable::syn_ack(&segment.options.mptcp, version, key, terms).ok());
        let stream = match multi {
            Some(agreed) => {
                let params = Params {
                    version: agreed.version,
                    role: Role::Initiator,
                    local: agreed.local.derive(agreed.version),
                    remote_key: agreed.remote,
                    checksum: agreed.checksum,
                    peer_denies_initial_addr: agreed.deny_join_initial,
                    limits: self.limits(),
                };
                let connection = Connection::new(&mut tools.cx(now), &params, tcb, segment.tuple);
                Stream::Multipath(connection)
            },
            None => {
                tcb.request_ack();
                Stream::plain(tcb, self.tuple)
            },
        };
        self.stage = Stage::Open(stream);
    }

    pub(super) fn input_accepting(
        &mut self,
        tools: &mut Tools,
        now: Instant,
        segment: &Segment<MemBuf>,
    ) {
        let Stage::Accepting(accepting, capable) = &mut self.stage else {
            return;
        };
        match accepting.third_ack(&mut tools.cx(now).stack(), segment) {
            AcceptVerdict::Established(agreed) => {
                let capable = capable.map(|(answered, _)| answered);
                self.open_responder(tools, now, &agreed, capable, segment);
            },
            AcceptVerdict::Resend => {
                let upper = capable.map_or_else(OptBytes::new, |(_, upper)| upper);
                let answer = accepting.syn_ack(now, upper);
                self.send(tools, &answer, None);
            },
            AcceptVerdict::Answer(answer) => self.send(tools, &answer, None),
            AcceptVerdict::Reset => self.fail(Errno::ECONNREFUSED),
            AcceptVerdict::Dropped => {},
        }
    }

    pub(super) fn open_responder(
        &mut self,
        tools: &mut Tools,
        now: Instant,
        agreed: &Agreed,
        answered: Option<Answered>,
        segment: &Segment<MemBuf>,
    ) {
        let tcb = self.tcb(agreed, now);
        let third = answered.map(|answered| {
            (
                answered,
                capable::third_ack(&segment.options.mptcp, &answered),
            )
        });
        let mut stream = match third {
            Some((answered, ThirdAck::Established { remote, .. })) => {
                let params = Params {
                    version: answered.version,
                    role: Role::Responder,
                    local: answered.local.derive(answered.version),
                    remote_key: remote,
                    checksum: answered.checksum,
                    peer_denies_initial_addr: false,
                    limits: self.limits(),
                };
                let connection = Connection::new(&mut tools.cx(now), &params, tcb, segment.tuple);
                Stream::Multipath(connection)
            },
            Some((_, ThirdAck::TooEarly)) => return,
            Some((_, ThirdAck::Fallback(_))) | None => Stream::plain(tcb, self.tuple),
        };
        let taken = input(&mut stream, &mut tools.cx(now), SubflowId::INITIAL, segment);
        if taken && self.quickacks > 0 {
            self.quickacks -= 1;
            request_ack(&mut stream);
        }
        self.stage = Stage::Open(stream);
    }

    pub(super) fn tcb(&mut self, agreed: &Agreed, now: Instant) -> Tcb<MemBuf> {
        let scaled = agreed.rcv_wscale != 0 || agreed.snd_wscale != 0;
        let bits = [agreed.ts.is_some(), agreed.sack, scaled, agreed.ecn];
        self.agreed = (0..).zip(bits).map(|(at, set)| u8::from(set) << at).sum();
        (self.last_data_in, self.last_ack_in) = (now, now);
        let mut tcb = Tcb::new(agreed, now);
        tcb.set_congestion(self.settings.congestion);
        if self.options.keepalive {
            tcb.set_keepalive(now, self.options.keepidle);
        }
        tcb
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            send_buffer: self.options.sndbuf,
            // No more than the handshake offered, or a window update would follow it.
            recv_buffer: self.options.rcvbuf.min(u16::MAX.into()),
            ..Limits::default()
        }
    }
}

/// What the SYN+ACK of a connection carries, and what is to be known of it later.
pub(crate) fn answer_capable(
    tools: &mut Tools,
    settings: &Settings,
    versions: Versions,
    options: &[u8],
) -> Option<(Answered, OptBytes)> {
    let request = capable::request(options, versions).ok()?;
    let local = Key::draw(&mut tools.rng);
    let terms = tools.terms(settings);
    let answered = Answered {
        version: request.version,
        checksum: request.terms.checksum || terms.checksum,
        local,
        remote: request.key,
    };
    let capable = capable::answer(&request, local, terms);
    Some((answered, MpOption::from(capable).into()))
}
