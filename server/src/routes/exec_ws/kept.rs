//! Commands that outlive their connections for a while, so that a page may be loaded again.
//!
//! A task for each owns the command. Connections join it, one at a time; without one, the end of
//! the output is kept and the task's time runs.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket};
use futures::{SinkExt, StreamExt};
use monocore_api::{Channel, ErrorCode, ExecResume, ExecStart, ServerMessage, StreamFrame, TerminalSize};
use monocore_orchestrator::spec::parse_duration;
use monocore_orchestrator::{ControlClient, RemoteCommand};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::end;
use super::streams::{Begun, CHUNK, Sink, Source, Told, begin, reserve, stdin_bytes, tell, term_size, text};
use crate::api_server::ApiServer;
use crate::error::ApiError;
use crate::work::{self, HangUp};

/// Commands that are kept at a time.
const MOST_COMMANDS: usize = 64;
/// The longest that a command may be kept without a connection.
const MOST_TIME: Duration = Duration::from_secs(600);
/// Output that is kept of each command, bytes.
const MOST_OUTPUT: usize = 256 << 10;
/// How long a client may take no output, or a command no input, before the connection is given up.
const STUCK: Duration = Duration::from_secs(30);

/// Who may go on with a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// The sandbox's ID.
    pub(super) sandbox: String,
    /// The client's token.
    pub(super) token: Option<String>,
}

/// A connection that joins a command, with the size of its terminal if that may have changed.
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) socket: WebSocket,
    pub(super) size: Option<TerminalSize>,
}

/// The way to a command's task, and the size of the terminal that joins.
type Session = (mpsc::Sender<Joining>, Option<TerminalSize>);

/// All commands that are kept.
#[derive(Debug, Default)]
pub(crate) struct KeptCommands(Mutex<HashMap<String, (Owner, mpsc::Sender<Joining>)>>);

impl KeptCommands {
    /// The command that the client may go on with.
    pub(super) fn resume(&self, owner: &Owner, resume: ExecResume) -> Result<Session, ApiError> {
        let commands = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = commands.get(&resume.session).filter(|(known, _)| known == owner);
        let (_, session) = known.ok_or_else(no_such_session)?;
        Ok((session.clone(), Some(resume.terminal)))
    }

    fn add(&self, id: &str, owner: Owner, to: mpsc::Sender<Joining>) -> Result<(), ApiError> {
        let mut commands = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if commands.len() >= MOST_COMMANDS {
            return Err(ApiError::new(ErrorCode::TooBusy, "too many commands are kept at a time"));
        }
        commands.insert(id.to_owned(), (owner, to));
        Ok(())
    }

    fn remove(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

/// Nothing is said about commands of other clients.
pub(super) fn no_such_session() -> ApiError {
    ApiError::new(ErrorCode::NoSuchSession, "the command has ended, or is not this client's")
}

/// Starts a command that is kept.
pub(super) fn start(
    context: &ApiServer,
    owner: Owner,
    client: ControlClient,
    start: ExecStart,
) -> Result<Session, ApiError> {
    let keep = start.keep.as_ref().map(|text| parse_duration(&text.text())).transpose();
    let keep = keep.map_err(|error| ApiError::value("keep", error))?.unwrap_or_default();
    if keep > MOST_TIME {
        return Err(ApiError::value("keep", "at most 10 minutes"));
    }
    if start.terminal.is_none() {
        return Err(ApiError::value("keep", "needs a terminal"));
    }
    let id = new_id()?;
    let (to, joining) = mpsc::channel(1);
    context.kept.add(&id, owner, to.clone())?;
    // Removes it again, also where the command cannot be started.
    let place = Place { context: context.clone(), id };
    let Begun { output, inputs, control, command } = begin(client, start)?;
    let until = Instant::now() + keep;
    let kept =
        Kept { place, keep, until, control, inputs, blocked: None, client: None, shown: Shown::default() };
    tokio::spawn(kept.run(command, output, joining));
    Ok((to, None))
}

fn new_id() -> Result<String, ApiError> {
    let mut random = [0; 16];
    rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::empty())
        .map_err(ApiError::internal)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A command's place among the kept ones.
struct Place {
    context: ApiServer,
    id: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.context.kept.remove(&self.id);
    }
}

/// A command that is kept. It is killed when this is dropped.
struct Kept {
    place: Place,
    keep: Duration,
    /// When the time is up for a command without a connection, or for input that is not taken.
    until: Instant,
    control: HangUp,
    inputs: Option<mpsc::Sender<Bytes>>,
    /// Input that waits for the command. Meanwhile nothing is read from the client.
    blocked: Option<Bytes>,
    client: Option<(Sink, Source)>,
    shown: Shown,
}

impl Kept {
    async fn run(
        mut self,
        command: RemoteCommand,
        mut output: mpsc::Receiver<Bytes>,
        mut joining: mpsc::Receiver<Joining>,
    ) {
        let context = self.place.context.clone();
        let mut ended = std::pin::pin!(work::long(&context, move |_| Ok(command.wait()?.code())));
        let (mut streams, mut result) = (true, None);
        let last = loop {
            tokio::select! {
                biased;
                joined = joining.recv() => match joined {
                    Some(joined) => self.join(joined).await,
                    None => return,
                },
                bytes = output.recv(), if streams => match bytes {
                    Some(bytes) => self.show(bytes).await,
                    None => streams = false,
                },
                done = &mut ended, if result.is_none() => result = Some(done),
                permit = reserve(self.inputs.clone()), if self.blocked.is_some() => match permit {
                    Some(permit) => drop(permit.send(self.blocked.take().unwrap_or_default())),
                    None => { self.blocked = None; self.inputs = None }
                },
                message = said(&mut self.client), if self.blocked.is_none() => self.hear(message),
                () = sleep_until(self.until), if self.client.is_none() || self.blocked.is_some() => {
                    if self.client.is_none() {
                        return;
                    }
                    self.blocked = None;
                    self.leave();
                }
                () = context.ended() => break Err(ApiError::new(ErrorCode::TooBusy, "the server ends")),
            }
            // Without a connection the result waits for one.
            if !streams
                && self.client.is_some()
                && let Some(result) = result.take()
            {
                break result;
            }
        };
        if let Some((sink, _)) = self.client.take() {
            // Nobody may be reading.
            let _ = timeout(STUCK, end(sink, last)).await;
        }
    }

    /// Takes the connection instead of the one before.
    async fn join(&mut self, Joining { socket, size }: Joining) {
        if let Some((sink, _)) = self.client.take() {
            let taken = ApiError::new(ErrorCode::SessionTaken, "another connection goes on with the command");
            tokio::spawn(timeout(STUCK, end(sink, Err(taken))));
        }
        self.blocked = None;
        self.client = Some(socket.split());
        if let Some(size) = size {
            self.control.0.resize(term_size(size));
            for frame in self.shown.frames() {
                self.send(Message::Binary(frame)).await;
            }
        }
        self.send(text(&ServerMessage::Session { id: self.place.id.clone() })).await;
    }

    async fn show(&mut self, frame: Bytes) {
        self.shown.push(&frame[1..]);
        self.send(Message::Binary(frame)).await;
    }

    async fn send(&mut self, message: Message) {
        let Some((sink, _)) = &mut self.client else { return };
        if !matches!(timeout(STUCK, sink.send(message)).await, Ok(Ok(()))) {
            self.leave();
        }
    }

    /// The connection is gone; the command's time runs.
    fn leave(&mut self) {
        self.client = None;
        self.until = Instant::now() + self.keep;
    }

    fn hear(&mut self, message: Option<Result<Message, axum::Error>>) {
        let heard = match message {
            Some(Ok(Message::Binary(bytes))) => stdin_bytes(&bytes).map(|bytes| {
                self.blocked = bytes.filter(|_| self.inputs.is_some());
                self.until = Instant::now() + STUCK;
            }),
            Some(Ok(Message::Text(text))) => tell(&self.control, text.as_str()).map(|told| {
                if let Told::StdinEnd = told {
                    self.inputs = None;
                }
            }),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return self.leave(),
        };
        if let Err(error) = heard
            && let Some((sink, _)) = self.client.take()
        {
            tokio::spawn(timeout(STUCK, end(sink, Err(error))));
            self.leave();
        }
    }
}

/// The next message of a client; waits for ever where there is none.
async fn said(client: &mut Option<(Sink, Source)>) -> Option<Result<Message, axum::Error>> {
    match client {
        Some((_, source)) => source.next().await,
        None => std::future::pending().await,
    }
}

/// The end of a terminal's output.
#[derive(Debug, Default)]
struct Shown {
    bytes: VecDeque<u8>,
    /// There was more before.
    is_cut: bool,
}

impl Shown {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let more = self.bytes.len().saturating_sub(MOST_OUTPUT);
        self.is_cut |= more > 0;
        self.bytes.drain(..more);
    }

    /// As messages. Output that was cut begins with a whole line, where there is one.
    fn frames(&self) -> Vec<Bytes> {
        let line = self.bytes.iter().position(|byte| *byte == b'\n').filter(|_| self.is_cut);
        let bytes: Vec<u8> = self.bytes.iter().skip(line.map_or(0, |at| at + 1)).copied().collect();
        let frame = |bytes| StreamFrame { channel: Channel::Stdout, bytes }.encode().into();
        bytes.chunks(CHUNK).map(frame).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_output_is_kept_and_begins_with_a_line() {
        let mut shown = Shown::default();
        shown.push(b"one\ntwo");
        assert_eq!(shown.frames(), [Bytes::from_static(b"\x01one\ntwo")]);
        shown.push(&vec![b'x'; MOST_OUTPUT - 5]);
        let frames = shown.frames();
        assert_eq!(frames.iter().map(|frame| frame.len() - 1).sum::<usize>(), MOST_OUTPUT - 2);
        assert!(frames.len() == 4 && frames[0].starts_with(b"\x01twox"), "{}", frames.len());
        shown.push(&vec![b'y'; 3 * MOST_OUTPUT]);
        assert_eq!(shown.bytes.len(), MOST_OUTPUT);
        assert!(shown.frames().iter().all(|frame| frame[1..].iter().all(|byte| *byte == b'y')));
    }

    #[test]
    fn a_command_is_found_by_its_owner_only_and_not_without_bound() {
        let kept = KeptCommands::default();
        let owner = |sandbox: &str, token: Option<&str>| Owner {
            sandbox: sandbox.to_owned(),
            token: token.map(str::to_owned),
        };
        let (to, _joining) = mpsc::channel(1);
        kept.add("id", owner("a", Some("t")), to.clone()).unwrap();
        let size = TerminalSize { rows: 1, columns: 1 };
        let find = |owner: &Owner, session: &str| {
            kept.resume(owner, ExecResume { session: session.to_owned(), terminal: size }).is_ok()
        };
        assert!(find(&owner("a", Some("t")), "id"));
        for (other, session) in [
            (owner("b", Some("t")), "id"),
            (owner("a", Some("u")), "id"),
            (owner("a", None), "id"),
            (owner("a", Some("t")), "i"),
        ] {
            assert!(!find(&other, session), "{other:?} {session}");
        }
        for number in 1..MOST_COMMANDS {
            kept.add(&number.to_string(), owner("a", None), to.clone()).unwrap();
        }
        assert!(kept.add("more", owner("a", None), to.clone()).is_err());
        kept.remove("id");
        kept.add("more", owner("a", None), to).unwrap();
    }
}
