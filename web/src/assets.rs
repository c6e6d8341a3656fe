//! The dashboard's files, carried in the binary.

use crate::security::PAGE_POLICY;
use actix_web::{HttpRequest, HttpResponse, http::header};
use sha2::{Digest, Sha256};
use std::{collections::HashMap, sync::LazyLock};

include!(concat!(env!("OUT_DIR"), "/dashboard.rs"));

struct Asset {
    bytes: &'static [u8],
    media_type: &'static str,
    etag: String,
}

static ASSETS: LazyLock<HashMap<&'static str, Asset>> = LazyLock::new(|| {
    let asset = |&(name, bytes): &(&'static str, &'static [u8])| {
        (name, Asset { bytes, media_type: media_type(name), etag: etag(bytes) })
    };
    FILES.iter().map(asset).collect()
});

/// A strong ETag of `bytes`, quoted.
pub(crate) fn etag(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let hex: String = digest.iter().take(12).map(|b| format!("{b:02x}")).collect();
    format!("\"{hex}\"")
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "webmanifest" => "application/manifest+json",
        _ => "text/plain; charset=utf-8",
    }
}

/// Whether the client has this version already.
pub(crate) fn is_fresh(request: &HttpRequest, etag: &str) -> bool {
    let known = request.headers().get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).unwrap_or_default();
    known.split(',').any(|tag| matches!(tag.trim(), "*") || tag.trim().trim_start_matches("W/") == etag)
}

/// The file `name`, when there is one.
pub(crate) fn serve(request: &HttpRequest, name: &str) -> Option<HttpResponse> {
    let asset = ASSETS.get(name)?;
    let mut answer = if is_fresh(request, &asset.etag) { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer.insert_header((header::ETAG, asset.etag.as_str()));
    // The next version of the binary has other files under the same names: ask each time, cheaply.
    answer.insert_header((header::CACHE_CONTROL, "no-cache"));
    answer.insert_header((header::CONTENT_SECURITY_POLICY, PAGE_POLICY));
    answer.insert_header((header::CONTENT_TYPE, asset.media_type));
    Some(if is_fresh(request, &asset.etag) { answer.finish() } else { answer.body(asset.bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_browser_needs_is_carried() {
        assert!(FILES.iter().any(|(name, _)| *name == "vendor/preact.js"));
        for (name, _) in FILES {
            let unwanted = name.starts_with("tests/") || name.ends_with(".d.ts") || name.ends_with(".json");
            assert!(!unwanted, "{name} should not be in the binary");
        }
    }
}
