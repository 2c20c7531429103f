//! What Redis runs for us, each as one step that nothing comes between.

/// A script. Its first argument is a ticket, which its answer begins with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Script {
    Attach,
    Nodes,
    Publish,
    Read,
    RecordList,
    RecordRenew,
    RecordWrite,
}

macro_rules! joined {
    ($($file:literal)+) => {
        concat!($(include_str!($file)),+)
    };
}

impl Script {
    /// In the order of their numbers.
    pub(super) const ALL: [Self; 7] =
        [Self::Attach, Self::Nodes, Self::Publish, Self::Read, Self::RecordList, Self::RecordRenew, Self::RecordWrite];

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Attach => joined!("stream.lua" "attach.lua"),
            Self::Nodes => include_str!("nodes.lua"),
            Self::Publish => joined!("stream.lua" "publish.lua"),
            Self::Read => joined!("stream.lua" "read.lua"),
            Self::RecordList => joined!("records.lua" "record_list.lua"),
            Self::RecordRenew => joined!("records.lua" "record_renew.lua"),
            Self::RecordWrite => joined!("records.lua" "record_write.lua"),
        }
    }
}
