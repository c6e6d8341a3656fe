//! The websocket: opening it, and the actor that is the session's mouth.
//!
//! The actor holds nothing that must survive it: a client that comes back says where it was. A keeper of
//! session actors would stand between [`Session`] and this mouth.

use super::{
    session::{Close, Session, Step, Wanted},
    tickets,
};
use crate::{
    auth::Caller,
    limits::Seat,
    problem::{Refused, unauthenticated},
    site::Site,
};
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, SpawnHandle, StreamHandler, WrapFuture};
use actix_web::{HttpRequest, HttpResponse, http::header, web::Payload};
use actix_web_actors::ws;
use shers_contract::{Problem, Timestamp};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};

/// The subprotocol spoken here.
const SUBPROTOCOL: &str = "shers.v1";
/// Messages that may wait in the mouth's mailbox. Nobody sends it any; the bound is there in case.
const MAILBOX: usize = 4;

/// Opens a websocket, or refuses before the upgrade.
pub(crate) async fn open(site: &Arc<Site>, request: &HttpRequest, payload: Payload) -> Result<HttpResponse, Refused> {
    let upgrade = request.headers().get(header::UPGRADE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !upgrade.eq_ignore_ascii_case("websocket") {
        let problem =
            Problem::new(426, "upgrade-required", "this is a websocket; GET /api/v1/events gives the same events");
        return Err(Refused::from(problem).header(header::UPGRADE, "websocket"));
    }
    if site.is_draining() {
        return Err(Problem::unavailable("the server is being stopped").into());
    }
    check_origin(site, request)?;
    let ticket = offered_ticket(request).ok_or_else(|| {
        unauthenticated("offer the subprotocols shers.v1 and a ticket from POST /api/v1/stream-tickets")
    })?;
    let caller = match site.tickets.take(tickets::digest(&ticket)).await {
        Ok(Some(caller)) => caller,
        Ok(None) => return Err(unauthenticated("the ticket is not known, was used, or has expired")),
        Err(error) => return Err(Problem::unavailable(error.to_string()).into()),
    };
    site.rates.take(&caller.principal.subject, Instant::now())?;
    let seat = site.streams.seat(&caller.principal.subject)?;
    let mouth = Mouth::new(Arc::clone(site), caller, seat);
    ws::WsResponseBuilder::new(mouth, request, payload)
        .protocols(&[SUBPROTOCOL])
        .frame_size(site.settings.stream.inbound_bytes)
        .start()
        .map_err(|error| Problem::malformed(format!("the websocket handshake is not right: {error}")).into())
}

/// Pages of other origins must not open the stream with a ticket they came by. What is no browser sends no
/// Origin, and has nothing but its ticket either.
fn check_origin(site: &Site, request: &HttpRequest) -> Result<(), Refused> {
    let Some(origin) = request.headers().get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let host = request.headers().get(header::HOST).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let same = origin.split_once("://").is_some_and(|(_, of)| !of.is_empty() && of.eq_ignore_ascii_case(host));
    if same || site.settings.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)) {
        return Ok(());
    }
    Err(Problem::forbidden("pages of this origin may not open the stream; the setting `origins` allows others").into())
}

/// The second of the subprotocols offered, when the first is ours.
fn offered_ticket(request: &HttpRequest) -> Option<String> {
    let values = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).filter_map(|v| v.to_str().ok());
    let mut offered = values.flat_map(|text| text.split(',')).map(str::trim);
    (offered.next()? == SUBPROTOCOL).then(|| offered.next().map(str::to_owned))?
}

/// The actor of one websocket.
struct Mouth {
    site: Arc<Site>,
    session: Session,
    expires_at: Option<Timestamp>,
    /// When the session is looked at again, and by which timer.
    timer: Option<(u64, SpawnHandle)>,
    closed: bool,
    _seat: Seat,
}

type Context = ws::WebsocketContext<Mouth>;

impl Mouth {
    fn new(site: Arc<Site>, caller: Caller, seat: Seat) -> Self {
        let session = Session::new(Arc::clone(&site.hub), site.settings.stream.clone());
        Self { session, expires_at: caller.expires_at, timer: None, closed: false, site, _seat: seat }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.site.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Does what a step asks for.
    fn perform(&mut self, step: Step, ctx: &mut Context) {
        if self.closed {
            return;
        }
        for frame in step.frames {
            ctx.text(frame);
        }
        if let Some(close) = step.close {
            self.close(close, ctx);
            return;
        }
        for wanted in step.wanted {
            self.read(wanted, ctx);
        }
        if let Some(at_ms) = step.wake_ms {
            self.wake(at_ms, ctx);
        }
    }

    fn read(&mut self, wanted: Wanted, ctx: &mut Context) {
        let hub = Arc::clone(&self.site.hub);
        let reading = async move {
            // Lets what is written drain first: a store in memory would otherwise give its whole log at once.
            tokio::task::yield_now().await;
            let page = hub.page(wanted.after, wanted.filter).await;
            (wanted, page)
        };
        let done = reading.into_actor(self).map(|(wanted, page), mouth, ctx| {
            let page = page.map_err(|error| tracing::warn!(%error, "catching up: the log can't be read")).ok();
            let step = mouth.session.page(&wanted, page, mouth.now_ms());
            mouth.perform(step, ctx);
        });
        ctx.spawn(done);
    }

    fn wake(&mut self, at_ms: u64, ctx: &mut Context) {
        if let Some((earlier, handle)) = self.timer.take() {
            if earlier <= at_ms {
                self.timer = Some((earlier, handle));
                return;
            }
            ctx.cancel_future(handle);
        }
        let wait = Duration::from_millis(at_ms.saturating_sub(self.now_ms()));
        let handle = ctx.run_later(wait, |mouth, ctx| {
            mouth.timer = None;
            mouth.pump(ctx);
        });
        self.timer = Some((at_ms, handle));
    }

    fn pump(&mut self, ctx: &mut Context) {
        let step = self.session.pump(self.now_ms());
        self.perform(step, ctx);
    }

    /// Waits for the ring to grow. One slot, overwritten: nothing can pile up behind a stalled client.
    fn listen(&self, mut grown: watch::Receiver<u64>, ctx: &mut Context) {
        let next = async move {
            let alive = grown.changed().await.is_ok();
            (grown, alive)
        };
        ctx.spawn(next.into_actor(self).map(|(grown, alive), mouth, ctx| {
            if alive {
                mouth.pump(ctx);
                mouth.listen(grown, ctx);
            }
        }));
    }

    fn close(&mut self, why: Close, ctx: &mut Context) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let (code, text) = why.code();
        metrics::counter!("shers_stream_closed_total", "code" => code.to_string()).increment(1);
        ctx.close(Some(ws::CloseReason { code: ws::CloseCode::Other(code), description: Some(text.into()) }));
        ctx.stop();
    }
}

impl Actor for Mouth {
    type Context = Context;

    fn started(&mut self, ctx: &mut Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        let now = self.site.deps.clock.now().to_string();
        ctx.text(self.session.hello(&now));
        let grown = self.site.hub.watch();
        self.listen(grown, ctx);
        ctx.run_interval(Duration::from_millis(self.site.settings.stream.heartbeat_ms), |mouth, ctx| {
            mouth.pump(ctx);
            if !mouth.closed {
                ctx.text(mouth.session.heartbeat());
            }
        });
        let mut draining = self.site.draining.clone();
        let stopping = async move {
            let _ = draining.wait_for(|draining| *draining).await;
        };
        ctx.spawn(stopping.into_actor(self).map(|(), mouth, ctx| mouth.close(Close::Draining, ctx)));
        if let Some(at) = self.expires_at {
            let left = at.until_from(shers_runtime::clock::system_now());
            ctx.run_later(left, |mouth, ctx| mouth.close(Close::Expired, ctx));
        }
    }
}

impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for Mouth {
    fn handle(&mut self, message: Result<ws::Message, ws::ProtocolError>, ctx: &mut Context) {
        match message {
            Ok(ws::Message::Text(text)) => {
                let step = self.session.receive(&text, self.now_ms());
                self.perform(step, ctx);
            }
            Ok(ws::Message::Ping(payload)) => ctx.pong(&payload),
            Ok(ws::Message::Pong(_) | ws::Message::Nop) => {}
            Ok(ws::Message::Close(reason)) => {
                self.closed = true;
                ctx.close(reason);
                ctx.stop();
            }
            Ok(ws::Message::Binary(_) | ws::Message::Continuation(_)) | Err(_) => self.close(Close::BadFrame, ctx),
        }
    }
}
