use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use dataplane::{Mailbox, mailbox};

use super::client::{ClientError, ask};
use super::server::{CLIENTS_MAX, ServeError, Server};
use super::wire::{REQUEST_MAX, Request};
use super::*;

/// A worker that knows one port and one counter.
struct FakeWorker {
    mailbox: Mailbox<Command, Reply>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeWorker {
    fn new() -> Self {
        let (mailbox, inbox) = mailbox(4);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if !inbox.answer(answer) {
                    thread::yield_now();
                }
            }
        });
        Self {
            mailbox,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for FakeWorker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn answer(command: Command) -> Reply {
    match command {
        Command::ShowPorts => Reply::Ports(Ports {
            ports: vec![Port {
                name: "core".to_owned(),
                mtu: 1500,
                ..Port::default()
            }],
        }),
        Command::ShowConnections { limit } => Reply::Connections(Connections {
            connections: Vec::new(),
            total: u64::try_from(limit).unwrap(),
        }),
        Command::ShowCounters => Reply::Counters(Counters {
            counters: [("relays".to_owned(), u64::MAX)].into(),
        }),
        Command::ShowRules => Reply::Rules(Rules::default()),
        Command::ShowRuntime => Reply::Runtime(Runtime::default()),
        Command::ShowPaths => Reply::Paths(Paths::default()),
        Command::ShowAccounts { limit } => Reply::Accounts(Accounts {
            total: u64::try_from(limit).unwrap(),
            ..Accounts::default()
        }),
        Command::Drain => Reply::Status(Status {
            draining: true,
            ..Status::default()
        }),
        Command::ShowStatus | Command::ResetAll | Command::SetAddress { .. } => {
            Reply::Status(Status::default())
        },
    }
}

/// Writes `octets` and reads one line.
fn exchange(socket: &Path, octets: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(octets).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

#[test]
fn each_question_has_its_answer() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("hag.sock");
    let worker = FakeWorker::new();
    let _server = Server::start(&socket, worker.mailbox.clone()).unwrap();
    let ports: Ports = ask(&socket, &Request::new("show ports")).unwrap();
    assert_eq!(ports.ports[0].name, "core");
    let counters: Counters = ask(&socket, &Request::new("show counters")).unwrap();
    assert_eq!(counters.counters["relays"], u64::MAX);
    let status: Status = ask(&socket, &Request::new("drain")).unwrap();
    assert!(status.draining);
    let all: Connections = ask(&socket, &Request::new("show connections")).unwrap();
    assert_eq!(all.total, u64::try_from(CONNECTIONS_SHOWN_MAX).unwrap());
    let one = Request {
        limit: Some(1),
        ..Request::new("show connections")
    };
    let one: Connections = ask(&socket, &one).unwrap();
    assert_eq!(one.total, 1);
}

#[test]
fn the_lines_are_what_is_documented() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("hag.sock");
    let worker = FakeWorker::new();
    let _server = Server::start(&socket, worker.mailbox.clone()).unwrap();
    for (question, expected) in [
        (
            &b"{\"command\":\"show status\"}\n"[..],
            "{\"status\":\"ok\",\"result\":{\"relays\":0,\"pending\":0,\"draining\":false}}\n",
        ),
        (
            b"{\"command\":\"show counters\"}\n",
            "{\"status\":\"ok\",\"result\":{\"counters\":{\"relays\":18446744073709551615}}}\n",
        ),
        (
            b"{\"command\":\"show me\"}\n",
            "{\"status\":\"error\",\"message\":\"unknown command \\\"show me\\\"; there are show ports, show \
             connections, show paths, show accounts, show rules, show runtime, show counters, show status, drain, set address\"}\n",
        ),
        (
            b"\xff\n",
            "{\"status\":\"error\",\"message\":\"a request is UTF-8 text\"}\n",
        ),
    ] {
        assert_eq!(exchange(&socket, question), expected);
    }
    for wrong in [
        &b"\n"[..],
        b"show ports\n",
        b"{\"command\":\"drain\",\"x\":1}\n",
    ] {
        let line = exchange(&socket, wrong);
        assert!(
            line.contains("\"error\",\"message\":\"not a request"),
            "{line}"
        );
    }
}

#[test]
fn a_client_may_ask_again_on_one_connection() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("hag.sock");
    let worker = FakeWorker::new();
    let _server = Server::start(&socket, worker.mailbox.clone()).unwrap();
    let mut stream = UnixStream::connect(&socket).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    for _ in 0..3 {
        stream.write_all(b"{\"command\":\"show ports\"}\n").unwrap();
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert!(line.contains("\"status\":\"ok\""), "{line}");
    }
}

#[test]
fn a_question_that_is_too_long_ends_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("hag.sock");
    let worker = FakeWorker::new();
    let _server = Server::start(&socket, worker.mailbox.clone()).unwrap();
    let line = exchange(&socket, &vec![b'x'; REQUEST_MAX]);
    assert!(line.contains("at most 4096 octets"), "{line}");
}

#[test]
fn the_client_that_is_too_many_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("hag.sock");
    let worker = FakeWorker::new();
    let _server = Server::start(&socket, worker.mailbox.clone()).unwrap();
    let connect = |_| UnixStream::connect(&socket).unwrap();
    let mut clients: Vec<_> = (0..CLIENTS_MAX).map(connect).collect();
    let mut line = String::new();
    BufReader::new(connect(0)).read_line(&mut line).unwrap();
    assert!(line.contains("16 clients are connected"), "{line}");
    // A client that goes makes room: its thread notices at once that the connection is closed.
    clients.pop();
    let answered = |_| ask::<Status>(&socket, &Request::new("show status")).is_ok();
    assert!((0..1_000).any(|n| {
        thread::yield_now();
        answered(n)
    }));
}

#[test]
fn the_socket_is_for_owner_and_group_and_goes_with_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("hag.sock");
    let worker = FakeWorker::new();
    let server = Server::start(&socket, worker.mailbox.clone()).unwrap();
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    drop(server);
    assert!(!socket.exists());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("hag.sock");
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let worker = FakeWorker::new();
    let _server = Server::start(&socket, worker.mailbox.clone()).unwrap();
    let second = Server::start(&socket, worker.mailbox.clone());
    assert!(matches!(second, Err(ServeError::InUse(_))), "{second:?}");
    assert!(ask::<Status>(&socket, &Request::new("show status")).is_ok());
}

#[test]
fn the_sockets_directory_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("run/hag.sock");
    let worker = FakeWorker::new();
    let _server = Server::start(&socket, worker.mailbox.clone()).unwrap();
    assert!(ask::<Status>(&socket, &Request::new("show status")).is_ok());
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("hag.sock");
    std::fs::write(&socket, "precious").unwrap();
    let worker = FakeWorker::new();
    let error = Server::start(&socket, worker.mailbox.clone()).unwrap_err();
    assert!(error.to_string().ends_with(
        "hag.sock exists and is no socket; move it away, or set another control.socket"
    ));
    assert_eq!(std::fs::read(&socket).unwrap(), b"precious");
    let error = Server::start(
        &dir.path().join("none/nor/hag.sock"),
        worker.mailbox.clone(),
    )
    .unwrap_err();
    assert!(error.to_string().contains("create it"), "{error}");
}

#[test]
fn the_client_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("hag.sock");
    let asked = ask::<Status>(&socket, &Request::new("show status"));
    assert!(matches!(asked, Err(ClientError::Missing(_))), "{asked:?}");
    drop(UnixListener::bind(&socket).unwrap());
    let asked = ask::<Status>(&socket, &Request::new("show status"));
    assert!(matches!(asked, Err(ClientError::Dead(_))), "{asked:?}");
    std::fs::remove_file(&socket).unwrap();
    let worker = FakeWorker::new();
    let _server = Server::start(&socket, worker.mailbox.clone()).unwrap();
    let asked = ask::<Status>(&socket, &Request::new("dance"));
    assert!(matches!(asked, Err(ClientError::Refused(_))), "{asked:?}");
    let asked = ask::<Ports>(&socket, &Request::new("show status"));
    assert!(
        matches!(asked, Err(ClientError::Garbled { .. })),
        "{asked:?}"
    );
}

#[test]
fn a_worker_that_has_ended_is_an_error_and_no_silence() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("hag.sock");
    let mailbox = FakeWorker::new().mailbox.clone();
    let _server = Server::start(&socket, mailbox).unwrap();
    let asked = ask::<Status>(&socket, &Request::new("show status")).unwrap_err();
    assert_eq!(asked.to_string(), "the worker has ended");
}

#[test]
fn every_counter_has_one_name_and_one_explanation() {
    fn names<C: Counted>() -> Vec<&'static str> {
        C::ALL.iter().map(|row| row.name()).collect()
    }
    let mut all = [
        names::<stack::Counter>(),
        names::<mptcp::Counter>(),
        names::<crate::Counter>(),
        BESIDE.map(|(name, _)| name).to_vec(),
    ]
    .concat();
    for name in &all {
        assert!(
            explain(name).is_some_and(|help| help.ends_with('.')),
            "{name}"
        );
        assert!(
            name.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'),
            "{name}"
        );
    }
    all.sort_unstable();
    let count = all.len();
    all.dedup();
    assert_eq!(all.len(), count, "a name stands for two counters");
    assert_eq!(explain("nothing"), None);
}
