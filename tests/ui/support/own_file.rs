//! A module in a file of its own, for `controller-without-body`.
