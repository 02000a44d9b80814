//! The control socket: takes questions from local clients and has the workers answer them.
//!
//! Everything here is bounded: how many clients there are, how long a question is, how long anybody waits. Access is by
//! the socket's file mode alone (owner and group).

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thiserror::Error;
use tracing::{debug, warn};

use super::wire::{REQUEST_MAX, Request, Response};
use super::{Reply, Workers};

/// How many clients may be connected at once.
pub const CLIENTS_MAX: usize = 16;

/// Owner and group may ask.
const MODE: u32 = 0o660;

/// How long a client may stay silent, or leave an answer unread.
const CLIENT_PATIENCE: Duration = Duration::from_secs(60);

/// How long a worker may take: it looks into its mailbox between two bursts.
const WORKER_PATIENCE: Duration = Duration::from_secs(2);

/// Why there is no control socket.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Another process answers there.
    #[error(
        "{0} is answered by another process: is the box running already? Stop it, or set another control.socket"
    )]
    InUse(PathBuf),
    /// Something else has that name.
    #[error("{0} exists and is no socket; move it away, or set another control.socket")]
    NotASocket(PathBuf),
    /// The kernel refused.
    #[error("the control socket {path} cannot be made: {source}; {hint}")]
    Io {
        /// Where it was to be.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
        /// What to do.
        hint: &'static str,
    },
}

/// A socket that is served until this is dropped, which removes it.
#[derive(Debug)]
pub struct Server {
    socket: PathBuf,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Makes the socket, replacing one that nobody answers any more, and serves it on threads of its own.
    ///
    /// # Errors
    /// [`ServeError`]: somebody else has that name, or the kernel refuses it.
    pub fn start(socket: &Path, workers: impl Into<Workers>) -> Result<Self, ServeError> {
        let workers = workers.into();
        let listener = bind(socket)?;
        let stopping = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new().name("control".to_owned()).spawn({
            let stopping = Arc::clone(&stopping);
            move || accept(&listener, &workers, &stopping)
        });
        let thread = thread.map_err(|source| {
            let _ = std::fs::remove_file(socket);
            refused(socket, source, "the machine has no thread left")
        })?;
        Ok(Self {
            socket: socket.to_owned(),
            stopping,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // The listening thread waits in accept: a connection wakes it.
        let woken = UnixStream::connect(&self.socket).is_ok();
        let _ = std::fs::remove_file(&self.socket);
        if let Some(thread) = self.thread.take()
            && woken
        {
            let _ = thread.join();
        }
    }
}

fn refused(path: &Path, source: io::Error, hint: &'static str) -> ServeError {
    ServeError::Io {
        path: path.to_owned(),
        source,
        hint,
    }
}

/// Binds under another name and renames, so that the socket never stands there with another mode, and a stale one is
/// replaced in one step.
fn bind(socket: &Path) -> Result<UnixListener, ServeError> {
    match std::fs::symlink_metadata(socket) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ServeError::NotASocket(socket.to_owned()));
        },
        Ok(_) if UnixStream::connect(socket).is_ok() => {
            return Err(ServeError::InUse(socket.to_owned()));
        },
        _ => {},
    }
    if let Some(directory) = socket.parent()
        && !directory.is_dir()
    {
        // /run is empty after each start of the machine. What this fails of, binding tells.
        let _ = std::fs::create_dir(directory);
    }
    let mut new = socket.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    // Left behind by a process that ended between binding and renaming.
    let _ = std::fs::remove_file(&new);
    let bound = UnixListener::bind(&new).and_then(|listener| {
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(MODE))?;
        std::fs::rename(&new, socket)?;
        Ok(listener)
    });
    bound.map_err(|source| {
        let _ = std::fs::remove_file(&new);
        let hint = match source.kind() {
            io::ErrorKind::NotFound => "its directory does not exist: create it",
            io::ErrorKind::PermissionDenied => "write access to its directory is missing",
            _ => "set another control.socket",
        };
        refused(socket, source, hint)
    })
}

fn accept(listener: &UnixListener, workers: &Workers, stopping: &AtomicBool) {
    let clients = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if stopping.load(Ordering::Acquire) {
            return;
        }
        let Ok(stream) = stream else {
            continue;
        };
        let place = Place::take(&clients);
        if let Err(error) = serve_on_thread(stream, workers.clone(), place) {
            warn!(%error, "a control client was turned away");
        }
    }
}

/// One of the [`CLIENTS_MAX`] places, free again when dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(clients: &Arc<AtomicUsize>) -> Option<Self> {
        let before = clients.fetch_add(1, Ordering::AcqRel);
        let place = Self(Arc::clone(clients));
        (before < CLIENTS_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn serve_on_thread(
    mut stream: UnixStream,
    workers: Workers,
    place: Option<Place>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(CLIENT_PATIENCE))?;
    stream.set_write_timeout(Some(CLIENT_PATIENCE))?;
    let Some(place) = place else {
        let message = format!("{CLIENTS_MAX} clients are connected already; try again later");
        return stream.write_all(Response::<Reply>::Error { message }.to_line().as_bytes());
    };
    thread::Builder::new()
        .name("control-client".to_owned())
        .spawn(move || {
            if let Err(error) = serve(&stream, &workers) {
                debug!(%error, "a control client went away");
            }
            drop(place);
        })?;
    Ok(())
}

/// Answers line by line until the client closes, stays silent for too long, or writes a line that is too long.
fn serve(stream: &UnixStream, workers: &Workers) -> io::Result<()> {
    let mut lines = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = u64::try_from(REQUEST_MAX).unwrap_or(u64::MAX);
        if (&mut lines).take(limit).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let whole = line.ends_with(b"\n") || line.len() < REQUEST_MAX;
        let response = if whole {
            respond(&line, workers)
        } else {
            let message = format!("a request has at most {REQUEST_MAX} octets");
            Response::Error { message }
        };
        (&mut &*stream).write_all(response.to_line().as_bytes())?;
        if !whole {
            return Ok(());
        }
    }
}

fn respond(line: &[u8], workers: &Workers) -> Response<Reply> {
    let command = str::from_utf8(line)
        .map_err(|_| "a request is UTF-8 text".to_owned())
        .and_then(|line| Request::parse(line.trim()));
    let answered = command.and_then(|command| {
        (workers.ask(command, WORKER_PATIENCE)).map_err(|error| error.to_string())
    });
    match answered {
        Ok(result) => Response::Ok { result },
        Err(message) => Response::Error { message },
    }
}
