//! Commands from the control thread to a worker, and the replies.
//!
//! A bounded channel that the worker looks into once per turn; each command carries the channel for its reply, so a
//! worker never waits for anybody.

use core::time::Duration;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use thiserror::Error;

/// Why a command has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AskError {
    /// The worker has as many commands waiting as the mailbox holds.
    #[error("the worker is busy with earlier commands")]
    Full,
    /// The worker has ended.
    #[error("the worker has ended")]
    Gone,
    /// The worker did not answer in time; it may still carry the command out.
    #[error("the worker did not answer in time")]
    TimedOut,
}

struct Letter<C, R> {
    command: C,
    reply: Sender<R>,
}

/// The control thread's end.
pub struct Mailbox<C, R> {
    letters: Sender<Letter<C, R>>,
}

impl<C, R> Clone for Mailbox<C, R> {
    fn clone(&self) -> Self {
        Self {
            letters: self.letters.clone(),
        }
    }
}

impl<C, R> Mailbox<C, R> {
    /// Has the worker carry `command` out and waits at most `patience` for its reply.
    ///
    /// # Errors
    /// [`AskError`]: the worker is busy, gone, or slower than `patience`.
    pub fn ask(&self, command: C, patience: Duration) -> Result<R, AskError> {
        await_reply(&self.post(command)?, patience)
    }

    /// Leaves `command` for the worker's next turn; the reply comes by the returned channel, which may be dropped.
    ///
    /// # Errors
    /// [`AskError::Full`] or [`AskError::Gone`].
    pub fn post(&self, command: C) -> Result<Receiver<R>, AskError> {
        let (reply, answer) = bounded(1);
        self.letters
            .try_send(Letter { command, reply })
            .map_err(|error| match error {
                TrySendError::Full(_) => AskError::Full,
                TrySendError::Disconnected(_) => AskError::Gone,
            })?;
        Ok(answer)
    }
}

/// Waits at most `patience` for the reply to a command that was left with [`Mailbox::post`].
///
/// # Errors
/// [`AskError`]: the worker is gone, or slower than `patience`.
pub fn await_reply<R>(answer: &Receiver<R>, patience: Duration) -> Result<R, AskError> {
    answer.recv_timeout(patience).map_err(|error| match error {
        RecvTimeoutError::Timeout => AskError::TimedOut,
        RecvTimeoutError::Disconnected => AskError::Gone,
    })
}

/// The worker's end.
pub struct Inbox<C, R> {
    letters: Receiver<Letter<C, R>>,
}

impl<C, R> Inbox<C, R> {
    /// Whether a command waits.
    #[must_use]
    pub fn has_mail(&self) -> bool {
        !self.letters.is_empty()
    }

    /// Has `carry_out` answer the oldest command; `false` if there is none. Who asked may have stopped waiting.
    pub fn answer(&self, carry_out: impl FnOnce(C) -> R) -> bool {
        let Ok(Letter { command, reply }) = self.letters.try_recv() else {
            return false;
        };
        // A full or closed reply channel means that nobody waits any more.
        let _ = reply.try_send(carry_out(command));
        true
    }
}

impl<C, R> Drop for Inbox<C, R> {
    /// Discards what waits, so that who waits for a reply learns that none comes.
    fn drop(&mut self) {
        for letter in self.letters.try_iter() {
            drop(letter);
        }
    }
}

/// A mailbox that holds at most `capacity` commands (at least 1).
#[must_use]
pub fn mailbox<C, R>(capacity: usize) -> (Mailbox<C, R>, Inbox<C, R>) {
    let (sender, receiver) = bounded(capacity.max(1));
    (Mailbox { letters: sender }, Inbox { letters: receiver })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn commands_are_answered_in_order() {
        let (control, inbox) = mailbox::<u32, u32>(4);
        let answers = [1, 2, 3].map(|n| control.post(n).unwrap());
        assert!(inbox.has_mail());
        while inbox.answer(|n| n * 10) {}
        assert_eq!(answers.map(|a| a.recv().unwrap()), [10, 20, 30]);
        assert!(!inbox.has_mail());
    }

    #[test]
    fn a_full_mailbox_refuses_at_once() {
        let (control, _inbox) = mailbox::<u32, u32>(1);
        let _waiting = control.post(1).unwrap();
        assert_eq!(control.ask(2, PATIENCE), Err(AskError::Full));
    }

    #[test]
    fn a_worker_that_ended_is_gone_before_and_after_the_command_was_left() {
        let (control, inbox) = mailbox::<u32, u32>(1);
        let answer = control.post(1).unwrap();
        drop(inbox);
        assert!(answer.recv().is_err());
        assert_eq!(control.ask(2, PATIENCE), Err(AskError::Gone));
    }

    #[test]
    fn impatience_is_no_error_of_the_worker() {
        let (control, inbox) = mailbox::<u32, u32>(1);
        assert_eq!(control.ask(1, Duration::ZERO), Err(AskError::TimedOut));
        assert!(inbox.answer(|n| n), "the command is still carried out");
    }

    #[test]
    fn asks_across_threads() {
        let (control, inbox) = mailbox::<u32, u32>(1);
        let asker = std::thread::spawn(move || control.ask(7, PATIENCE));
        while !inbox.answer(|n| n + 1) {
            std::thread::yield_now();
        }
        assert_eq!(asker.join().unwrap(), Ok(8));
    }
}
