fn logs(secret: Secret, patient: Patient, contact: Contact, reading: Reading) {
    // ruleid: secret-revealed-in-a-log
    tracing::info!(token = secret.reveal(), "signed in");
    // ruleid: secret-revealed-in-a-log
    println!("{}", secret.reveal());
    // ruleid: secret-revealed-in-a-log
    tracing::info_span!("call; or not", token = secret.reveal());
    // ok: secret-revealed-in-a-log
    client.bearer_auth(secret.reveal());

    // ruleid: patient-in-a-log
    tracing::warn!(patient.phone, "can't be reached");
    // ruleid: patient-in-a-log
    tracing::info!(to = %contact.email, "written to");
    // ruleid: patient-in-a-log
    tracing::info!(name = patient.name, "registered");
    // ruleid: patient-in-a-log
    tracing::info!(born = ?patient.birth_date, "registered");
    // ruleid: patient-in-a-log
    tracing::debug!(at = ?patient.home, "no position: at home");
    // ruleid: patient-in-a-log
    tracing::debug!(?reading, "taken");
    // ruleid: patient-in-a-log
    tracing::debug!(who = ?patient, "taken");
    // ruleid: patient-in-a-log
    warn!(reading.spo2_pct, "low");
    // ok: patient-in-a-log
    tracing::info!(patient = %patient.patient_id, "can't be reached by phone");
    // ok: patient-in-a-log
    tracing::info!(hospital = hospital.name, "chosen");
    // ok: patient-in-a-log
    tracing::info!(error = %reading_error, readings.count = readings.len(), "the reading, and its temperature, was refused");
}

fn asks(connection: &mut Connection, name: &str) {
    // ruleid: sql-made-of-text
    diesel::sql_query(format!("SELECT * FROM units WHERE name = '{name}'")).execute(connection);
    let text = format!("DELETE FROM units WHERE name = '{name}'");
    // ruleid: sql-made-of-text
    sql_query(&text).execute(connection);
    // ok: sql-made-of-text
    diesel::sql_query("SELECT * FROM units WHERE name = $1").bind(name).execute(connection);
    // ok: sql-made-of-text
    sql_query("SELECT * FROM units WHERE name = $1").bind(format!("unit {name}")).execute(connection);
}

fn queues() {
    // ruleid: unbounded-channel
    let (send, receive) = mpsc::unbounded_channel();
    // ruleid: unbounded-channel
    let (send, receive) = tokio::sync::mpsc::unbounded_channel::<Vec<u8>>();
    // ruleid: unbounded-channel
    let (send, receive) = futures::channel::mpsc::unbounded();
    // ruleid: unbounded-channel
    let (send, receive) = std::sync::mpsc::channel::<u8>();
    // ok: unbounded-channel
    let (send, receive) = mpsc::channel(64);
}

async fn waits() {
    // ruleid: sleep-that-blocks
    std::thread::sleep(Duration::from_secs(1));
    // ruleid: sleep-that-blocks
    thread::sleep(Duration::from_secs(1));
    // ok: sleep-that-blocks
    tokio::time::sleep(Duration::from_secs(1)).await;
}

fn tells(address: Addr<Unit>) {
    // ruleid: actix-send-that-drops
    address.do_send(Wake);
    // ok: actix-send-that-drops
    address.try_send(Wake)?;
}
