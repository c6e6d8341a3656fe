fn logs(secret: Secret, patient: Patient, unit: Unit) {
    // ruleid: secret-revealed-in-a-log
    tracing::info!(token = secret.reveal(), "signed in");
    // ruleid: secret-revealed-in-a-log
    println!("{}", secret.reveal());
    // ok: secret-revealed-in-a-log
    client.bearer_auth(secret.reveal());
    // ruleid: patient-in-a-log
    tracing::warn!(patient.phone, "can't be reached");
    // ruleid: patient-in-a-log
    tracing::info!(to = %contact.email, "written to");
    // ok: patient-in-a-log
    tracing::info!(patient = %patient.id, "can't be reached by phone");
}

fn asks(connection: &mut Connection, name: &str) {
    // ruleid: sql-made-of-text
    diesel::sql_query(format!("SELECT * FROM units WHERE name = '{name}'")).execute(connection);
    // ok: sql-made-of-text
    diesel::sql_query("SELECT * FROM units WHERE name = $1").bind(name).execute(connection);
}

fn queues() {
    // ruleid: unbounded-channel
    let (send, receive) = mpsc::unbounded_channel();
    // ok: unbounded-channel
    let (send, receive) = mpsc::channel(64);
}

async fn waits() {
    // ruleid: sleep-that-blocks
    std::thread::sleep(Duration::from_secs(1));
    // ok: sleep-that-blocks
    tokio::time::sleep(Duration::from_secs(1)).await;
}

fn tells(address: Addr<Unit>) {
    // ruleid: actix-send-that-drops
    address.do_send(Wake);
    // ok: actix-send-that-drops
    address.try_send(Wake)?;
}
