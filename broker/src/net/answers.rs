//! Answers in the order of their requests.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Outgoing;

/// An answer that comes later.
pub type LaterAnswer = Pin<Box<dyn Future<Output = Outgoing> + Send>>;

enum Slot {
    Ready(Outgoing),
    Later(LaterAnswer),
}

/// The queue of one connection's answers: what may be written now, and behind it what waits for its turn.
#[derive(Default)]
pub struct Answers {
    out: Outgoing,
    slots: VecDeque<Slot>,
}

impl Answers {
    /// Where the answer to the next request goes: directly to what is written next if nothing waits in front of it.
    pub fn place(&mut self) -> &mut Outgoing {
        if self.slots.is_empty() {
            return &mut self.out;
        }
        if !matches!(self.slots.back(), Some(Slot::Ready(_))) {
            self.slots.push_back(Slot::Ready(Outgoing::default()));
        }
        match self.slots.back_mut() {
            Some(Slot::Ready(out)) => out,
            _ => &mut self.out,
        }
    }

    /// Queues an answer that comes later.
    pub fn later(&mut self, answer: LaterAnswer) {
        self.slots.push_back(Slot::Later(answer));
    }

    /// Places in the queue taken by answers that are not ready, or wait behind such.
    pub fn waiting(&self) -> usize {
        self.slots.len()
    }

    /// What may be written now.
    pub fn out(&mut self) -> &mut Outgoing {
        &mut self.out
    }

    /// Bytes that may be written now.
    pub fn ready_bytes(&self) -> usize {
        self.out.len()
    }

    /// Moves what became ready, as far as the order allows, to what may be written; an error is the reason to close.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        while let Some(slot) = self.slots.front_mut() {
            let mut ready = match slot {
                Slot::Ready(out) => std::mem::take(out),
                Slot::Later(future) => match future.as_mut().poll(cx) {
                    Poll::Ready(out) => out,
                    Poll::Pending => break,
                },
            };
            self.slots.pop_front();
            if let Some(reason) = ready.take_broken() {
                return Err(reason);
            }
            self.out.append(ready);
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use bytes::BufMut;
    use futures_util::task::noop_waker;
    use tokio::sync::oneshot;

    use super::*;

    fn put(out: &mut Outgoing, id: i32) {
        out.frame(id, false, |tail| {
            tail.put_u8(0);
            Ok::<_, String>(())
        })
        .unwrap();
    }

    fn poll(answers: &mut Answers) -> Result<(), String> {
        answers.poll_ready(&mut Context::from_waker(&noop_waker()))
    }

    #[test]
    fn answers_behind_one_that_waits_wait_too_and_keep_their_order() {
        let mut answers = Answers::default();
        put(answers.place(), 1);
        let (done, waits) = oneshot::channel::<()>();
        answers.later(Box::pin(async move {
            let _ = waits.await;
            let mut out = Outgoing::default();
            put(&mut out, 2);
            out
        }));
        put(answers.place(), 3);
        put(answers.place(), 4);
        poll(&mut answers).unwrap();
        assert_eq!(answers.ready_bytes(), 9);
        assert_eq!(answers.waiting(), 2);
        done.send(()).unwrap();
        poll(&mut answers).unwrap();
        assert_eq!((answers.ready_bytes(), answers.waiting()), (4 * 9, 0));
    }

    #[test]
    fn an_answer_that_breaks_closes_the_connection() {
        let mut answers = Answers::default();
        answers.later(Box::pin(async { Outgoing::broken("why".to_owned()) }));
        assert_eq!(poll(&mut answers), Err("why".to_owned()));
    }
}
