//! The workers as the control interface sees them: one box.

use std::time::Duration;

use dataplane::{AskError, Mailbox, await_reply};

use super::merge::merge;
use super::{Command, Reply};

/// The mailboxes of all workers of a box.
#[derive(Clone)]
pub struct Workers {
    mailboxes: Vec<Mailbox<Command, Reply>>,
}

impl From<Mailbox<Command, Reply>> for Workers {
    fn from(only: Mailbox<Command, Reply>) -> Self {
        Self {
            mailboxes: vec![only],
        }
    }
}

impl From<Vec<Mailbox<Command, Reply>>> for Workers {
    fn from(mailboxes: Vec<Mailbox<Command, Reply>>) -> Self {
        Self { mailboxes }
    }
}

impl Workers {
    /// Has every worker carry `command` out, all at the same time, waits at most `patience` for each, and makes one answer of
    /// theirs.
    ///
    /// # Errors
    /// [`AskError`] of the first worker that does not answer; others may have carried the command out.
    pub fn ask(&self, command: Command, patience: Duration) -> Result<Reply, AskError> {
        let posted: Vec<_> = self
            .mailboxes
            .iter()
            .map(|mailbox| mailbox.post(command))
            .collect();
        let mut replies = Vec::with_capacity(posted.len());
        for answer in posted {
            replies.push(await_reply(&answer?, patience)?);
        }
        merge(command, replies).ok_or(AskError::Gone)
    }
}
