//! Fragments through the translator.

use super::*;

#[test]
fn fragments_are_translated_in_any_order() {
    for order in [[0, 1], [1, 0]] {
        let mut sim = alone(config(Some(Inbound::Drop)));
        ask(&mut sim, H1, 1);
        let data: Vec<u8> = (0..=255).cycle().take(2_000).collect();
        let whole = udp(5_000, 53, &data, (H1, FAR));
        let parts = [(0x2000_u16, &whole[..1_200]), (150, &whole[1_200..])];
        let mut sent = Vec::new();
        for (field, part) in order.map(|n| parts[n]) {
            let mut frame = ip_frame([2; 6], MACS[LAN], (ip(H1), ip(FAR)), (0, 64), 17, part);
            frame[20..22].copy_from_slice(&field.to_be_bytes());
            frame[24..26].fill(0);
            let sum = checksum(&[&frame[14..34]]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
            sent.extend(put_frame(&mut sim, LAN, frame));
        }
        sent.sort_by_key(|(_, frame)| port_at(frame, 20) & 0x1fff);
        let parts: Vec<_> = sent
            .iter()
            .map(|(_, frame)| Ip::parse(frame).unwrap())
            .collect();
        assert!(parts.iter().all(|part| part.src == ip(PUBLIC)), "{order:?}");
        let joined: Vec<u8> = parts
            .iter()
            .flat_map(|part| part.payload.to_vec())
            .collect();
        assert_eq!(joined, udp(5_000, 53, &data, (PUBLIC, FAR)));
    }
}

#[test]
fn a_ping_in_fragments_is_answered_in_fragments() {
    let mut sim = alone(config(Some(Inbound::Drop)));
    ask(&mut sim, H1, 1);
    let data: Vec<u8> = (0..=255).cycle().take(3_000).collect();
    for (from, addrs, sent, got) in [
        (LAN, (H1, FAR), icmp(8, 0, 7, &data), (PUBLIC, FAR)),
        (WAN, (FAR, PUBLIC), icmp(0, 0, 7, &data), (FAR, H1)),
    ] {
        let mut heard = Vec::new();
        for (n, part) in sent.chunks(1_480).enumerate() {
            let more = if n < 2 { 0x2000 } else { 0 };
            let field = more | u16::try_from(n * 1_480 / 8).unwrap();
            let mut frame = ip_frame(
                [2; 6],
                MACS[from],
                (ip(addrs.0), ip(addrs.1)),
                (0, 64),
                1,
                part,
            );
            frame[20..22].copy_from_slice(&field.to_be_bytes());
            frame[24..26].fill(0);
            let sum = checksum(&[&frame[14..34]]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
            heard.extend(put_frame(&mut sim, from, frame));
        }
        let joined: Vec<u8> = heard
            .iter()
            .flat_map(|(_, frame)| {
                let part = Ip::parse(frame).unwrap();
                assert_eq!((part.src, part.dst), (ip(got.0), ip(got.1)));
                part.payload.to_vec()
            })
            .collect();
        assert_eq!(joined, sent, "the identifier is kept");
    }
}
