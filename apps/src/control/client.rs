//! Asks a running box, for `braidctl` and for tests.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use thiserror::Error;

use super::wire::{Request, Response};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// There is no such socket.
    #[error(
        "there is no socket {0}: is the box running? Start it with `hag run -c FILE` or `hcpe run -c FILE`, or name the control.socket of its \
         configuration with --socket"
    )]
    Missing(PathBuf),
    /// The socket is there, and nobody listens.
    #[error(
        "nobody answers on {0}: the box is not running any more. Start it with `hag run -c FILE` or `hcpe run -c FILE`"
    )]
    Dead(PathBuf),
    /// Its file mode keeps us out.
    #[error("{0} may not be used by this user: try with sudo, or join the group of the socket")]
    Forbidden(PathBuf),
    /// The connection broke, or nothing came in time.
    #[error("{path}: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The answer makes no sense here.
    #[error(
        "{path} gave an answer that this program does not understand ({source}): are both of one version?"
    )]
    Garbled {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The box answered that it will not.
    #[error("{0}")]
    Refused(String),
}

/// Asks one question and reads its answer.
///
/// # Errors
/// [`ClientError`], each with what to do.
pub fn ask<R: DeserializeOwned>(socket: &Path, request: &Request) -> Result<R, ClientError> {
    let broken = |source: io::Error| {
        let path = socket.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => ClientError::Missing(path),
            io::ErrorKind::ConnectionRefused => ClientError::Dead(path),
            io::ErrorKind::PermissionDenied => ClientError::Forbidden(path),
            _ => ClientError::Io { path, source },
        }
    };
    let garbled = |source| ClientError::Garbled {
        path: socket.to_owned(),
        source,
    };
    let mut stream = UnixStream::connect(socket).map_err(broken)?;
    let mut question = serde_json::to_string(request).map_err(garbled)?;
    question.push('\n');
    let mut line = String::new();
    let exchange = stream
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| stream.write_all(question.as_bytes()))
        .and_then(|()| BufReader::new(&stream).read_line(&mut line));
    exchange.map_err(broken)?;
    match serde_json::from_str(&line).map_err(garbled)? {
        Response::Ok { result } => Ok(result),
        Response::Error { message } => Err(ClientError::Refused(message)),
    }
}
