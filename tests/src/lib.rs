//! What the tests share, and the documents of this repository as doctests.

#[cfg(feature = "backends")]
pub mod backends;
pub mod elsewhere;
pub mod mistakes;
pub mod pipe;

#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../README.md")]
    mod readme {}
    #[doc = include_str!("../../docs/guide.md")]
    mod guide {}
    #[doc = include_str!("../../docs/deployment.md")]
    mod deployment {}
    #[doc = include_str!("../../docs/securing.md")]
    mod securing {}
    #[doc = include_str!("../../docs/security.md")]
    mod security {}
    #[doc = include_str!("../../docs/channels.md")]
    mod channels {}
    #[doc = include_str!("../../docs/testing.md")]
    mod testing {}
}
