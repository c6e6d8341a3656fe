//! The OpenAPI 3.1 document, made from the one table of routes and the schemas beside it.

use crate::routes::{self, Access, Input, Output, Route};
use serde_json::{Map, Value, json};

/// Shapes of bodies and answers.
const SCHEMAS: &str = include_str!("openapi/schemas.json");

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut paths = Map::new();
    for route in routes::all() {
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert(route.method.to_ascii_lowercase(), operation(&route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "SHERS",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Smart Healthcare Emergency Response System",
            "description": "Errors are problems (RFC 9457). Lists are pages: `next` is the cursor of the next one, or null. \
                An Idempotency-Key on a POST makes its repeat safe for 24 hours. Times are RFC 3339 in UTC.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": serde_json::from_str::<Value>(SCHEMAS).unwrap_or_default(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "ticket": {
                    "type": "apiKey", "in": "header", "name": "Sec-WebSocket-Protocol",
                    "description": "`shers.v1, <ticket>`; see POST /api/v1/stream-tickets",
                },
            },
        },
    })
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": parameters(route),
        "responses": responses(route),
    });
    let Some(members) = operation.as_object_mut() else { return operation };
    match route.access {
        Access::Public => {
            members.insert("security".into(), json!([]));
        }
        Access::Ticket => {
            members.insert("security".into(), json!([{"ticket": []}]));
        }
        Access::Roles(roles) => {
            members.insert("x-roles".into(), json!(roles));
        }
    }
    if let Some(body) = body(route.input) {
        members.insert("requestBody".into(), body);
    }
    operation
}

/// `get-incidents-id-timeline`: the method and the words of the path.
fn operation_id(route: &Route) -> String {
    let words = route.path.split(['/', '{', '}', '.']).filter(|w| !w.is_empty() && !matches!(*w, "api" | "v1"));
    let words: Vec<String> = words.map(str::to_ascii_lowercase).collect();
    format!("{}-{}", route.method.to_ascii_lowercase(), words.join("-"))
}

fn parameters(route: &Route) -> Value {
    let mut all: Vec<Value> = route
        .path
        .split('{')
        .skip(1)
        .filter_map(|part| part.split_once('}'))
        .map(|(name, _)| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    for name in route.query {
        let schema = match *name {
            "limit" => json!({"type": "integer", "minimum": 1}),
            "after" => json!({"type": "integer", "minimum": 0}),
            _ => json!({"type": "string"}),
        };
        all.push(json!({"name": name, "in": "query", "description": explained(name), "schema": schema}));
    }
    if route.operation == routes::Operation::Osmand {
        for (name, required) in
            [("id", true), ("lat", true), ("lon", true), ("timestamp", false), ("speed", false), ("bearing", false)]
        {
            all.push(json!({"name": name, "in": "query", "required": required && route.method == "GET", "schema": {"type": "string"}}));
        }
    }
    if route.method == "POST" && matches!(route.access, Access::Roles(_)) {
        all.push(json!({
            "name": "Idempotency-Key", "in": "header", "description": "Makes a repeat of this request safe",
            "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
        }));
    }
    if matches!(route.method, "PUT" | "PATCH") {
        let about = "ETag of the version that is to be changed";
        all.push(json!({"name": "If-Match", "in": "header", "description": about, "schema": {"type": "string"}}));
    }
    if route.output == Output::Events {
        let about = "Where a server-sent event stream ended";
        all.push(json!({"name": "Last-Event-ID", "in": "header", "description": about, "schema": {"type": "string"}}));
    }
    Value::Array(all)
}

fn explained(parameter: &str) -> &'static str {
    match parameter {
        "limit" => "At most so many",
        "cursor" => "`next` of the page before",
        "status" => "Only this status or state",
        "after" => "Only events after this offset",
        "pattern" => "AMQP topic patterns over kinds, joined by commas",
        "reason" => "Why, in a sentence",
        _ => "",
    }
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn body(input: Input) -> Option<Value> {
    let json_of = |schema: &str| json!({"application/json": {"schema": reference(schema)}});
    let (required, content) = match input {
        Input::Nothing => return None,
        Input::Json(schema) => (true, json_of(schema)),
        Input::Optional(schema) => (false, json_of(schema)),
        Input::Patch(_) => (true, json!({"application/merge-patch+json": {"schema": reference("MergePatch")}})),
        Input::Vitals => (
            true,
            json!({
                "application/json": {"schema": reference("Vitals")},
                "application/x-ndjson": {"schema": {"type": "string", "description": "One Reading a line"}},
            }),
        ),
        Input::Fhir(schema) => (true, json!({"application/fhir+json": {"schema": reference(schema)}})),
        Input::Tracker => (false, json_of("TrackerReport")),
        Input::Signed => (true, json_of("Anything")),
    };
    Some(json!({"required": required, "content": content}))
}

fn responses(route: &Route) -> Value {
    let content = match route.output {
        Output::Json(schema) => json!({"application/json": {"schema": reference(schema)}}),
        Output::List(schema) => json!({"application/json": {"schema": list(schema)}}),
        Output::Events => json!({
            "application/json": {"schema": list("Event")},
            "text/event-stream": {"schema": {"type": "string"}},
        }),
        Output::Media(media_type) => json!({media_type: {}}),
        Output::Nothing | Output::Socket => Value::Null,
    };
    let mut good = json!({"description": route.summary});
    if let (Some(members), false) = (good.as_object_mut(), content.is_null()) {
        members.insert("content".into(), content);
    }
    let problem = json!({
        "description": "What is wrong, where, and what would be right",
        "content": {"application/problem+json": {"schema": reference("Problem")}},
    });
    let mut all = Map::new();
    all.insert(route.status.to_string(), good);
    all.insert("default".into(), problem);
    Value::Object(all)
}

fn list(schema: &str) -> Value {
    json!({
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": {"type": "array", "items": reference(schema)},
            "next": {"type": ["string", "null"], "description": "Cursor of the next page, or null"},
        },
    })
}
