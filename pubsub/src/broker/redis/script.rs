//! What Redis runs for us, each as one step that nothing comes between.

/// A script. Its first argument is a ticket, which its answer begins with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Script {
    Attach,
    Nodes,
    Publish,
    Read,
}

macro_rules! with_stream {
    ($file:literal) => {
        concat!(include_str!("stream.lua"), include_str!($file))
    };
}

impl Script {
    pub(super) const ALL: [Self; 4] = [Self::Attach, Self::Nodes, Self::Publish, Self::Read];

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Attach => with_stream!("attach.lua"),
            Self::Nodes => include_str!("nodes.lua"),
            Self::Publish => with_stream!("publish.lua"),
            Self::Read => with_stream!("read.lua"),
        }
    }
}
