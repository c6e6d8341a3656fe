//! The live stream: one hub per server tails the log; websockets and server-sent events read from it.
//!
//! - [`hub`] keeps the newest events in a ring, each serialised once, and the newest position of each unit.
//! - [`session`] is what one websocket client subscribed to and how far it is: no socket, no clock.
//! - [`socket`] is the session's mouth, an `actix-web-actors` actor on its worker's arbiter.
//! - [`events`] gives the same events as pages and as server-sent events.
//!
//! Clients pull: the hub pushes nothing into them but "there is more", which is one slot that is
//! overwritten. A websocket actor's future is its response body, so with a client that stops reading it is
//! not polled; whatever were sent to its mailbox would pile up. Here nothing can: what waits is the ring,
//! which has one size for all. `TCP_USER_TIMEOUT` then ends the connection.

pub(crate) mod events;
pub(crate) mod filter;
pub(crate) mod frames;
pub(crate) mod hub;
pub(crate) mod session;
pub(crate) mod socket;
mod state_lane;
pub mod tickets;
