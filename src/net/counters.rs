//! What a net counts, for whoever watches.

/// What the net has counted since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetCounters {
    /// Connections that are open now.
    pub connections: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed at once because all slots were taken, or all of those
    /// that have not said who they are.
    pub turned_away: u64,
    /// Connections to the unix socket of users who may not.
    pub refused_users: u64,
    /// Requests decoded, bad ones included.
    pub requests: u64,
    /// Requests that were framed well but made no sense.
    pub bad_requests: u64,
    /// Connections closed because no frame border could be told.
    pub broken_streams: u64,
    /// Connections closed because they did not read their replies.
    pub slow_readers: u64,
    /// Connections closed because they did not prove who they are.
    pub refused_handshakes: u64,
    /// Connections closed because they took too long to do so,
    pub late_handshakes: u64,
    /// to send the rest of a frame,
    pub late_frames: u64,
    /// or to ask for anything.
    pub idle: u64,
    /// Connections that failed while receiving or sending.
    pub socket_failures: u64,
}
