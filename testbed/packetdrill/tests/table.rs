//! The table by its C interface, as packetdrill uses it, without packetdrill: this end sends and reads the packets.

use braid_packetdrill::ffi::{Interface, getsockopt, packetdrill_interface_init};
use dataplane::MemBuf;
use mptcp::handshake::capable::{self, Terms};
use mptcp::{Key, MpOption, Version};
use stack::checksum::Sum;
use stack::wire::tcp::{Flags, Options, OutSegment, Segment, emit, parse};
use stack::{Header, RxChecksum, SeqNum, Slice, Tuple};
use std::ffi::{CString, c_int, c_void};
use std::mem::{MaybeUninit, size_of};
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

const OURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const THEIRS: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);

/// The exported getsockopt answers for one table: tests in one process take turns.
static TURN: Mutex<()> = Mutex::new(());

/// A table, and the peer of its sockets.
struct Drill {
    table: Interface,
    _turn: MutexGuard<'static, ()>,
}

// SAFETY: packetdrill calls the table from two threads.
unsafe impl Sync for Drill {}

impl Drop for Drill {
    fn drop(&mut self) {
        // SAFETY: nothing else is called any more.
        unsafe { (self.table.free)(self.table.userdata) };
    }
}

impl Drill {
    fn new(flags: &str) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let flags = CString::new(flags).unwrap();
        let mut table = MaybeUninit::uninit();
        // SAFETY: a C string and room for a table, which is filled.
        let table = unsafe {
            packetdrill_interface_init(flags.as_ptr(), table.as_mut_ptr());
            table.assume_init()
        };
        Self { table, _turn: turn }
    }

    fn socket(&self, protocol: c_int) -> c_int {
        // SAFETY: the table's own user data.
        unsafe {
            (self.table.socket)(
                self.table.userdata,
                libc::AF_INET,
                libc::SOCK_STREAM,
                protocol,
            )
        }
    }

    fn addressed(
        &self,
        call: unsafe extern "C" fn(*mut c_void, c_int, *const libc::sockaddr, u32) -> c_int,
        fd: c_int,
        (addr, port): (Ipv4Addr, u16),
    ) -> c_int {
        let addr = libc::sockaddr_in {
            sin_family: libc::sa_family_t::try_from(libc::AF_INET).unwrap(),
            sin_port: port.to_be(),
            sin_addr: libc::in_addr {
                s_addr: u32::from(addr).to_be(),
            },
            sin_zero: [0; 8],
        };
        let len = u32::try_from(size_of::<libc::sockaddr_in>()).unwrap();
        // SAFETY: the table's own user data, and an address with its length.
        unsafe { call(self.table.userdata, fd, (&raw const addr).cast(), len) }
    }

    fn listener(&self, protocol: c_int) -> c_int {
        let fd = self.socket(protocol);
        assert_eq!(self.addressed(self.table.bind, fd, (THEIRS, 8080)), 0);
        // SAFETY: the table's own user data.
        let listens = unsafe { (self.table.listen)(self.table.userdata, fd, 1) };
        assert_eq!(listens, 0);
        fd
    }

    /// Accepts a connection, and says who it is from.
    fn accept(&self, fd: c_int) -> (c_int, u16) {
        let mut addr: MaybeUninit<libc::sockaddr_in> = MaybeUninit::zeroed();
        let mut len = u32::try_from(size_of::<libc::sockaddr_in>()).unwrap();
        // SAFETY: the table's own user data, and room for an address, all of it nought until it is written.
        unsafe {
            let fd = (self.table.accept)(
                self.table.userdata,
                fd,
                addr.as_mut_ptr().cast(),
                &raw mut len,
            );
            (fd, u16::from_be(addr.assume_init().sin_port))
        }
    }

    fn write(&self, fd: c_int, octets: &[u8]) -> isize {
        // SAFETY: the table's own user data, and octets with their number.
        unsafe {
            (self.table.write)(
                self.table.userdata,
                fd,
                octets.as_ptr().cast(),
                octets.len(),
            )
        }
    }

    fn read(&self, fd: c_int, most: usize) -> Vec<u8> {
        let mut octets = vec![0; most];
        // SAFETY: the table's own user data, and room for so many octets.
        let len =
            unsafe { (self.table.read)(self.table.userdata, fd, octets.as_mut_ptr().cast(), most) };
        octets.truncate(usize::try_from(len).unwrap());
        octets
    }

    fn close(&self, fd: c_int) -> c_int {
        // SAFETY: the table's own user data.
        unsafe { (self.table.close)(self.table.userdata, fd) }
    }

    /// The time in microseconds.
    fn now(&self) -> i64 {
        let mut now = MaybeUninit::<libc::timeval>::uninit();
        // SAFETY: the table's own user data, and room for a time, which is written.
        let now = unsafe {
            (self.table.gettimeofday)(self.table.userdata, now.as_mut_ptr(), core::ptr::null_mut());
            now.assume_init()
        };
        now.tv_sec * 1_000_000 + now.tv_usec
    }

    fn sleep(&self, micros: u32) {
        // SAFETY: the table's own user data.
        unsafe { (self.table.usleep)(self.table.userdata, micros) };
    }

    /// Sends a segment from `port` to `to`.
    fn send(
        &self,
        (port, to): (u16, u16),
        (seq, ack): (u32, u32),
        flags: Flags,
        options: Options,
        data: &[u8],
    ) {
        let tuple = Tuple {
            src: OURS.into(),
            dst: THEIRS.into(),
            src_port: port,
            dst_port: to,
        };
        let segment = OutSegment {
            seq: SeqNum(seq),
            ack: SeqNum(ack),
            flags,
            wnd: 30_000,
            ect: false,
            options,
            payload: Some(Slice::new(MemBuf::from(data.to_vec()))),
        };
        let mut header = Header::default();
        emit(&segment, &tuple, &mut header);
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0];
        packet.extend(OURS.octets());
        packet.extend(THEIRS.octets());
        let len = u16::try_from(20 + header.bytes().len() + data.len()).unwrap();
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        let sum = Sum::of(&packet).checksum();
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend_from_slice(header.bytes());
        packet.extend_from_slice(data);
        // SAFETY: the table's own user data, and a packet with its length.
        let taken = unsafe {
            (self.table.netdev_send)(self.table.userdata, packet.as_ptr().cast(), packet.len())
        };
        assert_eq!(taken, 0);
    }

    /// The next segment that was sent, and when; `None` if none ever is.
    fn receive(&self) -> Option<(i64, Segment<MemBuf>)> {
        let mut packet = vec![0; 2_000];
        let (mut len, mut at) = (packet.len(), 0);
        // SAFETY: the table's own user data, and room for a packet, its length and its time.
        let given = unsafe {
            (self.table.netdev_receive)(
                self.table.userdata,
                packet.as_mut_ptr().cast(),
                &raw mut len,
                &raw mut at,
            )
        };
        assert_eq!(given, 0);
        packet.truncate(len);
        if packet.is_empty() {
            return None;
        }
        assert!(Sum::of(&packet[..20]).is_intact(), "the IP header");
        let slice = Slice::new(MemBuf::from(packet));
        let len = slice.len();
        let parsed = parse(
            slice.narrow(20..len),
            THEIRS.into(),
            OURS.into(),
            0,
            RxChecksum::Unknown,
        );
        Some((at, parsed.expect("a right segment")))
    }

    /// A connection from port 1000 to a listening socket: the socket, and the number of its first octet.
    fn connection(&self) -> (c_int, u32) {
        let listener = self.listener(0);
        let options = Options {
            mss: Some(1000),
            ..Options::default()
        };
        self.send((1000, 8080), (99, 0), Flags::SYN, options, b"");
        let (_, answer) = self.receive().unwrap();
        assert_eq!(answer.flags, Flags::SYN.with(Flags::ACK));
        assert_eq!((answer.ack, answer.options.mss), (SeqNum(100), Some(1460)));
        let first = answer.seq.0.wrapping_add(1);
        self.sleep(10_000);
        self.send(
            (1000, 8080),
            (100, first),
            Flags::ACK,
            Options::default(),
            b"",
        );
        let (fd, port) = self.accept(listener);
        assert_eq!(port, 1000);
        (fd, first)
    }
}

const PUSHED: Flags = Flags(0x18);
const FIN: Flags = Flags(0x11);

#[test]
fn a_connection_from_its_syn_to_its_end() {
    let drill = Drill::new("sysctls=off");
    let (fd, first) = drill.connection();

    drill.send(
        (1000, 8080),
        (100, first),
        PUSHED,
        Options::default(),
        b"question",
    );
    let (_, ack) = drill.receive().unwrap();
    assert_eq!((ack.flags, ack.ack), (Flags::ACK, SeqNum(108)));
    assert_eq!(drill.read(fd, 3), b"que");
    assert_eq!(drill.read(fd, 100), b"stion");

    assert_eq!(drill.write(fd, &[7; 2_500]), 2_500);
    let lens: Vec<usize> = (0..3)
        .map(|_| drill.receive().unwrap().1.payload.len())
        .collect();
    assert_eq!(lens, [1000, 1000, 500]);
    let end = first.wrapping_add(2_500);
    drill.send(
        (1000, 8080),
        (108, end),
        Flags::ACK,
        Options::default(),
        b"",
    );

    assert_eq!(drill.close(fd), 0);
    let (_, fin) = drill.receive().unwrap();
    assert_eq!((fin.flags, fin.seq), (FIN, SeqNum(end)));
    drill.send(
        (1000, 8080),
        (108, end.wrapping_add(1)),
        FIN,
        Options::default(),
        b"",
    );
    let (_, last) = drill.receive().unwrap();
    assert_eq!((last.flags, last.ack), (Flags::ACK, SeqNum(109)));
    assert!(drill.receive().is_none());
}

#[test]
fn time_is_virtual_and_what_is_lost_is_sent_again_when_it_is_due() {
    let drill = Drill::new("sysctls=off,congestion=reno");
    let (fd, _) = drill.connection();
    let before = drill.now();
    drill.sleep(3_600_000_000);
    let slept = drill.now() - before;
    assert!((3_600_000_000..3_600_001_000).contains(&slept), "{slept}");

    assert_eq!(drill.write(fd, b"lost"), 4);
    let (sent, _) = drill.receive().unwrap();
    let times: Vec<i64> = (0..3).map(|_| drill.receive().unwrap().0 - sent).collect();
    // RFC 8985 7.2 with a round trip of 10 ms: the probe comes with the timer, 210 ms or less; then twice as late each time.
    assert!((10_000..250_000).contains(&times[0]), "{times:?}");
    let waits = [times[1] - times[0], times[2] - times[1]];
    assert!((waits[0] * 2 - waits[1]).abs() < 2_000, "{times:?}");
}

#[test]
fn a_call_that_blocks_returns_when_its_packet_has_come() {
    let drill = Drill::new("sysctls=off");
    let fd = drill.socket(0);
    let returned = std::thread::scope(|scope| {
        let blocked = scope.spawn(|| {
            let connected = drill.addressed(drill.table.connect, fd, (OURS, 80));
            (connected, drill.now())
        });
        let (_, syn) = loop {
            // Until the other thread has called.
            match drill.receive() {
                Some(sent) => break sent,
                None => std::thread::yield_now(),
            }
        };
        assert_eq!(syn.flags, Flags::SYN);
        drill.sleep(50_000);
        let answered = drill.now();
        let options = Options::default();
        let ports = (80, syn.tuple.src_port);
        let flags = Flags::SYN.with(Flags::ACK);
        drill.send(ports, (500, syn.seq.0.wrapping_add(1)), flags, options, b"");
        drill.sleep(1_000_000);
        let (connected, at) = blocked.join().unwrap();
        assert_eq!(connected, 0);
        at - answered
    });
    assert!(
        (0..100).contains(&returned),
        "{returned} us after the answer"
    );
}

#[test]
fn the_kernels_own_call_tells_of_our_sockets_and_of_the_systems() {
    let drill = Drill::new("sysctls=off");
    let (fd, _) = drill.connection();
    let mut info = [0_u8; 232];
    let mut len = 232;
    // SAFETY: room for so many octets.
    let told = unsafe {
        getsockopt(
            fd,
            libc::SOL_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    assert_eq!((told, len, info[0]), (0, 232, 1), "TCP_ESTABLISHED");
    let word = |at: usize| u32::from_ne_bytes(info[at..at + 4].try_into().unwrap());
    let (mss, rtt, window) = (word(16), word(68), word(80));
    assert_eq!((mss, window), (1000, 10), "tcpi_snd_mss, tcpi_snd_cwnd");
    assert!((10_000..11_000).contains(&rtt), "tcpi_rtt is {rtt}");

    let theirs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = std::os::fd::AsRawFd::as_raw_fd(&theirs);
    let (mut kind, mut len) = (0_i32, 4);
    // SAFETY: room for a number.
    let told = unsafe {
        getsockopt(
            theirs,
            libc::SOL_SOCKET,
            libc::SO_TYPE,
            (&raw mut kind).cast(),
            &raw mut len,
        )
    };
    assert_eq!((told, kind), (0, libc::SOCK_STREAM));
}

#[test]
fn what_is_not_there_fails_with_its_errno() {
    let drill = Drill::new("sysctls=off");
    let fd = drill.socket(0);
    let errno = || std::io::Error::last_os_error().raw_os_error().unwrap();
    assert_eq!((drill.close(-1), errno()), (-1, libc::EBADF));
    assert_eq!((drill.write(fd, b"x"), errno()), (-1, libc::EPIPE));
    // SAFETY: the table's own user data.
    let made = unsafe { (drill.table.epoll_create)(drill.table.userdata, 1) };
    assert_eq!((made, errno()), (-1, libc::ENOSYS));
    let one = 1_i32;
    // SAFETY: the table's own user data, and a number.
    let set = unsafe {
        let data = drill.table.userdata;
        (drill.table.setsockopt)(
            data,
            fd,
            libc::SOL_TCP,
            libc::TCP_MD5SIG,
            (&raw const one).cast(),
            4,
        )
    };
    assert_eq!((set, errno()), (-1, libc::ENOPROTOOPT));
}

#[test]
fn a_socket_of_multipath_tcp_answers_mp_capable_and_carries_data() {
    let drill = Drill::new("sysctls=off");
    let listener = drill.listener(262);
    let (version, key) = (Version::V1, Key::draw(&mut stack::Rng::from_u64(3)));
    let with = |option: MpOption| Options {
        mptcp: option.into(),
        ..Options::default()
    };
    let syn = with(capable::syn(version, key, Terms::default()).into());
    drill.send((1000, 8080), (99, 0), Flags::SYN, syn, b"");
    let (_, answer) = drill.receive().unwrap();
    let agreed = capable::syn_ack(&answer.options.mptcp, version, key, Terms::default());
    let agreed = agreed.expect("MP_CAPABLE with a key");
    let first = answer.seq.0.wrapping_add(1);
    let third = with(agreed.third_ack().into());
    drill.send((1000, 8080), (100, first), Flags::ACK, third, b"");
    let (fd, _) = drill.accept(listener);
    let data = capable::FirstData {
        len: 5,
        checksum: None,
    };
    let data = with(agreed.first_data(data).into());
    drill.send((1000, 8080), (100, first), PUSHED, data, b"hello");
    assert_eq!(drill.read(fd, 10), b"hello");
    let (_, ack) = drill.receive().unwrap();
    assert_eq!(ack.ack, SeqNum(105));
    assert!(!ack.options.mptcp.is_empty(), "a DATA_ACK");
}
