//! Answers of the coordinator, which may have to wait: for other members, or for the disk.

use std::future::Future;
use std::pin::Pin;

use futures_util::FutureExt;

/// An answer that is there, or that comes.
pub enum Outcome<T> {
    /// It is there.
    Now(T),
    /// It comes.
    Later(Pin<Box<dyn Future<Output = T> + Send>>),
}

impl<T: Send + 'static> Outcome<T> {
    /// The same answer in other words.
    pub fn map<U>(self, words: impl FnOnce(T) -> U + Send + 'static) -> Outcome<U> {
        match self {
            Outcome::Now(answer) => Outcome::Now(words(answer)),
            Outcome::Later(coming) => Outcome::Later(Box::pin(async move { words(coming.await) })),
        }
    }

    /// Many answers as one.
    pub fn all(outcomes: Vec<Outcome<T>>) -> Outcome<Vec<T>> {
        let later = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Later(_)));
        let answers = async move {
            let mut answers = Vec::with_capacity(outcomes.len());
            for outcome in outcomes {
                answers.push(outcome.wait().await);
            }
            answers
        };
        if later {
            return Outcome::Later(Box::pin(answers));
        }
        // Nothing in there waits, so the first poll ends it.
        Outcome::Now(answers.now_or_never().unwrap_or_default())
    }

    /// Waits for it.
    pub async fn wait(self) -> T {
        match self {
            Outcome::Now(answer) => answer,
            Outcome::Later(coming) => coming.await,
        }
    }
}
