//! Limits of the guest's commands.

use std::sync::Arc;
use std::time::Duration;

use monocore_protocol::{Answer, GuestLimits, Request};

use super::{Jobs, News, Next, Work};
use crate::control::{ControlPeer, ControlReply};
use crate::session::Session;

/// How long the guest may take: it may have to write cached files to its disk.
const LIMITS_GRACE: Duration = Duration::from_secs(30);

impl Jobs {
    /// Gives the commands other limits, and tells `peer` when they hold.
    pub(in crate::supervisor) fn limit(
        &mut self,
        peer: Arc<ControlPeer>,
        session: &Session,
        limits: GuestLimits,
    ) {
        let id = self.begin(Some(peer), LIMITS_GRACE, Work::Limits);
        self.ask_guest(id, session, |id| Request::SetLimits { id, limits });
    }
}

pub(super) fn next(news: News) -> Next {
    let problem = match news {
        News::Guest(Ok(Answer::Done)) => return Next::Done(ControlReply::Done),
        News::Guest(Err(error)) => error.to_string(),
        News::Guest(Ok(_)) | News::Machine(_) => "the wrong answer came".to_owned(),
        News::Late => "no answer in time".to_owned(),
    };
    Next::Done(ControlReply::Refused(problem))
}
