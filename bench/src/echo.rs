//! The measure of one reading per POST: actix-web that reads a reading as JSON into a typed value and
//! writes it back, with the defaults of actix-web, in a process of its own.

use actix_web::{App, HttpServer, web};
use shers_contract::vitals::Reading;
use std::io::Write;

async fn echo(reading: web::Json<Reading>) -> web::Json<Reading> {
    reading
}

pub fn run() -> Result<(), crate::house::Failure> {
    actix_web::rt::System::new().block_on(async {
        let server = HttpServer::new(|| App::new().route("/api/v1/vitals", web::post().to(echo)));
        let server = server.bind("127.0.0.1:0")?;
        let addr = server.addrs().first().copied().ok_or("no address")?;
        writeln!(std::io::stdout(), "echo is at http://{addr}/")?;
        server.run().await?;
        Ok(())
    })
}
