//! The outside of this service: what carries messages to people.
//!
//! [`sandbox`] is built in. Amazon SNS (text messages) and SES (e-mail) stand beside it behind the cargo
//! feature `providers`.

#[cfg(feature = "providers")]
pub mod aws;
pub mod sandbox;

use async_trait::async_trait;
use shers_contract::notification::Channel;

/// What a provider knows of a message by our own key for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// It took the message, under this id of its own.
    Sent(String),
    /// It has never seen it, for sure.
    NotSeen,
    /// It can't say.
    CannotTell,
}

/// How a send ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SendOutcome {
    /// The provider took it.
    Sent {
        /// Its id of the message.
        id: String,
    },
    /// It did not take it.
    Refused {
        /// Why; never an address.
        reason: String,
        /// It never will, for this address.
        permanent: bool,
    },
    /// Nobody knows.
    Ambiguous {
        /// Why.
        reason: String,
    },
}

/// A message to carry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// Our own key for it: the same key is the same message.
    pub key: String,
    /// How it travels.
    pub channel: Channel,
    /// Phone number or e-mail address.
    pub to: String,
    /// Subject of an e-mail.
    pub subject: String,
    /// The text.
    pub text: String,
}

/// Carries messages. Never panics on an answer it does not understand: that is an ambiguous outcome.
#[async_trait(?Send)]
pub trait Messenger: 'static {
    /// Its name as it shows in events.
    fn name(&self) -> &'static str;
    /// What the provider knows of the message with our `key`.
    async fn lookup(&self, key: &str) -> Lookup;
    /// Sends a message. One attempt; whoever calls decides about another.
    async fn send(&self, message: &Outgoing) -> SendOutcome;
}
