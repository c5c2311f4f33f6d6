//! How somebody else's client reaches the server: over which socket or port, and whether with TLS.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::base::OpenError;
use crate::cli::xml::{self, Element};
use crate::control::api::proto;
use crate::frontend::nbd::proto::TlsPolicy;

/// A way to the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Reach {
    /// A unix socket at this path.
    Unix(PathBuf),
    /// A host, by name or number, and its port.
    Tcp(String, u16),
}

/// Whether the server speaks TLS, as it says. A command that asks itself has no server.
pub(super) fn tls_policy(status: &proto::StatusResponse) -> TlsPolicy {
    match status.tls() {
        proto::Tls::Required => TlsPolicy::Required,
        proto::Tls::Optional => TlsPolicy::Optional,
        proto::Tls::Off | proto::Tls::Unspecified => TlsPolicy::Off,
    }
}

impl Reach {
    /// Reads `unix:PATH` or `HOST:PORT`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with `text`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is neither unix:/PATH nor HOST:PORT");
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.starts_with('/') && xml::can_say(path) {
                true => Ok(Self::Unix(path.into())),
                false => Err(wrong()),
            };
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::Tcp(address.ip().to_string(), address.port()));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
        let port = port.parse().ok().filter(|port| *port != 0);
        match port {
            Some(port) if !host.is_empty() && host.bytes().all(letters) => {
                Ok(Self::Tcp(host.to_owned(), port))
            }
            _ => Err(wrong()),
        }
    }

    /// One of the addresses that the server of `name` listens on.
    ///
    /// # Errors
    /// One line that says that there is none which a client could use.
    pub(super) fn choose(
        name: &str,
        addresses: &[String],
        policy: TlsPolicy,
    ) -> Result<Self, OpenError> {
        let remedy = "name one with --nbd unix:/PATH or --nbd HOST:PORT";
        if addresses.is_empty() {
            return Err(OpenError::new(name, "nobody serves it over NBD", remedy));
        }
        let known = addresses.iter().filter_map(|text| Self::parse(text).ok());
        let mut usable: Vec<Self> = known.filter(|reach| !reach.is_anywhere()).collect();
        // TLS wants a name to compare with the certificate, which a socket has not.
        let by_tcp = policy == TlsPolicy::Required;
        usable.sort_by_key(|reach| matches!(reach, Self::Tcp(..)) != by_tcp);
        usable.into_iter().next().ok_or_else(|| {
            let why = format!(
                "its server listens on {}, which is no address to connect to",
                addresses.join(" and ")
            );
            OpenError::new(name, why, remedy)
        })
    }

    /// Whether this is every address of a machine instead of one.
    fn is_anywhere(&self) -> bool {
        match self {
            Self::Unix(_) => false,
            Self::Tcp(host, _) => host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified()),
        }
    }

    /// Whether a client is to use TLS there.
    ///
    /// # Errors
    /// One line, where it would have to and cannot, or where it is to and the server does not.
    pub(super) fn tls(&self, policy: TlsPolicy, is_named: bool) -> Result<bool, OpenError> {
        let by_socket = matches!(self, Self::Unix(_));
        match policy {
            TlsPolicy::Off if is_named => {
                let why = "the server has no certificate";
                Err(OpenError::new("--tls-hostname", why, "leave it out"))
            }
            TlsPolicy::Off => Ok(false),
            TlsPolicy::Optional => Ok(is_named || !by_socket),
            TlsPolicy::Required if by_socket && !is_named => {
                let why = "a unix socket has no name that TLS could compare with the certificate";
                let remedy = "name the certificate's with --tls-hostname";
                Err(OpenError::new(self.to_string(), why, remedy))
            }
            TlsPolicy::Required => Ok(true),
        }
    }

    /// The `<host>` of libvirt.
    pub(super) fn element(&self) -> Element {
        let host = Element::new("host");
        match self {
            Self::Unix(path) => host
                .with("transport", "unix")
                .with("socket", path.display().to_string()),
            Self::Tcp(name, port) => host.with("name", name).with("port", port.to_string()),
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(addresses: &[&str], policy: TlsPolicy) -> Result<String, OpenError> {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        Reach::choose("main/vm1", &addresses, policy).map(|reach| reach.to_string())
    }

    #[test]
    fn sockets_and_hosts_are_told_apart() {
        let unix = Reach::Unix("/run/a b.sock".into());
        assert_eq!(Reach::parse("unix:/run/a b.sock"), Ok(unix));
        let local = Reach::Tcp("::1".to_owned(), 10809);
        assert_eq!(Reach::parse("[::1]:10809"), Ok(local));
        let host = Reach::Tcp("storage.example.org".to_owned(), 1);
        assert_eq!(Reach::parse("storage.example.org:1"), Ok(host));
        for text in [
            "",
            "unix:",
            "unix:here",
            "unix:/a\u{1}",
            "host",
            "host:0",
            ":1",
            "a'b:1",
        ] {
            assert!(Reach::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_socket_is_chosen_but_for_tls() {
        let both = ["127.0.0.1:1", "unix:/a"];
        let socket = chosen(&both, TlsPolicy::Off).ok();
        assert_eq!(socket.as_deref(), Some("unix:/a"));
        let port = chosen(&both, TlsPolicy::Required).ok();
        assert_eq!(port.as_deref(), Some("127.0.0.1:1"));
        let open = ["0.0.0.0:1", "[::]:1"];
        let said = chosen(&open, TlsPolicy::Off).unwrap_err().to_string();
        assert!(
            said.contains("0.0.0.0:1") && said.contains("--nbd"),
            "{said}"
        );
        assert!(chosen(&[], TlsPolicy::Off).is_err());
    }

    #[test]
    fn tls_is_used_where_it_can_be_and_demanded_where_it_must() {
        let unix = Reach::Unix("/a".into());
        let tcp = Reach::Tcp("host".to_owned(), 1);
        for (reach, policy, is_named, wanted) in [
            (&unix, TlsPolicy::Off, false, false),
            (&unix, TlsPolicy::Optional, false, false),
            (&unix, TlsPolicy::Optional, true, true),
            (&unix, TlsPolicy::Required, true, true),
            (&tcp, TlsPolicy::Off, false, false),
            (&tcp, TlsPolicy::Optional, false, true),
            (&tcp, TlsPolicy::Required, false, true),
        ] {
            let tls = reach.tls(policy, is_named);
            assert_eq!(tls.ok(), Some(wanted), "{reach} {policy:?}");
        }
        assert!(unix.tls(TlsPolicy::Required, false).is_err());
        assert!(tcp.tls(TlsPolicy::Off, true).is_err());
    }
}
