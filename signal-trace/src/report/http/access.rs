//! Who may read what names processes: `/debug/containers` and `/shutdowns`. Numbers are for everybody, unless it is said
//! otherwise.

use std::fmt;
use std::hint::black_box;
use std::net::IpAddr;

/// The rule for the pages that name processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Whoever comes from this very host, or over `kubectl port-forward`.
    #[default]
    Loopback,
    /// Whoever has the token, from wherever, and nobody else.
    Bearer(Token),
    /// The same, and the numbers too are for who has it. Probes are answered without.
    BearerForAll(Token),
}

/// A shared secret. It is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// A secret that would not be one, or that no header can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bearer token is empty or has characters other than visible ASCII ones")]
pub struct TokenError;

/// Why a request was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// It came from elsewhere, and there is no token that would help.
    NotLoopback,
    /// It has no token, or another one.
    WrongToken,
}

impl Token {
    /// From a file or a variable; white space around it is not part of it.
    pub fn new(secret: &str) -> Result<Self, TokenError> {
        let secret = secret.trim();
        let sound = !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_graphic());
        if sound { Ok(Self(secret.to_owned())) } else { Err(TokenError) }
    }

    /// Takes as long for a wrong token as for the right one: how long that is tells its length and nothing else.
    fn matches(&self, offered: &str) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), offered.as_bytes());
        let pairs = ours.iter().zip(theirs);
        let difference = pairs.fold(0, |difference, (ours, theirs)| black_box(difference | (ours ^ theirs)));
        ours.len() == theirs.len() && black_box(difference) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Access {
    /// Whether a request for numbers may pass.
    pub(super) fn check_numbers(&self, peer: IpAddr, authorization: Option<&str>) -> Result<(), Denied> {
        match self {
            Self::Loopback | Self::Bearer(_) => Ok(()),
            Self::BearerForAll(_) => self.check(peer, authorization),
        }
    }

    /// Whether a request from there, with this `Authorization`, may pass.
    pub(super) fn check(&self, peer: IpAddr, authorization: Option<&str>) -> Result<(), Denied> {
        match self {
            // Of a socket for both families, IPv4's loopback has an IPv6 address too.
            Self::Loopback if peer.to_canonical().is_loopback() => Ok(()),
            Self::Loopback => Err(Denied::NotLoopback),
            Self::Bearer(token) | Self::BearerForAll(token) => {
                let offered = authorization.and_then(|value| value.split_once(' '));
                match offered {
                    Some((scheme, offered))
                        if scheme.eq_ignore_ascii_case("bearer") && token.matches(offered.trim()) =>
                    {
                        Ok(())
                    }
                    _ => Err(Denied::WrongToken),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_token_only_loopback_passes() {
        let access = Access::Loopback;
        for near in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(access.check(near.parse().unwrap(), None), Ok(()), "{near}");
        }
        for far in ["10.0.0.1", "0.0.0.0", "::", "::ffff:10.0.0.1", "fe80::1", "169.254.0.1"] {
            let authorization = Some("Bearer anything");
            assert_eq!(access.check(far.parse().unwrap(), authorization), Err(Denied::NotLoopback), "{far}");
        }
    }

    #[test]
    fn with_a_token_only_the_token_passes() {
        let access = Access::Bearer(Token::new(" s3cret\n").unwrap());
        let check = |peer: &str, authorization| access.check(peer.parse().unwrap(), authorization);
        for right in ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret "] {
            assert_eq!(check("10.0.0.1", Some(right)), Ok(()), "{right}");
        }
        let wrong =
            ["", "s3cret", "Basic s3cret", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3crets", "Bearer S3cret"];
        for wrong in wrong {
            assert_eq!(check("127.0.0.1", Some(wrong)), Err(Denied::WrongToken), "{wrong}");
        }
        assert_eq!(check("127.0.0.1", None), Err(Denied::WrongToken));
    }

    #[test]
    fn a_token_is_something_and_is_not_printed() {
        for wrong in ["", " \n", "two words", "schlüssel", "line\nbreak"] {
            assert_eq!(Token::new(wrong), Err(TokenError), "{wrong:?}");
        }
        assert_eq!(format!("{:?}", Access::Bearer(Token::new("s3cret").unwrap())), "Bearer(Token(..))");
    }
}
