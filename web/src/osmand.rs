//! Positions as OsmAnd and Traccar clients send them. `-1` means unknown; speed in the query is in knots,
//! in the JSON form in metres per second.

use crate::input::typed;
use actix_web::web;
use serde::Deserialize;
use serde_json::Value;
use shers_contract::{LatLon, Problem, Timestamp, UnitId, api::UnitFix};
use std::collections::HashMap;

const KNOT_MPS: f64 = 0.514_444;

/// A form body as name and value; of a repeated name the last counts.
pub(crate) fn form(body: &[u8]) -> Result<HashMap<String, String>, Problem> {
    let text = std::str::from_utf8(body).map_err(|_| Problem::malformed("the form is not UTF-8"))?;
    let pairs = web::Query::<Vec<(String, String)>>::from_query(text)
        .map_err(|_| Problem::malformed("the form is not name=value pairs joined by &"))?;
    Ok(pairs.into_inner().into_iter().collect())
}

/// The unit and its fix from parameters: `id`, `lat`, `lon`, `timestamp`, `speed`, `bearing`.
pub(crate) fn from_query(get: &dyn Fn(&str) -> Option<String>) -> Result<(UnitId, UnitFix), Problem> {
    let need = |name: &str| {
        get(name).ok_or_else(|| {
            Problem::malformed(format!("the parameter {name} is missing; send id, lat and lon")).with("parameter", name)
        })
    };
    let number =
        |name: &str, text: String| {
            text.trim().parse::<f64>().ok().filter(|n| n.is_finite()).ok_or_else(|| {
                Problem::malformed(format!("{name} must be a number, not {text:?}")).with("parameter", name)
            })
        };
    let optional = |name: &str| get(name).map(|text| number(name, text)).transpose();
    let unit = unit_id(get("id").or_else(|| get("deviceid")))?;
    let location = position(number("lat", need("lat")?)?, number("lon", need("lon")?)?)?;
    let at = get("timestamp").map(|text| instant(&text)).transpose()?;
    let speed_mps = known(optional("speed")?).map(|knots| knots * KNOT_MPS);
    let heading_deg = known(match get("bearing") {
        Some(_) => optional("bearing")?,
        None => optional("heading")?,
    });
    Ok((unit, UnitFix { at, location, speed_mps: speed_mps.map(narrow), heading_deg: heading_deg.map(narrow) }))
}

#[derive(Deserialize)]
struct Report {
    device_id: Value,
    location: Location,
}

#[derive(Deserialize)]
struct Location {
    #[serde(default)]
    timestamp: Option<Value>,
    coords: Coords,
}

#[derive(Deserialize)]
struct Coords {
    latitude: f64,
    longitude: f64,
    #[serde(default)]
    speed: Option<f64>,
    #[serde(default)]
    heading: Option<f64>,
}

/// The unit and its fix from the JSON form.
pub(crate) fn from_json(body: Value) -> Result<(UnitId, UnitFix), Problem> {
    let Report { device_id, location } = typed(body)?;
    let unit = unit_id(match device_id {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    })?;
    let at = match location.timestamp {
        Some(Value::String(text)) => Some(instant(&text)?),
        Some(Value::Number(number)) => Some(instant(&number.to_string())?),
        _ => None,
    };
    let coords = location.coords;
    let fix = UnitFix {
        at,
        location: position(coords.latitude, coords.longitude)?,
        speed_mps: known(coords.speed).map(narrow),
        heading_deg: known(coords.heading).map(narrow),
    };
    Ok((unit, fix))
}

fn unit_id(text: Option<String>) -> Result<UnitId, Problem> {
    let text = text.ok_or_else(|| {
        Problem::malformed("the tracker's id is missing; set it to the unit's id").with("parameter", "id")
    })?;
    UnitId::new(&text).map_err(|error| Problem::malformed(error.to_string()).with("parameter", "id"))
}

fn position(lat: f64, lon: f64) -> Result<LatLon, Problem> {
    LatLon::new(lat, lon).ok_or_else(|| {
        Problem::invalid("/lat", format!("lat must be -90 to 90 and lon -180 to 180 (got {lat}, {lon})"))
    })
}

fn known(value: Option<f64>) -> Option<f64> {
    value.filter(|v| *v >= 0.0)
}

#[expect(clippy::cast_possible_truncation, reason = "speed and course need no more digits")]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// Seconds or milliseconds since 1970, or ISO 8601.
fn instant(text: &str) -> Result<Timestamp, Problem> {
    let text = text.trim();
    if let Some(at) = Timestamp::parse(text) {
        return Ok(at);
    }
    let number = text.parse::<f64>().ok().filter(|n| n.is_finite() && (0.0..1e15).contains(n));
    let number = number.ok_or_else(|| {
        Problem::malformed(format!("timestamp must be seconds or milliseconds since 1970, or RFC 3339 (got {text:?})"))
            .with("parameter", "timestamp")
    })?;
    // The year 5138 in seconds is 1973 in milliseconds: no tracker means either by the other.
    let ms = if number < 1e11 { number * 1000.0 } else { number };
    #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
    let ms = ms.round() as i64;
    Ok(Timestamp::from_ms(ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn query(text: &str) -> Result<(UnitId, UnitFix), Problem> {
        let form = form(text.as_bytes())?;
        from_query(&|name| form.get(name).cloned())
    }

    #[test]
    fn a_position_in_the_query_is_read_with_its_units() {
        let (unit, fix) =
            query("id=A1&lat=47.1&lon=9.5&timestamp=1700000000&speed=10&bearing=90&batt=80").expect("good");
        assert_eq!((unit.as_str(), fix.at), ("A1", Some(Timestamp::from_ms(1_700_000_000_000))));
        assert!((fix.speed_mps.expect("speed") - 5.144).abs() < 0.001);
        assert_eq!(fix.heading_deg, Some(90.0));
        let (_, fix) = query("id=A1&lat=47.1&lon=9.5&timestamp=1700000000123&speed=-1&bearing=-1").expect("good");
        assert_eq!((fix.at, fix.speed_mps, fix.heading_deg), (Some(Timestamp::from_ms(1_700_000_000_123)), None, None));
    }

    #[test]
    fn a_position_as_json_is_read_in_metres_per_second() {
        let body = json!({"device_id": "A1", "location": {"timestamp": "2026-03-01T12:00:00Z", "is_moving": true,
            "coords": {"latitude": 47.1, "longitude": 9.5, "speed": 12.5, "heading": -1, "accuracy": 3},
            "battery": {"level": 0.5}}});
        let (unit, fix) = from_json(body).expect("good");
        assert_eq!((unit.as_str(), fix.speed_mps, fix.heading_deg), ("A1", Some(12.5), None));
        assert_eq!(fix.at, Timestamp::parse("2026-03-01T12:00:00Z"));
    }

    #[test]
    fn what_is_missing_or_impossible_is_named() {
        for (text, status, word) in [
            ("lat=1&lon=2", 400, "id"),
            ("id=A1&lon=2", 400, "lat"),
            ("id=A1&lat=x&lon=2", 400, "lat"),
            ("id=A1&lat=91&lon=2", 422, "lat"),
            ("id=A1&lat=1&lon=2&timestamp=soon", 400, "timestamp"),
            ("id=a/b&lat=1&lon=2", 400, "id"),
        ] {
            let problem = query(text).expect_err(text);
            assert_eq!(problem.status, status, "{text}");
            assert!(problem.detail.contains(word), "{text}: {}", problem.detail);
        }
    }
}
