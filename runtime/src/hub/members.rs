//! The members of a channel: counted, listed, and moved.

use std::pin::Pin;

use super::{Hub, Unreached, channel::Channel, cluster::Everywhere, command::Command, entry::Target};

/// The ids of sockets, which all servers are asked for.
pub type Listing<'a> = Pin<Box<dyn Future<Output = Result<Vec<String>, Unreached>> + Send + 'a>>;

impl Hub {
    /// The ids of the sockets that are subscribed to a channel, in no order.
    ///
    /// # Errors
    ///
    /// If not all servers could be asked. A server that has died counts as one of them for 5 seconds.
    pub fn members<C: Channel + ?Sized>(&self, channel: &C) -> Listing<'_> {
        let of = (&Target::of(channel)).into();
        Box::pin(async move { Ok(self.streams().everywhere(Command::List { of }).await?.sockets) })
    }

    /// How many sockets are subscribed to a channel.
    ///
    /// # Errors
    ///
    /// If not all servers could be asked; the error says how many there are on the others.
    pub fn count<C: Channel + ?Sized>(&self, channel: &C) -> Everywhere<'_> {
        self.everywhere(Command::Count { of: (&Target::of(channel)).into() })
    }

    /// Subscribes all members of one channel to another, too, and says how many there are.
    ///
    /// # Errors
    ///
    /// If not all servers could be reached.
    pub fn add_members<A: Channel + ?Sized, B: Channel + ?Sized>(&self, of: &A, to: &B) -> Everywhere<'_> {
        self.everywhere(Command::Add { of: (&Target::of(of)).into(), to: (&Target::of(to)).into() })
    }

    /// Takes all members of one channel out of another, and says how many there are.
    ///
    /// # Errors
    ///
    /// If not all servers could be reached.
    pub fn remove_members<A: Channel + ?Sized, B: Channel + ?Sized>(&self, of: &A, from: &B) -> Everywhere<'_> {
        self.everywhere(Command::Remove { of: (&Target::of(of)).into(), from: from.name() })
    }

    /// Takes all members out of a channel, and says how many there were.
    ///
    /// # Errors
    ///
    /// If not all servers could be reached.
    pub fn empty<C: Channel + ?Sized>(&self, channel: &C) -> Everywhere<'_> {
        self.remove_members(channel, channel)
    }

    /// Takes all members of a channel out of every channel that they are in, this one included, and says how many there
    /// were.
    ///
    /// # Errors
    ///
    /// If not all servers could be reached.
    pub fn leave_all<C: Channel + ?Sized>(&self, channel: &C) -> Everywhere<'_> {
        self.everywhere(Command::LeaveAll { of: (&Target::of(channel)).into() })
    }
}
