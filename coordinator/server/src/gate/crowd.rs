//! The connections of a gate: which are admitted, which wait for their deadline, and which have to make room.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use tokio::sync::oneshot;
use tokio::time::Instant;

/// All connections of a gate.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// Open connections, by number.
    pub(super) seats: HashMap<u64, Seat>,
    /// Connections that are not admitted, by their origin, in the order of their deadlines.
    waiting: HashMap<IpAddr, BTreeSet<(Instant, u64)>>,
    pub(super) deadlines: BTreeSet<(Instant, u64)>,
    /// Connections that watch, in the order in which they began.
    pub(super) lookers: BTreeMap<u64, u64>,
    /// Connections that are not dropped yet, closed or not.
    pub(super) connections: usize,
    /// The last number given to a connection or to a request that watches.
    next: u64,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) peer: SocketAddr,
    /// When it is closed. None while it has admitted requests.
    pub(super) deadline: Option<Instant>,
    pub(super) admitted: u32,
    pub(super) was_admitted: bool,
    /// Dropping it closes the connection.
    pub(super) _open: oneshot::Sender<()>,
}

/// Returns the part of an address that counts as one origin. The owner of an IPv6 address usually has all addresses
/// with the same first 64 bits.
pub fn origin(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
        ip => ip,
    }
}

impl Crowd {
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Starts to wait for a connection's deadline.
    pub(super) fn wait(&mut self, number: u64, deadline: Instant) {
        let Some(seat) = self.seats.get_mut(&number) else { return };
        seat.deadline = Some(deadline);
        self.waiting.entry(origin(seat.peer.ip())).or_default().insert((deadline, number));
        self.deadlines.insert((deadline, number));
    }

    /// Stops waiting for a connection's deadline.
    pub(super) fn wait_no_more(&mut self, number: u64) {
        let Some(seat) = self.seats.get_mut(&number) else { return };
        let Some(deadline) = seat.deadline.take() else { return };
        let origin = origin(seat.peer.ip());
        self.deadlines.remove(&(deadline, number));
        if let Some(of_origin) = self.waiting.get_mut(&origin) {
            of_origin.remove(&(deadline, number));
            if of_origin.is_empty() {
                self.waiting.remove(&origin);
            }
        }
    }

    /// Closes a connection, and returns its address.
    pub(super) fn close(&mut self, number: u64) -> Option<SocketAddr> {
        self.wait_no_more(number);
        self.seats.remove(&number).map(|seat| seat.peer)
    }

    /// Closes all connections that were never admitted. On the others, the end of an answer may still be on its way.
    pub(super) fn close_strangers(&mut self) {
        let is_stranger = |(number, seat): (&u64, &Seat)| (!seat.was_admitted).then_some(*number);
        let strangers: Vec<u64> = self.seats.iter().filter_map(is_stranger).collect();
        for number in strangers {
            self.close(number);
        }
    }

    /// Returns the waiting connection that has to make room first: the oldest of the origin with the most.
    pub(super) fn first_to_go(&self) -> Option<u64> {
        let (_, crowd) = self.waiting.iter().max_by_key(|(origin, crowd)| (crowd.len(), **origin))?;
        crowd.first().map(|(_, number)| *number)
    }
}
