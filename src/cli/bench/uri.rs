//! NBD URIs: `nbd://HOST[:PORT]/NAME` and `nbd+unix:///NAME?socket=PATH`.
//!
//! The forms are those of doc/uri.md of the NBD project. Hosts are numbers, or `localhost`.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;

use crate::env::Address;

/// The port that IANA gave to NBD.
const PORT: u16 = 10809;

/// An export and where it is served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct NbdUri {
    text: String,
    address: Address,
    export: String,
}

impl NbdUri {
    /// Reads `text`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!(
                "'{text}' is no NBD URI such as nbd+unix:///NAME?socket=PATH or nbd://HOST/NAME"
            ));
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, name) = rest.split_once('/').unwrap_or((rest, ""));
        let socket = socket(query)?;
        let address = match (scheme, socket) {
            ("nbd+unix", Some(path)) if authority.is_empty() => Address::Unix(path.into()),
            ("nbd+unix", Some(_)) => {
                return Err(format!("nbd+unix takes no host; drop '{authority}'"));
            }
            ("nbd+unix", None) => return Err("nbd+unix needs ?socket=PATH".to_owned()),
            ("nbd", None) => Address::Tcp(host(authority)?),
            ("nbd", Some(_)) => return Err("?socket= is for nbd+unix://".to_owned()),
            ("nbds" | "nbds+unix", _) => {
                return Err("TLS is not for measuring here; serve without it".to_owned());
            }
            _ => return Err(format!("'{scheme}' is neither nbd nor nbd+unix")),
        };
        let export = String::from_utf8(decode(name)?)
            .map_err(|_| format!("the export name '{name}' is not UTF-8"))?;
        Ok(Self {
            text: text.to_owned(),
            address,
            export,
        })
    }

    /// Where to connect to.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// What the server calls the export.
    pub(super) fn export(&self) -> &str {
        &self.export
    }
}

impl fmt::Display for NbdUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The path in a query such as `socket=PATH`. Other words are an error: silence would hide a
/// mistyped one.
fn socket(query: &str) -> Result<Option<OsString>, String> {
    let mut found = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("socket", path)) if !path.is_empty() => {
                found = Some(OsString::from_vec(decode(path)?));
            }
            _ => return Err(format!("'?{pair}' is not understood; only ?socket=PATH is")),
        }
    }
    Ok(found)
}

fn host(authority: &str) -> Result<SocketAddr, String> {
    if authority.is_empty() {
        return Err("nbd:// needs a host, as in nbd://127.0.0.1/NAME".to_owned());
    }
    if authority.contains('@') {
        return Err(format!("'{authority}': NBD without TLS has no users"));
    }
    let bare = |text: &str| text.strip_prefix('[')?.strip_suffix(']').map(str::to_owned);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !authority.ends_with(']') => {
            let port = port
                .parse()
                .map_err(|_| format!("'{port}' is no port; the usual one is {PORT}"))?;
            (host, port)
        }
        _ => (authority, PORT),
    };
    if host == "localhost" {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    let number: Option<IpAddr> = match bare(host) {
        Some(v6) => v6.parse().ok().map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    };
    number
        .map(|ip| (ip, port).into())
        .ok_or_else(|| format!("'{host}': give the host as a number, or as localhost"))
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Result<Vec<u8>, String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or("").as_bytes().to_vec();
    for part in parts {
        let byte = part
            .get(..2)
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .ok_or_else(|| format!("'{text}': after % come two hexadecimal digits"))?;
        bytes.push(byte);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_name_an_address_and_an_export() {
        let cases = [
            ("nbd://127.0.0.1/disk", "127.0.0.1:10809", "disk"),
            (
                "nbd://10.0.0.5:7000/main/vm@s",
                "10.0.0.5:7000",
                "main/vm@s",
            ),
            ("nbd://localhost", "127.0.0.1:10809", ""),
            ("nbd://localhost/", "127.0.0.1:10809", ""),
            ("nbd://[::1]/x", "[::1]:10809", "x"),
            ("nbd://[fe80::1]:99/x", "[fe80::1]:99", "x"),
            ("nbd+unix:///?socket=/a", "unix:/a", ""),
            (
                "nbd+unix:///a%20b%2Fc?socket=/run/x%3f",
                "unix:/run/x?",
                "a b/c",
            ),
        ];
        for (text, address, export) in cases {
            let uri = NbdUri::parse(text).unwrap();
            assert_eq!(uri.address().to_string(), address, "{text}");
            assert_eq!((uri.export(), uri.to_string()), (export, text.to_owned()));
        }
    }

    #[test]
    fn what_is_no_uri_is_refused_in_one_line() {
        let cases = [
            ("/tmp/x.sock", "is no NBD URI"),
            ("http://localhost/", "neither nbd nor nbd+unix"),
            ("nbds://localhost/", "TLS is not for measuring here"),
            ("nbds+unix:///x?socket=/a", "TLS is not for measuring here"),
            ("nbd+unix:///x", "needs ?socket=PATH"),
            ("nbd+unix:///x?socket=", "is not understood"),
            ("nbd+unix:///x?sock=/a", "is not understood"),
            ("nbd+unix://host/x?socket=/a", "takes no host"),
            ("nbd:///x", "needs a host"),
            ("nbd://example.com/x", "as a number"),
            ("nbd://::1/x", "as a number"),
            ("nbd://u@localhost/x", "no users"),
            ("nbd://localhost:99999/x", "is no port"),
            ("nbd://localhost/a%2", "two hexadecimal digits"),
            ("nbd://localhost/a%+1", "two hexadecimal digits"),
            ("nbd://localhost/%ff", "is not UTF-8"),
        ];
        for (text, part) in cases {
            let why = NbdUri::parse(text).unwrap_err();
            assert!(why.contains(part) && !why.contains('\n'), "{text}: {why}");
        }
    }
}
