//! The network between the nodes: every packet from one namespace to another comes through here.
//!
//! Each node, and the harness itself as host 0, has a TUN device whose other end this process holds. A thread per device reads
//! packets and hands them on, as the [`Links`] say. Nothing else in the kernel is needed, neither
//! netem nor a firewall, and every fault has its direction.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::links::Links;
use super::packet;

/// Larger than Ethernet's: fewer packets for the same bytes.
const MTU: u16 = 9000;
/// Packets that wait to be late; beyond, they are lost, as in a router.
const LATE_MAX: usize = 20_000;

/// A packet for later: when, a number that keeps the order of arrival among equals, to whom, and its bytes.
type Late = Reverse<(Instant, u64, usize, Vec<u8>)>;

struct Shared {
    devices: Vec<SyncDevice>,
    links: Links,
    late: Mutex<(BinaryHeap<Late>, u64)>,
    arrived: Condvar,
}

/// The switch; it works until the process ends.
#[derive(Clone)]
pub(super) struct Switch(Arc<Shared>);

/// Name of the device of a host before it is moved to its namespace.
pub(super) fn device_name(host: usize) -> String {
    format!("jd{host}")
}

impl Switch {
    /// Makes devices for hosts 0 to `nodes`; they are still to be moved, addressed and brought up.
    pub(super) fn open(nodes: usize, links: Links) -> io::Result<Switch> {
        let open =
            |host| DeviceBuilder::new().name(device_name(host)).layer(Layer::L3).mtu(MTU).enable(false).build_sync();
        let devices = (0..=nodes).map(open).collect::<io::Result<Vec<_>>>()?;
        Ok(Switch(Arc::new(Shared { devices, links, late: Mutex::default(), arrived: Condvar::new() })))
    }

    /// Begins to carry packets; the same seed draws the same lots.
    pub(super) fn start(&self, seed: u64) -> io::Result<()> {
        for host in 0..self.0.devices.len() {
            let shared = Arc::clone(&self.0);
            let random = StdRng::seed_from_u64(seed.wrapping_add(host as u64));
            std::thread::Builder::new().name(format!("switch-{host}")).spawn(move || carry(&shared, host, random))?;
        }
        let shared = Arc::clone(&self.0);
        std::thread::Builder::new().name("switch-late".to_owned()).spawn(move || deliver_late(&shared))?;
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads what a host sends until its device is gone.
fn carry(shared: &Shared, host: usize, mut random: StdRng) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match shared.devices[host].recv(&mut buffer) {
            Ok(length) => pass(shared, host, &buffer[..length], &mut random),
            // Between the namespaces, or not up yet.
            Err(error) if error.kind() != io::ErrorKind::NotFound => std::thread::sleep(Duration::from_millis(1)),
            Err(_) => return,
        }
    }
}

fn pass(shared: &Shared, host: usize, bytes: &[u8], random: &mut StdRng) {
    let Some((_, to)) = packet::hosts(bytes) else { return };
    // Host 0 has address 254, so that node 1 has address 1.
    let to = if to == super::net::HARNESS { 0 } else { usize::from(to) };
    if to >= shared.devices.len() || to == host {
        return;
    }
    let link = shared.links.get(host, to);
    if link.cut || link.loss > 0.0 && random.random_bool(link.loss) {
        return;
    }
    if link.reset > 0.0
        && random.random_bool(link.reset)
        && let Some([onward, back]) = packet::resets(bytes)
    {
        send(shared, to, &onward);
        send(shared, host, &back);
        return;
    }
    let copies = if link.doubled > 0.0 && random.random_bool(link.doubled) { 2 } else { 1 };
    for _ in 0..copies {
        if link.delay.is_zero() && link.jitter.is_zero() {
            send(shared, to, bytes);
        } else {
            let late = link.delay + link.jitter.mul_f64(random.random_range(0.0..1.0));
            send_late(shared, Instant::now() + late, to, bytes);
        }
    }
}

fn send(shared: &Shared, to: usize, bytes: &[u8]) {
    // A device that is down or full loses packets, as cables do.
    let _ = shared.devices[to].send(bytes);
}

fn send_late(shared: &Shared, when: Instant, to: usize, bytes: &[u8]) {
    let mut late = lock(&shared.late);
    if late.0.len() < LATE_MAX {
        let number = late.1;
        late.1 += 1;
        late.0.push(Reverse((when, number, to, bytes.to_vec())));
        shared.arrived.notify_one();
    }
}

fn deliver_late(shared: &Shared) {
    let mut late = lock(&shared.late);
    loop {
        let now = Instant::now();
        let next = late.0.peek().map(|Reverse((when, ..))| *when);
        late = match next {
            Some(when) if when <= now => {
                let packet = late.0.pop();
                drop(late);
                if let Some(Reverse((_, _, to, bytes))) = packet {
                    send(shared, to, &bytes);
                }
                lock(&shared.late)
            }
            Some(when) => {
                let waited = shared.arrived.wait_timeout(late, when - now);
                waited.map_or_else(|poisoned| poisoned.into_inner().0, |(guard, _)| guard)
            }
            None => shared.arrived.wait(late).unwrap_or_else(PoisonError::into_inner),
        };
    }
}
