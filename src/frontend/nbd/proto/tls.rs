//! Whether a connection may, must or does run inside TLS.

use super::options::Refused;

/// Whether TLS is offered; in proto.md, "TLS support", called NOTLS, SELECTIVETLS and FORCEDTLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TlsPolicy {
    /// Not offered.
    Off,
    /// Offered; a client may do without.
    Optional,
    /// Nothing is told or done before it stands.
    Required,
}

/// The policy, and how far this connection has come.
pub(super) struct Tls {
    policy: TlsPolicy,
    stands: bool,
}

impl Tls {
    pub(super) const fn new(policy: TlsPolicy) -> Self {
        Self {
            policy,
            stands: false,
        }
    }

    /// Whether TLS has to come before anything else.
    pub(super) fn is_missing(&self) -> bool {
        self.policy == TlsPolicy::Required && !self.stands
    }

    /// Whether the client may start TLS now.
    pub(super) fn may_start(&self) -> Result<(), Refused> {
        if self.policy == TlsPolicy::Off {
            return Err(Refused::TLS_OFF);
        }
        if self.stands {
            return Err(Refused::TLS_TWICE);
        }
        Ok(())
    }

    pub(super) const fn established(&mut self) {
        self.stands = true;
    }
}
