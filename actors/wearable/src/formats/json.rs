//! The house's own form: one object, an array of them, or one a line (NDJSON).
//!
//! The quick way reads the whole body in one pass into borrowed structs. Only when that fails is the body
//! cut into its elements and each read alone.

use super::{Element, Object, Quick, careful};
use serde_json::value::RawValue;
use shers_contract::{Problem, api::VitalsFormat};

/// The readings of a body.
///
/// # Errors
/// 400 with line and column when the body can't be read at all, 413 when it holds more than
/// `max_elements`.
pub fn elements(body: &str, format: VitalsFormat, max_elements: usize) -> Result<Vec<Element<'_>>, Problem> {
    let body = body.trim_start_matches('\u{feff}');
    let elements = match format {
        VitalsFormat::Ndjson => lines(body, max_elements)?,
        VitalsFormat::Json => match body.trim_start().as_bytes().first() {
            Some(b'[') => array(body, max_elements)?,
            Some(b'{') => vec![object(body)?],
            Some(_) => return Err(not_a_reading(body)),
            None => return Err(Problem::malformed("the body is empty; send a reading, or an array of readings")),
        },
    };
    if elements.is_empty() && format == VitalsFormat::Ndjson {
        return Err(Problem::malformed("the body is empty; send one reading a line"));
    }
    Ok(elements)
}

fn array(body: &str, max_elements: usize) -> Result<Vec<Element<'_>>, Problem> {
    if let Ok(quick) = serde_json::from_str::<Vec<Object<Quick<'_>>>>(body) {
        within(quick.len(), max_elements)?;
        return Ok(quick.into_iter().map(|Object(quick)| Element::Quick(Box::new(quick))).collect());
    }
    let raw: Vec<&RawValue> = serde_json::from_str(body).map_err(|error| unreadable(&error, 0))?;
    within(raw.len(), max_elements)?;
    Ok(raw.into_iter().map(|element| one(element.get())).collect())
}

fn object(body: &str) -> Result<Element<'_>, Problem> {
    if let Ok(Object(quick)) = serde_json::from_str::<Object<Quick<'_>>>(body) {
        return Ok(Element::Quick(Box::new(quick)));
    }
    let raw: &RawValue = serde_json::from_str(body).map_err(|error| unreadable(&error, 0))?;
    Ok(one(raw.get()))
}

fn lines(body: &str, max_elements: usize) -> Result<Vec<Element<'_>>, Problem> {
    let mut elements = Vec::new();
    for (index, line) in body.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        within(elements.len() + 1, max_elements)?;
        elements.push(match serde_json::from_str::<Object<Quick<'_>>>(line) {
            Ok(Object(quick)) => Element::Quick(Box::new(quick)),
            Err(_) => match serde_json::from_str::<&RawValue>(line) {
                Ok(raw) => one(raw.get()),
                Err(error) => Element::Bad(unreadable(&error, index)),
            },
        });
    }
    Ok(elements)
}

/// One element, read alone.
fn one(text: &str) -> Element<'_> {
    if let Ok(Object(quick)) = serde_json::from_str::<Object<Quick<'_>>>(text) {
        return Element::Quick(Box::new(quick));
    }
    match careful::read(text) {
        Ok(reading) => Element::Slow(Box::new(reading)),
        Err(problem) => Element::Bad(problem),
    }
}

fn within(count: usize, max_elements: usize) -> Result<(), Problem> {
    if count <= max_elements {
        return Ok(());
    }
    let detail = format!("a body holds at most {max_elements} readings; send them in several bodies");
    Err(Problem::new(413, "too-many-readings", detail).with("limit", max_elements))
}

fn unreadable(error: &serde_json::Error, lines_before: usize) -> Problem {
    // serde's text ends with the place within the text that it saw.
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or("it can't be read");
    let (line, column) = (error.line() + lines_before, error.column());
    Problem::malformed(format!("this is not JSON: {what} at line {line}, column {column}"))
        .with("line", line)
        .with("column", column)
}

fn not_a_reading(body: &str) -> Problem {
    match serde_json::from_str::<&RawValue>(body) {
        Ok(_) => Problem::malformed("a reading is a JSON object, and several are an array of them").with("line", 1),
        Err(error) => unreadable(&error, 0),
    }
}
