//! Pages of lists: limits, opaque cursors, and which tags a status word stands for.

use super::Collection;
use shers_contract::Problem;

/// Where a page ended: behind the document with this rank and id.
pub type Behind = (i64, String);

/// The letter that keeps a cursor of one list from being used on another.
const fn letter(collection: Collection) -> char {
    match collection {
        Collection::Incident => 'i',
        Collection::Unit => 'u',
        Collection::Hospital => 'h',
        Collection::Bill => 'b',
        Collection::Notification => 'n',
        Collection::Kpi => 'k',
    }
}

/// The cursor behind a document.
#[must_use]
pub fn cursor(collection: Collection, (rank, id): &Behind) -> String {
    format!("{}{rank:016x}{id}", letter(collection))
}

/// Reads a cursor back.
///
/// # Errors
/// A 400 problem, when it is not one of this list's.
pub fn behind(collection: Collection, cursor: &str) -> Result<Behind, Problem> {
    let bad = || Problem::malformed("cursor: give the \"next\" of the page before, unchanged, or leave it out");
    let rest = cursor.strip_prefix(letter(collection)).ok_or_else(bad)?;
    let (rank, id) = rest.split_at_checked(16).ok_or_else(bad)?;
    if !rank.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Err(bad());
    }
    let rank = u64::from_str_radix(rank, 16).map_err(|_| bad())?;
    Ok((rank.cast_signed(), id.to_owned()))
}

/// The cursor behind an event in a timeline.
#[must_use]
pub fn timeline_cursor(position: u64) -> String {
    format!("t{position:x}")
}

/// Reads a timeline's cursor back.
///
/// # Errors
/// A 400 problem, when it is not one.
pub fn timeline_behind(cursor: &str) -> Result<u64, Problem> {
    let digits = cursor.strip_prefix('t').filter(|d| !d.starts_with('+'));
    digits
        .and_then(|d| u64::from_str_radix(d, 16).ok())
        .ok_or_else(|| Problem::malformed("cursor: give the \"next\" of the page before, unchanged, or leave it out"))
}

/// How many items a page holds: none asked for gives `default`, the rest is kept within 1 and `max`.
#[must_use]
pub fn limit(asked: usize, default: usize, max: usize) -> usize {
    let wanted = if asked == 0 { default } else { asked };
    wanted.clamp(1, max.max(1))
}

/// The words that filter a list, each with the tags it stands for. The first is what a list without
/// a filter shows.
const fn words(collection: Collection) -> &'static [(&'static str, &'static [&'static str])] {
    match collection {
        Collection::Incident => &[
            ("all", &["opened", "acknowledged", "resolved", "closed", "cancelled"]),
            ("open", &["opened", "acknowledged", "resolved"]),
            ("ended", &["closed", "cancelled"]),
            ("opened", &["opened"]),
            ("acknowledged", &["acknowledged"]),
            ("resolved", &["resolved"]),
            ("closed", &["closed"]),
            ("cancelled", &["cancelled"]),
        ],
        Collection::Unit => &[
            (
                "all",
                &[
                    "reserved",
                    "assigned",
                    "enroute",
                    "on-scene",
                    "at-patient",
                    "onboard",
                    "arrived",
                    "handed-over",
                    "available",
                    "at-post",
                    "out-of-service",
                    "cancelled",
                ],
            ),
            ("free", &["available", "at-post", "cancelled"]),
            ("reserved", &["reserved"]),
            ("assigned", &["assigned"]),
            ("enroute", &["enroute"]),
            ("on-scene", &["on-scene"]),
            ("at-patient", &["at-patient"]),
            ("onboard", &["onboard"]),
            ("arrived", &["arrived"]),
            ("handed-over", &["handed-over"]),
            ("available", &["available"]),
            ("at-post", &["at-post"]),
            ("out-of-service", &["out-of-service"]),
            ("cancelled", &["cancelled"]),
            ("retired", &["retired"]),
        ],
        Collection::Hospital => &[
            ("all", &["open", "diverting", "closed"]),
            ("open", &["open"]),
            ("diverting", &["diverting"]),
            ("closed", &["closed"]),
        ],
        Collection::Bill => &[
            ("all", &["PENDING", "stuck", "PAID", "FAILED"]),
            ("PENDING", &["PENDING", "stuck"]),
            ("stuck", &["stuck"]),
            ("PAID", &["PAID"]),
            ("FAILED", &["FAILED"]),
        ],
        Collection::Notification => &[
            ("all", &["queued", "attempted", "sent", "failed", "ambiguous"]),
            ("queued", &["queued"]),
            ("attempted", &["attempted"]),
            ("sent", &["sent"]),
            ("failed", &["failed"]),
            ("ambiguous", &["ambiguous"]),
        ],
        Collection::Kpi => &[("all", &["open", "ended"]), ("open", &["open"])],
    }
}

/// The tags that `status` stands for in a list of `collection`.
///
/// # Errors
/// A problem that names the words there are.
pub fn tags(collection: Collection, status: Option<&str>) -> Result<Vec<String>, Problem> {
    let words = words(collection);
    let asked = status.unwrap_or("all");
    let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(asked));
    let Some((_, tags)) = found else {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let detail = format!("status is one of {} (got {asked:?})", known.join(", "));
        return Err(Problem::invalid("/status", detail));
    };
    Ok(tags.iter().map(|tag| (*tag).to_owned()).collect())
}
