use std::path::Path;

use crossbeam::channel::bounded;
use dataplane::{CoreId, MemBuf, MemPort, Owner, PortInfo, Received};
use stack::{Frame, Instant, PortId};

use super::*;
use crate::config;
use crate::control::client::{ClientError, ask};
use crate::control::wire::Request;

/// An app with `relays` relays, one of which ends at each look if they `end`.
struct Fake {
    relays: u64,
    end: bool,
    draining: bool,
    reset: u64,
}

impl App<MemBuf> for Fake {
    type Command = Command;
    type Reply = Reply;

    type Word = ();

    fn owner(&self, _: PortId, _: &[u8]) -> Owner {
        Owner::Core(CoreId(0))
    }

    fn input(
        &mut self,
        _: Instant,
        _: PortId,
        burst: &mut Vec<Received<MemBuf>>,
        _: &mut Vec<Frame<MemBuf>>,
    ) {
        burst.clear();
    }

    fn flush(&mut self, _: Instant, _: &mut Vec<Frame<MemBuf>>) {}

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn command(&mut self, _: Instant, command: Command, _: &mut Vec<Frame<MemBuf>>) -> Reply {
        match command {
            Command::Drain => self.draining = true,
            Command::ResetAll => self.reset += std::mem::take(&mut self.relays),
            _ if self.draining && self.end => self.relays = self.relays.saturating_sub(1),
            _ => {},
        }
        Reply::Status(Status {
            relays: self.relays,
            pending: 0,
            draining: self.draining,
        })
    }
}

fn config(socket: &Path, grace: &str) -> Config {
    let source = format!(
        "ports:\n  - {{ name: a, device: net_null0, role: access, addresses: [10.1.0.1/24] }}\n  \
         - {{ name: c, device: net_null1, role: core, addresses: [10.9.0.1/24] }}\nsubscribers: [10.1.0.0/24]\n\
         control: {{ socket: {} }}\ndrain: {{ grace: {grace} }}\n",
        socket.display()
    );
    config::parse(config::BoxKind::Hag, &source).unwrap()
}

/// Runs `app` until it has stopped; `meanwhile` is done by another thread that holds the stopping channel.
fn run(
    config: &Config,
    app: Fake,
    meanwhile: impl FnOnce(Sender<()>) + Send + 'static,
) -> Result<Fake, RunError> {
    let (tell, stop) = bounded(2);
    let (supervisor, mut inboxes) = Supervisor::new(config, stop).unwrap();
    let (port, _wire) = MemPort::with_wire(PortInfo::default());
    let mut worker = [Worker::new(CoreId(0), vec![port], app, inboxes.remove(0))];
    let other = thread::spawn(move || meanwhile(tell));
    let result = supervisor.run(&mut worker, &Clock::start(), Idle::ADAPTIVE, |_| ());
    other.join().unwrap();
    let app = worker[0].app();
    result.map(|()| Fake { ..*app })
}

/// Asks until the socket is there.
fn status(socket: &Path) -> Status {
    loop {
        match ask(socket, &Request::new("show status")) {
            Ok(status) => return status,
            Err(ClientError::Missing(_)) => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_box_is_asked_drained_and_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("hag.sock");
    let app = Fake {
        relays: 3,
        end: true,
        draining: false,
        reset: 0,
    };
    let at = socket.clone();
    let app = run(&config(&socket, "1h"), app, move |tell| {
        assert_eq!(status(&at).relays, 3);
        tell.send(()).unwrap();
        // The channel stays open until the box is empty: the grace time of an hour is not what ends it.
        while at.exists() {
            thread::yield_now();
        }
    });
    let app = app.unwrap();
    assert!(app.draining);
    assert_eq!((app.relays, app.reset), (0, 0), "all ended by themselves");
    assert!(!socket.exists());
}

#[test]
fn a_box_of_several_workers_answers_as_one_and_stops_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("hag.sock");
    let mut config = config(&socket, "1h");
    config.worker.cores = vec![0, 1, 2];
    let (tell, stop) = bounded(2);
    let (supervisor, inboxes) = Supervisor::new(&config, stop).unwrap();
    let made = (0..).zip(inboxes).zip(dataplane::siblings(3));
    let workers = made.map(|((core, inbox), siblings)| {
        let app = Fake {
            relays: u64::from(core),
            end: true,
            draining: false,
            reset: 0,
        };
        let (port, _wire) = MemPort::with_wire(PortInfo::default());
        Worker::new(CoreId(core), vec![port], app, inbox).among(siblings)
    });
    let mut workers: Vec<_> = workers.collect();
    let other = thread::spawn(move || {
        assert_eq!(status(&socket).relays, 3, "one with 1 and one with 2");
        tell.send(()).unwrap();
        while socket.exists() {
            thread::yield_now();
        }
    });
    let settled = std::sync::Mutex::new(Vec::new());
    let settle = |place| {
        settled
            .lock()
            .unwrap()
            .push((place, thread::current().id()));
    };
    let result = supervisor.run(&mut workers, &Clock::start(), Idle::ADAPTIVE, settle);
    other.join().unwrap();
    result.unwrap();
    let mut settled = settled.into_inner().unwrap();
    settled.sort_by_key(|(place, _)| *place);
    assert!(
        matches!(settled[..], [(1, a), (2, b)] if a != b),
        "{settled:?}"
    );
    for worker in &workers {
        assert!(worker.app().draining && worker.stats().polls > 0);
        assert_eq!((worker.app().relays, worker.app().reset), (0, 0));
    }
}

#[test]
fn what_is_left_after_the_grace_time_is_reset() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("hag.sock");
    let app = Fake {
        relays: 3,
        end: false,
        draining: false,
        reset: 0,
    };
    let at = socket.clone();
    let app = run(&config(&socket, "100ms"), app, move |tell| {
        status(&at);
        tell.send(()).unwrap();
        while at.exists() {
            thread::yield_now();
        }
    });
    assert_eq!(app.unwrap().reset, 3);
}

#[test]
fn a_second_word_cuts_the_grace_time_short() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("hag.sock");
    let app = Fake {
        relays: 3,
        end: false,
        draining: false,
        reset: 0,
    };
    let at = socket.clone();
    let app = run(&config(&socket, "1h"), app, move |tell| {
        status(&at);
        tell.send(()).unwrap();
        tell.send(()).unwrap();
        while at.exists() {
            thread::yield_now();
        }
    });
    assert_eq!(app.unwrap().reset, 3);
}

#[test]
fn without_its_socket_a_box_does_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("hag.sock");
    std::fs::write(&socket, "precious").unwrap();
    let app = Fake {
        relays: 0,
        end: false,
        draining: false,
        reset: 0,
    };
    let result = run(&config(&socket, "1s"), app, |_| ());
    assert!(matches!(
        result.map(|_| ()),
        Err(RunError::Control(ServeError::NotASocket(_)))
    ));
}

#[test]
fn a_supervisor_that_is_never_started_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (_tell, stop) = bounded(1);
    let (supervisor, inboxes) =
        Supervisor::new(&config(&dir.path().join("s"), "1s"), stop).unwrap();
    drop((supervisor.start, inboxes));
    supervisor.thread.join().unwrap();
}
