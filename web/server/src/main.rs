//! The binary `shers`: command line, configuration, wiring. The only crate that sees all the others.

mod city;
mod commands;
mod config;
mod distributed;
mod embedded;
mod house;
mod logging;
mod services;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = commands::Arguments::parse();
    match commands::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::complain(&*error);
            ExitCode::FAILURE
        }
    }
}
