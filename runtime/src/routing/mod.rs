//! A route: where an action answers, and what the table knows of it.

pub(crate) mod action;
mod clash;
pub(crate) mod controller;
pub(crate) mod endpoint;
pub(crate) mod policy;
mod table;

use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

pub use action::{Action, NoState};
pub use clash::{Clash, check, clash, settle};
pub use controller::{Controller, Table};
pub use table::{flatten, guards, join, joined, text, total};

/// A path of a setting as the macros write those of routes: percent-encoded as every client sends it, but for the names of
/// its parameters.
pub(crate) fn encoded(path: &str) -> String {
    const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`');
    let segments = path.split('/').map(|segment| match segment.starts_with('{') {
        true => segment.to_owned(),
        false => utf8_percent_encode(segment, ENCODED).to_string(),
    });
    segments.collect::<Vec<_>>().join("/")
}

/// The HTTP method of a route; over a socket it is the name of the event, in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// Reads.
    Get,
    /// Adds.
    Post,
    /// Puts a whole in place.
    Put,
    /// Changes a part.
    Patch,
    /// Removes.
    Delete,
}

impl Method {
    /// The method as HTTP writes it: `GET`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which transports an action answers; the type of its context decides, or a [`Socket`](crate::Socket).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transports {
    /// HTTP and sockets: `Ctx`, or no context at all.
    Both,
    /// HTTP only: `Ctx<Http>`.
    Http,
    /// Sockets only: `Ctx<Socket>`, or `Socket` as an argument.
    Socket,
}

impl fmt::Display for Transports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Both => "both",
            Self::Http => "http",
            Self::Socket => "socket",
        })
    }
}

/// One line of the route table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The method it answers.
    pub method: Method,
    /// The full path, the controller's prefix included: `/chat/rooms/{id}`. It is percent-encoded as clients send it: the
    /// action at `/größe` has the path `/gr%C3%B6%C3%9Fe`.
    pub path: &'static str,
    /// The transports it answers.
    pub transports: Transports,
    /// The name of the action's function.
    pub action: &'static str,
    /// The module of the action, as `module_path!()` says it.
    pub module: &'static str,
    /// The source file of the action.
    pub file: &'static str,
    /// The line of the action's name.
    pub line: u32,
    /// The action's doc comment, one line per line.
    pub doc: &'static str,
    /// The names of the parameters in `path`, from left to right.
    pub params: &'static [&'static str],
}

impl fmt::Display for Route {
    /// One line of a listing: `GET    /rooms/{id}                      both   app::rooms::show`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, path, transports, module, action, .. } = self;
        write!(f, "{method:<6} {path:<32} {transports:<6} {module}::{action}")
    }
}
