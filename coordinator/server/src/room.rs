//! Memory for results that arrive in parts, and for complete ones that are not yet stored.
//!
//! A connection reserves room for a whole result before it reads the first part. While there is no room, the connection
//! waits and the coordinator reads nothing from its worker. A connection with room never needs more, so two connections
//! cannot wait for each other. Waiting connections get room in the order in which they asked. If others wait, a worker
//! that sends slowly, or not at all, loses its room and its connection.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Bytes of one unit of room.
const UNIT: u64 = 1 << 10;

/// How long a result may take to arrive, even if others wait.
const GRACE: Duration = Duration::from_secs(30);

/// A result that takes longer must arrive at this rate, in bytes a second.
const SLOWEST: u64 = 1 << 20;

/// How often slow results are looked for during `GRACE` while others wait.
const LOOKS: u32 = 30;

/// Memory of a fixed size for results.
#[derive(Debug)]
pub struct Room {
    units: Arc<Semaphore>,
    arriving: Mutex<Arriving>,
    grace: Duration,
}

/// Incomplete results, by number.
#[derive(Debug, Default)]
struct Arriving {
    next: u64,
    results: BTreeMap<u64, Transfer>,
}

#[derive(Debug)]
struct Transfer {
    since: Instant,
    bytes: u64,
    end: Arc<Notify>,
}

impl Room {
    pub fn new(bytes: u64) -> Arc<Room> {
        Room::with_grace(bytes, GRACE)
    }

    fn with_grace(bytes: u64, grace: Duration) -> Arc<Room> {
        let units = usize::try_from(bytes.div_ceil(UNIT)).unwrap_or(usize::MAX);
        let units = Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS)));
        Arc::new(Room { units, arriving: Mutex::default(), grace })
    }

    /// Waits until there is room for a result of so many bytes, and reserves it. Boxed, because few of the messages
    /// that could carry one do.
    pub async fn reserve(self: Arc<Self>, bytes: u64) -> Box<Reservation> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let mut wanted = pin!(Arc::clone(&self.units).acquire_many_owned(units));
        let mut look = tokio::time::interval(self.grace / LOOKS);
        let permit = loop {
            tokio::select! {
                permit = &mut wanted => break permit.expect("the semaphore is never closed"),
                _ = look.tick() => self.end_slowest(),
            }
        };
        let end = Arc::new(Notify::new());
        let arrival = Transfer { since: Instant::now(), bytes: 0, end: Arc::clone(&end) };
        let mut arriving = self.arriving();
        let number = arriving.next;
        arriving.next += 1;
        arriving.results.insert(number, arrival);
        drop(arriving);
        Box::new(Reservation { room: self, number, end, _permit: permit })
    }

    /// Ends the slowest result, if its grace is over and it is slower than `SLOWEST`.
    fn end_slowest(&self) {
        let arriving = self.arriving();
        let late = arriving.results.values().filter(|of| of.since.elapsed() >= self.grace);
        let slow = late.filter(|of| of.rate() < SLOWEST as f64);
        if let Some(slowest) = slow.min_by(|a, b| a.rate().total_cmp(&b.rate())) {
            slowest.end.notify_one();
        }
    }

    fn arriving(&self) -> MutexGuard<'_, Arriving> {
        // The state is consistent after every operation.
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transfer {
    /// Bytes a second, on average.
    fn rate(&self) -> f64 {
        self.bytes as f64 / self.since.elapsed().as_secs_f64()
    }
}

/// Reserved room. Dropping it frees the room.
#[derive(Debug)]
pub struct Reservation {
    room: Arc<Room>,
    number: u64,
    end: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
}

impl Reservation {
    /// Notes that so many more bytes have arrived.
    pub fn arrived(&self, bytes: usize) {
        if let Some(arrival) = self.room.arriving().results.get_mut(&self.number) {
            arrival.bytes += bytes as u64;
        }
    }

    /// Notes that all bytes have arrived. From then on, the result waits for the coordinator, not for the worker.
    pub fn is_whole(&self) {
        self.room.arriving().results.remove(&self.number);
    }

    /// Resolves when other results need the room.
    pub async fn is_to_end(&self) {
        self.end.notified().await;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.is_whole();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;
    const SHORT: Duration = Duration::from_millis(60);

    /// Whether there is room now.
    async fn has(room: &Arc<Room>, bytes: u64) -> bool {
        tokio::time::timeout(Duration::from_millis(1), Arc::clone(room).reserve(bytes)).await.is_ok()
    }

    /// Whether it is ended within so many times its grace.
    async fn ends(of: &Reservation, times: u32) -> bool {
        tokio::time::timeout(SHORT * times, of.is_to_end()).await.is_ok()
    }

    #[tokio::test]
    async fn room_is_given_back_in_the_end_only() {
        let room = Room::new(10 * KIB);
        let first = Arc::clone(&room).reserve(6 * KIB).await;
        assert!(has(&room, 4 * KIB).await);
        assert!(!has(&room, 5 * KIB).await);
        first.is_whole();
        assert!(!has(&room, 5 * KIB).await);
        drop(first);
        assert!(has(&room, 10 * KIB).await);
    }

    #[tokio::test]
    async fn a_result_that_arrives_slowly_makes_room_for_others_that_wait() {
        let room = Room::with_grace(10 * KIB, SHORT);
        let slow = Arc::clone(&room).reserve(6 * KIB).await;
        // No other result waits.
        assert!(!ends(&slow, 3).await);
        let waits = tokio::spawn(Arc::clone(&room).reserve(6 * KIB));
        assert!(ends(&slow, 100).await);
        drop(slow);
        let next = waits.await.expect("there is room");
        // A complete result is never ended.
        next.is_whole();
        let waits = tokio::spawn(Arc::clone(&room).reserve(6 * KIB));
        assert!(!ends(&next, 5).await);
        drop(next);
        waits.await.expect("there is room");
    }

    #[tokio::test]
    async fn a_result_that_arrives_fast_enough_is_not_ended() {
        let room = Room::with_grace(10 * KIB, SHORT);
        let fast = Arc::clone(&room).reserve(6 * KIB).await;
        fast.arrived(1 << 40);
        let waits = tokio::spawn(Arc::clone(&room).reserve(6 * KIB));
        assert!(!ends(&fast, 5).await);
        drop(fast);
        waits.await.expect("there is room");
    }
}
