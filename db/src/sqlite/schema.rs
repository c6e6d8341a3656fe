//! The tables, as diesel sees them. See `migrations/sqlite`.

diesel::table! {
    streams (id) {
        id -> BigInt,
        name -> Text,
        category -> Text,
        version -> BigInt,
        open -> Bool,
    }
}

diesel::table! {
    events (position) {
        position -> BigInt,
        stream -> BigInt,
        version -> BigInt,
        message_id -> Binary,
        kind -> Text,
        v -> Integer,
        at -> BigInt,
        correlation -> Nullable<BigInt>,
        causation -> Nullable<Binary>,
        traceparent -> Nullable<Text>,
        exercise -> Bool,
        data -> Text,
    }
}

diesel::table! {
    inbox (consumer, message_id) {
        consumer -> Text,
        message_id -> Binary,
    }
}

diesel::table! {
    documents (collection, id) {
        collection -> Text,
        id -> Text,
        tag -> Text,
        rank -> BigInt,
        doc -> Text,
    }
}

diesel::table! {
    cursors (name) {
        name -> Text,
        position -> BigInt,
    }
}

diesel::table! {
    answers (key) {
        key -> Text,
        body_digest -> Text,
        at -> BigInt,
        answer -> Text,
    }
}

diesel::allow_tables_to_appear_in_same_query!(streams, events);
