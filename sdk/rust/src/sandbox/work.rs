//! Work that blocks, on threads of its own, and futures that take back what they began.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use monocore_orchestrator::{ControlHandle, Error};
use tokio::sync::oneshot;

/// Does `work` on a thread. The descriptor that it gets hangs up when the future is dropped.
///
/// # Errors
/// The work's own, or no thread can be had.
pub(super) async fn on_thread<T: Send + 'static>(
    work: impl FnOnce(OwnedFd) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    undone_by(work, |_| ()).await
}

/// The same for work that is undone by `undo` if the future is dropped before it gave the result to its caller. `undo`
/// runs on a thread, too.
///
/// # Errors
/// As [`on_thread`].
pub(super) async fn undone_by<T: Send + 'static>(
    work: impl FnOnce(OwnedFd) -> Result<T, Error> + Send + 'static,
    undo: impl FnOnce(T) + Send + 'static,
) -> Result<T, Error> {
    let (_held, watched) = UnixStream::pair().map_err(Error::Spawn)?;
    let (sender, receiver) = oneshot::channel();
    spawn(move || {
        let done = work(watched.into()).map(|result| Undone(Some((result, undo))));
        // A receiver that is gone, or goes now, drops the result, and that undoes the work.
        drop(sender.send(done));
    })?;
    match receiver.await {
        Ok(done) => done?.kept().ok_or(Error::Cancelled),
        // The thread panicked.
        Err(_) => Err(Error::Cancelled),
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    std::thread::Builder::new().name("sandbox".to_owned()).spawn(work).map(drop).map_err(Error::Spawn)
}

/// A result, and what undoes it if nobody takes it.
struct Undone<T: Send + 'static, U: FnOnce(T) + Send + 'static>(Option<(T, U)>);

impl<T: Send + 'static, U: FnOnce(T) + Send + 'static> Undone<T, U> {
    fn kept(mut self) -> Option<T> {
        self.0.take().map(|(result, _)| result)
    }
}

impl<T: Send + 'static, U: FnOnce(T) + Send + 'static> Drop for Undone<T, U> {
    fn drop(&mut self) {
        if let Some((result, undo)) = self.0.take() {
            // Whoever drops a future must not be held up. Without a thread nothing is undone, and what was made is listed.
            let _ = spawn(move || undo(result));
        }
    }
}

/// Hangs up when its future is over, so that a thread that waits for a reply ends.
#[derive(Debug)]
pub(super) struct HangUp(pub(super) ControlHandle);

impl Drop for HangUp {
    fn drop(&mut self) {
        self.0.hang_up();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::pin::pin;
    use std::sync::mpsc;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn begin<T>(future: impl Future<Output = T>) -> Poll<T> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_dropped_future_tells_its_work_and_undoes_what_that_made() {
        let (told, hears) = mpsc::channel();
        let work = |watched: OwnedFd| {
            // Readable only at its end.
            UnixStream::from(watched).read_exact(&mut [0]).unwrap_err();
            Ok("made")
        };
        assert!(begin(undone_by(work, move |made| told.send(made).unwrap())).is_pending());
        assert_eq!(hears.recv_timeout(SOON), Ok("made"));
    }

    #[test]
    fn a_result_that_nobody_took_is_undone_too() {
        let ((told, hears), (go, goes), (done, is_done)) =
            (mpsc::channel(), mpsc::channel(), mpsc::channel());
        let work = move |_| {
            goes.recv_timeout(SOON).unwrap();
            done.send(()).unwrap();
            Ok(7)
        };
        let mut future = Box::pin(undone_by(work, move |made| told.send(made).unwrap()));
        assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        go.send(()).unwrap();
        is_done.recv_timeout(SOON).unwrap();
        drop(future);
        assert_eq!(hears.recv_timeout(SOON), Ok(7));
    }

    #[test]
    fn a_result_that_was_taken_stays() {
        let (told, hears) = mpsc::channel::<i32>();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let kept = runtime.block_on(undone_by(|_| Ok(7), move |made| told.send(made).unwrap()));
        assert_eq!(kept.unwrap(), 7);
        // What would have told of it is gone, and never did.
        assert_eq!(hears.recv_timeout(SOON), Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
