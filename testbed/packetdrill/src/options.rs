//! What a socket can be told (setsockopt), and says of that (getsockopt).

use crate::errno::{Errno, Result};
use crate::settings::Settings;
use stack::time::Duration;

/// `IPPROTO_MPTCP`.
pub(crate) const MPTCP: i32 = 262;

/// What was set. What the stack has no use for is kept to be told again.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) nodelay: bool,
    pub(crate) cork: bool,
    pub(crate) maxseg: Option<u16>,
    pub(crate) rcvbuf: u32,
    pub(crate) sndbuf: u32,
    /// The seconds of SO_LINGER, if it is on.
    pub(crate) linger: Option<i32>,
    pub(crate) keepalive: bool,
    pub(crate) keepidle: Duration,
    pub(crate) user_timeout: Option<Duration>,
    pub(crate) syn_retries: u32,
    pub(crate) tos: u8,
    pub(crate) quickack: bool,
    pub(crate) rcvtimeo: Option<Duration>,
    /// What has no effect here.
    rest: Vec<(i32, i32, i32)>,
}

/// Options that change nothing that a script of packets could see: taken, and told again.
const WITHOUT_EFFECT: [(i32, i32); 16] = [
    (libc::SOL_SOCKET, libc::SO_REUSEADDR),
    (libc::SOL_SOCKET, libc::SO_REUSEPORT),
    (libc::SOL_SOCKET, libc::SO_MARK),
    (libc::SOL_SOCKET, libc::SO_PRIORITY),
    (libc::SOL_SOCKET, libc::SO_BROADCAST),
    (libc::SOL_SOCKET, libc::SO_RCVLOWAT),
    (libc::SOL_IP, libc::IP_FREEBIND),
    (libc::SOL_IP, libc::IP_MTU_DISCOVER),
    (libc::SOL_IP, libc::IP_RECVERR),
    (libc::SOL_IPV6, libc::IPV6_RECVERR),
    (libc::SOL_IPV6, libc::IPV6_V6ONLY),
    (libc::SOL_TCP, libc::TCP_KEEPINTVL),
    (libc::SOL_TCP, libc::TCP_KEEPCNT),
    (libc::SOL_TCP, libc::TCP_LINGER2),
    (libc::SOL_TCP, libc::TCP_DEFER_ACCEPT),
    (libc::SOL_TCP, libc::TCP_NOTSENT_LOWAT),
];

impl Options {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            nodelay: false,
            cork: false,
            maxseg: None,
            rcvbuf: settings.rcvbuf,
            sndbuf: settings.sndbuf.max(settings.sndbuf_max),
            linger: None,
            keepalive: false,
            keepidle: Duration::from_hours(2),
            user_timeout: None,
            syn_retries: settings.syn_retries,
            tos: 0,
            quickack: true,
            rcvtimeo: None,
            rest: Vec::new(),
        }
    }

    /// Sets an option from the octets of its value.
    ///
    /// # Errors
    /// `EINVAL` for a value that makes no sense, `ENOPROTOOPT` for an option that is not known here.
    pub(crate) fn set(&mut self, level: i32, name: i32, value: &[u8]) -> Result<()> {
        let word = |at: usize| {
            value
                .get(at..)?
                .first_chunk()
                .map(|octets| i32::from_ne_bytes(*octets))
        };
        // IP_TOS is an octet for those who give one.
        let octet = value
            .first()
            .filter(|_| value.len() < 4)
            .map(|octet| i32::from(*octet));
        let number = word(0).or(octet).ok_or(Errno::EINVAL)?;
        let natural = || u32::try_from(number).map_err(|_| Errno::EINVAL);
        match (level, name) {
            (libc::SOL_SOCKET, libc::SO_LINGER) => {
                self.linger = (number != 0).then(|| word(4).unwrap_or(0));
            },
            // Linux gives twice what was asked for: half of it is for its own upkeep.
            (libc::SOL_SOCKET, libc::SO_RCVBUF | libc::SO_RCVBUFFORCE) => {
                self.rcvbuf = natural()?.saturating_mul(2).max(2304);
            },
            (libc::SOL_SOCKET, libc::SO_SNDBUF | libc::SO_SNDBUFFORCE) => {
                self.sndbuf = natural()?.saturating_mul(2).max(4608);
            },
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => self.keepalive = number != 0,
            (libc::SOL_SOCKET, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO) => {
                let field = |at: usize| {
                    value
                        .get(at..)?
                        .first_chunk()
                        .map(|octets| u64::from_ne_bytes(*octets))
                };
                let (seconds, micros) = field(0).zip(field(8)).ok_or(Errno::EINVAL)?;
                let span = Duration::from_secs(seconds) + Duration::from_micros(micros);
                self.rcvtimeo = (!span.is_zero()).then_some(span);
            },
            (libc::SOL_TCP, libc::TCP_NODELAY) => self.nodelay = number != 0,
            (libc::SOL_TCP, libc::TCP_CORK) => self.cork = number != 0,
            (libc::SOL_TCP, libc::TCP_QUICKACK) => self.quickack = number != 0,
            (libc::SOL_TCP, libc::TCP_MAXSEG) => {
                let mss = u16::try_from(number)
                    .ok()
                    .filter(|mss| *mss == 0 || (88..=32_767).contains(mss));
                self.maxseg = Some(mss.ok_or(Errno::EINVAL)?).filter(|mss| *mss != 0);
            },
            (libc::SOL_TCP, libc::TCP_KEEPIDLE) => {
                let seconds = Some(natural()?).filter(|seconds| (1..=32_767).contains(seconds));
                self.keepidle = Duration::from_secs(seconds.ok_or(Errno::EINVAL)?.into());
            },
            (libc::SOL_TCP, libc::TCP_USER_TIMEOUT) => {
                self.user_timeout = Some(natural()?)
                    .filter(|ms| *ms != 0)
                    .map(|ms| Duration::from_millis(ms.into()));
            },
            (libc::SOL_TCP, libc::TCP_SYNCNT) => {
                let count = Some(natural()?).filter(|count| (1..=127).contains(count));
                self.syn_retries = count.ok_or(Errno::EINVAL)?;
            },
            (libc::SOL_IP, libc::IP_TOS) | (libc::SOL_IPV6, libc::IPV6_TCLASS) => {
                self.tos = u8::try_from(number & 0xff).unwrap_or(0);
            },
            _ if WITHOUT_EFFECT.contains(&(level, name)) => {
                self.rest.retain(|(l, n, _)| (*l, *n) != (level, name));
                self.rest.push((level, name, number));
            },
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    /// The value of an option that is a number.
    ///
    /// # Errors
    /// `ENOPROTOOPT` for one that is not known here.
    pub(crate) fn get(&self, level: i32, name: i32) -> Result<i32> {
        let number = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
        let millis = |span: Duration| i32::try_from(span.as_millis()).unwrap_or(i32::MAX);
        Ok(match (level, name) {
            (libc::SOL_SOCKET, libc::SO_RCVBUF) => number(self.rcvbuf),
            (libc::SOL_SOCKET, libc::SO_SNDBUF) => number(self.sndbuf),
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE) => self.keepalive.into(),
            (libc::SOL_SOCKET, libc::SO_TYPE) => libc::SOCK_STREAM,
            (libc::SOL_SOCKET, libc::SO_PROTOCOL) => libc::IPPROTO_TCP,
            (libc::SOL_TCP, libc::TCP_NODELAY) => self.nodelay.into(),
            (libc::SOL_TCP, libc::TCP_CORK) => self.cork.into(),
            (libc::SOL_TCP, libc::TCP_QUICKACK) => self.quickack.into(),
            (libc::SOL_TCP, libc::TCP_MAXSEG) => self.maxseg.unwrap_or(536).into(),
            (libc::SOL_TCP, libc::TCP_KEEPIDLE) => millis(self.keepidle) / 1000,
            (libc::SOL_TCP, libc::TCP_USER_TIMEOUT) => self.user_timeout.map_or(0, millis),
            (libc::SOL_TCP, libc::TCP_SYNCNT) => number(self.syn_retries),
            (libc::SOL_IP, libc::IP_TOS) | (libc::SOL_IPV6, libc::IPV6_TCLASS) => self.tos.into(),
            _ => {
                let set = self.rest.iter().find(|(l, n, _)| (*l, *n) == (level, name));
                let known = WITHOUT_EFFECT.contains(&(level, name));
                set.map(|(_, _, value)| *value)
                    .or(known.then_some(0))
                    .ok_or(Errno::ENOPROTOOPT)?
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Flags;

    #[test]
    fn options_are_set_told_again_or_refused() {
        let mut options = Options::new(&Flags::read("sysctls=off").unwrap().settings());
        let mut set = |level, name, value: i32| options.set(level, name, &value.to_ne_bytes());
        assert_eq!(set(libc::SOL_SOCKET, libc::SO_SNDBUF, 21_000), Ok(()));
        assert_eq!(set(libc::SOL_SOCKET, libc::SO_MARK, 7), Ok(()));
        assert_eq!(set(libc::SOL_TCP, libc::TCP_MAXSEG, 10), Err(Errno::EINVAL));
        assert_eq!(
            set(libc::SOL_TCP, libc::TCP_MD5SIG, 1),
            Err(Errno::ENOPROTOOPT)
        );
        assert_eq!(options.get(libc::SOL_SOCKET, libc::SO_SNDBUF), Ok(42_000));
        assert_eq!(options.get(libc::SOL_SOCKET, libc::SO_MARK), Ok(7));
        assert_eq!(
            options.get(libc::SOL_TCP, libc::TCP_MD5SIG),
            Err(Errno::ENOPROTOOPT)
        );
    }
}
