//! Amazon's clients: against moto, a peer that this project did not write (`SHERS_TEST_MOTO_URL`; `scripts/test
//! peers` starts one), and against a small server of this file that misbehaves on purpose.
#![cfg(feature = "providers")]

use aws_sdk_sns::config::{BehaviorVersion, Credentials, Region};
use base64::Engine as _;
use serde_json::{Value, json};
use shers_contract::{
    DomainEvent, IncidentId, NotificationId, PatientId, Secret, derived_uuid,
    envelope::StreamName,
    incident::IncidentEvent,
    notification::{AttemptEnded, NotificationEvent, SendNotification, Template},
    patient::{Patient, PatientEvent},
};
use shers_notification::{
    AwsSettings, MailRoute, Provider, Settings,
    gateway::{Messenger, Outgoing, SendOutcome, aws::Aws, sandbox::LEDGER},
    start,
};
use shers_runtime::{
    Append, Commit, Deps, Expected, NewEvent, Store,
    testing::{MemoryStore, deps_over},
};
use std::{cell::Cell, future::Future, rc::Rc, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const REGION: &str = "eu-central-1";
/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

fn life<F: Future<Output = ()>>(test: F) {
    actix_rt::System::new().block_on(async { tokio::time::timeout(PATIENCE, test).await.expect("no hang") });
}

/// Where moto listens; says that it is left out when nobody started one.
fn moto(test: &str) -> Option<String> {
    let url = std::env::var("SHERS_TEST_MOTO_URL").ok();
    if url.is_none() {
        println!("left out: {test}: SHERS_TEST_MOTO_URL is not set; `scripts/test peers` sets it");
    }
    url
}

fn aws(endpoint: &str) -> AwsSettings {
    AwsSettings {
        region: Some(REGION.into()),
        endpoint_url: Some(endpoint.into()),
        access_key_id: Some("test-key".into()),
        secret_access_key: Some(Secret::new("test-secret")),
        sender_id: Some("SHERS".into()),
        mail_from: Some("house@shers.example".into()),
        ..AwsSettings::default()
    }
}

fn settings(aws: AwsSettings) -> Settings {
    Settings { provider: Provider::Aws, aws, backoff_s: 0, send_limit_ms: 3_000, ..Settings::default() }
}

async fn publish(deps: &Deps, stream: &str, exercise: bool, event: &impl DomainEvent) {
    let event = NewEvent {
        id: derived_uuid(&["published", stream]),
        kind: event.kind(),
        v: 1,
        at: deps.clock.now(),
        correlation_id: None,
        causation_id: None,
        traceparent: None,
        exercise,
        data: event.to_data(),
    };
    let stream = StreamName::from_stored(stream);
    let append = Append { stream, expected: Expected::Any, events: vec![event], open: false };
    deps.store.commit(Commit { appends: vec![append], ..Commit::default() }).await.expect("published");
}

/// Starts the service, orders one message to `next_of_kin`, and waits until it is over.
async fn tell(store: &Arc<MemoryStore>, settings: Settings, next_of_kin: Value, exercise: bool) -> AttemptEnded {
    let deps = deps_over(Arc::clone(store) as Arc<MemoryStore>);
    let _door = start(deps.clone(), settings).await.expect("started");
    let patient = json!({"patient_id": "p-1", "name": "Max", "next_of_kin": next_of_kin});
    let patient: Patient = serde_json::from_value(patient).expect("a patient");
    publish(&deps, "patient/p-1", exercise, &PatientEvent::Registered(patient)).await;
    let command = IncidentEvent::SendNotification(SendNotification {
        notification_id: NotificationId::new("n-1").expect("valid"),
        incident_id: IncidentId::new("i-1").expect("valid"),
        patient_id: PatientId::new("p-1").expect("valid"),
        template: Template::ArrivedAtHospital,
        eta_min: None,
        hospital: Some("Landesspital".into()),
    });
    publish(&deps, "incident/i-1", exercise, &command).await;
    let mut head = store.head();
    loop {
        for recorded in store.all().iter().rev() {
            let event = NotificationEvent::from_envelope(&recorded.envelope).and_then(Result::ok);
            if let Some(
                NotificationEvent::Sent(ended) | NotificationEvent::Failed(ended) | NotificationEvent::Ambiguous(ended),
            ) = event
                && ended.last
            {
                return ended;
            }
        }
        head.changed().await.expect("the store lives");
    }
}

/// What became of the notification, in order.
fn story(store: &MemoryStore) -> Vec<&'static str> {
    store.kinds().into_iter().filter_map(|kind| kind.strip_prefix("notification.")).collect()
}

/// Bodies of the requests that mention `what`, as moto recorded them.
async fn recorded(moto: &str, what: &str) -> Vec<String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = format!("{moto}/moto-api/recorder/download-recording");
    let text = reqwest::get(url).await.expect("moto answers").text().await.expect("a recording");
    let bodies = text.lines().map(|line| {
        let request: Value = serde_json::from_str(line).expect("moto records JSON lines");
        let body = request["body"].as_str().expect("a body");
        let body = base64::engine::general_purpose::STANDARD.decode(body).expect("base64");
        String::from_utf8(body).expect("text")
    });
    bodies.filter(|body| body.contains(what)).collect()
}

/// The form fields of the one recorded request that mentions `what`.
async fn the_form(moto: &str, what: &str) -> Vec<(String, String)> {
    let bodies = recorded(moto, what).await;
    assert_eq!(bodies.len(), 1, "one request mentions {what}: {bodies:?}");
    url::form_urlencoded::parse(bodies[0].as_bytes()).into_owned().collect()
}

fn field<'a>(form: &'a [(String, String)], name: &str) -> &'a str {
    form.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
}

/// The value of a message attribute.
fn attribute<'a>(form: &'a [(String, String)], name: &str) -> &'a str {
    let entry = form.iter().find(|(key, value)| key.ends_with(".Name") && value == name);
    let entry = entry.unwrap_or_else(|| panic!("an attribute {name} in {form:?}"));
    field(form, &entry.0.replace(".Name", ".Value.StringValue"))
}

async fn verify_sender(moto: &str, address: &str) {
    let client = aws_sdk_sesv2::Client::from_conf(
        aws_sdk_sesv2::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .credentials_provider(Credentials::new("test-key", "test-secret", None, None, "test"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(moto)
            .build(),
    );
    // Verified by an earlier test of the same peer is as good.
    let _ = client.create_email_identity().email_identity(address).send().await;
}

#[test]
fn a_text_message_reaches_sns_with_recipient_text_sender_and_type() {
    let Some(moto) = moto("text message by SNS") else { return };
    life(async {
        let store = MemoryStore::new();
        let ended = tell(&store, settings(aws(&moto)), json!([{"name": "Kim", "phone": "+41790000101"}]), false).await;
        assert_eq!(story(&store), ["queued", "attempted", "sent"]);
        assert_eq!(ended.provider, "aws");
        assert!(ended.provider_id.is_some_and(|id| !id.is_empty()));
        let form = the_form(&moto, "41790000101").await;
        assert_eq!(field(&form, "Action"), "Publish");
        assert_eq!(field(&form, "PhoneNumber"), "+41790000101");
        let text = "Kim: Max has arrived at Landesspital. Please ask there for further news.";
        assert_eq!(field(&form, "Message"), text);
        assert_eq!(attribute(&form, "AWS.SNS.SMS.SMSType"), "Transactional");
        assert_eq!(attribute(&form, "AWS.SNS.SMS.SenderID"), "SHERS");
    });
}

#[test]
fn an_e_mail_reaches_ses_with_recipient_sender_subject_and_body() {
    let Some(moto) = moto("e-mail by SES") else { return };
    life(async {
        verify_sender(&moto, "house@shers.example").await;
        let store = MemoryStore::new();
        let kin = json!([{"name": "Kim", "email": "kim-102@example.org", "language": "de"}]);
        let ended = tell(&store, settings(aws(&moto)), kin, false).await;
        assert_eq!(story(&store), ["queued", "attempted", "sent"], "{:?}", ended.reason);
        let bodies = recorded(&moto, "kim-102@example.org").await;
        assert_eq!(bodies.len(), 1, "{bodies:?}");
        let body: Value = serde_json::from_str(&bodies[0]).expect("JSON");
        assert_eq!(body["Destination"]["ToAddresses"], json!(["kim-102@example.org"]));
        assert_eq!(body["FromEmailAddress"], "house@shers.example");
        assert_eq!(body["Content"]["Simple"]["Subject"]["Data"], "Im Spital angekommen");
        let text = body["Content"]["Simple"]["Body"]["Text"]["Data"].as_str().expect("a text");
        assert!(text.starts_with("Kim: Max ist angekommen"), "{text}");
        assert_eq!(body["EmailTags"][0], json!({"Name": "shers-key", "Value": "n-1_1"}));
    });
}

#[test]
fn a_sender_that_ses_does_not_know_is_refused_and_the_next_contact_is_tried() {
    let Some(moto) = moto("unverified sender") else { return };
    life(async {
        let store = MemoryStore::new();
        let unverified = AwsSettings { mail_from: Some("nobody@unknown.example".into()), ..aws(&moto) };
        let kin = json!([{"name": "Kim", "email": "kim-103@example.org"}, {"name": "Lee", "phone": "+41790000103"}]);
        tell(&store, settings(unverified), kin, false).await;
        assert_eq!(story(&store), ["queued", "attempted", "failed", "attempted", "sent"]);
        assert_eq!(field(&the_form(&moto, "41790000103").await, "PhoneNumber"), "+41790000103");
    });
}

#[test]
fn mail_by_an_sns_topic_names_its_recipient_for_the_filter_policy() {
    let Some(moto) = moto("mail by an SNS topic") else { return };
    life(async {
        let client = aws_sdk_sns::Client::from_conf(
            aws_sdk_sns::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new(REGION))
                .credentials_provider(Credentials::new("test-key", "test-secret", None, None, "test"))
                .http_client(aws_smithy_http_client::Builder::new().build_http())
                .endpoint_url(&moto)
                .build(),
        );
        let topic = client.create_topic().name("relatives").send().await.expect("a topic");
        let by_topic = AwsSettings {
            mail_route: MailRoute::SnsTopic,
            mail_topic_arn: topic.topic_arn().map(str::to_owned),
            ..aws(&moto)
        };
        let store = MemoryStore::new();
        let kin = json!([{"name": "Kim", "email": "kim-104@example.org"}]);
        tell(&store, settings(by_topic), kin, false).await;
        assert_eq!(story(&store), ["queued", "attempted", "sent"]);
        let form = the_form(&moto, "kim-104").await;
        assert_eq!(attribute(&form, "recipient"), "kim-104@example.org");
        assert_eq!(field(&form, "Subject"), "Arrived at hospital");
        assert!(field(&form, "TopicArn").ends_with(":relatives"));
    });
}

#[test]
fn an_exercise_never_reaches_amazon() {
    let Some(moto) = moto("exercise") else { return };
    life(async {
        let store = MemoryStore::new();
        tell(&store, settings(aws(&moto)), json!([{"name": "Kim", "phone": "+41790000105"}]), true).await;
        assert_eq!(story(&store), ["queued", "attempted", "sent"]);
        assert_eq!(store.documents(LEDGER, &[], None, 10).await.expect("readable").len(), 1);
        assert!(recorded(&moto, "41790000105").await.is_empty());
    });
}

/// How the misbehaving server treats a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Manner {
    /// Takes the message.
    Takes,
    /// Reads the request and hangs up.
    HangsUp,
    /// Reads the request and says nothing.
    Silent,
    /// 500.
    Fails,
    /// Throttled, as the query protocol says it.
    Throttles,
    /// Says something that is no answer.
    Babbles,
}

/// A stand-in for SNS that misbehaves on purpose: one manner a request, the last for all that follow.
struct Misbehaving {
    url: String,
    seen: Rc<Cell<usize>>,
}

impl Misbehaving {
    async fn start(manners: Vec<Manner>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let seen = Rc::new(Cell::new(0));
        let count = Rc::clone(&seen);
        actix_rt::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let manner = manners.get(count.get()).or(manners.last()).copied().unwrap_or(Manner::Takes);
                count.set(count.get() + 1);
                actix_rt::spawn(serve(connection, manner));
            }
        });
        Self { url, seen }
    }
}

async fn serve(mut connection: TcpStream, manner: Manner) {
    let mut request = Vec::new();
    while !is_whole(&request) {
        if connection.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let taken = "<PublishResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishResult>\
                 <MessageId>m-1</MessageId></PublishResult></PublishResponse>";
    let error =
        |code: &str| format!("<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code></Error></ErrorResponse>");
    let (status, body) = match manner {
        Manner::HangsUp => return,
        Manner::Silent => return std::future::pending().await,
        Manner::Takes => ("200 OK", taken.to_owned()),
        Manner::Fails => ("500 Internal Server Error", error("InternalError")),
        Manner::Throttles => ("400 Bad Request", error("Throttling")),
        Manner::Babbles => ("200 OK", "}{".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    // The client may have given up.
    let _ = connection.write_all(format!("{head}{body}").as_bytes()).await;
    let _ = connection.shutdown().await;
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned));
    length.and_then(|length| length.trim().parse::<usize>().ok()).is_some_and(|length| body.len() >= length)
}

/// One message through a server with `manners`: what is recorded, and how often the server was asked.
fn check(manners: &[Manner], want: &[&str], want_requests: usize) {
    life(async {
        let server = Misbehaving::start(manners.to_vec()).await;
        let store = MemoryStore::new();
        let settings = Settings { send_limit_ms: 500, ..settings(aws(&server.url)) };
        tell(&store, settings, json!([{"name": "Kim", "phone": "+41790000106"}]), false).await;
        assert_eq!(story(&store), want, "{manners:?}");
        assert_eq!(server.seen.get(), want_requests, "{manners:?}: the SDK makes one attempt, repeats are ours");
    });
}

#[test]
fn what_may_have_been_sent_is_ambiguous_and_repeated_once_at_most() {
    let twice = ["queued", "attempted", "ambiguous", "attempted", "ambiguous"];
    for manner in [Manner::HangsUp, Manner::Silent, Manner::Fails, Manner::Babbles] {
        check(&[manner], &twice, 2);
        check(&[manner, Manner::Takes], &["queued", "attempted", "ambiguous", "attempted", "sent"], 2);
    }
}

#[test]
fn what_was_refused_for_now_is_tried_again_within_its_limit() {
    check(&[Manner::Throttles, Manner::Takes], &["queued", "attempted", "failed", "attempted", "sent"], 2);
    let thrice = ["queued", "attempted", "failed", "attempted", "failed", "attempted", "failed"];
    check(&[Manner::Throttles], &thrice, 3);
}

#[test]
fn nobody_at_the_other_end_is_no_doubt() {
    life(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        drop(listener);
        let aws = Aws::new(aws(&url), Duration::from_secs(5)).expect("set up");
        let message = Outgoing {
            key: "n-1:1".into(),
            channel: shers_contract::notification::Channel::Sms,
            to: "+41790000107".into(),
            subject: String::new(),
            text: "…".into(),
        };
        let outcome = aws.send(&message).await;
        assert!(matches!(outcome, SendOutcome::Refused { permanent: false, .. }), "{outcome:?}");
        let bad = Outgoing { to: "0790000107".into(), ..message };
        assert!(matches!(aws.send(&bad).await, SendOutcome::Refused { permanent: true, .. }), "not E.164");
    });
}
