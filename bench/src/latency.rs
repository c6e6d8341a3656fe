//! From posting an emergency reading to the websocket frame that says so, with and without background.
//!
//! Open loop: a thread of the operating system paces, since tokio's timers round up to a millisecond, and
//! latency counts from the intended time, so a stall of the server is not hidden by a client that waits.

use crate::{
    house::{Bench, Failure, Process, TOKEN, block_on, count_readings, register_patients},
    http::{Connection, request},
    readings::{self, Template},
    report::{Report, median, percentile},
};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use shers_runtime::clock::system_now;
use std::{
    cell::RefCell,
    collections::HashMap,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

/// Wearers in the background; emergencies are those after them.
const BACKGROUND: usize = 2_000;
const CONNECTIONS: usize = 64;
const PER_SECOND: u64 = 10_000;
/// Time between two emergencies: longer than the stream's tick, and never in step with it.
const BETWEEN: Duration = Duration::from_millis(63);
const PATIENCE: Duration = Duration::from_secs(30);

/// The paced load of one round.
struct Plan {
    first: usize,
    emergencies: usize,
    background: bool,
}

/// What came of a round, in microseconds from the intended time.
struct Seen {
    triage: Vec<f64>,
    opened: Vec<f64>,
    accepted: usize,
}

/// Sleeps to nearly the instant and spins the rest.
fn wait_until(at: Instant) {
    if let Some(rest) = at.checked_duration_since(Instant::now()) {
        if rest > Duration::from_micros(120) {
            thread::sleep(rest - Duration::from_micros(60));
        }
        while Instant::now() < at {
            std::hint::spin_loop();
        }
    }
}

/// Gives the connections their turns, and the emergencies their instants.
fn pace(
    plan: &Plan,
    lanes: &[mpsc::UnboundedSender<()>],
    emergencies: &mpsc::UnboundedSender<(usize, Instant)>,
) -> usize {
    let started = Instant::now() + Duration::from_millis(200);
    let mut next_emergency = started + BETWEEN;
    let mut sent = 0;
    let mut done = 0;
    let tick = Duration::from_millis(1);
    let mut now = started;
    loop {
        if next_emergency < now + tick && done < plan.emergencies {
            wait_until(next_emergency);
            let _ = emergencies.send((plan.first + done, next_emergency));
            done += 1;
            // Steps of 63.0 to 72.9 ms: not in step with anything.
            next_emergency += BETWEEN + Duration::from_micros((done as u64 * 3_701) % 9_900);
        }
        wait_until(now);
        if plan.background {
            for _ in 0..PER_SECOND / 1_000 {
                if let Some(lane) = lanes.get(sent % lanes.len().max(1)) {
                    let _ = lane.send(());
                    sent += 1;
                }
            }
        }
        now += tick;
        if done == plan.emergencies && now > next_emergency {
            return sent;
        }
    }
}

/// Sends what the pacer says; returns how many readings were accepted.
fn background(addr: SocketAddr, lanes: Vec<mpsc::UnboundedReceiver<()>>) -> usize {
    block_on(async {
        let now = system_now();
        let workers = lanes.into_iter().enumerate().map(|(index, mut lane)| async move {
            let mut connection = Connection::open(addr).await.ok()?;
            let mut accepted = 0_usize;
            let mut turn = index;
            let mut templates: Vec<Template> =
                (0..8).map(|n| Template::new(TOKEN, index + n * CONNECTIONS, 1, BACKGROUND, now)).collect();
            while lane.recv().await.is_some() {
                turn += 1;
                let place = turn % templates.len();
                let at = readings::at(system_now());
                let template = templates.get_mut(place)?;
                let answer = connection.send(template.next(&at)).await.ok()?;
                accepted += usize::from(answer.status == 202);
            }
            Some(accepted)
        });
        futures::future::join_all(workers).await.into_iter().flatten().sum()
    })
}

type Arrivals = RefCell<HashMap<String, Instant>>;

/// Follows one topic and notes when each patient appears.
async fn follow(addr: SocketAddr, topic: &str, arrivals: &Arrivals, wanted: usize) -> Result<(), Failure> {
    let mut connection = Connection::open(addr).await?;
    let answer = connection.send(&request("POST", "/api/v1/stream-tickets", TOKEN, "")).await?;
    let ticket: Value = serde_json::from_slice(&answer.body)?;
    let ticket = ticket.get("ticket").and_then(Value::as_str).ok_or("no ticket")?;
    let mut upgrade = format!("ws://{addr}/api/v1/stream").into_client_request()?;
    upgrade.headers_mut().insert("sec-websocket-protocol", format!("shers.v1, {ticket}").parse()?);
    let (mut socket, _) = tokio_tungstenite::connect_async(upgrade).await?;
    socket.send(Message::text(json!({"t": "sub", "id": "b", "topics": [topic], "lane": "log"}).to_string())).await?;
    while arrivals.borrow().len() < wanted {
        let Some(message) = socket.next().await else { return Err("the stream ended".into()) };
        let Message::Text(text) = message? else { continue };
        let now = Instant::now();
        let frame: Value = serde_json::from_str(&text)?;
        for event in frame.get("ev").and_then(Value::as_array).into_iter().flatten() {
            if let Some(patient) = event.pointer("/3/patient_id").and_then(Value::as_str)
                && arrivals.borrow_mut().insert(patient.to_owned(), now).is_some()
            {
                return Err(format!("{topic} came twice for one patient").into());
            }
        }
    }
    Ok(())
}

/// Plays one round.
fn round(addr: SocketAddr, plan: Plan) -> Result<Result<Seen, String>, Failure> {
    let (lanes, receivers): (Vec<_>, Vec<_>) = (0..CONNECTIONS).map(|_| mpsc::unbounded_channel()).unzip();
    let (emergency, mut emergencies) = mpsc::unbounded_channel::<(usize, Instant)>();
    let (first, count) = (plan.first, plan.emergencies);
    let loaded = thread::spawn(move || background(addr, receivers));
    let (triage, opened) = (Arrivals::default(), Arrivals::default());
    let intended: Arrivals = Arrivals::default();
    let (sent, accepted_emergencies) = block_on(async {
        let post = async {
            let mut connection = Connection::open(addr).await?;
            let pacer = thread::spawn(move || pace(&plan, &lanes, &emergency));
            let mut accepted = 0;
            while let Some((n, at)) = emergencies.recv().await {
                intended.borrow_mut().insert(readings::patient(n), at);
                let body = readings::emergency(n, system_now());
                let answer = connection.send(&request("POST", "/api/v1/vitals", TOKEN, &body)).await?;
                accepted += usize::from(answer.status == 202);
            }
            Ok::<_, Failure>((pacer.join().map_err(|_| "the pacer died")?, accepted))
        };
        let all = async {
            futures::try_join!(
                post,
                follow(addr, "triage.status.emergency", &triage, count),
                follow(addr, "incident.opened", &opened, count),
            )
        };
        let limit = PATIENCE + 2 * BETWEEN * u32::try_from(count).unwrap_or(1);
        tokio::time::timeout(limit, all)
            .await
            .map_err(|_| "not every emergency was heard of in time")?
            .map(|(p, (), ())| p)
    })?;
    let accepted = loaded.join().map_err(|_| "the background died")?;
    if accepted != sent || accepted_emergencies != count {
        return Ok(Err(format!("{sent} and {count} sent, {accepted} and {accepted_emergencies} accepted")));
    }
    let times = |arrivals: &Arrivals| -> Vec<f64> {
        let (arrivals, intended) = (arrivals.borrow(), intended.borrow());
        (first..first + count)
            .filter_map(|n| {
                let patient = readings::patient(n);
                Some(arrivals.get(&patient)?.duration_since(*intended.get(&patient)?).as_secs_f64() * 1e6)
            })
            .collect()
    };
    Ok(Ok(Seen { triage: times(&triage), opened: times(&opened), accepted: accepted + accepted_emergencies }))
}

/// Figures of several rounds, in units of each round's synced write.
#[derive(Default)]
struct Figures {
    triage_50: Vec<f64>,
    triage_99: Vec<f64>,
    opened_50: Vec<f64>,
    opened_99: Vec<f64>,
    us_50: Vec<f64>,
    us_99: Vec<f64>,
    sync_us: Vec<f64>,
    void: Vec<String>,
}

impl Figures {
    fn take(&mut self, seen: &Seen, sync_us: f64) {
        self.triage_50.push(percentile(&seen.triage, 0.5) / sync_us);
        self.triage_99.push(percentile(&seen.triage, 0.99) / sync_us);
        self.opened_50.push(percentile(&seen.opened, 0.5) / sync_us);
        self.opened_99.push(percentile(&seen.opened, 0.99) / sync_us);
        self.us_50.push(percentile(&seen.triage, 0.5));
        self.us_99.push(percentile(&seen.triage, 0.99));
        self.sync_us.push(sync_us);
    }

    fn tell(self, report: &mut Report, names: [&'static str; 4], goal: Option<(f64, f64)>) {
        let (us_50, us_99, sync) = (median(&self.us_50), median(&self.us_99), median(&self.sync_us));
        let note = format!(
            "triage.status.emergency {us_50:.0} us at the 50th, {us_99:.0} us at the 99th centile; fdatasync {sync:.0} us"
        );
        let unit = "fdatasyncs";
        let [t50, t99, o50, o99] = names;
        report.add("latency", t50, unit, goal, &self.triage_50, self.void.clone(), note.clone());
        report.add("latency", t99, unit, goal, &self.triage_99, self.void.clone(), note.clone());
        report.add("latency", o50, unit, None, &self.opened_50, self.void.clone(), note.clone());
        report.add("latency", o99, unit, None, &self.opened_99, self.void, note);
    }
}

fn checked(house: &Process, plan: Plan, head: &mut u64) -> Result<Result<Seen, String>, Failure> {
    let seen = round(house.addr, plan)?;
    let counted = block_on(count_readings(house.addr, *head))?;
    *head = counted.head;
    Ok(seen.and_then(|seen| {
        if counted.readings == seen.accepted && counted.doubled == 0 {
            return Ok(seen);
        }
        Err(format!("{} accepted, {} in the log, {} doubled", seen.accepted, counted.readings, counted.doubled))
    }))
}

pub fn run(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let emergencies = bench.pick(40, 150);
    let directory = bench.directory("latency")?;
    let house = bench.serve(&directory)?;
    let rounds = bench.rounds();
    block_on(register_patients(house.addr, BACKGROUND + (2 * rounds + 1) * emergencies))?;
    let mut head = block_on(count_readings(house.addr, 0))?.head;
    let mut first = BACKGROUND;
    let mut plan = |background| {
        first += emergencies;
        Plan { first: first - emergencies, emergencies, background }
    };
    checked(&house, plan(true), &mut head)?.map_err(|why| format!("warming up: {why}"))?;
    let (mut loaded, mut idle) = (Figures::default(), Figures::default());
    for _ in 0..rounds {
        for (background, figures) in [(false, &mut idle), (true, &mut loaded)] {
            house.until_quiet(Duration::from_secs(60))?;
            let sync_us = bench.fdatasync_us()?;
            match checked(&house, plan(background), &mut head)? {
                Ok(seen) => figures.take(&seen, sync_us),
                Err(why) => figures.void.push(why),
            }
        }
    }
    let names = [
        "POST to frame of the emergency, 10,000/s, p50",
        "POST to frame of the emergency, 10,000/s, p99",
        "POST to frame of the opened incident, 10,000/s, p50",
        "POST to frame of the opened incident, 10,000/s, p99",
    ];
    loaded.tell(report, names, Some((8.0, 4.0)));
    let names = [
        "POST to frame of the emergency, unloaded, p50",
        "POST to frame of the emergency, unloaded, p99",
        "POST to frame of the opened incident, unloaded, p50",
        "POST to frame of the opened incident, unloaded, p99",
    ];
    idle.tell(report, names, None);
    Ok(())
}
