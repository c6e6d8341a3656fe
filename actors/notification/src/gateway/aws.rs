//! Amazon: text messages through SNS, e-mail through SES v2 or, by choice, through an SNS topic.
//!
//! The SDK makes one attempt, for publishing a text message has no idempotency: a repeat is another message.
//! Retries are this service's own, from its log. What can't have left is refused, what may have left is
//! ambiguous; Amazon can't be asked afterwards, so neither can be cleared up.
//!
//! Reasons carry Amazon's error codes and never its messages, which quote the address.

use super::{Lookup, Messenger, Outgoing, SendOutcome};
use crate::settings::{AwsSettings, MailRoute};
use async_trait::async_trait;
use aws_sdk_sesv2::types::{Body, Content, Destination, EmailContent, Message, MessageTag};
use aws_sdk_sns::{
    config::{
        BehaviorVersion, Credentials, Region, retry::RetryConfig, timeout::TimeoutConfig, timeout::TimeoutConfigBuilder,
    },
    error::{ProvideErrorMetadata, SdkError},
    types::MessageAttributeValue,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use shers_contract::{
    address::{is_e164, is_mailbox},
    notification::Channel,
};
use std::{error::Error, time::Duration};

/// What a text message may cost in characters: SNS takes 1,600 bytes over all parts.
const MAX_SMS_BYTES: usize = 1_600;
/// Attribute of a topic's messages that holds the recipient's address; a subscription's filter policy picks
/// its own by it.
const RECIPIENT: &str = "recipient";

/// The settings are not enough to talk to Amazon.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// Something is missing.
    #[error("notification.aws.{key} is missing: {why}")]
    Missing {
        /// Which key.
        key: &'static str,
        /// What it is needed for.
        why: &'static str,
    },
    /// The file with the secret can't be read.
    #[error("reading notification.aws.secret_access_key_file")]
    SecretFile(#[source] std::io::Error),
}

/// Amazon SNS and SES.
pub struct Aws {
    sns: aws_sdk_sns::Client,
    ses: aws_sdk_sesv2::Client,
    settings: AwsSettings,
}

impl Aws {
    /// Its name in events.
    pub const NAME: &'static str = "aws";

    /// Clients after `settings`; each call has `limit`.
    ///
    /// # Errors
    /// Something is missing in the settings, or the secret's file can't be read.
    pub fn new(settings: AwsSettings, limit: Duration) -> Result<Self, SetUpError> {
        let missing = |key, why| SetUpError::Missing { key, why };
        let region = settings.region.clone().ok_or(missing("region", "where the services are called"))?;
        match settings.mail_route {
            MailRoute::Ses if settings.mail_from.is_none() => {
                return Err(missing("mail_from", "SES sends from a verified address"));
            }
            MailRoute::SnsTopic if settings.mail_topic_arn.is_none() => {
                return Err(missing("mail_topic_arn", "e-mail is to go through an SNS topic"));
            }
            MailRoute::Ses | MailRoute::SnsTopic => {}
        }
        let credentials = credentials(&settings)?;
        let http =
            aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let region = Region::new(region);
        let times: TimeoutConfig = TimeoutConfigBuilder::new().connect_timeout(limit).operation_timeout(limit).build();
        let mut sns = aws_sdk_sns::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(region.clone())
            .credentials_provider(credentials.clone())
            .http_client(http.clone())
            .retry_config(RetryConfig::disabled())
            .timeout_config(times.clone());
        let mut ses = aws_sdk_sesv2::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(region)
            .credentials_provider(credentials)
            .http_client(http)
            .retry_config(RetryConfig::disabled())
            .timeout_config(times);
        sns.set_endpoint_url(settings.endpoint_url.clone());
        ses.set_endpoint_url(settings.endpoint_url.clone());
        Ok(Self {
            sns: aws_sdk_sns::Client::from_conf(sns.build()),
            ses: aws_sdk_sesv2::Client::from_conf(ses.build()),
            settings,
        })
    }

    async fn text(&self, message: &Outgoing) -> SendOutcome {
        if !is_e164(&message.to) {
            return refused("the number is not E.164", true);
        }
        if message.text.len() > MAX_SMS_BYTES {
            return refused("the text is longer than a text message may be", true);
        }
        let mut request = self.sns.publish().phone_number(&message.to).message(&message.text);
        request = request.message_attributes("AWS.SNS.SMS.SMSType", text("Transactional"));
        if let Some(sender) = &self.settings.sender_id {
            request = request.message_attributes("AWS.SNS.SMS.SenderID", text(sender));
        }
        outcome(request.send().await, |answer| answer.message_id())
    }

    async fn mail(&self, message: &Outgoing) -> SendOutcome {
        if !is_mailbox(&message.to) {
            return refused("the e-mail address is none", true);
        }
        match self.settings.mail_route {
            MailRoute::Ses => self.mail_by_ses(message).await,
            MailRoute::SnsTopic => self.mail_by_topic(message).await,
        }
    }

    async fn mail_by_ses(&self, message: &Outgoing) -> SendOutcome {
        let content = |data: &str| Content::builder().charset("UTF-8").data(data).build();
        let (Ok(subject), Ok(body)) = (content(&message.subject), content(&message.text)) else {
            return refused("the message can't be written", true);
        };
        let letter = Message::builder().subject(subject).body(Body::builder().text(body).build()).build();
        let key = MessageTag::builder().name("shers-key").value(message.key.replace(':', "_")).build();
        let Ok(key) = key else { return refused("the message's key can't be written", true) };
        let mut request = self
            .ses
            .send_email()
            .destination(Destination::builder().to_addresses(&message.to).build())
            .content(EmailContent::builder().simple(letter).build())
            .email_tags(key);
        request = request.set_from_email_address(self.settings.mail_from.clone());
        outcome(request.send().await, |answer| answer.message_id())
    }

    async fn mail_by_topic(&self, message: &Outgoing) -> SendOutcome {
        let request = self.sns.publish().set_topic_arn(self.settings.mail_topic_arn.clone());
        let request = request.subject(&message.subject).message(&message.text);
        outcome(request.message_attributes(RECIPIENT, text(&message.to)).send().await, |answer| answer.message_id())
    }
}

fn credentials(settings: &AwsSettings) -> Result<Credentials, SetUpError> {
    let missing = |key, why| SetUpError::Missing { key, why };
    let key_id = settings.access_key_id.clone();
    let key_id = key_id.ok_or(missing("access_key_id", "calls are signed with it"))?;
    let secret = match (&settings.secret_access_key, &settings.secret_access_key_file) {
        (_, Some(path)) => std::fs::read_to_string(path).map_err(SetUpError::SecretFile)?.trim().to_owned(),
        (Some(secret), None) => secret.reveal().to_owned(),
        (None, None) => {
            return Err(missing("secret_access_key_file", "calls are signed with the secret access key in it"));
        }
    };
    let session = settings.session_token.as_ref().map(|token| token.reveal().to_owned());
    Ok(Credentials::new(key_id, secret, session, None, "shers"))
}

/// A text attribute. It has a data type and a value, so it is always complete.
fn text(value: &str) -> MessageAttributeValue {
    let built = MessageAttributeValue::builder().data_type("String").string_value(value).build();
    built.unwrap_or_else(|_| unreachable!("a data type is set"))
}

fn refused(reason: &str, permanent: bool) -> SendOutcome {
    SendOutcome::Refused { reason: reason.to_owned(), permanent }
}

fn ambiguous(reason: impl Into<String>) -> SendOutcome {
    SendOutcome::Ambiguous { reason: reason.into() }
}

/// What an answer of the SDK means for the message.
fn outcome<T, E>(answer: Result<T, SdkError<E>>, id: impl Fn(&T) -> Option<&str>) -> SendOutcome
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match answer {
        Ok(answer) => match id(&answer) {
            Some(id) => SendOutcome::Sent { id: id.to_owned() },
            None => ambiguous("the answer names no message"),
        },
        Err(SdkError::ConstructionFailure(_)) => refused("the request could not be made", true),
        Err(SdkError::ServiceError(error)) => judge(error.err().code(), error.raw().status().as_u16()),
        Err(SdkError::DispatchFailure(failure)) => {
            let never_left = failure.as_connector_error().is_some_and(|error| unreachable_host(error));
            if never_left {
                refused("Amazon can't be reached", false)
            } else {
                ambiguous("the connection broke before an answer")
            }
        }
        Err(SdkError::TimeoutError(_)) => ambiguous("no answer in time"),
        Err(_) => ambiguous("an answer that can't be read"),
    }
}

/// Whether a connection was never made: nothing can have been sent over it.
fn unreachable_host(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
            return matches!(io.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable);
        }
        cause = error.source();
    }
    false
}

/// What an error answer means: the address is bad for good, Amazon is busy, our set-up is wrong, or nobody
/// knows (5xx: it may have been taken).
fn judge(code: Option<&str>, status: u16) -> SendOutcome {
    const BAD_ADDRESS: [&str; 6] = [
        "InvalidParameter",
        "InvalidParameterValue",
        "ParameterValueInvalid",
        "ValidationException",
        "BadRequestException",
        "MessageRejected",
    ];
    let code = code.unwrap_or("unnamed error");
    match status {
        // Accepted, as it seems, in words that can't be read.
        ..400 => ambiguous("an answer that can't be read"),
        500.. => ambiguous(format!("Amazon failed: {code}")),
        429 => refused(&format!("Amazon is busy: {code}"), false),
        _ if BAD_ADDRESS.contains(&code) => refused(&format!("Amazon does not take it: {code}"), true),
        _ => refused(&format!("Amazon does not take it now: {code}"), false),
    }
}

#[async_trait(?Send)]
impl Messenger for Aws {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    async fn lookup(&self, _key: &str) -> Lookup {
        Lookup::CannotTell
    }

    async fn send(&self, message: &Outgoing) -> SendOutcome {
        match message.channel {
            Channel::Sms => self.text(message).await,
            Channel::Email => self.mail(message).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: &str, status: u16, want: Option<bool>) {
        let permanent = match judge(Some(code), status) {
            SendOutcome::Refused { permanent, .. } => Some(permanent),
            SendOutcome::Ambiguous { .. } | SendOutcome::Sent { .. } => None,
        };
        assert_eq!(permanent, want, "{code} {status}");
    }

    #[test]
    fn an_error_says_whether_to_try_again_and_whether_it_may_have_been_sent() {
        check("InvalidParameter", 400, Some(true));
        check("MessageRejected", 400, Some(true));
        check("Throttling", 400, Some(false));
        check("TooManyRequestsException", 429, Some(false));
        check("AuthorizationError", 403, Some(false));
        check("SignatureDoesNotMatch", 403, Some(false));
        check("InternalError", 500, None);
        check("InvalidParameter", 503, None);
        check("unnamed", 200, None);
    }

    #[test]
    fn only_a_connection_that_was_never_made_is_safe_to_repeat() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert!(unreachable_host(&refused) && !unreachable_host(&reset));
    }

    #[test]
    fn settings_that_lack_something_say_what() {
        let limit = Duration::from_secs(1);
        let error = Aws::new(AwsSettings::default(), limit).err().expect("no region").to_string();
        assert!(error.contains("notification.aws.region"), "{error}");
        let settings = AwsSettings { region: Some("eu-central-1".into()), ..AwsSettings::default() };
        let error = Aws::new(settings, limit).err().expect("no sender").to_string();
        assert!(error.contains("mail_from"), "{error}");
    }
}
