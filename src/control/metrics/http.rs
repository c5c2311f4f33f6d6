//! As much of HTTP as it takes to be asked for metrics: one GET a connection, answered and closed.
//!
//! It runs on a reactor beside the data path, so it is kept from disturbing that: few connections
//! at once, short requests, and what takes time is done elsewhere.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::base::Buf;
use crate::base::limits::{HTTP_CONNECTIONS_MAX, HTTP_HEAD_BYTES_MAX, HTTP_TIMEOUT};
use crate::env::{self, Listener, Stream};

/// How long accepting pauses when the process is out of something, such as descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The answer to a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Page {
    pub(super) status: Status,
    pub(super) media_type: &'static str,
    pub(super) text: String,
}

/// How a request ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Status {
    Ok,
    BadRequest,
    NotFound,
    NotAllowed,
    Unavailable,
}

impl Status {
    const fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::NotAllowed => "405 Method Not Allowed",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

impl Page {
    /// Plain text.
    pub(super) fn plain(status: Status, text: impl Into<String>) -> Self {
        Self {
            status,
            media_type: "text/plain; charset=utf-8",
            text: text.into(),
        }
    }

    fn bytes(&self, with_body: bool) -> Vec<u8> {
        let mut head = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n",
            self.status.line(),
            self.media_type,
            self.text.len()
        );
        if self.status == Status::NotAllowed {
            head.push_str("Allow: GET, HEAD\r\n");
        }
        head.push_str("\r\n");
        if with_body {
            head.push_str(&self.text);
        }
        head.into_bytes()
    }
}

/// Serves `find`, which gives the page of a path, to all who connect to `listener`, for ever.
pub(super) async fn serve<F, R>(listener: Listener, find: F)
where
    F: Fn(String) -> R + Clone + 'static,
    R: Future<Output = Page> + 'static,
{
    let places = Rc::new(Cell::new(HTTP_CONNECTIONS_MAX));
    loop {
        let socket = match listener.accept().await {
            Ok(socket) => socket,
            Err(error) => {
                tracing::debug!(%error, "cannot accept a client of metrics for the moment");
                env::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let stream = Stream::new(socket);
        let Some(left) = places.get().checked_sub(1) else {
            stream.shutdown();
            continue;
        };
        places.set(left);
        let (places, find) = (Rc::clone(&places), find.clone());
        env::spawn(async move {
            // A client that asks for nothing, or takes no answer, is let go.
            let _ = env::timeout(HTTP_TIMEOUT, answer(&stream, find)).await;
            stream.shutdown();
            places.set(places.get() + 1);
        });
    }
}

async fn answer<R: Future<Output = Page>>(stream: &Stream, find: impl Fn(String) -> R) {
    let Some(head) = receive_head(stream).await else {
        return;
    };
    let (page, with_body) = match understand(&head) {
        Ok(asked) => (find(asked.path).await, asked.with_body),
        Err(page) => (page, true),
    };
    // Who hangs up before the answer does not want it.
    let _ = stream.send(page.bytes(with_body)).await;
}

/// Everything up to the empty line; `None` if it does not come, or is too long.
async fn receive_head(stream: &Stream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > HTTP_HEAD_BYTES_MAX {
            return None;
        }
        let (received, buf) = stream.receive(Buf::new(HTTP_HEAD_BYTES_MAX), 0).await;
        match received.ok()? {
            0 => return None,
            count => head.extend_from_slice(&buf[..count]),
        }
    }
    Some(head)
}

#[derive(PartialEq, Eq, Debug)]
struct Asked {
    path: String,
    with_body: bool,
}

/// What is asked for, or the page that says what is wrong with that.
fn understand(head: &[u8]) -> Result<Asked, Page> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let bad = || Page::plain(Status::BadRequest, "this is not HTTP/1.1\n");
    let line = std::str::from_utf8(line).map_err(|_| bad())?;
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(bad());
    };
    if !version.starts_with("HTTP/1.") {
        return Err(bad());
    }
    let with_body = match method {
        "GET" => true,
        "HEAD" => false,
        _ => return Err(Page::plain(Status::NotAllowed, "GET or HEAD only\n")),
    };
    // Without the query, which says nothing to us.
    let path = target.split('?').next().unwrap_or_default().to_owned();
    Ok(Asked { path, with_body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::sim;

    #[test]
    fn requests_are_understood_or_refused() {
        let asked = |head: &str| understand(head.as_bytes());
        let found = asked("GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n").expect("good");
        assert_eq!((found.path.as_str(), found.with_body), ("/metrics", true));
        assert!(!asked("HEAD / HTTP/1.0\r\n\r\n").expect("good").with_body);
        for (head, status) in [
            ("POST / HTTP/1.1\r\n\r\n", Status::NotAllowed),
            ("GET /\r\n\r\n", Status::BadRequest),
            ("GET / HTTP/2\r\n\r\n", Status::BadRequest),
            ("GET / HTTP/1.1 x\r\n\r\n", Status::BadRequest),
            ("\r\n\r\n", Status::BadRequest),
        ] {
            assert_eq!(asked(head).expect_err(head).status, status);
        }
        assert!(understand(&[0xff, b'\r', b'\n']).is_err());
    }

    /// What a client gets that sends `head`, split anywhere, and then waits.
    fn exchange(seed: u64, head: &'static [u8]) -> Vec<u8> {
        sim::run(seed, async move {
            let (near, far) = sim::pipe(64);
            env::spawn(async move {
                let find = |path: String| async move { Page::plain(Status::Ok, path) };
                let _ = env::timeout(HTTP_TIMEOUT, answer(&far, find)).await;
                far.shutdown();
            });
            let sent = near.send(head.to_vec());
            let mut all = Vec::new();
            let _ = env::timeout(HTTP_TIMEOUT, sent).await;
            loop {
                let (count, buf) = near.receive(Buf::new(64), 0).await;
                match count.expect("a pipe does not fail") {
                    0 => return all,
                    count => all.extend_from_slice(&buf[..count]),
                }
            }
        })
    }

    #[test]
    fn a_page_is_sent_whole_and_the_connection_closed() {
        for seed in 0..50 {
            let got = exchange(seed, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
            let got = String::from_utf8(got).expect("text");
            assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{got}");
            assert!(got.contains("Content-Length: 8\r\n"), "{got}");
            assert!(got.ends_with("\r\n\r\n/metrics"), "{got}");
            let head = exchange(seed, b"HEAD /metrics HTTP/1.1\r\n\r\n");
            assert!(head.ends_with(b"\r\n\r\n"));
        }
    }

    #[test]
    fn who_says_nothing_or_too_much_is_let_go() {
        assert_eq!(exchange(1, b"GET / HTTP/1.1\r\n"), b"");
        static LONG: [u8; 3 * HTTP_HEAD_BYTES_MAX] = [b'x'; 3 * HTTP_HEAD_BYTES_MAX];
        assert_eq!(exchange(2, &LONG), b"");
    }
}
