//! The network of a cluster on loopback: nodes and clients reach a node through a proxy only.
//!
//! All come from 127.0.0.1: who has connected is found by the socket's inode, among the open files of the nodes. What a proxy cannot
//! do to TCP it does not pretend to: a lost packet is one that comes a retransmission later, and there is no disorder.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener as StdListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::links::Links;

const CHUNK: usize = 64 << 10;
/// How soon a held connection notices that its link is mended.
const HELD: Duration = Duration::from_millis(20);
/// Linux's shortest retransmission timeout.
const RETRANSMISSION: Duration = Duration::from_millis(200);

/// Process ids of the nodes that run.
pub(super) type Pids = Arc<Mutex<BTreeMap<usize, u32>>>;

/// Carries connections from `public` to `private`, both on loopback; `private` belongs to a node.
pub(super) fn start(public: u16, private: u16, node: usize, links: &Links, pids: &Pids) -> io::Result<()> {
    let listener = StdListener::bind(("127.0.0.1", public))?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let (links, pids) = (links.clone(), Arc::clone(pids));
    tokio::spawn(async move {
        loop {
            let Ok((client, peer)) = listener.accept().await else { continue };
            let (links, pids) = (links.clone(), Arc::clone(&pids));
            tokio::spawn(async move {
                let from = owner(peer.port(), public, &pids);
                if let Ok(server) = TcpStream::connect(("127.0.0.1", private)).await {
                    carry(client, server, from, node, &links).await;
                } else {
                    reset(&client);
                }
            });
        }
    });
    Ok(())
}

/// The node that has connected from this port, or the clients' host, 0.
fn owner(port: u16, to: u16, pids: &Pids) -> usize {
    let pids = pids.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let found = inode(port, to).map(|inode| format!("socket:[{inode}]"));
    let Some(socket) = found else { return 0 };
    let has = |pid: u32| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.into_iter().any(|file| std::fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == &*socket))
    };
    pids.into_iter().find(|(_, pid)| has(*pid)).map_or(0, |(node, _)| node)
}

/// The inode of the connected socket with these ports, as the kernel lists it.
fn inode(port: u16, to: u16) -> Option<String> {
    let lists = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let (own, other) = (format!(":{port:04X}"), format!(":{to:04X}"));
    lists.iter().flat_map(|list| list.lines().skip(1)).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.len() > 9 && fields[1].ends_with(&own) && fields[2].ends_with(&other);
        is_it.then(|| fields[9].to_owned())
    })
}

/// Both ways, until one ends.
async fn carry(client: TcpStream, server: TcpStream, from: usize, to: usize, links: &Links) {
    let _ = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    tokio::select! {
        () = pump(client_read, server_write, from, to, links) => {}
        () = pump(server_read, client_write, to, from, links) => {}
    }
}

async fn pump(mut read: OwnedReadHalf, mut write: OwnedWriteHalf, from: usize, to: usize, links: &Links) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(length @ 1..) = read.read(&mut chunk).await {
        while links.get(from, to).cut {
            tokio::time::sleep(HELD).await;
        }
        let link = links.get(from, to);
        let (lot, share) = (rand::random::<f64>(), rand::rng().random_range(0.0..1.0));
        if lot < link.reset {
            reset(write.as_ref());
            return;
        }
        let late =
            link.delay + link.jitter.mul_f64(share) + if lot < link.loss { RETRANSMISSION } else { Duration::ZERO };
        if !late.is_zero() {
            tokio::time::sleep(late).await;
        }
        if write.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
}

/// Closing it sends a reset, and nothing that waits.
fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
