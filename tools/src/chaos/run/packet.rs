//! IPv4 packets as the switch sees them: where from, where to, and the resets that end their connections.

/// An IPv4 header without options, and a TCP header without them.
const IP_HEADER: usize = 20;
const TCP_HEADER: usize = 20;
const PROTOCOL_TCP: u8 = 6;
const FLAG_FIN: u8 = 0x01;
const FLAG_SYN: u8 = 0x02;
const FLAG_RST: u8 = 0x04;
const FLAG_ACK: u8 = 0x10;

/// The last bytes of source and destination: hosts of one /24. None if it is no IPv4 packet.
pub(super) fn hosts(packet: &[u8]) -> Option<(u8, u8)> {
    let is_v4 = packet.len() >= IP_HEADER && packet[0] >> 4 == 4;
    is_v4.then(|| (packet[15], packet[19]))
}

/// Two resets for the connection that a TCP packet belongs to: one for its receiver, in the name of its sender, and one back.
pub(super) fn resets(packet: &[u8]) -> Option<[Vec<u8>; 2]> {
    hosts(packet)?;
    let header = usize::from(packet[0] & 0x0f) * 4;
    let tcp = packet.get(header..)?;
    if header < IP_HEADER || packet[9] != PROTOCOL_TCP || tcp.len() < TCP_HEADER || tcp[13] & FLAG_RST != 0 {
        return None;
    }
    let number = |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
    let (sequence, acknowledged) = (number(4), number(8));
    let data = tcp.len().saturating_sub(usize::from(tcp[12] >> 4) * 4);
    let flags = tcp[13];
    let length = u32::try_from(data).ok()? + u32::from(flags & (FLAG_SYN | FLAG_FIN) != 0);
    let (source, destination) = (&packet[12..16], &packet[16..20]);
    let (from, to) = (&tcp[0..2], &tcp[2..4]);
    let onward = reset([source, destination], [from, to], sequence, acknowledged);
    let back = reset([destination, source], [to, from], acknowledged, sequence.wrapping_add(length));
    Some([onward, back])
}

fn reset(addresses: [&[u8]; 2], ports: [&[u8]; 2], sequence: u32, acknowledged: u32) -> Vec<u8> {
    let mut packet = Vec::with_capacity(IP_HEADER + TCP_HEADER);
    packet.extend([0x45, 0, 0, (IP_HEADER + TCP_HEADER) as u8, 0, 0, 0x40, 0, 64, PROTOCOL_TCP, 0, 0]);
    addresses.iter().for_each(|address| packet.extend_from_slice(address));
    let sum = checksum(&packet, 0).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    ports.iter().for_each(|port| packet.extend_from_slice(port));
    packet.extend(sequence.to_be_bytes());
    packet.extend(acknowledged.to_be_bytes());
    packet.extend([(TCP_HEADER as u8 / 4) << 4, FLAG_RST | FLAG_ACK, 0, 0, 0, 0, 0, 0]);
    let pseudo = u32::from(PROTOCOL_TCP) + TCP_HEADER as u32 + words(&packet[12..IP_HEADER]);
    let sum = checksum(&packet[IP_HEADER..], pseudo).to_be_bytes();
    packet[IP_HEADER + 16..IP_HEADER + 18].copy_from_slice(&sum);
    packet
}

fn words(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low))).sum()
}

/// RFC 1071's sum, with what was summed already.
fn checksum(bytes: &[u8], before: u32) -> u16 {
    let mut sum = words(bytes) + before;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    /// A segment of 10 bytes from 10.77.0.1:1000 to 10.77.0.2:9092, sequence 500, acknowledging 900.
    fn segment() -> Vec<u8> {
        let mut packet = reset([&[10, 77, 0, 1], &[10, 77, 0, 2]], [&[3, 0xe8], &[0x23, 0x84]], 500, 900);
        packet[IP_HEADER + 13] = FLAG_ACK;
        packet.extend([0; 10]);
        packet
    }

    #[test]
    fn both_ends_are_reset_at_the_very_byte_that_they_expect() {
        assert_eq!(hosts(&segment()), Some((1, 2)));
        let [onward, back] = resets(&segment()).unwrap();
        let number = |packet: &[u8], at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
        assert_eq!((hosts(&onward), hosts(&back)), (Some((1, 2)), Some((2, 1))));
        assert_eq!((number(&onward, 24), number(&back, 24)), (500, 900));
        assert_eq!(number(&back, 28), 510);
        assert!(resets(&onward).is_none(), "a reset is not answered with resets");
    }

    #[test]
    fn checksums_of_what_is_made_are_right() {
        let [packet, _] = resets(&segment()).unwrap();
        assert_eq!(checksum(&packet[..IP_HEADER], 0), 0);
        let pseudo = u32::from(PROTOCOL_TCP) + TCP_HEADER as u32 + words(&packet[12..IP_HEADER]);
        assert_eq!(checksum(&packet[IP_HEADER..], pseudo), 0);
    }

    #[test]
    fn what_is_no_packet_is_left_alone() {
        assert_eq!(hosts(&[0x60; 40]), None);
        assert_eq!(hosts(&[0x45; 10]), None);
        let mut short = segment();
        short.truncate(IP_HEADER + 10);
        assert!(resets(&short).is_none());
    }
}
