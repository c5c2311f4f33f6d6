//! How the server is doing, for monitoring: `/metrics` for Prometheus, `/healthz` and `/readyz` for
//! whoever restarts it.
//!
//! The sockets are a reactor's; the text is made on a thread that may take its time, since a server
//! with thousands of volumes has megabytes to say.

mod collect;
mod http;
mod text;

use std::sync::Arc;

use crate::env::{self, Handle, Listener};

pub(super) use collect::Sources;
use http::{Page, Status};

/// Tells on `listener` what `sources` say, until the reactor ends.
pub(super) fn listen(reactor: &Handle, listener: Listener, sources: Sources) {
    let sources = Arc::new(sources);
    let find = move |path: String| {
        let sources = Arc::clone(&sources);
        env::blocking(move || page(&path, &sources))
    };
    reactor.spawn(move || http::serve(listener, find));
}

fn page(path: &str, sources: &Sources) -> Page {
    match path {
        "/metrics" => Page {
            status: Status::Ok,
            media_type: "text/plain; version=0.0.4; charset=utf-8",
            text: sources.metrics(),
        },
        "/healthz" => Page::plain(Status::Ok, "ok\n"),
        "/readyz" => match sources.complaints() {
            none if none.is_empty() => Page::plain(Status::Ok, "ready\n"),
            some => Page::plain(Status::Unavailable, some.join("\n") + "\n"),
        },
        _ => Page::plain(Status::NotFound, "/metrics, /healthz or /readyz\n"),
    }
}
