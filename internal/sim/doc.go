// Package sim is the seeded simulator of a whole cluster: two hosts with a replica of one volume, one to three witnesses,
// their network, clocks, disks and clients, in one goroutine and virtual time. A seed draws everything; the same seed gives
// the same history, event by event.
//
// What is real: the log (raftlog's loop with Raft, its proposals, reads and care for the voters, and cluster/state), the
// accounts of leases and heartbeats (cluster/liveness), the guard's judgement (guard/deadline), and the whole engine of a
// volume process (block/volume with peer, generation, writepath, metadata, resync, and the wire format): only the threads,
// sockets and files around them are taken away (raftlog.Stepped, volume.Stepped, replica.Stepped).
//
// What is modelled, in this package, and so proven only as far as it says the same as the real thing: the daemon's
// goroutines (pulse, keeper and tenures: daemon.go, lease.go, tenure.go say which function each restates), the guard's
// process, the network, TCP streams, disks with a volatile cache, the kernel's queue of requests, clients, a balancer's
// view, an operator. A scheduler is not simulated: any host with a lease and a replica may try to promote at any time,
// which is more than a scheduler ever does.
//
// A world without a cluster, a pair under DRBD's own rules, uses the same parts: unbound.go.
//
// After every event the invariants of check.go hold; each names its rule of the design (S1 to S8). What is covered and what
// is not is in docs/SAFETY.md.
package sim
